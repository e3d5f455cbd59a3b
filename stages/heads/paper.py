"""TextDiff's own head (Feng, MICCAI 2024, arXiv 2407.05323): the yardstick, trained on whole images.

All blocks are brought to one width and read from the text through one shared transformer block, each at its own
resolution; then they are enlarged to the image, concatenated and classified by 3×3 convolutions. Sizes and initial
weights are those of the authors' code (github.com/chunmeifeng/TextDiff, src/pixel_classifier.py, src/transformer.py).
Two things differ: padding of a text is not attended to, and where there is no text nothing is read, which takes no
parameter (the authors' code always has a text).

Maps are channels-last, so that a 1×1 convolution is a linear layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...errors import ConfigError
from ..features.sampling import MapKey, Maps, dense
from .attention import attend, attention_weights
from .base import Head, HeadSpec, Prepared
from .input import HeadInput

HEAD_CHANNELS = 64
"""Channels of each head of the cross-attention, whatever the width."""
DECODER_WIDTHS = (128, 32)
INITIAL_SPREAD = 0.02


class PaperHead(Head):
    """Cross-attention to the text at each block's resolution, and a convolutional decoder over all blocks.

    Args:
        spec: the sizes; 768 wide with 8 heads in the paper. The deepest block (of layers alone, the first) has a
            projection of its own, all others share one, and blocks that are as wide as the head already need none.

    Raises:
        ConfigError: if the blocks that share a projection differ in channels.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self._deepest, *others = ordered(spec.channels)
        self.project_deepest = _projection(spec.channels[self._deepest], spec.width)
        self.project_others = _projection(_shared_channels(spec, others), spec.width)
        self.text_block = TextBlock(spec)
        self.decoder = _decoder(len(spec.channels) * spec.width, spec.n_classes)
        self.apply(_initialise)

    def forward(
        self,
        features: Mapping[MapKey, Float[Tensor, "image block_y block_x channel"]],
        size: tuple[int, int],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
    ) -> Float[Tensor, "image n_classes y x"]:
        """Logits of every pixel.

        Args:
            features: block → its activations, all timesteps together; float32, each block at its own resolution.
            size: (y, x) of the result.
            tokens: of each image's text.
            mask: true on real tokens; false throughout where an image has no text.
        """
        enlarged = []
        for block, of in ((block, features[block]) for block in ordered(features)):
            x = self._project(block, of)
            x = self.text_block(x.flatten(1, 2), tokens, mask).view_as(x).movedim(-1, 1)  # [image, width, y, x]
            enlarged.append(F.interpolate(x, size, mode="bilinear"))
        return self.decoder(torch.cat(enlarged, 1))

    def prepare(self, features: Maps) -> Prepared:
        """The activations in float32."""
        return {block: map_[0] for block, map_ in stack_maps([features]).items()}

    def segment_prepared(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "1 n_classes y x"]:
        """As `Head.segment`, all pixels at once: at 256×256 the concatenation alone takes 0.8 GB.

        The head has no positional encoding: the region is not used.
        """
        features = {block: map_[None] for block, map_ in prepared.items()}
        logits: Tensor = self(features, x.size, x.tokens[None], x.token_mask[None])
        return logits.float()

    @property
    def attention_names(self) -> tuple[str, ...]:
        """The two attentions of each block."""
        return tuple(
            f"{_named(block)}, {which}" for block in ordered(self.spec.channels) for which in ("first", "second")
        )

    def attention_maps_prepared(
        self, prepared: Prepared, x: HeadInput, words: Float[Tensor, "token word"]
    ) -> Float[Tensor, "name word y x"]:
        """As `Head.attention_maps`, at each block's resolution, then enlarged; the heads of an attention averaged."""
        enlarged = []
        for block, map_ in ((block, prepared[block]) for block in ordered(prepared)):
            pixels = self._project(block, map_)
            weights = self.text_block.weights(pixels.flatten(0, 1)[None], x.tokens[None], x.token_mask[None]) @ words
            enlarged.append(F.interpolate(weights.mT.unflatten(-1, pixels.shape[:2]), x.size, mode="bilinear"))
        return torch.cat(enlarged)

    def _project(self, block: MapKey, features: Tensor) -> Tensor:
        if features.shape[-1] == self.spec.width:
            return features
        return self.project_deepest(features) if block == self._deepest else self.project_others(features)


class TextBlock(nn.Module):
    """A transformer block: two cross-attentions to the text, then one linear layer; each adds to its input.

    Args:
        spec: the sizes.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(CrossAttention(spec) for _ in range(2))
        self.feed_forward = nn.Sequential(nn.LayerNorm(spec.width), nn.GELU(), nn.Linear(spec.width, spec.width))

    def forward(
        self,
        pixels: Float[Tensor, "image pixel width"],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
    ) -> Float[Tensor, "image pixel width"]:
        """The pixels after they have read from the text."""
        for attention in self.attentions:
            pixels = pixels + attention(pixels, tokens, mask)
        return pixels + self.feed_forward(pixels)

    def weights(
        self,
        pixels: Float[Tensor, "1 pixel width"],
        tokens: Float[Tensor, "1 token dim"],
        mask: Bool[Tensor, "1 token"],
    ) -> Float[Tensor, "attention pixel token"]:
        """How much of what an image's pixels read is of each token, in each attention, its heads averaged."""
        weights = []
        for attention in (one for one in self.attentions if isinstance(one, CrossAttention)):
            weights.append(attention.weights(pixels, tokens, mask)[0].mean(0))
            pixels = pixels + attention(pixels, tokens, mask)
        return torch.stack(weights)


class CrossAttention(nn.Module):
    """Multi-head attention from normalised pixels to text tokens, whose result is normalised again.

    Args:
        spec: the sizes; the heads together have `n_attention_heads` × 64 channels.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.n_attention_heads = spec.n_attention_heads
        inner = spec.n_attention_heads * HEAD_CHANNELS
        self.norm = nn.LayerNorm(spec.width)
        self.to_query = nn.Linear(spec.width, inner, bias=False)
        self.to_key = nn.Linear(spec.text_dim, inner, bias=False)
        self.to_value = nn.Linear(spec.text_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, spec.width), nn.LayerNorm(spec.width))

    def forward(
        self,
        pixels: Float[Tensor, "image pixel width"],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
    ) -> Float[Tensor, "image pixel width"]:
        """Values that each pixel reads from the text (no residual); 0 where an image's mask is false throughout."""
        has_text = mask.any(1, keepdim=True)
        query = self._heads(self.to_query(self.norm(pixels)))
        key, value = self._heads(self.to_key(tokens)), self._heads(self.to_value(tokens))
        # Attending to nothing would give NaN; without a text, attend to anything and drop what is read.
        attended = (mask | ~has_text)[:, None, None, :]
        read = attend(query, key, value, attended)
        return self.to_out(read.transpose(1, 2).flatten(2)) * has_text[..., None]

    def weights(
        self,
        pixels: Float[Tensor, "image pixel width"],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
    ) -> Float[Tensor, "image head pixel token"]:
        """How much of what each pixel reads is of each token; all 0 where an image has no text."""
        has_text = mask.any(1, keepdim=True)
        query, key = self._heads(self.to_query(self.norm(pixels))), self._heads(self.to_key(tokens))
        return attention_weights(query, key, mask | ~has_text) * has_text[:, None, None]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_attention_heads, -1)).transpose(1, 2)  # [image, head, item, channel]


def ordered(blocks: Iterable[MapKey]) -> list[MapKey]:
    """Blocks from the deepest on, then layers by name."""
    return sorted(blocks, key=lambda block: (isinstance(block, str), block))


def _named(block: MapKey) -> str:
    return f"layer {block}" if isinstance(block, str) else f"block {block}"


def stack_maps(images: Sequence[Maps]) -> dict[MapKey, Float[Tensor, "image y x channel"]]:
    """Whole activations of some images as `PaperHead` takes them: block → float32, timesteps joined on channels."""
    joined = [
        {block: torch.cat([dense(map_).float() for map_ in of], -1) for block, of in maps.items()} for maps in images
    ]
    return {block: torch.stack([maps[block] for maps in joined]) for block in joined[0]}


def _projection(channels: int, width: int) -> nn.Module:
    return nn.Identity() if channels == width else nn.Linear(channels, width)


def _shared_channels(spec: HeadSpec, blocks: Sequence[MapKey]) -> int:
    """Channels of those of the blocks that need a projection; the width itself where none does."""
    channels = {block: spec.channels[block] for block in blocks if spec.channels[block] != spec.width}
    if len(set(channels.values())) > 1:
        sizes = ", ".join(f"{_named(block)} has {n_channels}" for block, n_channels in channels.items())
        raise ConfigError(
            f"--head paper: all blocks after the deepest share one projection to {spec.width} channels, so those that "
            f"are not {spec.width} wide already must be equally wide, all timesteps together; {sizes}. "
            "Leave some out with --blocks, or use --head pixel"
        )
    return next(iter(channels.values()), spec.width)


def _decoder(in_channels: int, n_classes: int) -> nn.Sequential:
    widths = (in_channels, *DECODER_WIDTHS)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], n_classes, 3, padding=1))


def _initialise(module: nn.Module) -> None:
    """The authors' initial weights; layer norms keep torch's."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
        centre = 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0
        nn.init.normal_(module.weight, centre, INITIAL_SPREAD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
