"""The English words that name a side, and the context that decides their meaning. docs/views.md has the rules.

Each family has one word for each side, and no word is in two families: so a word goes to one word, and comes back.
"""

from __future__ import annotations

import re

from .symmetries import Side

Family = dict[Side, str]


def _family(up: str, down: str, left: str, right: str) -> Family:
    return {"up": up, "down": down, "left": left, "right": right}


ADJECTIVES = _family("upper", "lower", "left", "right")
ENDS = _family("top", "bottom", "left-hand", "right-hand")
RELATIONS = _family("above", "below", "to the left of", "to the right of")
FAMILIES = (
    ADJECTIVES,
    ENDS,
    RELATIONS,
    _family("uppermost", "lowermost", "leftmost", "rightmost"),
    _family("topmost", "bottommost", "left-most", "right-most"),
    _family("upward", "downward", "leftward", "rightward"),
    _family("upwards", "downwards", "leftwards", "rightwards"),
)
SIDES: dict[str, tuple[Family, Side]] = {word: (family, side) for family in FAMILIES for side, word in family.items()}
"""Word → its family and the side that it names."""

AXES = {
    "horizontal": "vertical",
    "vertical": "horizontal",
    "horizontally": "vertically",
    "vertically": "horizontally",
}
"""Word → its replacement when the axes are exchanged."""


def _any(*words: str) -> str:
    return "|".join(sorted(" ".join(words).split(), key=len, reverse=True))


_WORDS = "|".join(sorted([*SIDES, *AXES], key=len, reverse=True)).replace(" ", r"\s+")
WORD = re.compile(rf"(?<!\w)(?:{_WORDS})(?!\w)", re.IGNORECASE)

_SIDE = _any(*ADJECTIVES.values(), *ENDS.values())
_NUANCE = _any(
    "middle mid central main anterior posterior medial lateral superior inferior internal external common proximal",
    "distal outer inner whole entire far extreme",
)
_PAIRED = _any(
    "sided lungs? lobes? lobar pulmonary pleura pleural hemithorax hila hilar hilum apex apices apical base bases",
    "basal basilar bronchus bronchi bronchial fissures? hemidiaphragm diaphragm costophrenic clavicles? ribs? chest",
    "thorax shoulders? scapula arms? elbows? forearms? wrists? fingers? hips? thighs? knees? legs? ankles? foot feet",
    "toes? femur femoral tibia tibial fibula humerus humeral radius ulna limbs? extremity extremities groin inguinal",
    "kidneys? renal ureters? adrenals? ovary ovaries ovarian testis testes testicles? breasts? mammary nipples?",
    "axilla axillary eyes? eyelids? orbits? orbital retina retinal optic ears? temporal frontal parietal occipital",
    "hemispheres? cerebral cerebellar hippocampus thalamus thyroid tonsils? parotid maxillary mandibular sinus sinuses",
    "carotid jugular subclavian iliac jaw lips? teeth tooth molars? abdomen abdominal back",
)
_SINGLE = _any(
    "ventricular atrium atria atrial auricle coronary circumflex descending ascending heart cardiac liver hepatic",
    "colon colic flexure hemicolon bundle",
)
BODY_FOLLOWS = re.compile(
    rf"(?:[\s/-]+(?:(?:and|or)\s+)?(?:{_SIDE}|{_NUANCE}))*[\s-]+"
    rf"(?:(?P<paired>{_PAIRED}|(?<!-)hands?(?!\s+(?:side|corner|half))|(?<=lateral\s)ventricles?)"
    rf"|{_SINGLE}|(?<!lateral\s)ventricles?)(?!\w)",
    re.IGNORECASE,
)
"""After a word of side: what it says is of the body. `paired`: a part that the other side has as well."""

SHOWS_A_BODY = re.compile(
    r"(?<!\w)(?:"
    + _any(
        "bilateral bilaterally unilateral ipsilateral contralateral lungs kidneys chest thorax thoracic abdomen xray",
        "x-ray x-rays radiograph radiographs radiography CT MRI MR ultrasound mammogram mammograms mammography",
        "superior inferior anterior posterior cranial caudal",
    )
    + r")(?!\w)",
    re.IGNORECASE,
)
"""In a text with one of these, loose words of side may be the patient's or the image's."""

UNPLACED = re.compile(
    r"(?i:(?<!\w)(?:o\s?['’]\s?clock|(?:anti|counter)?[\s-]?clockwise|upside[\s-]down"
    r"|(?:north|south)?[\s-]?(?:east|west)(?:ern)?|(?:north|south)(?:ern)?)(?!\w))"
    r"|(?<!\w)(?i:dext(?:er|ra|rum|rae|ri|ram|ro)|sinist(?:er|ra|rum|rae|ri|ram|ro))(?!\w)"
    r"|(?<!\w)(?:R[UML]L|L[UL]L|[LR][UL]Q|[LR]V|[LR]t|[LR](?=\s+(?i:lung|kidney|breast|lobe|eye|side)|-sided))(?!\w)"
    r"|\([LR]\)"
)
"""Words that name a side in a way that is not rewritten."""

_JOINED = rf"(?:(?:{_SIDE})\s+(?:and|or|to)\s+)*"
EVIDENT_BEFORE = re.compile(
    r"(?<!\w)(?:the|this|that|its|their|each|one|both|in|on|at|from|near|towards?)\s+"
    rf"(?:(?:{_NUANCE})\s+)*{_JOINED}$",
    re.IGNORECASE,
)
EVIDENT_AFTER = re.compile(
    rf"(?:\s+(?:and|or|to)\s+(?:{_SIDE}))*[\s-]+(?:{_NUANCE}\s+)?(?:"
    + _any(
        "of half halves parts? portions? thirds? quarters? quadrants? corners? edges? borders? margins? sides?",
        "regions? areas? zones? ends? sections? fields? rows? columns? centre center image picture",
    )
    + r")(?!\w)",
    re.IGNORECASE,
)
"""Around a word of side: it can be nothing else, whichever side it names."""

COMPARED_AFTER = re.compile(
    rf"\s+(?:(?:{_any('nuclear cell cellular cytoplasmic stain staining optical mitotic signal mean total overall')})"
    r"\s+)?(?:"
    + _any(
        "density densities intensity intensities grade grades magnification power number numbers count counts contrast",
        "attenuation limit limits level levels rate rates amount degree cellularity proportion ratio risk value values",
        "resolution concentration content volume",
    )
    + r")(?!\w)",
    re.IGNORECASE,
)
"""After "lower": it compares."""
THAN_AFTER = re.compile(r"\s+than(?!\w)", re.IGNORECASE)

STATED_BEFORE = re.compile(
    rf"(?<!\w)(?:{_any('is are was were be been has have had appears? seems? much slightly significantly markedly')}"
    r"|relatively|even|far)\s+$",
    re.IGNORECASE,
)
"""Before "lower": it compares. Before "left" or "right": it may be a verb or a judgement."""

NOUN_AFTER = re.compile(
    r"\s+(?:" + _any("the a an this that these those it its their them each both all any another other") + r")(?!\w)",
    re.IGNORECASE,
)
"""After "above" or "below": they name a position."""

JOINS = re.compile(r"\s*(?:,|/|&|(?:,\s*)?(?:and|or|to)\s)\s*", re.IGNORECASE)
"""Between members of a list."""


def _idiom(words: str, before: str, after: str) -> tuple[frozenset[str], re.Pattern[str], re.Pattern[str]]:
    flags = re.IGNORECASE
    return frozenset(words.split()), re.compile(rf"{before}$", flags), re.compile(rf"{after}(?!\w)", flags)


IDIOMS = (
    _idiom("right", "", r"[\s-]+(?:angles?|angled|away|after|now)"),
    _idiom("left", "", r"[\s-]+(?:overs?|behind|untreated|unchanged|intact|out|blank|open)"),
    _idiom("left right", "", r"[\s-]+handed(?:ness)?"),
    _idiom("top", r"(?<!\w)on\s+", r"\s+of"),
    _idiom("above below", r"(?<!\w)(?:described|mentioned|noted|stated|shown|listed|as|see)\s+", ""),
    _idiom("above below", "", r"[\s-]+(?:average|normal|mentioned|described)"),
    _idiom("", "", r"-most"),
)
"""Words, the context before and after: there these words name no side, and another in their stead is odd."""
