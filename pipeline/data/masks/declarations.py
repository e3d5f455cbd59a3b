"""Forms of `classes.json`, one for each way of reading masks.

    {"classes": {"0": "background", "1": "tumour"}, "ignore": 255}                    grey levels
    {"classes": {"#000000": "background", "#ff0000": "tumour"}, "ignore": "#ffffff"}  colours
    {"classes": {"0": "background", "1": "tumour"}, "masks": "indices"}               indices of palettes
    {"masks": {"threshold": 128}}                                                     grey from 128 on is foreground
    {"masks": "instances"}                                                            all but 0 (black) is
    {"masks": "alpha"}                                                                whatever is opaque is

The last three tell foreground from background; "classes" may give the two their names, and the values that they have in
predicted masks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ....cache.format.samples import IGNORE

EXPECTED = (
    'expected {"classes": {"0": "background", "1": "tumour"}, "ignore": 255}, where "ignore" may be left out and '
    'values may be colours ("#ff0000"), or {"masks": {"threshold": 128}}, {"masks": "instances"} or {"masks": "alpha"}'
)
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_NUMBER = re.compile("[0-9]{1,9}")
_MAX_VALUE = 2**16 - 1
_TWO = "instances", "alpha"


def parse_colour(colour: str) -> int:
    """#rrggbb as 0xRRGGBB."""
    return int(colour.removeprefix("#"), 16)


def malformed(declared: object) -> str:
    """Problem of the declaration; "" for none."""
    if not isinstance(declared, dict):
        return 'there is no object "classes"'
    named, masks = declared.get("classes"), declared.get("masks")
    if not isinstance(named, dict) and (named is not None or masks in (None, "indices")):
        return 'there is no object "classes"'
    if set(declared) - {"classes", "ignore", "masks"}:
        return f"unknown keys {sorted(set(declared) - {'classes', 'ignore', 'masks'})}"
    problem = _malformed_masks(masks) or ("" if named is None else _malformed_classes(named))
    return problem or _contradiction(masks, named, declared.get("ignore"))


def _contradiction(masks: object, named: Mapping[str, Any] | None, ignore: object) -> str:
    if masks is not None and masks != "indices":
        return _malformed_foreground(masks, named, ignore)
    return _malformed_colours(named or {}, masks, ignore) or _malformed_ignore(ignore, named or {})


def _malformed_masks(masks: object) -> str:
    if masks is None or masks == "indices" or masks in _TWO:
        return ""
    if not isinstance(masks, dict) or set(masks) != {"threshold"}:
        return f'"masks" is {masks!r}, not {{"threshold": N}}, "instances", "alpha" or "indices"'
    threshold = masks["threshold"]
    if not _is_number(threshold) or not 1 <= threshold <= _MAX_VALUE:
        return f'"threshold" is {threshold!r}, not a grey level from 1 to {_MAX_VALUE}'
    return ""


def _malformed_classes(named: dict[str, object]) -> str:
    colours = [value for value in named if _COLOUR.fullmatch(value)]
    numbers = [
        value
        for value in named
        if value.isdecimal() and value.isascii() and len(value) < 9 and int(value) <= _MAX_VALUE
    ]
    wrong = [value for value in named if value not in colours and value not in numbers]
    names = list(named.values())
    if wrong:
        kind = "a colour (#rrggbb)" if wrong[0].startswith("#") else f"a mask value (0 to {_MAX_VALUE}) or colour"
        return f"{wrong[0]!r} is not {kind}"
    if colours and numbers:
        return f"{numbers[0]!r} is a value and {colours[0]!r} a colour; declare either"
    if len({value.lower() if colours else int(value) for value in named}) != len(named):
        return f"a {'colour' if colours else 'mask value'} is declared twice"
    if not 2 <= len(named) <= IGNORE:
        return f"{len(named)} classes are declared, 2 to {IGNORE} are possible"
    if not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) != len(names):
        return "every class needs a name of its own"
    return ""


def _malformed_foreground(masks: object, named: Mapping[str, Any] | None, ignore: object) -> str:
    """Of readings that tell foreground from background."""
    if ignore is not None:
        return f'"ignore" is {ignore!r}, and masks that are read by {masks!r} have no such value'
    if named is not None and (len(named) != 2 or "0" not in named):
        return f'masks that are read by {masks!r} have two classes, "0" and another'
    return ""


def _malformed_colours(named: Mapping[str, Any], masks: object, ignore: object) -> str:
    colours = {value.lower(): str(name) for value, name in named.items() if value.startswith("#")}
    if not colours:
        return ""
    if masks == "indices":
        return '"masks" is "indices", and "classes" names colours'
    if "#000000" not in colours and not any(name.strip().lower() == "background" for name in colours.values()):
        return "which colour is the background? Call it background"
    if ignore is not None and not (isinstance(ignore, str) and _COLOUR.fullmatch(ignore)):
        return f'"ignore" is {ignore!r}, not a colour (#rrggbb) as the classes are'
    return f'"ignore" is {ignore!r}, which is a class too' if ignore and ignore.lower() in colours else ""


def _malformed_ignore(ignore: object, named: Collection[str]) -> str:
    if ignore is None or any(value.startswith("#") for value in named):
        return ""
    if not _is_number(ignore) or not 0 <= int(str(ignore)) <= _MAX_VALUE:
        return f'"ignore" is {ignore!r}, not a mask value (0 to {_MAX_VALUE})'
    return f'"ignore" is {ignore}, which is a class too' if int(str(ignore)) in map(int, named) else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
