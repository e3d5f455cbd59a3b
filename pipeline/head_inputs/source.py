"""Where the inputs of a head come from, a cache or the frozen models at work, and the loop that both share.

Both sources pass the same tests (tests/pipeline/head_inputs/feature_source.py): cached features give the logits of live
ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from ...cache.format.blocks import Block, Pair
from ...cache.format.maps import StoredMaps
from ...stages.features.sampling import FILTERS, Map, Maps, QuantisedMap
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


def head_maps(stored: Mapping[Pair, StoredMaps], filters: Float16[np.ndarray, "y x filter"] | None) -> Maps:
    """Activations and filters of a row as a head takes them, on the CPU, without a copy.

    Args:
        stored: (block, timestep) → the row's activations in the form of a cache, in the order of the head's channels.
        filters: of the row's image; `None`: the head does not see them.
    """
    maps: dict[Block, list[Map]] = {}
    for (block, _), of_timestep in stored.items():
        maps.setdefault(block, []).append(_to_map(of_timestep))
    if filters is not None:
        maps[FILTERS] = [torch.from_numpy(filters)]
    return maps


def _to_map(stored: StoredMaps) -> Map:
    values = torch.from_numpy(stored.values)
    return values if stored.scales is None else QuantisedMap(values, torch.from_numpy(stored.scales))
