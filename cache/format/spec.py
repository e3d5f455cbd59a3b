"""Identity of a cache's content: features, texts and labels apart, so that each may change alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..storage.atomic import canonical_json

FORMAT = 1
"""Version of the layout that FORMAT.md describes."""

UNET_FIELDS = ("unet_digest", "prediction_type", "noise", "noise_draws", "class_label", "condition")
"""Fields of a FeatureSpec that say nothing where there is no UNet."""

LOCATION_FIELDS = ("unet", "unet_config", "tile_overlap")
"""Fields of a FeatureSpec that say where a model lies or how tiles overlap, not what a row's numbers are."""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that activations depend on beside the image, the block and the timestep."""

    unet: str | None
    """Where the UNet was loaded from (`kind:where`); says where to look, does not identify. `None`: there is no UNet,
    only encoders."""
    unet_digest: str
    """Digest of the UNet's weights, configuration and noise schedule; "": there is none."""
    prediction_type: str
    """Target of the UNet's training, as its scheduler names it; "": there is none."""
    noise: str
    """`shared` or `per-sample`."""
    noise_draws: int
    """How many noises the activations are averaged over."""
    seed: int
    """Seed of the noise."""
    image_size: int
    """Side of the UNet's input in pixels; images are resized to it by Pillow's antialiased bilinear filter."""
    window: tuple[int, int] | None
    """Intensities that become 0 and 255 in images of more than 8 bits."""
    dtype: str
    """Of the stored activations."""
    rows_per_shard: int
    """Images in one work unit, one forward and one shard."""
    unet_config: str | None = None
    """File that says what the UNet's checkpoint does not; says where to look, does not identify."""
    precision: str = "float32"
    """Arithmetic of the forward: `float32`, that of autocast (`bfloat16`, `float16`), or `bfloat16-weights`: all of
    the UNet in bfloat16, encoders under autocast of it."""
    class_label: int | None = None
    """Class of a class-conditional UNet; `None`: none."""
    condition: str = "none"
    """Prompt of a text-conditioned UNet: `empty` or the sample's `own` text; `none`: it reads no text."""
    pca: int | None = None
    """Principal components kept of each block's channels; `None`: the channels as they are."""
    tile: int | None = None
    """Side in native pixels of the square tiles that images are cut into; `None`: whole images."""
    colours: str = "own"
    """The images' `own` colours, or `standardised`: each image's channels at one mean and spread."""
    tile_overlap: int = 0
    """Native pixels that neighbouring tiles share, as asked for last; does not identify: rows have their offsets."""

    def differences(self, wanted: FeatureSpec) -> list[str]:
        """One line for each field in which features of `wanted` would not be the ones here.

        A UNet may come to a cache of encoders, and encoders to that of a UNet: its fields then differ in nothing.
        """
        here, there = asdict(self), asdict(wanted)
        if self.unet is None or wanted.unet is None:
            here |= {name: there[name] for name in UNET_FIELDS}
        return [
            f"{name}: the cache has {here[name]}, this request needs {there[name]}"
            for name in here
            if name not in LOCATION_FIELDS and here[name] != there[name]
        ]

    def with_unet_of(self, other: FeatureSpec) -> FeatureSpec:
        """The same with the UNet of another spec, and what goes with it."""
        given = {name: getattr(other, name) for name in ("unet", "unet_config", *UNET_FIELDS)}
        return replace(self, **given)

    def without_unet(self) -> FeatureSpec:
        """The same as of a cache of encoders alone."""
        absent = replace(self, unet=None, unet_config=None, unet_digest="", prediction_type="")
        return replace(absent, class_label=None, condition="none")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """The inverse of `dataclasses.asdict`, from JSON."""
        window = values["window"]
        return cls(**{**values, "window": None if window is None else (int(window[0]), int(window[1]))})


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that the activations of an image encoder depend on beside the image, the layer and the spec."""

    source: str
    """Where the encoder was loaded from; says where to look, does not identify."""
    digest: str
    """Digest of the encoder's weights, and of the mean and spread that it takes from colours."""
    input_side: int
    """Side in pixels to which the rows' images are resized for it."""

    def differences(self, wanted: EncoderSpec) -> list[str]:
        """One line for each field in which activations of `wanted` would not be the ones here."""
        return [
            f"{name}: the cache has {here}, this request needs {there}"
            for name in ("digest", "input_side")
            if (here := getattr(self, name)) != (there := getattr(wanted, name))
        ]


@dataclass(frozen=True)
class TextSpec:
    """Everything that tokens depend on beside the text."""

    encoder: str
    """Where the text encoder was loaded from; says where to look, does not identify."""
    encoder_digest: str
    """Digest of the encoder's weights and vocabulary."""
    dim: int
    """Channels of a token."""
    n_tokens: int
    """Tokens of the longest text, to which the others are padded."""
    truncated: bool
    """Whether texts over the encoder's limit were cut."""


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
