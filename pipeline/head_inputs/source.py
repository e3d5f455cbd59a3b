"""Where the inputs of a head come from, a cache or the frozen models at work, and the loop that both share.

Both sources pass the same tests (tests/pipeline/head_inputs/feature_source.py): cached features give the logits of live
ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from jaxtyping import Float, Float16
from torch import Tensor

from ...cache.format.blocks import Block, Pair
from ...stages.features.sampling import FILTERS, Map, Maps
from ...stages.heads.base import Head
from ...stages.heads.input import HeadInput
from ..views.symmetries import View
from ..views.transforms import mean_over_views

Row = TypeVar("Row", contravariant=True)  # noqa: PLC0105


class FeatureSource(Protocol[Row]):
    """Inputs of a head, row by row."""

    def inputs(self, rows: Iterable[Row]) -> Iterator[HeadInput]:
        """The input of each row, in order; rows are taken one by one, or a batch ahead."""


def segment_tiles(
    head: Head, inputs: Iterator[HeadInput], views: Iterable[Sequence[View]]
) -> Iterator[Float[Tensor, "member n_classes y x"]]:
    """Each member's logits of tiles, or of images that are not cut, upright: from the mean over views.

    Args:
        head: in evaluation mode.
        inputs: the views of each tile in turn; no more are taken than the tiles have.
        views: of each tile.
    """
    for of_tile in views:
        yield mean_over_views(map(head.segment, islice(inputs, len(of_tile))), of_tile)


def head_maps(maps: Mapping[Pair, Map], filters: Float16[Tensor, "y x filter"] | None) -> Maps:
    """Activations and filters of a row as a head takes them.

    Args:
        maps: (block, timestep) → the row's activations, in the order of the head's channels.
        filters: of the row's image; `None`: the head does not see them.
    """
    of_blocks: dict[Block, list[Map]] = {}
    for (block, _), map_ in maps.items():
        of_blocks.setdefault(block, []).append(map_)
    if filters is not None:
        of_blocks[FILTERS] = [filters]
    return of_blocks
