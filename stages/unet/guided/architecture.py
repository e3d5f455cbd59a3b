"""The architecture of a guided-diffusion UNet, as far as the names and shapes of its tensors tell it.

Every fact is read from all tensors that tell it, and the most frequent answer counts. So a checkpoint with a few
tensors missing or wrong is still recognised, and the comparison with the whole model can list exactly those.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from ....errors import SourceError

N_GROUPS = 32
"""Groups of every normalisation (guided-diffusion, nn.py)."""

Shapes = Mapping[str, tuple[int, ...]]
Resampling = Literal["resnet", "conv", "none"]
Fact = TypeVar("Fact", int, bool)


@dataclass(frozen=True)
class Architecture:
    """What fixes all names and shapes; equal architectures have equal ones."""

    in_channels: int
    """Channels of the image."""
    out_channels: int
    """Channels predicted: the image's, or twice as many with a learned variance (learn_sigma)."""
    model_channels: int
    """Width of the sinusoidal time embedding (num_channels); the first level may be of another width."""
    widths: tuple[int, ...]
    """Channels of each level, from full resolution down (num_channels x channel_mult)."""
    n_res_blocks: int
    """Residual blocks in each level of the encoder; the decoder has one more (num_res_blocks)."""
    attention: tuple[bool, ...]
    """Whether the level has attention (attention_resolutions)."""
    scale_shift: bool
    """Whether the time embedding scales as well as shifts (use_scale_shift_norm)."""
    resampling: Resampling
    """By residual blocks (resblock_updown), by convolutions, or by nothing learnt (conv_resample false)."""
    n_classes: int | None
    """Rows of the label embedding; None where there is none (class_cond)."""

    @property
    def learns_sigma(self) -> bool:
        """Whether the second half of the output interpolates the variance."""
        return self.out_channels == 2 * self.in_channels

    @property
    def n_blocks(self) -> int:
        """Decoder blocks, guided-diffusion's `output_blocks`; its `input_blocks` are as many."""
        return len(self.widths) * (self.n_res_blocks + 1)

    def decoder_block(self, number: int) -> tuple[int, int]:
        """Channels of a decoder block's output, and by how much its sides are smaller than the image's."""
        from_deepest, place = divmod(number, self.n_res_blocks + 1)
        level = len(self.widths) - 1 - from_deepest
        is_upsampled = place == self.n_res_blocks and level > 0
        return self.widths[level], 2 ** (level - is_upsampled)


def infer_architecture(source: str, shapes: Shapes) -> Architecture:
    """Read the architecture off names and shapes.

    Args:
        source: what the user gave, for messages.
        shapes: name -> shape of every tensor, by guided-diffusion's names.

    Raises:
        SourceError: it is another kind of model (a classifier, an upsampler, another code's), or so little is left of
            it that the architecture does not show.
    """
    shapes = {name: shape for name, shape in shapes.items() if shape}
    _refuse_others(source, shapes)
    n_blocks = 1 + max(_indices(shapes, "input_blocks") | _indices(shapes, "output_blocks"), default=-1)
    if not 0 < n_blocks <= len(shapes):
        raise _unclear(source, f"its blocks are numbered up to {n_blocks - 1}, and it has {len(shapes)} tensors")
    resampling, n_levels = _resampling(shapes, n_blocks)
    if n_blocks % n_levels or n_blocks == n_levels:
        raise _unclear(source, f"{n_blocks} decoder blocks do not make {n_levels} levels of two or more each")
    per_level = n_blocks // n_levels
    in_channels = _vote((s[1] for n, s in shapes.items() if n == "input_blocks.0.0.weight" and len(s) > 1), 3)
    architecture = Architecture(
        in_channels=in_channels,
        out_channels=_vote((s[0] for n, s in shapes.items() if n in ("out.2.weight", "out.2.bias")), in_channels),
        model_channels=_vote(
            (s[1] // 4 for n, s in shapes.items() if n.endswith(".emb_layers.1.weight") and len(s) > 1), 0
        ),
        widths=tuple(_width(shapes, level * per_level, per_level) for level in range(n_levels)),
        n_res_blocks=per_level - 1,
        attention=tuple(_attends(shapes, level, per_level, n_blocks) for level in range(n_levels)),
        scale_shift=_vote(_scales(shapes), False),
        resampling=resampling,
        n_classes=shapes["label_emb.weight"][0] if "label_emb.weight" in shapes else None,
    )
    _refuse_impossible(source, architecture)
    return architecture


def _refuse_others(source: str, shapes: Shapes) -> None:
    parts = ("time_embed", "input_blocks", "middle_block", "output_blocks", "out")
    absent = [part for part in parts if not any(name.startswith(f"{part}.") for name in shapes)]
    if "output_blocks" in absent:
        raise SourceError(f"{source}: it has no output_blocks, so it is a classifier or incomplete; expected a UNet")
    if absent:
        raise SourceError(f"{source}: expected a guided-diffusion UNet, whose {', '.join(absent)} are missing")


def _refuse_impossible(source: str, architecture: Architecture) -> None:
    a = architecture
    if a.in_channels == 6:
        raise SourceError(
            f"{source}: it reads 6 channels, so it is an upsampling model, which needs a smaller image besides the "
            "noisy one; expected a model that reads images alone (3 channels)"
        )
    if a.in_channels < 1 or a.out_channels not in (a.in_channels, 2 * a.in_channels):
        raise _unclear(source, f"it reads {a.in_channels} channels and predicts {a.out_channels}")
    if a.model_channels < 1 or any(width < 1 or width % N_GROUPS for width in a.widths):
        raise _unclear(
            source,
            f"its levels are {', '.join(map(str, a.widths))} channels wide and its time embedding is "
            f"{a.model_channels}, where guided-diffusion's have multiples of {N_GROUPS}",
        )


def _unclear(source: str, why: str) -> SourceError:
    return SourceError(f"{source}: no architecture of guided-diffusion explains its tensors: {why}")


def _resampling(shapes: Shapes, n_blocks: int) -> tuple[Resampling, int]:
    """How levels are joined, and how many there are."""
    n_resnets = _count(shapes, r"output_blocks\.(\d+)\.[12]\.(?:in|emb|out)_layers\.")
    if n_resnets:
        return "resnet", n_resnets + 1
    n_down = _count(shapes, r"input_blocks\.(\d+)\.0\.op\.")
    n_up = _count(shapes, r"output_blocks\.(\d+)\.[12]\.conv\.")
    if n_down or n_up:
        return "conv", max(n_down, n_up) + 1
    # Average pooling has a place among the input blocks, but no tensor there.
    n_gaps = n_blocks - len(_indices(shapes, "input_blocks"))
    return ("none", n_gaps + 1) if n_gaps else ("conv", 1)


def _indices(shapes: Shapes, part: str) -> set[int]:
    found = (re.match(rf"{part}\.(\d{{1,9}})\.", name) for name in shapes)
    return {int(match[1]) for match in found if match}


def _count(shapes: Shapes, pattern: str) -> int:
    return len({match[1] for match in (re.match(pattern, name) for name in shapes) if match})


def _width(shapes: Shapes, first: int, per_level: int) -> int:
    """Channels of the level whose residual blocks follow input block `first`."""
    blocks = "|".join(str(first + 1 + place) for place in range(per_level - 1))
    pattern = re.compile(rf"input_blocks\.(?:{blocks})\.0\.(?:in_layers\.2|out_layers\.[03])\.(?:weight|bias)")
    return _vote((shape[0] for name, shape in shapes.items() if pattern.fullmatch(name)), 0)


def _attends(shapes: Shapes, level: int, per_level: int, n_blocks: int) -> bool:
    down = range(level * per_level + 1, (level + 1) * per_level)
    up = range(n_blocks - (level + 1) * per_level, n_blocks - level * per_level)
    blocks = [*(f"input_blocks.{number}" for number in down), *(f"output_blocks.{number}" for number in up)]
    return any(
        name.startswith(f"{block}.1.{part}.") for name in shapes for block in blocks for part in ("qkv", "proj_out")
    )


def _scales(shapes: Shapes) -> Iterable[bool]:
    """For each residual block, whether the time embedding's projection is twice as wide as the block."""
    for name, shape in shapes.items():
        block = name.removesuffix(".emb_layers.1.bias")
        if block != name and f"{block}.out_layers.0.bias" in shapes:
            yield shape[0] == 2 * shapes[f"{block}.out_layers.0.bias"][0]


def _vote(answers: Iterable[Fact], otherwise: Fact) -> Fact:
    """The most frequent answer; `otherwise` stands where no tensor is left to answer."""
    counted = Counter(answers).most_common(1)
    return counted[0][0] if counted else otherwise
