"""A cache of activations that come as arrays, from another program or for a measurement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..format.blocks import Pair
from ..format.manifest import RowKey
from ..format.maps import StoredMaps
from ..format.samples import IGNORE, SampleRow, SampleTable
from ..format.spec import FeatureSpec
from ..storage.locks import hold_lock
from .derived import row_loader
from .plan import plan_work
from .writer import WRITERS, CacheWriter

BlockArrays = Mapping[Pair, npt.NDArray[Any]]
"""(block, timestep) → activations [row, y, x, channel] in float16 or float32."""


def write_features(root: Path, batches: Iterable[BlockArrays], n_rows: int, *, workers: int = WRITERS) -> None:
    """Write activations as a cache whose samples have numbers for ids, black images, and neither labels nor texts.

    Args:
        root: the cache's folder, which must not hold anything.
        batches: all with the same blocks, timesteps, dtype and number of rows, the last of which may have fewer; each
            becomes one shard of each block and timestep. They are taken one by one.
        n_rows: rows of all batches together.
        workers: shards that are written at once.

    Raises:
        CacheError: if an activation is not finite.
    """
    batches = iter(batches)
    first = next(batches)
    shapes, dtype = {block: array.shape[1:] for (block, _), array in first.items()}, next(iter(first.values())).dtype
    side, n_in_batch = max(shape[0] for shape in shapes.values()), len(next(iter(first.values())))
    spec = FeatureSpec(
        unet="arrays", unet_digest="", prediction_type="epsilon", noise="shared", noise_draws=1, seed=0,
        image_size=side, window=None, dtype=str(dtype), rows_per_shard=n_in_batch,
    )  # fmt: skip
    ids = [str(row) for row in range(n_rows)]
    plan = plan_work(None, spec, [RowKey(name, "") for name in ids], shapes, sorted({t for _, t in first}))
    samples = tuple(
        SampleRow(name, name, name, "train", row, None, (side, side), "", "", None, None)
        for row, name in enumerate(ids)
    )
    black, unlabelled = np.zeros((side, side, 3), np.uint8), np.full((side, side), IGNORE, np.uint8)
    with hold_lock(root):
        writer = CacheWriter(root, plan.manifest, workers=workers)
        for pending, batch in zip(plan.pending, chain([first], batches), strict=True):
            writer.write_unit(pending, {pair: StoredMaps(array) for pair, array in batch.items()}, {})
        load = row_loader(images=lambda _: black, labels=lambda _: unlabelled)
        writer.publish(SampleTable("", (), samples), {}, None, filters=False, load=load)
