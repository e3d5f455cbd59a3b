"""Words for what a mask holds, known without a decoder."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Integer

MaskContent = Literal["values", "indices", "colours", "grey", "alpha", "instances"]
"""The numbers to take: `values`, grey levels, but the indices of a palette with other colours; `indices` of any
palette; `colours` as 0xRRGGBB; `grey`, levels of what is nearly grey too, as JPEG leaves it; `alpha`, opacity from 0 to
255; of `instances` whatever tells them apart, 0 being black."""

_COLOURS_NAMED = 5


def is_grey(colour: int) -> bool:
    """Whether 0xRRGGBB is a grey, black or white."""
    return colour == (colour & 255) * 0x010101


def written(colour: int) -> str:
    """0xRRGGBB as #rrggbb."""
    return f"#{colour:06x}"


def naming(colours: list[str]) -> str:
    """How to declare these colours."""
    more = f" and {len(colours) - _COLOURS_NAMED} more" if len(colours) > _COLOURS_NAMED else ""
    shown = ", ".join(colours[:_COLOURS_NAMED]) + more
    return (
        f'name its colours ({shown}) in classes.json: {{"classes": {{"#000000": "background", "#ff0000": "tumour"}}}}'
    )


def packed(colours: Integer[np.ndarray, "*pixel 3"]) -> Integer[np.ndarray, "*pixel"]:
    """RGB as 0xRRGGBB."""
    red, green, blue = (colours[..., i].astype(np.int32) for i in range(3))
    return (red << 16) | (green << 8) | blue
