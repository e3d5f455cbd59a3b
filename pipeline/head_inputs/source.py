"""Where the inputs of a head come from, a cache or the frozen UNet at work, and the loop that both share.

Both sources pass the same tests (tests/pipeline/head_inputs/feature_source.py): cached features give the logits of live
ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, tee
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from ...cache.format.maps import StoredMaps
from ...stages.features.sampling import FILTERS, Map, Maps, QuantisedMap
from ...stages.heads.base import Head
from ...stages.heads.input import HeadInput
from ..views.symmetries import View
from ..views.transforms import mean_over_views


class ViewedRow(Protocol):
    """One view of an image or of a tile."""

    @property
    def view(self) -> View:
        """How it is turned."""


Row = TypeVar("Row", bound=ViewedRow)
RowIn_contra = TypeVar("RowIn_contra", bound=ViewedRow, contravariant=True)


class FeatureSource(Protocol[RowIn_contra]):
    """Inputs of a head, row by row."""

    def inputs(self, rows: Iterable[RowIn_contra]) -> Iterator[HeadInput]:
        """The input of each row, in order; rows are taken one by one, or a batch ahead."""


def segment_tiles(
    head: Head, source: FeatureSource[Row], tiles: Iterable[Sequence[Row]]
) -> Iterator[Float[Tensor, "member n_classes y x"]]:
    """Each member's logits of tiles, or of images that are not cut, upright: from the mean over views.

    Args:
        head: in evaluation mode.
        source: of the tiles' rows.
        tiles: the views of each, taken as the source takes rows.
    """
    ahead, current = tee(tiles)
    inputs = source.inputs(row for rows in ahead for row in rows)
    for rows in current:
        yield mean_over_views(map(head.segment, islice(inputs, len(rows))), [row.view for row in rows])


def head_maps(
    stored: Mapping[tuple[int, int], StoredMaps], filters: Float16[np.ndarray, "y x filter"] | None, device: str
) -> Maps:
    """Activations and filters of a row as a head takes them, without a copy where the device is the CPU.

    Args:
        stored: (block, timestep) → the row's activations in the form of a cache, in the order of the head's channels.
        filters: of the row's image; `None`: the head does not see them.
        device: of the head.
    """
    maps: dict[int, list[Map]] = {}
    for (block, _), of_timestep in stored.items():
        maps.setdefault(block, []).append(_to_map(of_timestep, device))
    if filters is not None:
        maps[FILTERS] = [torch.from_numpy(filters).to(device)]
    return maps


def _to_map(stored: StoredMaps, device: str) -> Map:
    values = torch.from_numpy(stored.values).to(device)
    return values if stored.scales is None else QuantisedMap(values, torch.from_numpy(stored.scales).to(device))
