"""Brushes of Label Studio: bit-packed run lengths (`@thi.ng/rle-pack`) of the image as RGBA; alpha is painted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ....errors import DataError
from ..annotations import Size
from .runs import Runs, runs_of


def brush(value: Mapping[str, Any], size: Size) -> Runs:
    """The area of a brush's `value`, on an image of (height, width).

    Raises:
        DataError: It is broken, or of another size.
    """
    if value.get("format") != "rle" or not isinstance(value.get("rle"), list):
        raise DataError(f"the brush has the format {str(value.get('format'))[:20]!r}; expected 'rle'")
    try:
        packed = np.array(value["rle"], np.uint8)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the brush is not of bytes ({str(error)[:80]})") from error
    alpha = unpack_brush(packed.ravel().tobytes(), size[0] * size[1] * 4)[3::4] > 0
    changes = np.flatnonzero(alpha[1:] != alpha[:-1]) + 1
    bounds = np.concatenate([[0] if alpha[0] else [], changes, [alpha.size]]).astype(np.int64)
    return runs_of(np.diff(bounds, prepend=0), (0, 0, *size), by_columns=False)


class _Reader:
    """Bits in turn."""

    def __init__(self, packed: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(packed, np.uint8))
        self._at = 0

    def take(self, n_bits: int) -> UInt8[np.ndarray, "bit"]:
        """The next bits."""
        bits = self._bits[self._at : self._at + n_bits]
        if len(bits) < n_bits:
            raise DataError("the brush ends too early")
        self._at += n_bits
        return bits

    def number(self, n_bits: int) -> int:
        """The number of the next bits, the highest first."""
        return int("".join(map(str, self.take(n_bits).tolist())), 2)


def unpack_brush(packed: bytes, n_values: int) -> UInt8[np.ndarray, "value"]:
    """Values of a brush: a header of 53 bits, then runs of one value and stretches of single values.

    Args:
        packed: the bytes.
        n_values: how many values there must be.

    Raises:
        DataError: The bytes hold another number of values, or end too early.
    """
    reader = _Reader(packed)
    n_declared, word = reader.number(32), reader.number(5) + 1
    if n_declared != n_values or word != 8:
        raise DataError(f"the brush has {n_declared} values of {word} bits; the image has {n_values} of 8")
    lengths = [reader.number(4) + 1 for _ in range(4)]
    values = np.zeros(n_values, np.uint8)
    done = 0
    while done < n_values:
        is_run = reader.number(1)
        n = reader.number(lengths[reader.number(2)]) + 1
        if n > n_values - done:
            raise DataError("the brush has more values than it declares")
        values[done : done + n] = reader.number(8) if is_run else np.packbits(reader.take(8 * n))
        done += n
    return values
