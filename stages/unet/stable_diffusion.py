"""Stable Diffusion pipelines in diffusers' folders: checked against their configs, then loaded part by part.

Every config is read before any weights, and all problems with them make one error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ..sources.loading import loading, model_folder, read_model_config
from ..text.transformers_models import load_pretrained, refuse_kernels, without_bars
from .diffusers_folder import init_defaults, load_model, unnumbered_parts
from .latent import LatentInput
from .schedule import load_scheduler

_HUB_FILES = ("model_index.json", "*/config.json", "tokenizer/*", "scheduler/*.json")
_HUB_WEIGHTS = (
    *(
        tuple((f"{part}/diffusion_pytorch_model.{ending}",) for ending in ("safetensors", "bin", "*.safetensors"))
        for part in ("unet", "vae")
    ),
    (("text_encoder/model.safetensors",), ("text_encoder/pytorch_model.bin",), ("text_encoder/model.*.safetensors",)),
)
_PARTS = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "tokenizer": "CLIPTokenizer",
    "scheduler": "a scheduler",
}
_UNUSED_PARTS = ("safety_checker", "feature_extractor", "requires_safety_checker", "image_encoder")

# The UNet would read something else than x_t, t, a class and a prompt, or not as TruncatedUNet runs it.
_UNET_MUST_BE = {
    "addition_embed_type": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "class_embeddings_concat": False,
    "dual_cross_attention": False,
    "attention_type": "default",
}
_MID_BLOCKS = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None)


def load_stable_diffusion(source: str, where: str) -> tuple[Any, Any, LatentInput]:
    """Load the parts of `stable-diffusion:FOLDER_OR_HUB_ID` that extraction needs.

    Returns:
        The `UNet2DConditionModel`, diffusers' scheduler, and the VAE with the text encoder; in float32 on the CPU,
        in eval mode and without gradients.

    Raises:
        SourceError: there is no such pipeline, it is damaged or incomplete, or of another kind.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    root = model_folder(source, where, _HUB_FILES)
    _check_parts(source, root)
    _check_configs(source, root)
    scheduler = load_scheduler(source, [root / "scheduler"])
    for weights in _HUB_WEIGHTS:
        model_folder(source, where, (), weights)
    vae = load_model(source, AutoencoderKL, root / "vae")
    text = _load_text(source, root)
    with loading(source):
        latent = LatentInput(vae, *text)
    unet = load_model(source, UNet2DConditionModel, root / "unet")
    return unet, scheduler, latent.eval().requires_grad_(False)


def _check_parts(source: str, root: Path) -> None:
    missing = [f"{name} ({kind})" for name, kind in _PARTS.items() if not (root / name).is_dir()]
    if missing:
        raise SourceError(
            f"{source}: {root} has no {', '.join(missing)}; expected the whole folder of a Stable Diffusion pipeline, "
            "as save_pretrained saves it"
        )
    index = root / "model_index.json"
    listed = read_model_config(source, index) if index.is_file() else {}
    others = [
        name
        for name, part in listed.items()
        if isinstance(part, list) and any(part) and name not in (*_PARTS, *_UNUSED_PARTS)
    ]
    if others:
        raise SourceError(
            f"{source}: the pipeline also has {', '.join(others)}, so its UNet reads more than a prompt; "
            "expected Stable Diffusion 1 or 2, or a model tuned from them"
        )


def _check_configs(source: str, root: Path) -> None:
    unet, vae, text = (
        read_model_config(source, root / part / "config.json") for part in ("unet", "vae", "text_encoder")
    )
    with loading(source):
        problems = _wrong_classes(unet, vae, text) or [*_unet_problems(unet, vae, text), *_vae_problems(vae)]
    if problems:
        raise SourceError("\n  - ".join([f"{source}: the pipeline cannot be recorded:", *problems]))


def _wrong_classes(unet: Mapping[str, Any], vae: Mapping[str, Any], text: Mapping[str, Any]) -> list[str]:
    got = {
        "unet": unet.get("_class_name"),
        "vae": vae.get("_class_name"),
        "text_encoder": (text.get("architectures") or [None])[0],
    }
    return [
        f"its {part} is of class {name}; expected {_PARTS[part]}" for part, name in got.items() if name != _PARTS[part]
    ]


def _unet_problems(unet: Mapping[str, Any], vae: Mapping[str, Any], text: Mapping[str, Any]) -> Iterator[str]:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    config = {**init_defaults(UNet2DConditionModel), **unet}
    latent_channels = {**init_defaults(AutoencoderKL), **vae}["latent_channels"]
    if config["addition_embed_type"] == "text_time":
        yield "it is an SDXL pipeline, whose UNet also reads sizes and a pooled text; use Stable Diffusion 1 or 2"
    elif config["in_channels"] > latent_channels:
        yield (
            f"the UNet reads {config['in_channels']} channels and the VAE gives {latent_channels}: it also reads a "
            "mask, a depth map or another image (inpainting, editing); expected a plain text-to-image model"
        )
    else:
        yield from unnumbered_parts(config, latent_channels)
        yield from _unsupported_settings(config)
        if config["cross_attention_dim"] != text.get("hidden_size", 512):
            yield (
                f"the UNet reads tokens of {config['cross_attention_dim']} channels, the text encoder gives "
                f"{text.get('hidden_size', 512)}; expected parts of one pipeline"
            )


def _unsupported_settings(config: Mapping[str, Any]) -> Iterator[str]:
    for name, expected in _UNET_MUST_BE.items():
        if config[name] != expected:
            yield f"the UNet's {name} is {config[name]!r}; only {expected!r} is supported"
    if config["mid_block_type"] not in _MID_BLOCKS:
        yield f"the UNet's mid_block_type is {config['mid_block_type']!r}; only {_MID_BLOCKS[0]!r} is supported"


def _vae_problems(vae: Mapping[str, Any]) -> Iterator[str]:
    if vae.get("in_channels", 3) != 3:
        yield f"the VAE reads {vae['in_channels']} channels; expected 3 (RGB)"
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        yield "the VAE's latents are scaled by channel (latents_mean, latents_std); only scaling_factor is supported"


def _load_text(source: str, root: Path) -> tuple[Any, Any]:
    from transformers import CLIPTextModel, CLIPTokenizer

    refuse_kernels(source, root / "text_encoder")
    with loading(source), without_bars():
        tokenizer = CLIPTokenizer.from_pretrained(root / "tokenizer", local_files_only=True)
        model, info = load_pretrained(source, CLIPTextModel, root / "text_encoder")
    missing = sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])})
    if missing:
        raise SourceError(
            f"{source}: the text encoder's weights lack {len(missing)} tensors: {', '.join(missing)[:300]}; fetch again"
        )
    return model.float(), tokenizer
