"""A cache of activations that come as arrays: read back, they are the same."""

import numpy as np
import pytest

from textdiff.cache.building.arrays import write_features
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheError
from textdiff.pipeline.maintenance.verify import verify_cache


def batch(n_rows, seed, dtype="float16"):
    rng = np.random.default_rng(seed)
    shapes = {2: (4, 4, 6), 5: (8, 8, 3)}
    return {(b, t): rng.standard_normal((n_rows, *shapes[b])).astype(dtype) for b in shapes for t in (50, 150)}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_written_is_read(tmp_path, dtype):
    batches = [batch(2, 0, dtype), batch(2, 1, dtype), batch(1, 2, dtype)]
    write_features(tmp_path / "cache", batches, 5, workers=2)
    reader = FeatureReader(tmp_path / "cache")
    assert (reader.blocks, reader.timesteps, len(reader.samples)) == ((2, 5), (50, 150), 5)
    maps = reader.read((2, 5), (50, 150), range(5))
    for pair, stored in maps.items():
        np.testing.assert_array_equal(stored.values, np.concatenate([one[pair] for one in batches]))
    assert (reader.labels(4) == reader.table.ignore).all()
    assert verify_cache(tmp_path / "cache").damaged == ()


def test_activations_that_are_not_finite_are_refused(tmp_path):
    bad = batch(2, 0)
    bad[5, 150][1, 3, 3, 0] = np.nan
    with pytest.raises(CacheError, match="block 5, timestep 150, sample 1: "):
        write_features(tmp_path / "cache", [bad], 2)
