"""Interface of a head, and the parts that guided heads share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..features.position import N_FREQUENCIES, MapRegions, positional_encoding
from ..features.sampling import FILTERS, MapKey, Maps, dense
from ..precision import Precision, arithmetic
from .attention import TextAttention, TextReader
from .input import HeadInput
from .probe import LinearProbe

ALL_CHANNELS = slice(None)
"""All channels."""


POSITION_GAIN = 8.0
"""Factor of the positional encoding beside the activations. At 1, words such as "upper" are hardly learnt
(docs/results.md)."""


@dataclass(frozen=True)
class HeadSpec:
    """The sizes of a head."""

    channels: dict[MapKey, int]
    """MapKey or layer → channels of its activations, all timesteps together; under `FILTERS` those of the filters."""
    n_classes: int
    """Classes, background included."""
    text_dim: int
    """Channels of a text token; 1 where there are no texts."""
    width: int
    """Channels that the blocks are brought to, in which the pixels read from the text."""
    n_attention_heads: int
    """Attention heads of the cross-attention to the text."""
    fine: tuple[MapKey, ...] = ()
    """Those of `channels` whose maps are as fine as the label map."""
    position: bool = True
    """Whether the head has a positional encoding."""

    def __post_init__(self) -> None:
        """Bring the keys of a JSON object, which are strings, back to blocks."""
        channels = {int(key) if str(key).lstrip("-").isdigit() else key: n for key, n in self.channels.items()}
        object.__setattr__(self, "channels", channels)


Prepared = Mapping[MapKey, Float[Tensor, "y x channel"]]
"""MapKey → its activations as a head uses them, all timesteps together, at the block's own resolution."""


class Head(nn.Module, ABC):
    """The trained part, of any kind: it turns an image's activations and text into its segmentation.

    Args:
        spec: the sizes.
    """

    precision: Precision = "float32"
    """Of the arithmetic of logits, in training and after it; set by those who train or load the head."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec

    def arithmetic(self, device: str | torch.device) -> torch.autocast:
        """Context of the head's forward on a device."""
        return arithmetic(self.precision, device)

    @property
    def members(self) -> Sequence[Head]:
        """The heads whose probabilities are averaged: of an ensemble its heads, else this one alone."""
        return (self,)

    @abstractmethod
    def prepare(self, features: Maps) -> Prepared:
        """The features as `segment_prepared` takes them; the same for all members of an ensemble."""

    @abstractmethod
    def segment_prepared(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "member n_classes y x"]:
        """As `segment`, with gradients.

        Args:
            prepared: what `prepare` gives of the input's features: the same for any text.
            x: the input.
        """

    @property
    @abstractmethod
    def attention_names(self) -> tuple[str, ...]:
        """Names of the attentions, each of which `attention_maps` gives a map of."""

    @abstractmethod
    def attention_maps_prepared(
        self, prepared: Prepared, x: HeadInput, words: Float[Tensor, "token word"]
    ) -> Float[Tensor, "name word y x"]:
        """As `attention_maps`, with gradients.

        Args:
            prepared: as `segment_prepared`.
            x: the input.
            words: as `attention_maps`.
        """

    @torch.no_grad()
    def segment(self, x: HeadInput) -> Float[Tensor, "member n_classes y x"]:
        """Each member's logits of every pixel, without gradients; the head must be in evaluation mode."""
        prepared = self.prepare(x.features)
        with self.arithmetic(x.tokens.device):
            return self.segment_prepared(prepared, x)

    # `GuidedHead` holds its layer under the name `attention`, which is in the keys of head.safetensors.
    @torch.no_grad()
    def attention_maps(self, x: HeadInput, words: Float[Tensor, "token word"]) -> Float[Tensor, "name word y x"]:
        """How much attention every pixel pays to words, in [0, 1], without gradients.

        Args:
            x: the input.
            words: 1 where a token belongs to a word.
        """
        return self.attention_maps_prepared(self.prepare(x.features), x, words)


class GuidedHead(Head):
    """Parts of all heads that standardise and project activations, encode the pixel's position, and attend to the text.

    Args:
        spec: the sizes.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        width = spec.width
        for block, n_channels in spec.channels.items():
            self.register_buffer(f"mean_{block}", torch.zeros(n_channels))
            self.register_buffer(f"scale_{block}", torch.ones(n_channels))
        self.projections = nn.ModuleDict({str(block): self.projection(block, n) for block, n in spec.channels.items()})
        # The layer of the positional encoding; its name is in the keys of head.safetensors.
        self.place = nn.Linear(4 * N_FREQUENCIES, width) if spec.position else None
        n_scaled = 2 if spec.position else 1
        self.attention = TextAttention(width, spec.text_dim, spec.n_attention_heads, n_out=(n_scaled + 1) * width)
        self.probe = LinearProbe(spec.channels[FILTERS], spec.n_classes) if FILTERS in spec.channels else None

    def projection(self, block: MapKey, n_channels: int) -> nn.Module:
        """Layer from a block's standardised activations to the head's width."""
        del block
        return nn.Linear(n_channels, self.spec.width)

    def standardise(self, block: MapKey, features: Float[Tensor, "pixel channel"]) -> None:
        """Take the mean and the spread of a sample of a block's activations as the origin and unit of its input."""
        features = features.float()
        self.get_buffer(f"mean_{block}").copy_(features.mean(0))
        self.get_buffer(f"scale_{block}").copy_(features.std(0, correction=0).clamp(min=1e-4).reciprocal())

    def standardised(
        self, block: MapKey, features: Float[Tensor, "*pixel channel"], channels: slice = ALL_CHANNELS
    ) -> Float[Tensor, "*pixel channel"]:
        """A block's activations, all or those of some channels, from their origin in their unit, in float32."""
        mean, scale = (self.get_buffer(f"{name}_{block}")[channels] for name in ("mean", "scale"))
        return (features.float() - mean).mul_(scale)

    @abstractmethod
    def logits(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "1 n_classes y x"]:
        """As `segment_prepared`, without the probe.

        Args:
            prepared: as `segment_prepared`.
            x: the input.
        """

    def segment_prepared(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "1 n_classes y x"]:
        """As `Head.segment`: the logits, and the probe's answer where the head sees filters."""
        logits = self.logits(prepared, x)
        if self.probe is None:
            return logits
        with torch.autocast(logits.device.type, enabled=False):
            return self.probe.mixed(logits, dense(x.features[FILTERS][0]))

    def prepare(self, features: Maps) -> Prepared:
        """The activations as they are: a part at a time is standardised when it is projected."""
        return {block: torch.cat([dense(map_) for map_ in maps], -1) for block, maps in features.items()}

    @property
    def attention_names(self) -> tuple[str, ...]:
        """The heads of the one attention: it comes after the blocks are summed, so that there is none of a block."""
        return tuple(f"head {i}" for i in range(1, self.spec.n_attention_heads + 1))

    def guide(
        self,
        projected: Float[Tensor, "image pixel width"],
        pixels: Int[Tensor, "image pixel"],
        size: tuple[int, int],
        read: TextReader,
        *,
        regions: MapRegions,
    ) -> Float[Tensor, "image pixel width"]:
        """The pixels as their places and the text make them.

        Args:
            projected: sum over blocks of the projected activations.
            pixels: positions in a flattened map.
            size: (y, x) of that map.
            read: the images' texts, of the head's attention.
            regions: what the map of each image shows of it; a single one holds for all.
        """
        known = self._known(projected, pixels, size, regions)
        *scales, guided = read(reduce(torch.add, known)).chunk(len(known) + 1, -1)
        for x, scale in zip(known, scales, strict=True):
            guided = guided + x * (1 + scale) if self.training else torch.addcmul(guided, x, 1 + scale)
        return guided

    def _known(
        self, projected: Tensor, pixels: Tensor, size: tuple[int, int], regions: MapRegions
    ) -> list[Float[Tensor, "#image pixel width"]]:
        """Parts of the query whose sum reads from the text: the pixels' activations and, unless hidden, places."""
        if self.place is None:
            return [projected]
        return [projected, self.place(POSITION_GAIN * positional_encoding(pixels, size, regions))]
