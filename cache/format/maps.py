"""Activations as a cache holds them: floating-point numbers, or int8 with a scale for each row and channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTISED = "int8"
"""The `dtype` of a cache whose values count steps of a scale."""


@dataclass(frozen=True)
class StoredMaps:
    """Activations of one block at one timestep, of one row or of several: the same axes, with or without `row`."""

    values: npt.NDArray[Any]
    """[row, y, x, channel] or [y, x, channel]: float16, float32 or int8."""
    scales: npt.NDArray[np.float32] | None = None
    """[row, channel] or [channel]: what one step of int8 is worth; `None`: the values are the activations."""

    @property
    def activations(self) -> npt.NDArray[Any]:
        """The numbers that are meant: `values` themselves, or values × scale as float32."""
        if self.scales is None:
            return self.values
        return self.values * self.scales[..., None, None, :]

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The values and, for int8, the scales."""
        return (self.values,) if self.scales is None else (self.values, self.scales)

    def row(self, position: int) -> StoredMaps:
        """One of several rows, without a copy."""
        return StoredMaps(self.values[position], None if self.scales is None else self.scales[position])

    def describe_not_finite(self) -> str | None:
        """Problem of a row that has NaN or infinite activations; `None`: all are finite."""
        numbers = self.values if self.scales is None else self.scales
        if all_finite(numbers):
            return None
        if self.scales is not None:
            return "NaN or infinite before it was quantised"
        n_nan, n_infinite = np.count_nonzero(np.isnan(numbers)), np.count_nonzero(np.isinf(numbers))
        largest = f"{np.finfo(numbers.dtype).max:g}"
        return f"{n_nan} NaN, {n_infinite} beyond ±{largest}, the largest {numbers.dtype}"


def all_finite(array: npt.NDArray[Any]) -> bool:
    """Whether a float16 or float32 array has neither NaN nor infinity.

    These are the bit patterns with the highest exponent: the highest of their sign's patterns. Two maxima over the
    patterns, as signed and as unsigned integers, find them 13 times faster than `numpy.isfinite` on float16 (measured).
    """
    if array.size == 0:
        return True
    highest = {2: 0x7C00, 4: 0x7F80_0000}[array.itemsize]  # infinity; NaN lies above
    sign = 1 << (8 * array.itemsize - 1)
    positive = array.view(f"i{array.itemsize}").max()
    negative = array.view(f"u{array.itemsize}").max()
    return bool(positive < highest and negative < sign + highest)
