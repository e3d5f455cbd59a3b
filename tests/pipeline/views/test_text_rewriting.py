"""Texts rewritten for views: the documented examples, the group law, and what must stay untouched."""

import re
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from textdiff.pipeline.demo.sentences import OPPOSITE, write_reports
from textdiff.pipeline.views.text_rewriting import rewrite_sides, safe_views, unsafe_words
from textdiff.pipeline.views.transforms import turn
from textdiff.pipeline.views.vocabulary import AXES, FAMILIES, SIDES

ROOT = Path(__file__).resolve().parents[3]
MONUSEG = ROOT.parent / "shared" / "data" / "monuseg"

OTHER_WORDS = re.findall(
    r"\S+",
    "the in on is are and or of to than a both nuclei lung lungs half corner density angle over ventricle lobe middle "
    "more hand , . / - -most o'clock described",
)
CASES = (str.lower, str.upper, str.capitalize)


def compose(first, then):
    """The view that shows what `then` shows of `first`."""
    image = np.arange(4, dtype=np.uint8).reshape(2, 2)
    twice = turn(turn(image, first), then)
    return next(view for view in range(8) if np.array_equal(turn(image, view), twice))


def documented():
    """(text, view, what the table in docs/views.md says)."""
    lines = (ROOT / "docs" / "views.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| Text | View 1 | View 2 | View 3 | View 5 |") + 2
    for line in lines[start : lines.index("", start)]:
        text, *rewritten = (cell.strip() for cell in line.strip("|").split("|"))
        yield from ((text, view, cell) for view, cell in zip((1, 2, 3, 5), rewritten, strict=True))


@pytest.mark.parametrize(("text", "view", "expected"), [*documented()])
def test_the_documented_examples(text, view, expected):
    assert (rewrite_sides(text, view) or "—") == expected
    assert bool(unsafe_words(text, view)) == (expected == "—")


texts = st.lists(
    st.tuples(st.sampled_from([*SIDES, *AXES, *SIDES, *OTHER_WORDS]), st.sampled_from(CASES)), min_size=1, max_size=7
).map(lambda words: re.sub(" ([,.-])", r"\1", " ".join(case(word) for word, case in words)))


@given(texts, st.integers(0, 7), st.integers(0, 7))
def test_rewriting_for_two_views_is_rewriting_for_both_together(text, first, then):
    once = rewrite_sides(text, first)
    assume(once is not None)
    assert safe_views(once, 8) == safe_views(text, 8)
    twice = rewrite_sides(once, then)
    if twice is not None:
        assert twice == rewrite_sides(text, compose(first, then))


@given(texts)
def test_safe_views_are_groups_and_view_0_changes_nothing(text):
    safe = set(safe_views(text, 8))
    assert rewrite_sides(text, 0) == text
    assert {compose(one, other) for one in safe for other in safe} == safe


def test_no_word_is_in_two_families():
    words = [word for family in FAMILIES for word in family.values()]
    assert len(words) == len(set(words)) == len(SIDES)
    assert not set(words) & set(AXES)


@pytest.mark.parametrize(
    "text",
    [
        "an upright, bright, leftover copyright of topology on the desktop; lowering, upperclass, aboveboard",
        "a right angle, tissue left over, cells on top of each other, as described above, left-handed",
        "lower density, nuclei of lower nuclear grade; the density is lower than in stroma, slightly lower",
        "under high power, beneath the epithelium, over 50 %, up to 3, down by half",
        "superior to the anterior segment, medial and lateral",
        "",
    ],
)
def test_words_that_name_no_side_stay_in_every_view(text):
    assert {rewrite_sides(text, view) for view in range(8)} == {text}


@pytest.mark.parametrize(
    "text",
    [
        "upper and lower left lung lobes",
        "the lower lobe of the right lung",
        "left and right kidneys",
        "left-sided pleural effusion, right lateral ventricle",
        "the horizontal fissure, left lower limb and upper jaw",
    ],
)
def test_a_bodys_sides_change_in_mirrors_alone(text):
    swapped = re.sub("left|right", lambda word: "right" if word[0] == "left" else "left", text)
    assert [rewrite_sides(text, view) for view in range(8)] == [
        text, swapped, swapped, text, swapped, text, text, swapped,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "safe", "words"),
    [
        ("a focus at 3 o'clock on the left", (0,), ("o'clock",)),
        ("counter-clockwise from the top", (0,), ("counter-clockwise",)),
        ("north-east of the gland", (0,), ("north-east",)),
        ("opacity of the RUL", (0,), ("RUL",)),
        ("the left ventricle", (0, 3, 5, 6), ("left",)),
        ("chest: opacity on the left, below the clavicle", (0, 1), ("left", "below")),
        ("cells of lower atypia", (0, 1), ("lower",)),
        ("Left nuclei are dense", (0, 1, 2, 3), ("Left",)),
        ("the tissue was left in place", (0,), ("left",)),
        ("in the upper left and right", (0, 1, 2, 3), ("upper left", "right")),
        ("the left angle", (0,), ("left",)),
    ],
)
def test_what_cannot_be_placed_is_named_and_limits_the_views(text, safe, words):
    assert safe_views(text, 8) == safe
    unsafe = next(view for view in (1, 2, 4) if view not in safe)
    assert unsafe_words(text, unsafe) == words
    assert rewrite_sides(text, unsafe) is None


def test_a_sentence_of_the_chest_radiographs():
    text = "Bilateral pulmonary infection, two infected areas, upper left lung and upper middle right lung."
    mirrored = "Bilateral pulmonary infection, two infected areas, upper right lung and upper middle left lung."
    assert [rewrite_sides(text, view) for view in (1, 2, 3)] == [mirrored, mirrored, text]


def test_the_phantoms_reports_name_the_place_where_the_view_shows_it():
    turned = {"upper": "left", "lower": "right", "left": "lower", "right": "upper"}  # view 5
    for split in ("train", "test"):
        for report in write_reports(split, 64, seed=0):
            assert safe_views(report.text, 8) == tuple(range(8))
            for view, places in ((3, OPPOSITE), (5, turned)):
                expected = re.sub(
                    r"\b(upper|lower|left|right)\b",
                    lambda word, places=places: (
                        places[word[0].lower()].capitalize() if word[0][0].isupper() else places[word[0]]
                    ),
                    report.text,
                    flags=re.IGNORECASE,
                )
                assert rewrite_sides(report.text, view) == expected


@pytest.mark.real_data
@pytest.mark.skipif(not MONUSEG.exists(), reason="needs the MoNuSeg texts in ../shared")
def test_every_monuseg_sentence_can_be_turned():
    sheets = [openpyxl.load_workbook(path).active for path in sorted(MONUSEG.glob("*/*_text.xlsx"))]
    found = {row[1] for sheet in sheets for row in sheet.iter_rows(min_row=2, values_only=True)}
    assert len(found) == 11
    assert {text: safe_views(text, 8) for text in found} == dict.fromkeys(found, tuple(range(8)))
    turned = {rewrite_sides(text, view) for text in found for view in range(8)}
    places = ("upper", "lower", "left", "right", "upper left", "upper right", "lower left", "lower right")
    assert turned - found == {f"The nuclei density in the {place} is high." for place in places} - found
    assert rewrite_sides("The nuclei density in the lower left is high.", 5) == (
        "The nuclei density in the lower right is high."
    )
