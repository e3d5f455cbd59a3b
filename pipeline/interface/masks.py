"""Masks of any kind as class indices: arrays, files, samples of a cache, predictions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL.Image import Image as PillowImage

from ...errors import DataError
from ..data.classes import Classes
from ..image_files.reading import read_mask
from ..prediction.result import Prediction
from .caches import CachedSample

GivenMask = (
    Bool[np.ndarray, "y x"] | Integer[np.ndarray, "y x"] | PillowImage | os.PathLike[str] | str
    | CachedSample | Prediction
)  # fmt: skip
MOST_CLASSES = 64
"""More values than that are no mask."""


@dataclass(frozen=True)
class MaskReading:
    """Meaning of the values of masks."""

    classes: Mapping[int, str]
    """Value → name, background first."""

    @classmethod
    def of(cls, masks: Sequence[Any], image: Any, classes: Mapping[int, str] | None) -> Self:  # noqa: ANN401
        """The classes that are named, else those of the first sample or prediction, else one for each value.

        Args:
            masks: that are plotted together.
            image: that they are plotted on.
            classes: value → name, background first; `None`: not named.

        Raises:
            DataError: if an array has too many values for a mask.
        """
        if classes is not None:
            return cls(classes)
        for one in (*masks, image):
            if isinstance(one, Prediction):
                return cls(one.classes)
            if isinstance(one, CachedSample):
                return cls(dict(enumerate(Classes.from_dict(one.reader.manifest.classes).names)))
        values = {*np.concatenate([np.unique(_values(one)) for one in masks]).tolist()} - {0}
        if len(values) > MOST_CLASSES:
            raise DataError(f"a mask has {len(values)} values; expected a value for each class, at most {MOST_CLASSES}")
        names = {value: f"class {value}" for value in sorted(values)} if len(values) > 1 else {1: "foreground"}
        return cls({0: "background", **names})

    @property
    def names(self) -> list[str]:
        """Names of the foreground classes."""
        return [*self.classes.values()][1:]

    def labels(self, mask: GivenMask) -> UInt8[np.ndarray, "y x"]:
        """Class indices; IGNORE where a sample is not labelled.

        Where there is but one foreground class, every value but the background's is it: 1, 255 or true.

        Raises:
            DataError: if a sample has no labels, or a value is no class.
        """
        if isinstance(mask, Prediction):
            return mask.labels
        if isinstance(mask, CachedSample):
            if mask.labels is None:
                raise DataError(f"{mask.id} has no mask, so that there are no labels to show")
            return mask.labels
        values, (background, *others) = _values(mask), self.classes
        if len(others) == 1:
            return (values != background).astype(np.uint8)
        if unknown := {*np.unique(values).tolist()} - {*self.classes}:
            raise DataError(
                f"the mask has the values {', '.join(map(str, sorted(unknown)))}; expected those of the classes: "
                + ", ".join(f"{value} {name}" for value, name in self.classes.items())
            )
        labels = np.zeros(values.shape, np.uint8)
        for index, value in enumerate(self.classes):
            labels[values == value] = index
        return labels


def _values(mask: Any) -> Integer[np.ndarray, "y x"]:  # noqa: ANN401
    values = read_mask(Path(mask)) if isinstance(mask, os.PathLike | str) else np.asarray(mask)
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise DataError(f"mask is {values.dtype} {values.shape}; expected bool or integers (y, x)")
    return values.astype(np.int64) if values.dtype == bool else values
