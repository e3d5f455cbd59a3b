"""Languages of texts, as far as views need them: sides are read and rewritten in English alone. docs/views.md tells.

A text is taken for English unless it holds another script, a side word of another language, or more of another
language's little words than of English ones. The lists are meant for reports: short, and mostly about sides.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_SIDES = {
    "German": "links* rechts* linke linkem linken linker linkes rechte rechtem rechten rechter rechtes li oben obere* "
    "oberhalb unten untere* unterhalb oberlappen* unterlappen* oberfeld* unterfeld*",
    "Dutch": "links linker linkse linkerlong* linkszijdig* rechts rechter rechtse rechterlong* rechtszijdig* boven "
    "bovenste bovenkwab* onder onderste onderkwab* linkerboven* linkeronder* rechterboven* rechteronder*",
    "French": "gauche gauches droit droits droite droites haut hauts haute hautes bas basse basses supérieur* "
    "superieur* gche inférieur* inferieur* dessus dessous",
    "Spanish": "izquierd* izq izqda izqdo dcha dcho derecho derecha derechos derechas arriba abajo encima debajo",
    "Portuguese": "esquerd* direito direita direitos direitas acima abaixo cima baixo",
    "Italian": "sinistra sinistre sinistri sinistro destra destre destri destro dx sx sopra sotto",
    "Catalan": "esquerra esquerre dreta dret",
    "Romanian": "stâng* stang stanga stangă drept dreapta dreptă dreptul",
    "Polish": "lewa lewe lewego lewej lewy lewych lewym lewą prawa prawe prawego prawej prawy prawych prawym prawą "
    "lewostronn* prawostronn* górn* dolna dolne dolnego dolnej dolny dolnych dolnym",
    "Czech": "levá levé levého levém levý vlevo pravá pravé pravého pravém pravý vpravo horní dolní",
    "Slovak": "ľav* vľavo pravá pravé pravej pravom horný dolný",
    "Croatian": "lijev* desna desne desni desno desnog desnom desnoj gornj* donj*",
    "Swedish": "vänster vänstra höger högra övre nedre ovanför nedanför",
    "Danish": "venstre højre øvre øverste nedre nederste",
    "Norwegian": "høyre",
    "Finnish": "vasen vasemma* vasemp* oikea* oikeas* yläosa* alaosa* yläloh* alaloh*",
    "Estonian": "vasak* parem parema* paremas*",
    "Hungarian": "bal baloldali jobb jobboldali felső alsó",
    "Turkish": "sol solda soldaki soldan sola sağ sağda* sağdan sağa sağdaki üst üstte* alt altta*",
    "Indonesian": "kiri kanan atas bawah",
    "Slovenian": "levo leva leve levem levega levi desnega",
    "Icelandic": "vinstri vinstra hægri hægra",
    "Latvian": "kreis* labaj*",
    "Lithuanian": "kair* dešin*",
    "Albanian": "majt* djatht*",
    "Filipino": "kaliwa kaliwang kanang",
    "Swahili": "kushoto kulia",
    "Vietnamese": "trái phải trên dưới",
    "Russian": "лев* прав* слева справа влево вправо верхн* нижн* вверху внизу",
    "Ukrainian": "лів* зліва ліворуч праворуч",
    "Bulgarian": "ляв* десн* вляво вдясно горн* долн*",
    "Greek": "αριστερ* δεξι* δεξί* άνω κάτω",
}
"""Language → words that name a side; `*`: any letters follow."""

_SIDES_WITHIN = {
    "Chinese": "左 右 上部 下部 上方 下方 上半 下半 上叶 下叶 上葉 下葉 上肺 下肺 上野 下野 上側 下側",
    "Korean": "왼 오른 좌측 우측 좌상 우상 좌하 우하 좌폐 우폐 상부 하부 상엽 하엽 위쪽 아래쪽",
    "Thai": "ซ้าย ขวา บน ล่าง",
    "Arabic": "يسار يمين أيسر أيمن يسرى يمنى أعلى أسفل علوي سفلي",
    "Persian": "چپ راست بالا پایین",
    "Urdu": "بائیں دائیں",
    "Bengali": "বাম ডান",
    "Tamil": "இடது வலது",
    "Georgian": "მარცხენა მარჯვენა",
    "Armenian": "ձախ աջ",
    "Hebrew": "שמאל ימין ימני עליון תחתון",
    "Hindi": "बाएं बाएँ बायां बायाँ बायें बाईं दाएं दाएँ दायां दायाँ दायें दाईं ऊपर निचल नीचे",
}
"""Language → parts of words that name a side, in scripts that have no spaces, or join words to them."""

_LITTLE = {
    "German": "und der das ist sind mit ohne im ein eine einem einen einer kein keine von vom zum zur bei nicht auf "
    "aus",
    "French": "le la les un une des du de et est sont dans avec sans sur au aux pas",
    "Spanish": "el la los las un una de del en con sin es por para al se",
    "Portuguese": "os um uma de da dos das em na com sem não por para ao",
    "Italian": "il lo la gli un una di del della dei nel nella con senza che al alla",
    "Dutch": "de het een en van met zonder op niet geen voor bij naar uit",
    "Swedish": "och ett en är med utan på av till för inte det som",
    "Danish": "og et en er med uden uten på af til ikke det som",
    "Polish": "we ze na jest nie się oraz bez przy od",
    "Czech": "ve se na je není bez při od",
    "Romanian": "și si în cu fără este la un de",
    "Hungarian": "és az egy nem van",
    "Finnish": "ja ei ole tai ovat",
    "Turkish": "ve bir ile bu da de için yok var",
    "Croatian": "je na sa nema bez od",
    "Indonesian": "dan di yang pada dengan tidak ada",
    "Vietnamese": "ở và của không có",
}
"""Language → its little words, without those that English has."""


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_ENGLISH = _words(
    "the of and with without are at from by for this that these those which there both not left right upper lower half",
    "part parts round cell cells nuclei nucleus nuclear lung lungs lobe lobes image tissue tumour tumor tumours tumors",
    "area areas region regions side sides small large dark bright dense lesion lesions syndrome disease cancer grade",
    "normal opacity opacities infection pulmonary infected bilateral to its",
)
_DOUBTFUL = _words(
    "li dx sx kreis links linker linkers linke gauche haut haute bas basse sol alt bal dret drept stang sinistra",
    "sinistre sinistri sinistro",
)
"""Side words that may stand in an English text: alone they are a sign where nothing else is English."""

_IN_ENGLISH = re.compile(r"(?<!\w)(?:et al|de novo|en bloc|en face|per se|da vinci|naïve|[A-Z]{2,})(?!\w)")
"""Words and abbreviations (OS, EM, SOL) that say nothing of the language."""

_SCRIPTS = {
    "CJK": "Chinese", "HANGUL": "Korean", "THAI": "Thai", "CYRILLIC": "Cyrillic", "GREEK": "Greek", "ARABIC": "Arabic",
    "HEBREW": "Hebrew", "DEVANAGARI": "Hindi",
}  # fmt: skip
"""First word of a letter's Unicode name → what a text in it is called; of any other script, its own name."""
_LEAST_LETTERS = {"GREEK": 3, "CJK": 1, "HIRAGANA": 1, "KATAKANA": 1, "HANGUL": 1}
"""Letters in a word that show a script, where not two: symbols such as µ, β and γδ stand in English texts."""
_SYMBOLS = {"LATIN", "MICRO", "FEMININE", "MASCULINE", "KELVIN", "ANGSTROM", "OHM", "DOUBLE-STRUCK", "SUPERSCRIPT"}

_WORD = re.compile(r"[^\s\d_.,;:!?()\[\]{}\"/«»„“”‘、。，（）-]+")


def _any(words: str) -> str:
    return "|".join(re.escape(word).replace(r"\*", r"\w*") for word in words.split())


_PATTERNS = {
    **{name: re.compile(rf"(?<!\w)(?:{_any(words)})(?!\w)", re.IGNORECASE) for name, words in _SIDES.items()},
    **{name: re.compile(_any(words)) for name, words in _SIDES_WITHIN.items()},
}
_LITTLE_WORDS = {name: _words(words) for name, words in _LITTLE.items()}


class Language(NamedTuple):
    """The language that a text seems to be in."""

    name: str
    """Of a language, or of a script that several have."""
    signs: tuple[str, ...] = ()
    """Words that say so; none for English."""


ENGLISH = Language("English")


@lru_cache(4096)
def language_of(text: str) -> Language:
    """The language that a text seems to be in; English unless there are signs of another."""
    text = unicodedata.normalize("NFC", text)
    return _by_script(text) or _by_words(text) or ENGLISH


def foreign_sides(text: str) -> Iterator[re.Match[str]]:
    """Words that name a side in another language than English; none in a text that seems to be English."""
    if language_of(text) != ENGLISH:
        for pattern in _PATTERNS.values():
            yield from pattern.finditer(text)


def _by_script(text: str) -> Language | None:
    """The language of letters that are not Latin."""
    scripts = {word: script for word in _WORD.findall(text) for script in sorted(_scripts_of(word))}
    if not scripts:
        return None
    if {"HIRAGANA", "KATAKANA"} & {*scripts.values()}:
        name = "Japanese"
    else:
        named = (name for name, pattern in _PATTERNS.items() if pattern.search(text))
        first = next(iter(scripts.values()))
        name = next(named, _SCRIPTS.get(first, first.capitalize()))
    return Language(name, tuple(scripts))


def _scripts_of(word: str) -> set[str]:
    """Scripts other than Latin of which a word has enough letters, by the first words of their Unicode names."""
    scripts = Counter(unicodedata.name(letter, "LATIN").split()[0] for letter in word if letter.isalpha())
    return {name for name, n in scripts.items() if name not in _SYMBOLS and n >= _LEAST_LETTERS.get(name, 2)}


def _by_words(text: str) -> Language | None:
    """The language of side words and of little words, in Latin letters."""
    words = _WORD.findall(text if text.isupper() else _IN_ENGLISH.sub(" ", text))
    accented = [word for word in words if word.islower() and len(word) > 2 and not word.isascii()]  # no Sjögren
    words = [word.lower() for word in words]
    n_english = sum(word in _ENGLISH for word in words)
    best, most = None, max(1, n_english)
    for name in _SIDES:
        sides = [word for word in words if _PATTERNS[name].fullmatch(word)]
        little = sorted({*words} & _LITTLE_WORDS.get(name, frozenset()))
        weight = len(little) + len(accented) + len(sides) * (1 if n_english else 2)
        if weight > most or {*sides} - _DOUBTFUL:
            signs = tuple(dict.fromkeys([*sides, *little, *accented]))
            best = Language(name if sides or little else "another language", signs)
            most = weight
    return best
