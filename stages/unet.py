"""Frozen diffusion UNets as feature extractors: their decoder's activations on noised images.

Decoder blocks are numbered as guided-diffusion numbers its `output_blocks`: 0 is the deepest, and a block is a
residual block with its attention and, where a level ends, the upsampling (see `decoder.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ConfigError, SourceError
from .decoder import DOWN_BLOCKS, UP_BLOCKS, TruncatedUNet, levels
from .noise import add_noise
from .sources import function_digest, model_folder, parse_source, unusable

_HUB_FILES = ("model_index.json", "*config.json", "unet/*.json", "scheduler/*.json")
_HUB_WEIGHTS = (
    ("diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"),
    ("diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.bin"),
)

# What changes activations and does not show in the weights' names and shapes.
_MODEL_SETTINGS = (
    "center_input_sample",
    "time_embedding_type",
    "freq_shift",
    "flip_sin_to_cos",
    "down_block_types",
    "up_block_types",
    "layers_per_block",
    "mid_block_scale_factor",
    "downsample_padding",
    "downsample_type",
    "upsample_type",
    "act_fn",
    "attention_head_dim",
    "norm_num_groups",
    "attn_norm_num_groups",
    "norm_eps",
    "resnet_time_scale_shift",
    "add_attention",
)
_SCHEDULE_SETTINGS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


@dataclass(frozen=True, eq=False)
class FrozenUNet:
    """A UNet that is never trained again, with what its checkpoint says about the noise it was trained on."""

    model: nn.Module
    """diffusers' `UNet2DModel` in float32, in eval mode, without gradients."""

    alphas_cumprod: Float[Tensor, " T"]
    """alpha_bar of the checkpoint's scheduler, float32 on the CPU."""

    prediction_type: str
    """What the UNet predicts (`epsilon`, `v_prediction`, `sample`)."""

    digest: str
    """Sha256 over the weights, the settings that change what they compute, and the noise schedule."""

    source: str
    """The `kind:where` that it was loaded from."""

    @property
    def n_blocks(self) -> int:
        """How many decoder blocks there are to choose from."""
        return sum(len(level.resnets) for level in levels(self.model.up_blocks))

    @property
    def in_channels(self) -> int:
        """Channels of the image that it reads."""
        return cast("nn.Conv2d", self.model.conv_in).in_channels

    @property
    def size_multiple(self) -> int:
        """Height and width of an image must be multiples of this."""
        n_halvings = sum(bool(level.downsamplers) for level in levels(self.model.down_blocks))
        return 1 << n_halvings

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


class UNetRecorder:
    """Records the activations of chosen decoder blocks; nothing after the last of them is computed."""

    def __init__(self, frozen: FrozenUNet, blocks: Sequence[int]) -> None:
        """Choose decoder blocks by number, in any order.

        Raises:
            ConfigError: no block was given, one was given twice, or there is none of that number.
        """
        _check_blocks(blocks, frozen.n_blocks)
        self.frozen = frozen
        self.blocks = tuple(sorted(blocks))
        self.truncated = TruncatedUNet(frozen.model, self.blocks)

    @torch.inference_mode()
    def record(
        self,
        image: Float[Tensor, "batch channel y x"],
        timesteps: Sequence[int],
        noise: Float[Tensor, "#batch channel y x"],
    ) -> dict[int, Float[Tensor, "timestep batch channel y x"]]:
        """Noise the images to every timestep and run them all in one forward pass.

        Args:
            image: x_0 in [-1, 1], RGB; moved to the UNet's device.
            timesteps: within the scheduler's range; the activations keep their order.
            noise: eps, one a sample or one for all.

        Returns:
            Activations by block number on the UNet's device, in its dtype, as inference tensors (no autograd).

        Raises:
            ConfigError: timesteps are out of range, or the UNet cannot read images of this shape.
        """
        self._check_image(*image.shape[1:])
        device, dtype = self.frozen.device, next(self.truncated.parameters()).dtype
        x_t = add_noise(image.to(device), noise.to(device), timesteps, self.frozen.alphas_cumprod)
        t = torch.tensor(list(timesteps), device=device).repeat_interleave(len(image))
        activations = self.truncated(x_t.flatten(0, 1).to(dtype), t)
        return {block: a.unflatten(0, (len(timesteps), len(image))) for block, a in activations.items()}

    def shapes(self, image_size: int) -> dict[int, tuple[int, int, int]]:
        """(channel, y, x) of each block for square images, found on the meta device: no arithmetic is done.

        Raises:
            ConfigError: the UNet cannot read images of this size.
        """
        self._check_image(self.frozen.in_channels, image_size, image_size)
        state = {**dict(self.truncated.named_parameters()), **dict(self.truncated.named_buffers())}
        on_meta = {name: tensor.to("meta") for name, tensor in state.items()}
        image = torch.empty(
            1, self.frozen.in_channels, image_size, image_size, device="meta", dtype=on_meta["conv_in.weight"].dtype
        )
        t = torch.zeros(1, dtype=torch.long, device="meta")
        with torch.no_grad():
            activations = torch.func.functional_call(self.truncated, on_meta, (image, t))
        return {block: tuple(activation.shape[1:]) for block, activation in activations.items()}

    def _check_image(self, channels: int, height: int, width: int) -> None:
        multiple, expected = self.frozen.size_multiple, self.frozen.in_channels
        if channels != expected:
            raise ConfigError(f"the UNet {self.frozen.source} reads {expected} channels, got images of {channels}")
        if min(height, width) < 1 or height % multiple or width % multiple:
            raise ConfigError(
                f"the UNet {self.frozen.source} halves images {multiple.bit_length() - 1} times: height and width "
                f"must be multiples of {multiple}, got {height}x{width}; choose another image size"
            )


def _check_blocks(blocks: Sequence[int], n_blocks: int) -> None:
    outside = [block for block in blocks if not 0 <= block < n_blocks]
    valid = f"the UNet has decoder blocks 0 (deepest) to {n_blocks - 1}"
    if outside:
        raise ConfigError(f"there are no decoder blocks {outside}; {valid}")
    if not blocks or len(set(blocks)) < len(blocks):
        raise ConfigError(f"blocks must be one or more, each given once, got {list(blocks)}; {valid}")


def load_unet(source: str, device: str = "cpu") -> FrozenUNet:
    """Load a diffusers `UNet2DModel` with its noise schedule, in float32.

    Args:
        source: `diffusers:FOLDER_OR_HUB_ID`, where the folder is a `UNet2DModel`'s own, with `scheduler_config.json`
            in it or in a `scheduler` folder in or beside it, or a DDPM or DDIM pipeline's.
        device: where to put the weights.

    Raises:
        SourceError: there is no such model, it is damaged or incomplete, of another class, or built of parts whose
            decoder cannot be numbered; or the hub cannot be reached.
    """
    _, where = parse_source(source, ["diffusers"])
    root = model_folder(source, where, _HUB_FILES, _HUB_WEIGHTS)
    folder = root / "unet" if (root / "unet" / "config.json").is_file() else root
    _refuse_latents(source, folder)
    _check_class(source, folder)
    scheduler = _load_scheduler(source, folder)
    model = _load_model(source, folder)
    _refuse_unsupported(source, model)
    settings = {name: model.config.get(name) for name in _MODEL_SETTINGS}
    settings |= {name: scheduler.config.get(name) for name in _SCHEDULE_SETTINGS}
    return FrozenUNet(
        model=model.to(device),
        alphas_cumprod=scheduler.alphas_cumprod.float(),
        prediction_type=scheduler.config.get("prediction_type", "epsilon"),
        digest=function_digest(model.state_dict(), settings),
        source=source,
    )


def _read_json(source: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{source}: {path} cannot be read as JSON ({error}); save the model again") from error
    return cast("dict[str, Any]", content)


def _refuse_latents(source: str, folder: Path) -> None:
    index = (folder.parent if folder.name == "unet" else folder) / "model_index.json"
    parts = _read_json(source, index) if index.is_file() else {}
    others = [name for name in parts if not name.startswith("_") and name not in ("unet", "scheduler")]
    if others:
        raise SourceError(
            f"{source}: the pipeline also has {', '.join(others)}, so its UNet does not read images alone; "
            "expected a pipeline of a UNet and a scheduler (DDPM or DDIM)"
        )


def _check_class(source: str, folder: Path) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise SourceError(f"{source}: no config.json in {folder}; expected the folder of a UNet2DModel or its pipeline")
    got = _read_json(source, config).get("_class_name")
    if got != "UNet2DModel":
        raise SourceError(
            f"{source}: {config} is of class {got}; expected UNet2DModel (unconditional, on pixels), "
            "such as `textdiff pretrain-unet` saves"
        )


def _load_scheduler(source: str, folder: Path) -> Any:  # noqa: ANN401
    import diffusers

    places = (folder, folder / "scheduler", folder.parent / "scheduler")
    path = next((p / "scheduler_config.json" for p in places if (p / "scheduler_config.json").is_file()), None)
    if path is None:
        raise SourceError(
            f"{source}: no scheduler_config.json in {', '.join(map(str, places))}; expected the noise schedule that "
            "the UNet was trained with: save its scheduler there with save_pretrained"
        )
    config = _read_json(source, path)
    scheduler_class = getattr(diffusers, str(config.get("_class_name")), None)
    scheduler = scheduler_class.from_config(config) if scheduler_class is not None else None
    if not hasattr(scheduler, "alphas_cumprod"):
        raise SourceError(
            f"{source}: {path} is of class {config.get('_class_name')}, which has no alphas_cumprod; "
            "expected a discrete noise schedule such as DDPMScheduler's"
        )
    return scheduler


def _load_model(source: str, folder: Path) -> Any:  # noqa: ANN401
    from diffusers import UNet2DModel
    from safetensors import SafetensorError

    try:
        model, info = UNet2DModel.from_pretrained(
            folder,
            use_safetensors=any(folder.glob("*.safetensors")),
            low_cpu_mem_usage=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise unusable(source, error) from error
    # diffusers leaves what is missing at random and only warns.
    problems = [f"{kind} {', '.join(map(str, names))}" for kind, names in info.items() if names]
    if problems:
        raise SourceError(f"{source}: the weights in {folder} do not fit its config.json: {'; '.join(problems)[:500]}")
    return model.float().eval().requires_grad_(False)


def _refuse_unsupported(source: str, model: Any) -> None:  # noqa: ANN401
    levels = [*model.down_blocks, *model.up_blocks]
    others = sorted({type(level).__name__ for level in levels} - {*DOWN_BLOCKS, *UP_BLOCKS})
    if others:
        raise SourceError(
            f"{source}: the UNet has {', '.join(others)}, whose decoder cannot be numbered as guided-diffusion's; "
            f"expected {', '.join((*DOWN_BLOCKS, *UP_BLOCKS))}"
        )
    if model.class_embedding is not None:
        raise SourceError(f"{source}: the UNet is conditioned on class labels; expected an unconditional one")
    if model.conv_in.in_channels != 3:
        raise SourceError(f"{source}: the UNet reads {model.conv_in.in_channels} channels; expected 3 (RGB)")
