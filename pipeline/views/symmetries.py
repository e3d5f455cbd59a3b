"""The eight flips and rotations of a square image (the dihedral group D4), as numbers.

A view's number is three bits, done in this order: 1 exchanges left and right, 2 exchanges top and bottom, 4 exchanges
the two axes (a mirror along the falling diagonal). So the first 1, 2, 4 or 8 views are groups, each within the next:
nothing; the mirror; both flips and the half turn; everything.

    0 as it is    1 mirrored     2 top to bottom         3 half turn
    4 transposed  5 turned left  6 turned right          7 transposed along the rising diagonal
"""

from __future__ import annotations

from typing import Literal

View = int
"""0 to 7, as above."""

Side = Literal["up", "down", "left", "right"]

VIEW_COUNTS = (1, 2, 4, 8)
"""Sizes of the groups: permitted numbers of views."""

MIRROR, FLIP, TRANSPOSE = 1, 2, 4

_MIRRORED: dict[Side, Side] = {"left": "right", "right": "left"}
_FLIPPED: dict[Side, Side] = {"up": "down", "down": "up"}
_TRANSPOSED: dict[Side, Side] = {"up": "left", "left": "up", "down": "right", "right": "down"}


def side_in(view: View, side: Side) -> Side:
    """The side of the view on which a side of the image lies."""
    if view & MIRROR:
        side = _MIRRORED.get(side, side)
    if view & FLIP:
        side = _FLIPPED.get(side, side)
    return _TRANSPOSED[side] if view & TRANSPOSE else side


def is_reflection(view: View) -> bool:
    """Whether the view mirrors the image: no rotation undoes it."""
    return view.bit_count() % 2 == 1
