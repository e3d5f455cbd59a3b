"""Survey of a mask: its palette and its alpha, which only all of its pixels tell, and whether its 0 is white."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..raster import Raster, UnusableImageError
from .content import is_grey, packed


@dataclass(frozen=True)
class Survey:
    """Properties of a mask beside its values."""

    palette: Mapping[int, int] = field(default_factory=dict)
    """Palette index that occurs → its colour, 0xRRGGBB; empty without a palette."""
    shape_in_alpha: bool = False
    """Whether the opacity differs and the colour does not."""
    white_is_zero: bool = False
    """Whether the file says that 0 is shown white."""

    @property
    def is_grey(self) -> bool:
        """Whether all colours of the palette that occur are greys."""
        return all(is_grey(colour) for colour in self.palette.values())


def survey(parts: Iterable[Raster]) -> Survey:
    """Look through a mask, no further than its first part where it has neither palette nor alpha."""
    palette, colours, opacities = dict[int, int](), set[int](), set[int]()
    white_is_zero = False
    for raster in parts:
        white_is_zero = raster.white_is_zero
        if raster.palette is None and raster.alpha is None:
            break
        if raster.palette is not None:
            palette |= _used(raster)
        if raster.alpha is not None:
            opacities |= {int(raster.alpha.min()), int(raster.alpha.max())}
            # Of other than palette values, two that differ are enough to know.
            ends = raster.pixels.reshape(-1, *raster.pixels.shape[2:])
            colours |= {hash(end.tobytes()) for end in (ends.min(0), ends.max(0))}
    n_colours = len({*palette.values()}) if palette else len(colours)
    shape_in_alpha = len(opacities) > 1 and n_colours == 1
    return Survey(palette, shape_in_alpha=shape_in_alpha, white_is_zero=white_is_zero)


def _used(raster: Raster) -> dict[int, int]:
    assert raster.palette is not None
    indices = np.unique(raster.pixels).tolist()
    if indices and indices[-1] >= len(raster.palette):
        raise UnusableImageError(f"uses palette index {indices[-1]}, its palette ends at {len(raster.palette) - 1}")
    return {index: int(packed(raster.palette[index])) for index in indices}
