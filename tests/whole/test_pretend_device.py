"""The pretend device itself: it refuses mixtures, sees every copy and every wait, and computes as the CPU does."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cuda_settings import settings
from pretend_device import pretend_device
from torch import nn

from textdiff.pipeline.runtime.device import resolve_device


@pytest.fixture
def traffic():
    with pretend_device() as counts:
        yield counts


MIXTURES = {
    "a sum": lambda here, there: here + there,
    "a product": lambda here, there: there @ here,
    "a list": lambda here, there: torch.cat([there, here]),
    "indices on the device": lambda here, there: here[there.long()],
    "a mask": lambda here, there: there.where(here > 0, 0.0),
    "an update": lambda here, there: here.add_(there),
    "a layer": lambda here, there: nn.Linear(3, 2)(there),
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_it_refuses_tensors_of_both_devices(traffic, mix):
    with pytest.raises(RuntimeError, match=r"got tensors on cuda:0 and cpu at tests/whole/test_pretend_device\.py:\d"):
        mix(torch.ones(3), torch.ones(3, device="cuda"))


def test_numbers_and_indices_of_the_cpu_are_no_mixture_but_indices_are_copied(traffic):
    x = torch.arange(4.0, device="cuda") * torch.tensor(2.0)
    assert not traffic.to_device
    assert x[torch.tensor([1, 3])].tolist() == [2, 6]
    assert traffic.to_device.total() == 16


COPIES = {
    "to": lambda: torch.ones(5).to("cuda"),
    "cuda": lambda: torch.ones(5).cuda(),
    "to another tensor": lambda: torch.ones(5).to(torch.zeros((), device="cuda")),
    "a factory": lambda: torch.tensor([1.0] * 5, device="cuda"),
    "an array": lambda: torch.as_tensor(np.ones(5, np.float32), device="cuda"),
    "an assignment": lambda: torch.empty(5, device="cuda").copy_(torch.ones(5)),
    "a module": lambda: nn.PReLU(5).to("cuda").weight,
    "from a thread": lambda: ThreadPoolExecutor(1).submit(lambda: torch.ones(5).to("cuda")).result(),
}


@pytest.mark.parametrize("move", COPIES.values(), ids=COPIES)
def test_a_copy_to_the_device_is_counted_with_its_line_and_waited_for(traffic, move):
    assert move().device == torch.device("cuda:0")
    assert traffic.to_device.total() == 20
    assert traffic.copies.total() == traffic.waits.total() == 1
    assert next(iter(traffic.to_device)).startswith("tests/whole/test_pretend_device.py:")


def test_a_planted_copy_fails_a_test_of_the_counts(traffic):
    def step(*, planted):
        x = resident * 2
        return x.cpu().to("cuda") if planted else x

    resident, before = torch.ones(100).to("cuda"), traffic.copy()
    step(planted=False)
    assert traffic.since(before).copies.total() == traffic.since(before).waits.total() == 0
    step(planted=True)
    assert traffic.since(before).to_device.total() == traffic.since(before).to_host.total() == 400
    assert traffic.since(before).waits.total() == 2


def test_a_queued_copy_of_pinned_memory_is_not_waited_for_and_one_of_pageable_memory_is(traffic):
    torch.ones(5).pin_memory().to("cuda", non_blocking=True)
    assert not traffic.waits
    torch.ones(5).to("cuda", non_blocking=True)
    assert traffic.waits.total() == 1
    assert traffic.to_device.total() == 40


@pytest.mark.parametrize("wait", ["event", "stream", "device"])
def test_a_queued_copy_to_the_host_cannot_be_read_before_it_is_waited_for(traffic, wait):
    stream, x, host = torch.cuda.Stream("cuda"), torch.ones(5, device="cuda"), torch.empty(5, pin_memory=True)
    with torch.cuda.stream(stream):
        host.copy_(x, non_blocking=True)
        event = stream.record_event()
        later = x.to("cpu", non_blocking=True) if wait == "event" else host
    assert host.isnan().all()
    {"event": event.synchronize, "stream": stream.synchronize, "device": torch.cuda.synchronize}[wait]()
    assert host.tolist() == [1] * 5
    assert later.isnan().all() == (wait == "event")
    assert traffic.waits.total() == 1


WAITS = {
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).any()),
    "item": lambda x: x[0].item(),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "unique": lambda x: x.unique(),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "solve": lambda x: torch.linalg.solve(torch.diag_embed(x), x),
    "synchronize": lambda x: torch.cuda.synchronize(),
    "repeats": lambda x: x.repeat_interleave(x.long()),
}


@pytest.mark.parametrize("ask", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("inference", [False, True])
def test_the_host_waits_where_it_asks_for_numbers(traffic, ask, inference):
    with torch.inference_mode(inference):
        x = torch.ones(5, device="cuda")
        ask(x * 2)
    assert traffic.waits.total() == 1


def test_arithmetic_alone_waits_for_nothing(traffic):
    x = torch.rand(2, 3, 8, 8, device="cuda")
    y = F.interpolate(x, (4, 4), mode="bilinear").flatten(1).softmax(-1)
    F.one_hot(y.argmax(-1), 48).float() @ y.T
    torch.where(x > 0.5, x, 0.0).masked_fill(x > 0.5, 1).rot90(1, (2, 3))
    assert not traffic.waits
    assert not traffic.copies
    assert traffic.kernels.total() > 8


def test_what_numpy_cannot_read_it_does_not_read(traffic):
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        np.asarray(torch.ones(3, device="cuda"))


def test_a_generator_of_the_other_device_is_refused(traffic):
    with pytest.raises(RuntimeError, match="got a generator of the other device"):
        torch.rand(3, device="cuda", generator=torch.Generator())
    assert torch.rand(3, device="cuda", generator=torch.Generator("cuda").manual_seed(0)).is_cuda


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_training_gives_the_weights_that_it_gives_on_the_cpu(precision):
    def train(device):
        torch.manual_seed(0)
        head = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(16, 3))
        x, labels, head = torch.rand(6, 2, 4, 4).to(device), torch.arange(6).to(device) % 3, head.to(device)
        optimizer = torch.optim.AdamW(head.parameters(), 1e-2, fused=True)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(torch.device(device).type, precision, enabled=precision != torch.float32):
                logits = head(x)
            F.cross_entropy(logits.float(), labels).backward()
            nn.utils.clip_grad_norm_(head.parameters(), 0.5)
            optimizer.step()
        kept = copy.deepcopy(head.state_dict())
        head.load_state_dict(kept)
        return logits.dtype, {name: weight.cpu() for name, weight in head.state_dict().items()}

    dtype, expected = train("cpu")
    with pretend_device() as traffic:
        pretended, weights = train("cuda")
    assert pretended == dtype == precision
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())
    assert traffic.waits.total() == traffic.copies.total() == 2 + 2 * len(weights)


def test_it_leaves_no_trace():
    arithmetic = settings()
    before = {name: getattr(torch, name) for name in ("tensor", "autocast", "Generator")}
    with pretend_device(), pretend_device():
        assert resolve_device("auto") == "cuda"
        assert settings() != arithmetic
    assert settings() == arithmetic
    assert all(getattr(torch, name) is value for name, value in before.items())
    assert torch.Tensor.to is torch._C.TensorBase.to
    assert not torch.__future__.get_overwrite_module_params_on_conversion()
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(3).to("cuda:63")
