"""Copies to a device: whatever holds the tensors, queued, and in what order things are loaded ahead."""

import threading
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from pretend_device import pretend_device

from textdiff.pipeline.runtime.transfer import ahead, memory_bytes, to_device
from textdiff.stages.features.sampling import QuantisedMap


class Pair(NamedTuple):
    first: torch.Tensor
    second: object


@dataclass(frozen=True)
class Holder:
    pair: Pair
    maps: dict


def held():
    quantised = QuantisedMap(torch.ones(2, 2, 3, dtype=torch.int8), torch.ones(3))
    return Holder(Pair(torch.ones(4), slice(None)), {0: [torch.ones(5), quantised], "none": None, "number": 3})


def test_all_tensors_are_moved_and_nothing_is_waited_for():
    with pretend_device() as traffic:
        moved = to_device(held(), "cuda")
        tensors = [moved.pair.first, moved.maps[0][0], moved.maps[0][1].values, moved.maps[0][1].scale]
        assert all(tensor.is_cuda for tensor in tensors)
        assert traffic.to_device.total() == 16 + 20 + 12 + 12
        assert not traffic.waits
        assert (moved.pair.second, moved.maps["none"], moved.maps["number"]) == (slice(None), None, 3)
        assert to_device(moved, "cuda").pair.first.is_cuda
        assert traffic.copies.total() == 4


def test_on_the_cpu_nothing_is_copied():
    values = held()
    moved = to_device(values, "cpu")
    assert moved.pair.first is values.pair.first
    assert moved.maps[0][1].values is values.maps[0][1].values


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_things_are_loaded_in_order_beside_a_gpu_in_one_thread_of_their_own(device):
    threads, loaded = set(), []

    def load(item):
        threads.add(threading.current_thread())
        loaded.append(item)
        return -item

    taken = []
    for value in ahead(load, range(5), device):
        taken.append(value)
        assert len(loaded) <= len(taken) + (0 if device == "cpu" else 1)
    assert taken == [0, -1, -2, -3, -4]
    assert loaded == [*range(5)]
    assert len(threads) == 1
    assert (threading.main_thread() in threads) == (device == "cpu")


def test_the_memory_of_a_gpu_is_all_of_it():
    with pretend_device():
        assert memory_bytes("cuda") == 80 * 2**30
