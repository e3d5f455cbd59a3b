"""UNets in diffusers' folders: found, checked against their configs, and only then loaded.

diffusers fills a checkpoint's missing tensors with random numbers, and loads models into classes that compute something
else, with a warning at most; everything here that loads also checks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ..sources.loading import loading, model_folder, read_model_config
from ..sources.weights import WeightFiles, find_weights, read_unwrapped
from .decoder import DOWN_BLOCKS, UP_BLOCKS
from .schedule import load_scheduler

_HUB_FILES = ("model_index.json", "*config.json", "unet/*.json", "scheduler/*.json")
_HUB_WEIGHTS = (
    ("diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"),
    ("diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.bin"),
    ("diffusion_pytorch_model.*.safetensors", "unet/diffusion_pytorch_model.*.safetensors"),
)
WEIGHTS = {"safetensors": "diffusion_pytorch_model", "bin": "diffusion_pytorch_model"}
"""Ending of weight files → their name before it."""

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
_TEXT_MODEL_SETTINGS = (
    "only_cross_attention",
    "mid_block_only_cross_attention",
    "upcast_attention",
    "timestep_post_act",
    "resnet_skip_time_act",
    "resnet_out_scale_factor",
)


def load_pixel_unet(source: str, where: str) -> tuple[Any, Any]:
    """Load the `UNet2DModel` and the scheduler of `diffusers:FOLDER_OR_HUB_ID`.

    Returns:
        The model in float32 on the CPU, in eval mode and without gradients, and diffusers' scheduler.

    Raises:
        SourceError: there is no such model, it is damaged or incomplete, or its decoder cannot be numbered.
    """
    root = model_folder(source, where, _HUB_FILES)
    folder = root / "unet" if (root / "unet" / "config.json").is_file() else root
    _refuse_latents(source, where, root, folder)
    config = read_model_config(source, folder / "config.json")
    model_class = _pixel_class(source, folder, config)
    with loading(source):
        problems = unnumbered_parts({**init_defaults(model_class), **config})
    if problems:
        raise SourceError(f"{source}: {'; '.join(problems)}")
    scheduler = load_scheduler(source, (folder, folder / "scheduler", folder.parent / "scheduler"))
    model_folder(source, where, _HUB_FILES, _HUB_WEIGHTS)
    return load_model(source, model_class, folder), scheduler


def init_defaults(model_class: type) -> dict[str, Any]:
    """Defaults of a diffusers class, for the fields that a config leaves out."""
    parameters = inspect.signature(model_class.__init__).parameters.values()  # type: ignore[misc]
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _refuse_latents(source: str, where: str, root: Path, folder: Path) -> None:
    pipeline = folder.parent if folder.name == "unet" else folder
    index = pipeline / "model_index.json"
    parts = read_model_config(source, index) if index.is_file() else {}
    others = [name for name in parts if not name.startswith("_") and name not in ("unet", "scheduler")]
    if {"vae", "text_encoder"} <= set(others):
        named = where if pipeline == root else pipeline
        raise SourceError(f"{source}: the pipeline has a VAE and a text encoder; use stable-diffusion:{named}")
    if others:
        raise SourceError(
            f"{source}: the pipeline also has {', '.join(others)}, so its UNet does not read images alone; "
            "expected a pipeline of a UNet and a scheduler (DDPM or DDIM)"
        )


def _pixel_class(source: str, folder: Path, config: Mapping[str, Any]) -> Any:  # noqa: ANN401
    from diffusers import UNet2DModel

    got = config.get("_class_name")
    if got == "UNet2DModel":
        return UNet2DModel
    if got == "ADMUNet2DModel":
        from .guided.adm import ADMUNet2DModel

        return ADMUNet2DModel
    raise SourceError(
        f"{source}: {folder / 'config.json'} is of class {got}; expected UNet2DModel (on pixels), such as "
        "`textdiff pretrain-unet` saves, or ADMUNet2DModel, such as `textdiff convert-unet` saves; "
        "a Stable Diffusion pipeline is named whole, as stable-diffusion:FOLDER_OR_HUB_ID"
    )


def unnumbered_parts(config: Mapping[str, Any], in_channels: int = 3) -> list[str]:
    """Problems of a whole config that prevent numbering and recording a UNet's decoder blocks."""
    problems = []
    named = (*config["down_block_types"], *config["up_block_types"])
    others = sorted(
        {str(name).removeprefix("UNetRes").removeprefix("ADM") for name in named} - {*DOWN_BLOCKS, *UP_BLOCKS}
    )
    if others:
        problems.append(
            f"the UNet has {', '.join(others)}, whose decoder cannot be numbered as guided-diffusion's; "
            f"expected {', '.join((*DOWN_BLOCKS, *UP_BLOCKS))}"
        )
    if config["class_embed_type"] is not None:
        problems.append(
            f"the UNet embeds its class as {config['class_embed_type']!r}; "
            "expected a table of labels (num_class_embeds)"
        )
    if config["in_channels"] != in_channels:
        kind = "RGB" if in_channels == 3 else "the VAE's"
        problems.append(f"the UNet reads {config['in_channels']} channels; expected {in_channels} ({kind})")
    return problems


def load_model(source: str, model_class: Any, folder: Path) -> Any:  # noqa: ANN401
    """A diffusers model with weights for everything in it, in float32, in eval mode and without gradients.

    Raises:
        SourceError: the files are absent or damaged, or do not fit `config.json`.
    """
    files = find_weights(source, folder, WEIGHTS)
    with loading(source):
        model, info = model_class.from_pretrained(
            folder,
            variant=files.variant,
            use_safetensors=files.are_safetensors,
            low_cpu_mem_usage=False,
            local_files_only=True,
            output_loading_info=True,
        )
        if info["unexpected_keys"] and info["missing_keys"]:
            info = _load_unwrapped(source, model, files)
    # diffusers leaves what is missing at random and only warns.
    problems = [f"{kind} {_some(names)}" for kind, names in info.items() if names]
    if problems:
        raise SourceError(f"{source}: the weights in {folder} do not fit its config.json: {'; '.join(problems)}")
    return model.float().eval().requires_grad_(False)


def _some(names: Iterable[object]) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _load_unwrapped(source: str, model: Any, files: WeightFiles) -> dict[str, Sequence[str]]:  # noqa: ANN401
    """Load weights whose names a wrapper changed (torch.compile, DataParallel); gives diffusers' loading info."""
    state = read_unwrapped(source, files)
    if rename_older := getattr(model, "_fix_state_dict_keys_on_load", None):
        rename_older(state)
    result = model.load_state_dict(state, strict=False)
    return {"missing_keys": result.missing_keys, "unexpected_keys": result.unexpected_keys}


def model_settings(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """Settings that a digest must hold beside the weights: all that change the function and do not show in them."""
    names = (*_MODEL_SETTINGS, *(_TEXT_MODEL_SETTINGS if "cross_attention_dim" in model.config else ()))
    return {name: model.config.get(name) for name in names}
