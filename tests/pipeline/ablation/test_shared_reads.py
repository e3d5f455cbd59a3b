"""Shared reads give what each head would have gathered alone, once, and take turns."""

import threading

import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.ablation import shared_reads
from textdiff.pipeline.ablation.scheduler import round_robin
from textdiff.pipeline.ablation.shared_reads import SharedHeadData, SharedReads
from textdiff.pipeline.head_inputs.inputs import open_head_data


def opened(cache, blocks, timesteps):
    reader = FeatureReader(cache)
    return open_head_data(reader, blocks=blocks, timesteps=timesteps, text="none", seed=0, device="cpu", filters=False)


def test_columns_are_those_that_a_head_alone_would_gather_and_are_read_once(tiny_cache, monkeypatch):
    whole, n_gathered, gather = opened(tiny_cache, (1, 3), (50, 150)), [], shared_reads.gather
    monkeypatch.setattr(shared_reads, "gather", lambda *args: n_gathered.append(1) or gather(*args))
    reads, sample = SharedReads(whole), whole.reader.samples[0]
    pixels = torch.tensor([0, 17, 255, 17])
    for blocks, timesteps in [((1, 3), (50, 150)), ((1, 3), (150,)), ((3,), (150, 50)), ((1,), (50,))]:
        alone = opened(tiny_cache, blocks, timesteps)
        shared = SharedHeadData.of(alone, reads)
        for subset in (shared, shared.only(blocks[0])):
            for block, columns in subset.gather(sample, pixels).items():
                assert torch.equal(columns, alone.gather(sample, pixels)[block])
    assert len(n_gathered) == 2  # each block once


def test_what_was_not_asked_for_the_longest_goes_first(tiny_cache):
    data = opened(tiny_cache, (1,), (50,))
    one_bytes = data.gather(data.reader.samples[0], torch.arange(4))[1].nbytes
    reads, sample = SharedReads(data, kept_bytes=2 * one_bytes), data.reader.samples[0]
    first, second, third = (torch.arange(start, start + 4) for start in (0, 4, 8))
    for pixels in (first, second, first, third):
        reads.columns(1, (50,), sample, pixels)
    assert [key[2] for key in reads._kept] == [pixels.numpy().tobytes() for pixels in (first, third)]


def test_jobs_take_turns_on_threads_of_their_own_with_one_thread_each():
    n_threads, seen = torch.get_num_threads(), []

    def job(name):
        for step in range(3):
            assert threading.current_thread() is not threading.main_thread()
            seen.append(torch.get_num_threads())
            yield f"{name}{step}"

    torch.set_num_threads(2)
    try:
        assert sorted(round_robin([[job("a")], [job("b"), job("c")]], "cpu")) == [
            f"{name}{step}" for name in "abc" for step in range(3)
        ]
        assert torch.get_num_threads() == 2
        assert list(round_robin([[job("a"), job("b")]], "cuda")) == ["a0", "b0", "a1", "b1", "a2", "b2"]
    finally:
        torch.set_num_threads(n_threads)
    assert set(seen) == {1}


def test_what_a_job_raises_is_raised_and_the_others_stop():
    done = []

    def endless():
        while True:
            done.append(1)
            yield None

    def failing():
        yield None
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        for _ in round_robin([[endless(), failing()]], "cpu"):
            pass
    assert len(done) < 10
