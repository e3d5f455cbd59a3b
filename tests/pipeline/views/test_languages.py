"""Languages of texts, side words of other languages, and views of images whose texts are not in English."""

from dataclasses import replace

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.data.warnings import SETTINGS_FILE
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.views.languages import ENGLISH, foreign_sides, language_of
from textdiff.pipeline.views.text_rewriting import rewrite_sides, safe_views

FOREIGN = {
    "Verdichtung links": ("German", ["links"]),
    "Knoten im rechten Oberlappen": ("German", ["rechten", "Oberlappen"]),
    "LINKE LUNGE UNTEN": ("German", ["LINKE", "UNTEN"]),
    "tumor in de linker long": ("Dutch", ["linker"]),
    "opacité du poumon gauche": ("French", ["gauche"]),
    "lésion en haut à droite": ("French", ["haut", "droite"]),
    "lóbulo superior izquierdo": ("Spanish", ["izquierdo"]),
    "mancha no pulmão direito": ("Portuguese", ["direito"]),
    "opacità nel polmone sinistro": ("Italian", ["sinistro"]),
    "zmiana w lewym płucu": ("Polish", ["lewym"]),
    "uzel v levé plíci": ("Czech", ["levé"]),
    "vänster lunga": ("Swedish", ["vänster"]),
    "højre lunge": ("Danish", ["højre"]),
    "keuhko vasen": ("Finnish", ["vasen"]),
    "bal tüdő": ("Hungarian", ["bal"]),
    "sağ akciğer alt lob": ("Turkish", ["sağ", "alt"]),
    "paru kiri": ("Indonesian", ["kiri"]),
    "vinstri lunga": ("Icelandic", ["vinstri"]),
    "kreisajā plaušā": ("Latvian", ["kreisajā"]),
    "Infiltrat li. basal": ("German", ["li"]),
    "nodulo polmone dx": ("Italian", ["dx"]),
    "nódulo pulmonar izq.": ("Spanish", ["izq"]),
    "বাম ফুসফুস": ("Bengali", ["বাম"]),
    "phổi trái": ("Vietnamese", ["trái"]),
    "узел в левом лёгком": ("Russian", ["левом"]),
    "κόμβος στον αριστερό πνεύμονα": ("Greek", ["αριστερό"]),
    "左肺结节": ("Chinese", ["左"]),
    "右肺に結節": ("Japanese", ["右"]),
    "왼쪽 폐": ("Korean", ["왼"]),
    "ก้อนในปอดซ้าย": ("Thai", ["ซ้าย"]),
    "عقدة في الرئة اليسرى": ("Arabic", ["يسرى"]),
    "बाएं फेफड़े में गांठ": ("Hindi", ["बाएं"]),
    "left lung (左肺)": ("Chinese", ["左"]),
}


@pytest.mark.parametrize("text", FOREIGN)
def test_languages_are_told_by_script_and_words_and_their_sides_found(text):
    name, sides = FOREIGN[text]
    assert language_of(text).name == name
    assert language_of(text).signs
    assert {match[0] for match in foreign_sides(text)} == {*sides}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Adenokarzinom mit Nekrosen und Entzündung", "German"),
        ("tumeur avec nécrose et inflammation", "French"),
        ("los núcleos son redondos", "Spanish"),
        ("nódulo sólido", "another language"),
        ("ядра круглые", "Cyrillic"),
        ("ბირთვები", "Georgian"),
        ("পিণ্ড", "Bengali"),
    ],
)
def test_texts_without_a_side_are_told_by_their_other_words(text, name):
    assert language_of(text).name == name
    assert list(foreign_sides(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "round dense nuclei",
        "Bilateral pulmonary infection, two infected areas, upper left lung and lower right lung.",
        "RUL opacity, LLL clear",
        "the cell links to the wall; a gauche remark",
        "A cell links.",
        "β-catenin in 5 µm, γδ T cells, IFN-γ",
        "Sjögren syndrome, Müller cells, von Willebrand factor",
        "Ménière's disease",
        "naïve T cells, de novo lesions, Smith et al",
        "OS and EM; SOL in segment 4; ALT raised",
        "arteria coronaria sinistra is patent to the wall",
        "carcinoma in situ, no invasion",
        "Dx: carcinoma of the lung",
        "re-excision specimen",
        "40x, H&E, 3.5 cm",
    ],
)
def test_english_reports_with_names_symbols_and_latin_are_english(text):
    assert language_of(text) == ENGLISH
    assert list(foreign_sides(text)) == []


@pytest.mark.parametrize("text", FOREIGN)
def test_a_side_in_another_language_is_rewritten_for_no_view(text):
    assert rewrite_sides(text, 0) == text
    assert safe_views(text, 8) == (0,)


def test_other_texts_in_other_languages_pass_as_they_are():
    assert rewrite_sides("ядра круглые", 1) == "ядра круглые"


@pytest.mark.parametrize(
    "text",
    ["arteria pulmonalis dextra", "ventriculus sinister", "Lt lung", "RLQ pain", "nodule (R)", "L-sided effusion"],
)
def test_latin_sides_and_abbreviations_are_rewritten_for_no_view(text):
    assert safe_views(text, 4) == (0,)


@pytest.mark.parametrize("text", ["dextrose", "IL-4 (rat)", "a Qt interval"])
def test_words_that_look_like_them_stay(text):
    assert safe_views(text, 4) == (0, 1, 2, 3)


# Extraction


@pytest.fixture
def german(extraction):
    """An extraction with two views of data with a German text."""

    def write(text="runde Kerne links", silence=None):
        content = extraction.data.read_text(encoding="utf-8").replace("the nuclei are not round", text)
        extraction.data.write_text(content, encoding="utf-8")
        if silence:
            (extraction.data.parent / SETTINGS_FILE).write_text(f'{{"silence": {{"other-language": "{silence}"}}}}')
        return replace(extraction, views=2)

    return write


@pytest.mark.parametrize("text", ["runde Kerne links", "noyaux à gauche", "左侧圆形细胞核"])
def test_views_of_texts_in_other_languages_are_refused(german, text):
    with pytest.raises(DataError, match=r"--views 2 turns .* 1 of 3 texts seem not to be in English") as refused:
        extract_features(german(text))
    assert '{"silence": {"other-language": "the reason"}}' in str(refused.value)


def test_one_view_of_them_is_not(german):
    extract_features(replace(german(), views=1))


def test_views_go_on_where_the_data_set_says_why_and_leave_known_sides_out(german):
    from textdiff.cache.reader import FeatureReader

    config = german(silence="sides are the patient's")
    extract_features(config)
    turned = [row.parent for row in FeatureReader(config.cache).samples if row.view]
    assert "train1" not in turned
    assert "train0" in turned


def test_texts_that_are_never_turned_are_not_asked(german):
    config = german()
    content = config.data.read_text(encoding="utf-8")
    config.data.write_text("\n".join(line for line in content.splitlines() if "train1" not in line), encoding="utf-8")
    extract_features(config)  # the other one with the text is of val
