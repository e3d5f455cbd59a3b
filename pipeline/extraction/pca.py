"""Principal components of activations, fitted before the first unit that needs them, on pixels of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...cache.format.blocks import Pair, in_order
from ...cache.format.manifest import Manifest
from ...cache.format.projections import read_projections
from ...cache.storage.location import Location
from ...errors import ConfigError
from ...stages.features.compression import Projection, choose_fit_images, choose_fit_pixels, fit_projection
from .dataset_rows import DatasetRow, RowReader
from .feature_extractor import FeatureExtractor


def cached_projections(root: Location, manifest: Manifest) -> dict[Pair, Projection]:
    """The projections that a cache has."""
    arrays = read_projections(root, manifest.projections)
    return {pair: Projection.from_rows(torch.from_numpy(array)) for pair, array in arrays.items()}


def fit_projections(
    stage_one: FeatureExtractor, reader: RowReader, rows: Sequence[DatasetRow], pairs: Sequence[Pair]
) -> dict[Pair, Projection]:
    """Fit the pairs' projections on a seeded choice of the training rows, which go through the models for it.

    Raises:
        ConfigError: if there are no training images, or too few pixels for so many components.
    """
    training = {row.id: row for row in rows if row.sample.split == "train"}
    if not training:
        raise ConfigError("--pca is fitted on images of the training split, and the data has none; leave --pca out")
    chosen = [training[name] for name in choose_fit_images(list(training), stage_one.spec.seed)]
    pixels = _sample(stage_one, reader, chosen, pairs)
    return {pair: fit_projection(pixels[pair], stage_one.spec.pca or 0) for pair in pairs}


def _sample(
    stage_one: FeatureExtractor, reader: RowReader, chosen: Sequence[DatasetRow], pairs: Sequence[Pair]
) -> Mapping[Pair, Float[Tensor, "pixel channel"]]:
    blocks = in_order({block for block, _ in pairs})
    timesteps = sorted({timestep for block, timestep in pairs if isinstance(block, int)})
    seed, size = stage_one.spec.seed, stage_one.spec.rows_per_shard
    sampled: dict[Pair, list[Tensor]] = {pair: [] for pair in pairs}
    for start in range(0, len(chosen), size):
        batch = reader.batch(chosen[start : start + size])
        maps = stage_one.record_all(batch, timesteps, blocks)
        for pair, pixels in sampled.items():
            pixels.append(choose_fit_pixels(maps[pair], batch.ids, seed, *pair))
    return {pair: torch.cat(pixels) for pair, pixels in sampled.items()}
