"""What the values in a mask mean, and how they become labels.

A label is the class's position (0, 1, ...) or IGNORE. Which mask value stands for which class is declared in
`classes.json`; without it masks are binary, {0, 255} or {0, 1}, and nothing else is guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from ...cache.format.samples import IGNORE
from ...cache.storage.atomic import parse_json
from ...errors import DataError
from ..image_files.paths import read_bytes

CLASSES_FILE = "classes.json"
MAX_BYTES = 2**20
_EXPECTED = 'expected {"classes": {"0": "background", "1": "tumour"}, "ignore": 255}, where "ignore" may be left out'
_MAX_VALUE = 2**16 - 1


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset."""

    ids: tuple[int, ...]
    """Mask values, ascending; a value's position is its label."""
    names: tuple[str, ...]
    """One name a class, in the order of `ids`."""
    ignore: int | None
    """The mask value that means "not labelled"; None where every pixel is labelled."""

    def values(self) -> set[int]:
        """Every value that a mask may hold."""
        return {*self.ids} if self.ignore is None else {*self.ids, self.ignore}

    def labels(self, mask: Integer[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
        """Class positions for the raw values of a mask, IGNORE where they say "not labelled".

        Raises:
            DataError: The mask holds a value that is not declared.
        """
        strange = sorted(set(np.unique(mask).tolist()) - self.values())
        if strange:
            raise DataError(f"the mask holds {undeclared(strange, self)}")
        table = np.full(max(self.values()) + 1, IGNORE, np.uint8)
        table[list(self.ids)] = np.arange(len(self.ids))
        labels: np.ndarray = table[mask]
        return labels

    def count(self, n_pixels: Mapping[int, int]) -> tuple[int, ...]:
        """Pixels of each class, from the pixels of each mask value."""
        return tuple(n_pixels.get(value, 0) for value in self.ids)

    def to_dict(self) -> dict[str, Any]:
        """The content of a `classes.json`."""
        named = {str(value): name for value, name in zip(self.ids, self.names, strict=True)}
        return {"classes": named, "ignore": self.ignore}

    @classmethod
    def from_dict(cls, declared: object) -> Classes:
        """Read what `to_dict` or a person wrote.

        Raises:
            DataError: It is not of the form that the message shows.
        """
        problem = _malformed(declared)
        if problem or not isinstance(declared, dict):
            raise DataError(f"{problem}; {_EXPECTED}")
        named = sorted((int(value), name) for value, name in declared["classes"].items())
        ids, names = zip(*named, strict=True)
        return cls(ids, names, declared.get("ignore"))


def _malformed(declared: object) -> str:
    """What is wrong with the declaration; "" for nothing."""
    if not isinstance(declared, dict) or not isinstance(declared.get("classes"), dict):
        return 'there is no object "classes"'
    if set(declared) - {"classes", "ignore"}:
        return f"unknown keys {sorted(set(declared) - {'classes', 'ignore'})}"
    return _malformed_classes(declared["classes"]) or _malformed_ignore(declared.get("ignore"), declared["classes"])


def _malformed_classes(named: dict[str, object]) -> str:
    wrong = [value for value in named if not (value.isdecimal() and value.isascii() and int(value) <= _MAX_VALUE)]
    names = list(named.values())
    if wrong:
        return f"{wrong[0]!r} is not a mask value (0 to {_MAX_VALUE})"
    if len({int(value) for value in named}) != len(named):
        return "a mask value is declared twice"
    if not 2 <= len(named) <= IGNORE:
        return f"{len(named)} classes are declared, 2 to {IGNORE} are possible"
    if not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) != len(names):
        return "every class needs a name of its own"
    return ""


def _malformed_ignore(ignore: object, named: Collection[str]) -> str:
    if ignore is None:
        return ""
    if not isinstance(ignore, int) or isinstance(ignore, bool) or not 0 <= ignore <= _MAX_VALUE:
        return f'"ignore" is {ignore!r}, not a mask value (0 to {_MAX_VALUE})'
    return f'"ignore" is {ignore}, which is a class too' if ignore in map(int, named) else ""


def binary(foreground: int) -> Classes:
    """Background 0, and one class of the given mask value."""
    return Classes((0, foreground), ("background", "foreground"), None)


def guess_binary(masks: Sequence[Collection[int]]) -> Classes:
    """{0, 255} or {0, 1}, whichever more masks keep to, judged by the values in each; {0, 255} when even."""
    candidates = (binary(255), binary(1))
    return max(candidates, key=lambda classes: sum(classes.values() >= set(values) for values in masks))


def read_classes(folder: Path) -> Classes | None:
    """What `classes.json` in the folder declares; None where there is no such file.

    Raises:
        DataError: The file is malformed.
    """
    path = folder / CLASSES_FILE
    if not path.exists():
        return None
    content = read_bytes(path, MAX_BYTES)
    try:
        return Classes.from_dict(parse_json(content))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); {_EXPECTED}") from error


def undeclared(values: Sequence[int], classes: Classes) -> str:
    """Words for mask values that no class has: the first five, what is declared, and what to do."""
    shown = ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
    known = ", ".join(map(str, sorted(classes.values())))
    return f"undeclared values {shown} (known: {known}); correct the mask or name them in {CLASSES_FILE}"
