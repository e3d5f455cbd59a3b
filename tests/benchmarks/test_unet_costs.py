"""`benchmarks/speed/unet_costs.py`: bytes and kernels of operations that are counted by hand."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

LAST = torch.channels_last


@pytest.fixture
def traffic(benchmark_module):
    with FakeTensorMode(), torch.no_grad(), benchmark_module("speed", "unet_costs").Traffic() as mode:
        yield mode


def made(*shape, last=True):
    return torch.empty(shape).to(memory_format=LAST if last else torch.contiguous_format)


def counted(traffic, work):
    traffic.counts.clear()
    result = work()
    return traffic.counts["kernels"], traffic.counts["bytes"], traffic.counts["format bytes"], result


def test_a_sum_reads_two_and_writes_one_and_views_nothing(traffic):
    x = made(2, 4, 8, 8)
    assert counted(traffic, lambda: (x + x)[:, :2].movedim(1, -1))[:3] == (1, 3 * 4 * x.numel(), 0)
    assert counted(traffic, lambda: torch.addcmul(x, x, x, out=x))[:3] == (1, 4 * 4 * x.numel(), 0)


@pytest.mark.parametrize("last", [True, False])
def test_a_convolution_is_arithmetic_but_for_an_input_in_the_other_format(traffic, last):
    x, weight = made(2, 4, 8, 8, last=last), made(6, 4, 3, 3)
    *counts, result = counted(traffic, lambda: torch.nn.functional.conv2d(x, weight, padding=1))
    copied = 0 if last else 2 * 4 * x.numel()
    assert counts == [1 if last else 2, copied, copied]
    assert result.is_contiguous(memory_format=LAST)


def test_a_group_norm_of_torch_copies_what_lies_channels_last(traffic):
    x, weight = made(2, 4, 8, 8), torch.empty(4)
    group_norm = torch.nn.functional.group_norm
    kernels, n_bytes, of_formats, _ = counted(traffic, lambda: group_norm(x, 2, weight, weight))
    assert (kernels, of_formats) == (4, 2 * 4 * x.numel())
    small = 4 * (4 + 4 + 2 * 2 * 2)  # weight, bias, means and deviations of 2 images' 2 groups
    assert n_bytes == 5 * 4 * x.numel() + small
