"""Masks of any kind as class indices: arrays, files, samples of a cache, predictions.

A sample and a prediction have class indices of their own. A file holds mask values. An array may hold either where a
sample or prediction says which classes there are, and is refused where the two differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL.Image import Image as PillowImage

from ...cache.format.samples import IGNORE
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
    meanings: tuple[Mapping[int, int], ...]
    """Value → class index, or IGNORE: first of files, then of arrays alone."""

    @classmethod
    def of(cls, masks: Sequence[Any], image: Any, classes: Mapping[int, str] | None) -> Self:  # noqa: ANN401
        """The classes that are named, else those of the samples or predictions, else one for each value.

        Args:
            masks: that are plotted together.
            image: that they are plotted on.
            classes: value → name, background first; `None`: not named.

        Raises:
            DataError: if samples and predictions differ in their classes, or an array has too many values for a mask.
        """
        with_classes = [one for one in (*masks, image) if isinstance(one, CachedSample | Prediction)]
        # Samples first, which may have pixels without labels.
        with_classes.sort(key=lambda one: isinstance(one, Prediction))
        if classes is not None:
            by_value = _indices(classes)
            unlabelled = IGNORE not in classes and with_classes and isinstance(with_classes[0], CachedSample)
            return cls(classes, (by_value, {**by_value, IGNORE: IGNORE}) if unlabelled else (by_value,))
        if not with_classes:
            classes = _one_for_each_value([{*np.unique(_values(one)).astype(int).tolist()} for one in masks])
            return cls(classes, (_indices(classes),))
        first, *others = map(cls._of_one, with_classes)
        for other in others:
            if other.names != first.names and len(other.names) + len(first.names) > 2:
                raise DataError(
                    f"the classes differ: {', '.join(first.names)}; {', '.join(other.names)}. Give masks of the same "
                    "classes, or `classes` for all of them"
                )
        return first

    @classmethod
    def _of_one(cls, one: CachedSample | Prediction) -> Self:
        if isinstance(one, Prediction):
            return cls(one.classes, (_indices(one.classes), _indices(range(len(one.classes)))))
        declared = Classes.from_dict(one.reader.manifest.classes)
        classes = dict(zip(declared.mask_values, declared.names, strict=True))
        by_value = _indices(classes)
        if declared.ignore is not None and declared.reading != "colours":
            by_value[declared.ignore] = IGNORE
        return cls(classes, (by_value, {**_indices(range(len(classes))), IGNORE: IGNORE}))

    @property
    def names(self) -> list[str]:
        """Names of the foreground classes."""
        return [*self.classes.values()][1:]

    def labels(self, mask: GivenMask) -> UInt8[np.ndarray, "y x"]:
        """Class indices; IGNORE where not labelled.

        Where there is but one foreground class, any one value beside the background's is it: 1, 255 or true.

        Raises:
            DataError: if a sample has no labels, a value is no class, or values may be read in two ways.
        """
        if isinstance(mask, CachedSample | Prediction):
            return self._own_labels(mask)
        given = _values(mask)
        if given.dtype == bool and len(self.classes) == 2:
            return given.astype(np.uint8)
        values, places = np.unique(given, return_inverse=True)
        values = values.tolist()
        meanings = self.meanings[:1] if isinstance(mask, os.PathLike | str) else self.meanings
        fitting = [one for one in (*meanings, *self._binary(values)) if one.keys() >= {*values}]
        readings = {tuple(one[value] for value in values) for one in fitting}
        if len(readings) != 1:
            raise DataError(self._problem(values, several=bool(readings)))
        return np.array(readings.pop(), np.uint8)[places].reshape(given.shape)

    def _own_labels(self, mask: CachedSample | Prediction) -> UInt8[np.ndarray, "y x"]:
        if mask.labels is None:
            raise DataError(f"{mask.id} has no mask, so that there are no labels to show")
        names = self._of_one(mask).classes.values()
        if len(names) > len(self.classes):
            raise DataError(f"a mask has the classes {', '.join(names)}; `classes` names {len(self.classes)} of them")
        return mask.labels

    def _binary(self, values: Sequence[int]) -> Iterator[Mapping[int, int]]:
        """The meaning of the only value beside the background's, where there is one foreground class."""
        (background, *foreground), (by_value, *_) = self.classes, self.meanings
        others = [value for value in values if value != background and by_value.get(value) != IGNORE]
        if len(foreground) == len(others) == 1:
            yield {**by_value, others[0]: 1}

    def _problem(self, values: Sequence[int], *, several: bool) -> str:
        if several:
            return (
                f"the mask has the values {_in_words(values)}, which may be mask values or class indices ({IGNORE}: "
                "not labelled); give the sample, prediction or file itself, or name these values in `classes`"
            )
        unknown = [value for value in values if all(value not in one for one in self.meanings)] or values
        expected = ", ".join(f"{value} {name}" for value, name in self.classes.items())
        return f"the mask has the values {_in_words(unknown)}; expected those of the classes: {expected}"


def _in_words(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:MOST_CLASSES]))


def _indices(values: Iterable[int]) -> dict[int, int]:
    return {value: index for index, value in enumerate(values)}


def _one_for_each_value(masks: Sequence[set[int]]) -> dict[int, str]:
    """A class for each value but 0; one for all, if no mask has more than one, and these are equal, or 1 and 255."""
    values = set().union(*masks) - {0}
    if len(values) > MOST_CLASSES:
        raise DataError(f"a mask has {len(values)} values; expected a value for each class, at most {MOST_CLASSES}")
    if len(values) <= 1 or (values == {1, 255} and all(len(one - {0}) <= 1 for one in masks)):
        return {0: "background", 1: "foreground"}
    return {0: "background", **{value: f"class {value}" for value in sorted(values)}}


def _values(mask: Any) -> Bool[np.ndarray, "y x"] | Integer[np.ndarray, "y x"]:  # noqa: ANN401
    values = read_mask(Path(mask)) if isinstance(mask, os.PathLike | str) else np.asarray(mask)
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise DataError(f"mask is {values.dtype} {values.shape}; expected bool or integers (y, x)")
    return values
