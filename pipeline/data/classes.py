"""Classes of a mask, and how it becomes labels.

A label is the class's position (0, 1, ...) or IGNORE. Which mask value, or which colour, stands for which class is
declared in `classes.json`; without it masks are binary, {0, 255} or {0, 1}, and nothing else is guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer, UInt8

from ...cache.format.samples import IGNORE
from ...cache.storage.atomic import parse_json
from ...errors import DataError
from ..image_files.masks.content import MaskContent, written
from ..image_files.paths import read_bytes
from .masks.declarations import EXPECTED, malformed, parse_colour

CLASSES_FILE = "classes.json"
MAX_BYTES = 2**20
OPAQUE = 128
"""The least opacity, of 255, of the foreground of a mask that is read by its alpha."""

Reading = Literal["values", "indices", "colours", "threshold", "instances", "alpha"]
"""The mask's part that is compared with `ids`, or by which foreground is told from background."""


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset."""

    ids: tuple[int, ...]
    """Mask values, ascending; of colours 0xRRGGBB, the background's first. A value's position is its label."""
    names: tuple[str, ...]
    """One name a class, in the order of `ids`."""
    ignore: int | None
    """The mask value (or colour) that means "not labelled"; None where every pixel is labelled."""
    reading: Reading = "values"
    """`threshold`, `instances` and `alpha` have two classes, and their ids are those of predicted masks alone."""
    threshold: int = 1
    """The least grey level, or opacity, of the foreground where `ids` are not compared."""

    @property
    def content(self) -> MaskContent:
        """The part of mask files that `labels` takes."""
        return "grey" if self.reading == "threshold" else self.reading

    @property
    def compares(self) -> bool:
        """Whether a mask may hold `values` alone."""
        return self.reading in ("values", "indices", "colours")

    @property
    def mask_values(self) -> tuple[int, ...]:
        """Values of the classes in predicted masks: those of the masks, or where these are colours the labels."""
        return tuple(range(len(self.ids))) if self.reading == "colours" else self.ids

    @property
    def declared(self) -> tuple[int | str, ...]:
        """The classes' values as `classes.json` has them: colours as #rrggbb."""
        return tuple(map(written, self.ids)) if self.reading == "colours" else self.ids

    def values(self) -> set[int]:
        """Every value that a mask may hold, where it may not hold any."""
        return {*self.ids} if self.ignore is None else {*self.ids, self.ignore}

    def undeclared(self, values: Collection[int]) -> list[int]:
        """The values that no class has."""
        return sorted({*values} - self.values()) if self.compares else []

    def shown(self, value: int) -> str:
        """A mask value as `classes.json` has it."""
        return written(value) if self.reading == "colours" else str(value)

    def labels(self, mask: Integer[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
        """Class positions for the raw values of a mask, IGNORE where they say "not labelled".

        Raises:
            DataError: The mask holds a value that is not declared.
        """
        if not self.compares:
            return (mask >= self.threshold).astype(np.uint8)
        strange = self.undeclared(np.unique(mask).tolist())
        if strange:
            raise DataError(f"the mask holds {undeclared(strange, self)}")
        labels: np.ndarray = _table(self.ids, max(self.values()))[mask]
        return labels

    def count(self, n_pixels: Mapping[int, int]) -> tuple[int, ...]:
        """Pixels of each class, from the pixels of each mask value."""
        if self.compares:
            return tuple(n_pixels.get(value, 0) for value in self.ids)
        foreground = sum(n for value, n in n_pixels.items() if value >= self.threshold)
        return sum(n_pixels.values()) - foreground, foreground

    def to_dict(self) -> dict[str, Any]:
        """The content of a `classes.json`."""
        named = {self.shown(value): name for value, name in zip(self.ids, self.names, strict=True)}
        ignore = self.ignore if self.ignore is None or self.reading != "colours" else written(self.ignore)
        masks = {"threshold": self.threshold} if self.reading == "threshold" else self.reading
        content = {"classes": named, "ignore": ignore}
        return content if self.reading in ("values", "colours") else content | {"masks": masks}

    @classmethod
    def from_dict(cls, declared: object) -> Classes:
        """Read what `to_dict` or a person wrote.

        Raises:
            DataError: It is not of the form that the message shows.
        """
        problem = malformed(declared)
        if problem or not isinstance(declared, dict):
            raise DataError(f"{problem}; {EXPECTED}")
        masks, named, ignore = declared.get("masks"), declared.get("classes"), declared.get("ignore")
        if named and any(value.startswith("#") for value in named):
            return _of_colours({parse_colour(value): name for value, name in named.items()}, ignore)
        ids, names = (
            zip(*sorted((int(value), name) for value, name in named.items()), strict=True) if named else _BINARY
        )
        if isinstance(masks, dict):
            return cls(ids, names, None, "threshold", masks["threshold"])
        if masks in ("instances", "alpha"):
            return cls(ids, names, None, masks, OPAQUE if masks == "alpha" else 1)
        return cls(ids, names, ignore, masks or "values")


_BINARY = (0, 255), ("background", "foreground")


def _of_colours(named: Mapping[int, str], ignore: str | None) -> Classes:
    """The class that is called background comes first, or black where none is."""
    background = [colour for colour, name in named.items() if name.strip().lower() == "background"] or [0]
    ids = sorted(named, key=lambda colour: (colour != background[0], colour))
    names = tuple(named[colour] for colour in ids)
    return Classes(tuple(ids), names, None if ignore is None else parse_colour(ignore), "colours")


@lru_cache(maxsize=4)
def _table(ids: tuple[int, ...], largest: int) -> UInt8[np.ndarray, " value"]:
    """Label of each mask value; of colours 16 million."""
    table = np.full(largest + 1, IGNORE, np.uint8)
    table[list(ids)] = np.arange(len(ids))
    return table


def binary(foreground: int) -> Classes:
    """Background 0, and one class of the given mask value."""
    return Classes((0, foreground), ("background", "foreground"), None)


def guess_binary(masks: Sequence[Collection[int]]) -> Classes:
    """{0, 255} or {0, 1}, whichever more masks keep to, judged by the values in each; {0, 255} when even."""
    candidates = (binary(255), binary(1))
    return max(candidates, key=lambda classes: sum(classes.values() >= set(values) for values in masks))


def read_classes(folder: Path) -> Classes | None:
    """Declaration of `classes.json` in the folder; None where there is no such file.

    Raises:
        DataError: The file is malformed.
    """
    path = folder / CLASSES_FILE
    if not path.exists():
        return None
    content = read_bytes(path, MAX_BYTES)
    try:
        classes = Classes.from_dict(parse_json(content))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); {EXPECTED}") from error
    # Here alone: a cache has numbered its labels already.
    if any(name.strip().lower() == "background" for name in classes.names[1:]):
        raise DataError(
            f"{path}: the background is the class of the least value, and that is {classes.names[0]!r}; save the masks "
            "with a background of 0"
        )
    return classes


def undeclared(values: Sequence[int], classes: Classes) -> str:
    """Words for mask values that no class has: the first five, what is declared, and what to do."""
    kind = "colours" if classes.reading == "colours" else "values"
    shown = ", ".join(map(classes.shown, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
    known = ", ".join(map(classes.shown, sorted(classes.values())))
    return f"undeclared {kind} {shown} (known: {known}); correct the mask or name them in {CLASSES_FILE}"
