"""Frozen diffusion UNets as feature extractors: their decoder's activations on noised images.

Decoder blocks are numbered as guided-diffusion numbers its `output_blocks`: 0 is the deepest, and a block is a
residual block with its attention and, where a level ends, the upsampling (see `decoder.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...errors import ConfigError
from ..precision import Precision, arithmetic
from ..sources.guard import network_forbidden
from ..sources.loading import function_digest, parse_source
from .bfloat16 import to_bfloat16
from .decoder import TruncatedUNet, levels
from .diffusers_folder import load_pixel_unet, model_settings
from .latent import LatentInput
from .noise import check_timesteps, noised
from .schedule import NoiseSchedule, noise_schedule

N_LEVELS_KEPT = 16
"""Choices of timesteps that stay on the device."""
KINDS = ("diffusers", "guided-diffusion", "stable-diffusion")


@dataclass(frozen=True, eq=False)
class FrozenUNet:
    """A UNet that is never trained again, with the noise schedule of its training."""

    model: nn.Module
    """diffusers' `UNet2DModel` or `UNet2DConditionModel`, in eval mode, without gradients."""

    alphas_cumprod: Float[Tensor, " T"]
    """alpha_bar of the checkpoint's scheduler, float32 on the CPU."""

    prediction_type: str
    """Target of its predictions: `epsilon`, `v_prediction` or `sample`."""

    digest: str
    """Sha256 over the weights, the settings that change what they compute, and the noise schedule; for a latent UNet
    also over the VAE and the text encoder. The class label and the prompts are not in it."""

    source: str
    """The `kind:where` that it was loaded from."""

    class_label: int | None = None
    """Label given to a class-conditional UNet; `None`: its label embedding is left out."""

    latent: LatentInput | None = None
    """VAE and text encoder of a latent UNet; `None`: the UNet reads the image itself and no text."""

    @property
    def text_conditioned(self) -> bool:
        """Whether the UNet reads a prompt."""
        return self.latent is not None

    @property
    def n_blocks(self) -> int:
        """Number of decoder blocks."""
        return sum(len(level.resnets) for level in levels(self.model.up_blocks))

    @property
    def in_channels(self) -> int:
        """Channels of its images; of a latent UNet, those that its VAE reads."""
        return 3 if self.latent else cast("nn.Conv2d", self.model.conv_in).in_channels

    @property
    def size_multiple(self) -> int:
        """Height and width of an image must be multiples of this."""
        n_halvings = sum(bool(level.downsamplers) for level in levels(self.model.down_blocks))
        return (self.latent.pixels_per_latent if self.latent else 1) << n_halvings

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device


class UNetRecorder:
    """Records the activations of chosen decoder blocks; nothing after the last of them is computed."""

    def __init__(
        self, frozen: FrozenUNet, blocks: Sequence[int], precision: Precision = "float32", *, compiled: bool = False
    ) -> None:
        """Choose decoder blocks by number, in any order.

        Args:
            frozen: the UNet.
            blocks: numbers of its decoder blocks.
            precision: `float32` runs the UNet as it is; `bfloat16` and `float16` run it under autocast of that dtype;
                `bfloat16-weights` runs one that was loaded so. A VAE, a text encoder and the noising stay in float32.
            compiled: run the UNet through torch.compile: minutes at the first forward of each shape, which has a graph
                of its own, so that activations do not depend on the shapes before.

        Raises:
            ConfigError: no block was given, one was given twice or does not exist, or the precision is unknown or not
                that of the weights.
        """
        _check_blocks(blocks, frozen.n_blocks)
        if precision not in get_args(Precision):
            raise ConfigError(f"unknown precision {precision!r}; expected one of {', '.join(get_args(Precision))}")
        weights = next(frozen.model.parameters()).dtype
        if precision == "bfloat16-weights" and weights != torch.bfloat16:
            raise ConfigError(f"got {precision} for weights in {weights}; give load_unet bfloat16_weights=True")
        self.frozen = frozen
        self.blocks = tuple(sorted(blocks))
        self.precision = precision
        self.compiled = compiled
        self.truncated = TruncatedUNet(frozen.model, self.blocks, frozen.class_label)
        self._levels = lru_cache(maxsize=N_LEVELS_KEPT)(self._levels_of)
        self._run = torch.compile(self.truncated, dynamic=False) if compiled else self.truncated

    @torch.inference_mode()
    def record(
        self,
        image: Float[Tensor, "batch channel y x"],
        timesteps: Sequence[int],
        noise: Float[Tensor, "#batch x0_channel x0_y x0_x"],
        prompts: Sequence[str] | None = None,
    ) -> dict[int, Float[Tensor, "timestep batch channel y x"]]:
        """Noise the images to every timestep and run them all in one forward pass.

        Args:
            image: in [-1, 1], RGB; moved to the UNet's device. A latent UNet's x_0 is its VAE's latent, others' the
                image itself.
            timesteps: within the scheduler's range; the activations keep their order.
            noise: eps, one a sample or one for all, of x_0's shape (see `noise_shape`).
            prompts: one an image, for a UNet that reads text; `None`: the empty prompt for all.

        Returns:
            Activations by block number on the UNet's device, as inference tensors (no autograd), in the dtype of the
            block's last operation: the weights' own, or under autocast mostly `precision`. In memory they mostly lie
            channels last.

        Raises:
            ConfigError: timesteps are out of range, the UNet cannot read images of this shape, the noise has another
                shape than x_0, or prompts do not suit the UNet or the images.
            DataError: prompts are longer than the text encoder reads.
        """
        self._check_image(*image.shape[1:])
        self._check_noise(noise, image)
        text = self._tokens(prompts, len(image))
        device, dtype = self.frozen.device, next(self.truncated.parameters()).dtype
        t, alpha_bar = self._levels(tuple(timesteps), device)
        x_t = noised(self._x_0(image.to(device)), noise.to(device), alpha_bar)
        t = t.repeat_interleave(len(image))
        if text is not None:
            text = text.to(dtype).repeat(len(timesteps), 1, 1)
        with arithmetic("float32" if self.precision == "bfloat16-weights" else self.precision, device):
            activations = self._run(x_t.flatten(0, 1).to(dtype, memory_format=torch.channels_last), t, text)
        return {block: a.unflatten(0, (len(timesteps), len(image))) for block, a in activations.items()}

    def to(self, device: str) -> None:
        """Move the whole UNet, with what a latent one has beside it."""
        self.truncated.to(device)
        self.frozen.model.to(device)
        if self.frozen.latent is not None:
            self.frozen.latent.to(device)

    def noise_shape(self, image_size: int) -> tuple[int, int, int]:
        """(channel, y, x) of x_0, and so of its noise, for square images: the image's own, or its latent's.

        Raises:
            ConfigError: the UNet cannot read images of this size.
        """
        self._check_image(self.frozen.in_channels, image_size, image_size)
        return self._x_0_shape(image_size, image_size)

    def shapes(self, image_size: int) -> dict[int, tuple[int, int, int]]:
        """(channel, y, x) of each block for square images, found on the meta device: no arithmetic is done.

        Raises:
            ConfigError: the UNet cannot read images of this size.
        """
        shape, latent = self.noise_shape(image_size), self.frozen.latent
        state = {**dict(self.truncated.named_parameters()), **dict(self.truncated.named_buffers())}
        on_meta = {name: tensor.to("meta") for name, tensor in state.items()}
        dtype = on_meta["conv_in.weight"].dtype
        x_t = torch.empty(1, *shape, device="meta", dtype=dtype)
        text = torch.empty(1, 1, latent.text_dim, device="meta", dtype=dtype) if latent else None
        t = torch.zeros(1, dtype=torch.long, device="meta")
        with torch.no_grad():
            activations = torch.func.functional_call(self.truncated, on_meta, (x_t, t, text))
        return {block: tuple(activation.shape[1:]) for block, activation in activations.items()}

    def _levels_of(
        self, timesteps: Sequence[int], device: torch.device
    ) -> tuple[Int[Tensor, " timestep"], Float[Tensor, " timestep"]]:
        """The timesteps and their alpha_bar on the device, where they stay: a copy would wait for all that it does."""
        alphas_cumprod = self.frozen.alphas_cumprod
        check_timesteps(timesteps, len(alphas_cumprod))
        return torch.tensor(timesteps, device=device), alphas_cumprod[list(timesteps)].float().to(device)

    def _x_0(self, image: Float[Tensor, "batch 3 y x"]) -> Float[Tensor, "batch x0_channel x0_y x0_x"]:
        return self.frozen.latent.encode_image(image) if self.frozen.latent else image

    def _x_0_shape(self, height: int, width: int) -> tuple[int, int, int]:
        latent = self.frozen.latent
        if latent is None:
            return self.frozen.in_channels, height, width
        return latent.channels, height // latent.pixels_per_latent, width // latent.pixels_per_latent

    def _tokens(self, prompts: Sequence[str] | None, n_images: int) -> Float[Tensor, "batch token dim"] | None:
        if self.frozen.latent is None:
            if prompts is not None:
                raise ConfigError(f"the UNet {self.frozen.source} reads no text, got {len(prompts)} prompts; give none")
            return None
        if prompts is not None and len(prompts) != n_images:
            raise ConfigError(f"got {len(prompts)} prompts for {n_images} images; expected one an image, or none")
        return self.frozen.latent.encode_prompts([""] * n_images if prompts is None else prompts)

    def _check_image(self, channels: int, height: int, width: int) -> None:
        multiple, expected = self.frozen.size_multiple, self.frozen.in_channels
        if channels != expected:
            raise ConfigError(f"the UNet {self.frozen.source} reads {expected} channels, got images of {channels}")
        if min(height, width) < 1 or height % multiple or width % multiple:
            raise ConfigError(
                f"the UNet {self.frozen.source} halves images {multiple.bit_length() - 1} times: height and width "
                f"must be multiples of {multiple}, got {height}x{width}; choose another image size"
            )

    def _check_noise(self, noise: Tensor, image: Tensor) -> None:
        expected = self._x_0_shape(image.shape[2], image.shape[3])
        if tuple(noise.shape[1:]) != expected or len(noise) not in (1, len(image)):
            raise ConfigError(
                f"the noise has the shape {tuple(noise.shape)}; expected {expected} for each of {len(image)} images or "
                "for all: draw it in the shape that noise_shape gives"
            )


def _check_blocks(blocks: Sequence[int], n_blocks: int) -> None:
    outside = [block for block in blocks if not 0 <= block < n_blocks]
    valid = f"the UNet has decoder blocks 0 (deepest) to {n_blocks - 1}"
    if outside:
        raise ConfigError(f"there are no decoder blocks {outside}; {valid}")
    if not blocks or len(set(blocks)) < len(blocks):
        raise ConfigError(f"blocks must be one or more, each given once, got {list(blocks)}; {valid}")


def load_unet(
    source: str,
    device: str = "cpu",
    *,
    config: Path | None = None,
    class_label: int | None = None,
    bfloat16_weights: bool = False,
    offline: bool = False,
) -> FrozenUNet:
    """Load a frozen UNet with its noise schedule, in float32, its weights channels last in memory.

    Args:
        source: `diffusers:FOLDER_OR_HUB_ID`, a DDPM or DDIM pipeline, or a `UNet2DModel` with `scheduler_config.json`
            in it or in a `scheduler` folder in or beside it; `guided-diffusion:FILE`, a checkpoint of OpenAI's; or
            `stable-diffusion:FOLDER_OR_HUB_ID`, a Stable Diffusion pipeline (version 1 or 2).
        device: where to put the weights.
        config: for `guided-diffusion` alone: JSON file of its flags, which published models do not need.
        class_label: for a class-conditional UNet: its label for all images; `None`: none.
        bfloat16_weights: whether to turn the UNet's weights to bfloat16 (bfloat16.py); its digest stays the same.
        offline: whether the network is forbidden: hub ids then stand for what was fetched before.

    Raises:
        ConfigError: `config` or `class_label` does not suit the model.
        SourceError: there is no such model, it is damaged or incomplete, of another class, or built of parts whose
            decoder cannot be numbered; or the hub cannot be reached.
    """
    kind, where = parse_source(source, KINDS)
    with network_forbidden(offline):
        model, scheduler, latent = _load(source, kind, where, config)
    _check_class_label(source, model, class_label)
    schedule = noise_schedule(source, scheduler)
    return FrozenUNet(
        digest=_digest(model, schedule, latent),  # before the weights change, and move to the device
        model=(to_bfloat16(model) if bfloat16_weights else model).to(device, memory_format=torch.channels_last),
        alphas_cumprod=schedule.alphas_cumprod,
        prediction_type=schedule.prediction_type,
        source=source,
        class_label=class_label,
        latent=latent.to(device) if latent is not None else None,
    )


def _load(source: str, kind: str, where: str, config: Path | None) -> tuple[Any, Any, LatentInput | None]:
    if config is not None and kind != "guided-diffusion":
        raise ConfigError(f"{source}: got the config {config}, which only guided-diffusion:FILE takes; leave it out")
    if kind == "stable-diffusion":
        from .stable_diffusion import load_stable_diffusion

        return load_stable_diffusion(source, where)
    if kind == "guided-diffusion":
        from .guided.convert import convert_checkpoint

        converted = convert_checkpoint(source, Path(where).expanduser(), config)
        return converted.model, converted.scheduler, None
    return *load_pixel_unet(source, where), None


def _digest(model: Any, schedule: NoiseSchedule, latent: LatentInput | None) -> str:  # noqa: ANN401
    settings, state = {**model_settings(model), **schedule.settings}, model.state_dict()
    if latent is not None:
        settings["latent"] = latent.settings
        state |= {f"latent.{name}": tensor for name, tensor in latent.state_dict().items()}
    return function_digest(state, settings)


def _check_class_label(source: str, model: Any, class_label: int | None) -> None:  # noqa: ANN401
    if class_label is None:
        return
    if model.class_embedding is None:
        raise ConfigError(
            f"{source}: got the class label {class_label}, but the UNet is not class-conditional; leave it out"
        )
    n_classes = model.class_embedding.num_embeddings
    if not 0 <= class_label < n_classes:
        raise ConfigError(f"{source}: there is no class {class_label}; the UNet has classes 0 to {n_classes - 1}")
