"""Warnings of a data set: what is odd but usable, each under a name by which the data set can silence it.

`textdiff.json`, beside the manifest or in the data folder, names warnings that were looked at and are right, each with
a reason: `{"silence": {"empty-mask": "12 of the patients are healthy"}}`. Silenced warnings are still counted and
their reasons shown, and a name that no warning has is a problem of the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...cache.storage.atomic import parse_json
from ...errors import DataError
from ..image_files.paths import read_bytes

SETTINGS_FILE = "textdiff.json"
MAX_BYTES = 2**20
IDS_NAMED = 5
"""In a warning, of the samples that it holds for."""
WARNINGS = {
    "absent-class": "no mask has a pixel of a declared class",
    "alike-groups": "groups differ in case, spaces, zeros in front or `.0` alone",
    "alike-ids": "ids differ in case alone",
    "blank-groups": "some rows of a manifest have a group and some have none",
    "blank-image": "images show a single colour",
    "empty-mask": "masks hold only background",
    "full-mask": "masks have no pixel of background",
    "hidden-cells": "rows or columns of a sheet are hidden, and are read",
    "left-out-files": "a folder of images or masks holds files that are not read as images",
    "long-texts": "texts are over the limit of the text encoder",
    "lost-class": "a class of masks falls into pixels of the labels that a rarer class takes",
    "mask-beside-slice": "one of image and mask is a slice of a NIfTI volume, and the other is not",
    "missing-values": "cells spell out a missing value (nan, N/A) and count as empty",
    "no-texts": "a folder of images has no table of texts",
    "odd-share": "masks have a share of foreground far from the others'",
    "other-language": "texts seem not to be in English",
    "several-sheets": "several visible sheets of a workbook have the columns; the first is read",
    "unknown-tokens": "texts hold what the text encoder does not know",
    "unlabelled-mask": "masks have no labelled pixel",
    "unused-columns": "a table has columns that are not read",
    "white-is-zero": "mask files say that 0 is shown white, and are read by their numbers",
}
"""Name of every warning → the oddity, for `docs/data.md` and for messages."""


@dataclass(frozen=True)
class DataWarning:
    """An oddity of the data that can be used all the same."""

    name: str
    """One of `WARNINGS`."""
    text: str
    ids: tuple[str, ...] = ()
    """The samples, groups or files that it holds for, where it is of single ones: names, which may be hashed."""

    def __post_init__(self) -> None:
        assert self.name in WARNINGS, self.name

    def __str__(self) -> str:
        """One line, with the first few of the samples, and the name last."""
        more = f" and {len(self.ids) - IDS_NAMED} more" if len(self.ids) > IDS_NAMED else ""
        named = f": {', '.join(self.ids[:IDS_NAMED])}{more}" if self.ids else ""
        return f"{self.text}{named} [{self.name}]"


def read_silenced(folder: Path) -> dict[str, str]:
    """Name of each warning that `textdiff.json` in the folder silences → the reason; empty without such a file.

    Raises:
        DataError: The file is malformed, or names a warning that there is not.
    """
    path = folder / SETTINGS_FILE
    if not path.exists():
        return {}
    expected = 'expected {"silence": {"empty-mask": "the reason"}}'
    try:
        settings = parse_json(read_bytes(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); {expected}") from error
    problem = _malformed(settings)
    if problem:
        raise DataError(f"{path}: {problem}; {expected}")
    return dict(settings["silence"])


def _malformed(settings: object) -> str:
    """Problem of the settings; "" for none."""
    if not isinstance(settings, dict) or set(settings) != {"silence"} or not isinstance(settings["silence"], dict):
        return 'it is not one object "silence"'
    unknown = sorted(set(settings["silence"]) - set(WARNINGS))
    if unknown:
        return f"no warning is named {', '.join(map(repr, unknown))}; there are {', '.join(WARNINGS)}"
    idle = [name for name, reason in settings["silence"].items() if not (isinstance(reason, str) and reason.strip())]
    return f"the reason for silencing {', '.join(map(repr, idle))} is missing" if idle else ""


def divide(
    warnings: Iterable[DataWarning], silenced: Mapping[str, str]
) -> tuple[tuple[DataWarning, ...], tuple[str, ...]]:
    """The warnings to be shown, and a line with the reason for each that the data set silences."""
    warnings = tuple(warnings)
    shown = tuple(warning for warning in warnings if warning.name not in silenced)
    hidden = (f"{warning}: {silenced[warning.name]}" for warning in warnings if warning.name in silenced)
    return shown, tuple(hidden)
