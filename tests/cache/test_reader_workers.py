"""A `FeatureReader` in worker processes of torch's `DataLoader`, forked and spawned."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from textdiff.cache.building.arrays import write_features
from textdiff.cache.reader import FeatureReader

N_ROWS, PAIRS = 6, [(block, timestep) for block in (2, 5) for timestep in (50, 150)]


class Rows(Dataset):
    """All activations of a row, in one tensor."""

    def __init__(self, reader):
        self.reader = reader

    def __len__(self):
        return len(self.reader.samples)

    def __getitem__(self, row):
        maps = [self.reader.features(*pair, row) for pair in PAIRS]
        return torch.cat([torch.from_numpy(np.ascontiguousarray(one)).flatten() for one in maps])


@pytest.fixture
def reader(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {2: (4, 4, 6), 5: (8, 8, 3)}
    batches = [
        {(block, t): rng.standard_normal((2, *shapes[block])).astype(np.float16) for block, t in PAIRS}
        for _ in range(N_ROWS // 2)
    ]
    write_features(tmp_path / "cache", batches, N_ROWS)
    return FeatureReader(tmp_path / "cache")


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_what_the_process_reads(reader, start):
    here = torch.stack([Rows(reader)[row] for row in range(N_ROWS)])  # shards are open before the workers start
    loader = DataLoader(Rows(reader), batch_size=2, num_workers=2, multiprocessing_context=start, timeout=120)
    assert torch.equal(torch.cat(list(loader)), here)
