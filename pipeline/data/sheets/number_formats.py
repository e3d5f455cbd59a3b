"""Numbers of a spreadsheet as they are shown: 1 in the format `000` is 001, 44561 in `yyyy-mm-dd` is 2021-12-31.

A format's codes are those of ECMA-376 (part 1, 18.8.31). Formats whose text depends on the reader's country, or that
are not read here (fractions, conditions, durations), give `None`, never a guess.
"""

from __future__ import annotations

import re
from datetime import datetime, time
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from openpyxl.styles.numbers import BUILTIN_FORMATS
from openpyxl.utils.datetime import from_excel

EXACT_BELOW = 10**15
"""Spreadsheets keep 15 digits of a number; of longer ids the last ones are lost already in the file."""
_PLAIN = ("General", "GENERAL", "@")
_OF_THE_COUNTRY = (BUILTIN_FORMATS[14], BUILTIN_FORMATS[22])  # shown as m/d/yy, d.m.yyyy, yyyy/m/d, ...
_TOKEN = re.compile(
    r"""(?P<general>General)
      | "(?P<quoted>[^"]*)" | \\(?P<escaped>.) | _(?P<space>.) | \*(?P<fill>.)
      | \[(?P<colour>black|blue|cyan|green|magenta|red|white|yellow|\$-0?[48]09)\]
      | \[\$(?P<currency>[^\]-]+)(?:-[\da-f]+)?\] | \[\$-(?P<language>0?[\da-e][\da-f]{2,3})\]
      | (?P<noon>AM/PM) | (?P<date>y+|m+|d+|h+|s+)
      | (?P<digit>[0\#?]) | (?P<point>\.) | (?P<comma>,) | (?P<percent>%) | (?P<slash>/) | (?P<literal>[-+()$: €£¥])
      | (?P<other>.)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SECTIONS = re.compile(r';(?=(?:[^"]*"[^"]*")*[^"]*$)')
_LITERALS = {"quoted", "escaped", "currency", "literal", "space", "percent"}
_LONGEST = 255  # that spreadsheets allow
_NOT_SHOWN = ("fill", "colour")
_FILLERS = {"0": "0", "#": "", "?": " "}
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
Tokens = tuple[tuple[str, str], ...]


def shown_number(value: float, number_format: str, epoch: datetime) -> str | None:
    """A number's text in a cell of the format.

    Args:
        value: the stored number; dates are days since the epoch.
        number_format: the format's code.
        epoch: of the workbook's dates.

    Returns:
        The text; `None` where it is not certain.
    """
    if number_format in _PLAIN:
        return general(value)
    if number_format in _OF_THE_COUNTRY or len(number_format) > _LONGEST:
        return None
    sections = _SECTIONS.split(number_format)
    part = 1 if value < 0 else 2 if value == 0 else 0
    part = part if part < len(sections) else 0
    tokens = _tokens(sections[part])
    kinds = {kind for kind, _ in tokens}
    if "date" in kinds:
        return _shown_date(value, tokens, epoch)
    text = _shown_digits(Decimal(repr(abs(value))), tokens)
    has_sign = value < 0 and part == 0 and text and any(digit in text for digit in "123456789")
    return f"-{text}" if has_sign else text


def general(value: float) -> str:
    """A number in the format General: whole ones without a point, others with up to 15 digits."""
    whole = abs(value) < EXACT_BELOW and value == int(value)
    return str(int(value)) if whole else f"{value:.15g}".replace("e", "E")


@lru_cache(maxsize=256)
def _tokens(section: str) -> Tokens:
    found = ((match.lastgroup or "other", match[match.lastgroup or 0]) for match in _TOKEN.finditer(section))
    return tuple((kind, " " if kind == "space" else text) for kind, text in found if kind not in _NOT_SHOWN)


def _shown_digits(value: Decimal, tokens: Tokens) -> str | None:
    """Digits put into their places, from the right; more than there are places stand before the first."""
    kinds = [kind for kind, _ in tokens]
    if not kinds or {*kinds} - {"general", "digit", "point", "comma", *_LITERALS} or kinds.count("point") > 1:
        return None
    if "general" in kinds or "digit" not in kinds:
        return "".join(general(float(value)) if kind == "general" else text for kind, text in tokens).strip()
    point = kinds.index("point") if "point" in kinds else len(kinds)
    places = [i for i, kind in enumerate(kinds) if kind == "digit"]
    step = Decimal(1).scaleb(-sum(i > point for i in places))
    value = (value * 100 ** kinds.count("percent")).quantize(step, ROUND_HALF_UP)
    whole, _, decimals = f"{value:f}".partition(".")
    if (is_grouped := _is_grouped(kinds, point)) is None:
        return None
    before = _placed(whole.lstrip("0"), [tokens[i][1] for i in places if i < point], is_grouped=is_grouped)
    after = _placed_decimals(decimals, [tokens[i][1] for i in places if i > point])
    digits = dict(zip(places, [*before, *after], strict=True))
    return "".join(digits.get(i, "" if kind == "comma" else text) for i, (kind, text) in enumerate(tokens)).strip()


def _is_grouped(kinds: list[str], point: int) -> bool | None:
    """Whether thousands are set apart; `None`: the commas scale, or stand elsewhere."""
    commas = [i for i, kind in enumerate(kinds) if kind == "comma"]
    fits = all(0 < i < point - 1 and kinds[i - 1] == kinds[i + 1] == "digit" for i in commas)
    return bool(commas) if fits else None


def _placed(digits: str, places: list[str], *, is_grouped: bool) -> list[str]:
    """Digit in each place before the point."""
    if not places:
        return []
    pieces = [*digits[: -len(places)], *map(_FILLERS.get, places[: max(0, len(places) - len(digits))])]
    pieces += digits[-len(places) :]
    if is_grouped:
        shown = [i for i, piece in enumerate(pieces) if piece and piece.isdigit()]
        for i in shown[-4::-3]:
            pieces[i] += ","
    n_first = len(pieces) - len(places) + 1
    return ["".join(pieces[:n_first]), *pieces[n_first:]]


def _placed_decimals(digits: str, places: list[str]) -> list[str]:
    n_kept = len(digits.rstrip("0"))
    pairs = enumerate(zip(digits, places, strict=True))
    return [digit if i < n_kept else _FILLERS[place] for i, (digit, place) in pairs]


def _shown_date(value: float, tokens: Tokens, epoch: datetime) -> str | None:
    kinds = {kind for kind, _ in tokens}
    if kinds - {"date", "noon", "point", "comma", "slash", "language", *_LITERALS}:
        return None  # parts of seconds, or digits in the date
    dates = [i for i, (kind, _) in enumerate(tokens) if kind == "date"]
    codes = [tokens[i][1].lower() for i in dates]
    has_words = any(code[0] in "md" and len(code) > 2 for code in codes)
    moment = _moment(value, epoch)
    if moment is None or ("language" in kinds and has_words):
        return None
    noon = "AM" if moment.hour < 12 else "PM"
    others = {"noon": noon, "language": ""}
    parts = {i: _date_part(moment, codes, n, of_twelve="noon" in kinds) for n, i in enumerate(dates)}
    return "".join(parts.get(i, others.get(kind, text)) for i, (kind, text) in enumerate(tokens)).strip()


def _moment(value: float, epoch: datetime) -> datetime | None:
    if value < 0:
        return None  # shown as #######
    try:
        moment = from_excel(value, epoch)
    except (OverflowError, ValueError):
        return None
    if isinstance(moment, time):
        return datetime.combine(epoch.date(), moment)
    return moment if isinstance(moment, datetime) else None


def _date_part(moment: datetime, codes: list[str], n: int, *, of_twelve: bool) -> str:
    """Text of one code of a date; m after hours or before seconds is minutes."""
    code, before, after = codes[n], codes[n - 1][0] if n else "", codes[n + 1][0] if n + 1 < len(codes) else ""
    name, width = code[0], len(code)
    if name == "y":
        return f"{moment.year:04}" if width > 2 else f"{moment.year % 100:02}"
    if name == "d" and width > 2:
        return _DAYS[moment.weekday()][: 3 if width == 3 else None]
    if name == "m" and width > 2:
        return _MONTHS[moment.month - 1][: {3: 3, 5: 1}.get(width)]
    numbers = {
        "m": moment.minute if before == "h" or after == "s" else moment.month,
        "h": (moment.hour % 12 or 12) if of_twelve else moment.hour,
        "d": moment.day,
        "s": moment.second,
    }
    return f"{numbers[name]:02}" if width > 1 else str(numbers[name])
