"""Names, axes, chunks and shards of the arrays. FORMAT.md says the same in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .blocks import Block
from .spec import FeatureSpec

METADATA = "zarr.json"
"""The Zarr metadata of an array or group."""
TEXTS_PER_SHARD = 256
FILTERS_ARRAY = "filters"
N_FILTERS = 60
"""Channels of `filters`: of each colour 5 intensities, 5 edges and 2 × 5 textures."""


@dataclass(frozen=True)
class ArrayLayout:
    """One array: its name, axes and how its rows are cut into shards."""

    name: str
    """Its path in the cache."""
    axes: tuple[str, ...]
    """Names of its axes; the first is `row`, `text` or `component`."""
    row_shape: tuple[int, ...]
    """Shape of one row, which is one inner chunk."""
    dtype: np.dtype[Any]
    rows_per_shard: int

    @property
    def row_bytes(self) -> int:
        """Size of one row without its checksum."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    def shard_path(self, index: int) -> str:
        """The file of shard number `index`, relative to the cache's folder."""
        return "/".join([self.name, "c", str(index), *("0" for _ in self.row_shape)])

    def locate(self, row: int) -> tuple[int, int]:
        """The shard that holds `row`, and the row's position in it."""
        return divmod(row, self.rows_per_shard)


def features_layout(
    block: Block, timestep: int, shape: tuple[int, int, int], dtype: str, rows_per_shard: int
) -> ArrayLayout:
    """Activations of one block at one timestep, or of an encoder's layer; `shape` is (y, x, channel)."""
    axes = ("row", "y", "x", "channel")
    return ArrayLayout(_path("features", "encoders", block, timestep), axes, shape, np.dtype(dtype), rows_per_shard)


def scales_layout(block: Block, timestep: int, n_channels: int, rows_per_shard: int) -> ArrayLayout:
    """Size of one step of the int8 activations, for each row and channel."""
    name = _path("scales", "scales", block, timestep)
    return ArrayLayout(name, ("row", "channel"), (n_channels,), np.dtype("float32"), rows_per_shard)


def projection_layout(block: Block, timestep: int, shape: tuple[int, int]) -> ArrayLayout:
    """The model's mean activation, then the principal components; `shape` is (1 + components, channel), one shard."""
    name = _path("projections", "projections", block, timestep)
    return ArrayLayout(name, ("component", "channel"), shape[1:], np.dtype("float32"), shape[0])


def images_layout(spec: FeatureSpec) -> ArrayLayout:
    """The images as the model saw them, RGB."""
    shape = (spec.image_size, spec.image_size, 3)
    return ArrayLayout("images", ("row", "y", "x", "channel"), shape, np.dtype("uint8"), spec.rows_per_shard)


def filters_layout(spec: FeatureSpec) -> ArrayLayout:
    """Multi-scale filters of the images."""
    shape = (spec.image_size, spec.image_size, N_FILTERS)
    return ArrayLayout(FILTERS_ARRAY, ("row", "y", "x", "channel"), shape, np.dtype("float16"), spec.rows_per_shard)


def labels_layout(spec: FeatureSpec) -> ArrayLayout:
    """Class indices at the model's size."""
    shape = (spec.image_size, spec.image_size)
    return ArrayLayout("labels", ("row", "y", "x"), shape, np.dtype("uint8"), spec.rows_per_shard)


def texts_layouts(n_tokens: int, dim: int) -> tuple[ArrayLayout, ArrayLayout]:
    """Token embeddings and the mask that is true on real tokens."""
    tokens = ArrayLayout(
        "texts/tokens", ("text", "token", "dim"), (n_tokens, dim), np.dtype("float16"), TEXTS_PER_SHARD
    )
    return tokens, ArrayLayout("texts/mask", ("text", "token"), (n_tokens,), np.dtype("bool"), TEXTS_PER_SHARD)


def _path(of_blocks: str, of_layers: str, block: Block, timestep: int) -> str:
    """A layer's name begins with a letter, so that both kinds may lie in one folder."""
    return f"{of_layers}/{block}" if isinstance(block, str) else f"{of_blocks}/{block}/{timestep}"
