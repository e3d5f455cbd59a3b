"""Work of the 553 M UNet for a sample, counted on tensors without memory: no GPU is needed, and no weights.

    python benchmarks/speed/unet_costs.py [--image-size 256] [--samples 24] [--blocks 4,6,8,12] [--json]

Of the truncated forward as stage one runs it on CUDA, by torch's fake tensors, in each precision: `float32`, `bfloat16`
(autocast over float32 weights), `bfloat16-weights`, and this with torch's group norm (`torch's norm`). A sample is one
image at one timestep; a batch has --samples.

    GFLOP       of matrix products, convolutions and attention; a multiplication and an addition are two
    MB          read and written by everything else (norms, casts, sums, joins, copies between memory formats)
    kernels     calls that read or write memory, in one forward
    formats     MB of these that copies between memory formats take

Counts are those of torch's operations: kernels that an operation starts beside its main one, and memory that stays in
a GPU's cache, are not in them. As torch does on CUDA, convolutions read and write channels last where their weights lie
so; its group norm reads and writes the other format, in three kernels, two of which read its input. What lies otherwise
is copied first.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from random_unets import adm_unet
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from textdiff.stages.unet import TruncatedUNet, to_bfloat16

QATA_BLOCKS = (4, 6, 8, 12)
WAYS = ("float32", "bfloat16", "torch's norm", "bfloat16-weights")
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "convolution", "_convolution", "cudnn_convolution"}
"""Operations whose time is arithmetic, and those of attention, whose names begin as `ATTENTION`."""
ATTENTION = "_scaled_dot_product"
NOTHING = {"empty", "empty_like", "empty_strided", "new_empty", "detach", "_unsafe_view", "lift_fresh"}


class Traffic(TorchDispatchMode):
    """Counts of the operations that run while the mode is on."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        result = operation(*args, **(kwargs or {}))
        space, name = operation._schema.name.split("::")
        if space != "aten" or operation.is_view or name in NOTHING:
            return result
        self.counts["kernels"] += 1
        if name in PRODUCTS or name.startswith(ATTENTION):
            return self._in_format(args[0], args[1], result) if "convolution" in name else result
        if name == "native_group_norm":
            self.counts["kernels"] += 2
            self._move(_size(args[0]), name)
            if not args[0].is_contiguous():
                self._reorder(args[0], "norms' inputs")
        read = {key: value for key, value in (kwargs or {}).items() if key != "out"}
        self._move(sum(map(_size, tree_leaves((args, read, result)))), name)
        return result

    def _in_format(self, x: torch.Tensor, weight: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """The result as cuDNN gives it, after a copy of the input where its format is not the weight's."""
        last = torch.channels_last
        if not weight.is_contiguous(memory_format=last):
            return result
        if not x.is_contiguous(memory_format=last):
            self._reorder(x, "convolutions' inputs")
        return result.contiguous(memory_format=last)

    def _reorder(self, x: torch.Tensor, name: str) -> None:
        self.counts["kernels"] += 1
        self.counts["format bytes"] += 2 * _size(x)
        self._move(2 * _size(x), name)

    def _move(self, n_bytes: int, name: str) -> None:
        self.counts["bytes"] += n_bytes
        self.counts[f"bytes of {name}"] += n_bytes


@contextmanager
def autocast(*, enabled: bool) -> Iterator[None]:
    """As torch.autocast of CUDA, which refuses where there is none."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", enabled)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:  # noqa: ANN401
    """The kernel that CUDA takes for these shapes; without a GPU torch takes none."""
    if query.dtype == torch.float32:
        return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, False)[0]
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]


def _size(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels, a multiple of 32")
    parser.add_argument("--samples", type=int, default=24, help="images times timesteps of a batch")
    parser.add_argument("--blocks", type=lambda text: tuple(map(int, text.split(","))), default=QATA_BLOCKS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    F.scaled_dot_product_attention = attention
    torch._C._ensureCUDADeviceGuardSet()  # names the device of fake tensors where there is none
    result = {way: count(way, args.image_size, args.samples, args.blocks) for way in WAYS}
    if args.json:
        print(json.dumps(result))
        return
    print(f"{'':18}{'GFLOP':>8}{'MB':>8}{'formats':>9}{'kernels':>9}")
    for way, of in result.items():
        print(f"{way:18}{of['gflop']:8.0f}{of['mb']:8.0f}{of['format_mb']:9.0f}{of['kernels']:9d}")
        for name, mb in of["most_mb"].items():
            print(f"    {name:30}{mb:8.0f}")


def count(way: str, image_size: int, n_samples: int, blocks: tuple[int, ...]) -> dict[str, Any]:
    """The counts of one way, a sample; kernels of the whole batch."""
    with torch.device("meta"):
        model = adm_unet(image_size).requires_grad_(False)
    if way == "bfloat16-weights":
        to_bfloat16(model)
    elif way == "torch's norm":
        model.to(torch.bfloat16)
    unet = TruncatedUNet(model.to(memory_format=torch.channels_last), blocks)
    with FakeTensorMode(), torch.device("cuda"), torch.no_grad():
        weights = {name: torch.empty_strided(w.shape, w.stride(), dtype=w.dtype) for name, w in unet.named_parameters()}
        x = torch.empty(n_samples, 3, image_size, image_size, dtype=weights["conv_in.weight"].dtype)
        inputs = x.contiguous(memory_format=torch.channels_last), torch.zeros(n_samples, dtype=torch.long)
        with FlopCounterMode(display=False) as flop, Traffic() as traffic, autocast(enabled=way == "bfloat16"):
            torch.func.functional_call(unet, weights, inputs)
    counts = traffic.counts
    named = Counter({name.removeprefix("bytes of "): n for name, n in counts.items() if name.startswith("bytes of ")})
    per_mb = n_samples * 1e6
    return {
        "gflop": flop.get_total_flops() / n_samples / 1e9,
        "mb": counts["bytes"] / per_mb,
        "format_mb": counts["format bytes"] / per_mb,
        "kernels": counts["kernels"],
        "most_mb": {name: size / per_mb for name, size in named.most_common(8)},
        "n_parameters": sum(weight.numel() for weight in model.parameters()),
    }


if __name__ == "__main__":
    main()
