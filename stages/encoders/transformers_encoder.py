"""Vision transformers of Hugging Face transformers (DINOv2, DINOv3, SAM's image encoder, ViT, CLIP, ...).

The library runs its own forward pass over the first of its blocks, up to the last that is asked for; a hook on each
keeps what the block gives. Tokens before the patches (class, registers) are left out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ...errors import SourceError
from ..sources.loading import loading, model_folder, read_model_config
from ..text.transformers_models import drop_pooler, model_settings, refuse_kernels, without_bars
from .encoder import EncoderLayer, ImageEncoder

PREPROCESSOR = "preprocessor_config.json"
_HUB_FILES = ("config.json", PREPROCESSOR)
_HUB_WEIGHTS = (("model.safetensors", "model-*.safetensors"), ("pytorch_model.bin", "pytorch_model-*.bin"))
_VISION_PARTS = ("vision_encoder", "vision_model")
_ANY_SIZE = ("dinov2", "dinov2_with_registers", "dinov3_vit")
"""Kinds of models that interpolate their positional encoding unasked, or have one that needs none."""
_INTERPOLATE = "interpolate_pos_encoding"


class HFImageEncoder(ImageEncoder):
    """A vision transformer; its layers are its blocks, all at the patches' resolution, before the last normalisation.

    Args:
        source: the whole SOURCE.
        model: the part that reads images.
        blocks: path of its list of blocks.
        mean: of each colour.
        spread: of each colour.
    """

    library = "transformers"

    def __init__(
        self,
        source: str,
        model: Any,  # noqa: ANN401
        blocks: str,
        *,
        mean: Sequence[float],
        spread: Sequence[float],
    ) -> None:
        config, self._blocks = model.config, blocks
        self._interpolates = _INTERPOLATE in inspect.signature(model.forward).parameters
        any_size = self._interpolates or config.model_type in _ANY_SIZE
        layer = EncoderLayer(config.hidden_size, config.patch_size)
        super().__init__(
            source,
            model,
            [layer] * len(model.get_submodule(blocks)),
            mean=mean,
            spread=spread,
            fixed_side=None if any_size else config.image_size,
            settings={**model_settings(model), "patch_size": config.patch_size},
        )

    def activations(
        self, x: Float[Tensor, "image 3 y x"], layers: Sequence[int]
    ) -> Sequence[Float[Tensor, "image channel layer_y layer_x"]]:
        """By the library's own forward pass, cut after the last of the layers."""
        options = {_INTERPOLATE: True} if self._interpolates else {}
        with self._cut(layers[-1] + 1) as blocks, _kept([blocks[layer] for layer in layers]) as kept:
            self.model(pixel_values=x, **options)
        stride = self.layers[0].stride
        grid = (x.shape[-2] // stride, x.shape[-1] // stride)
        return [_as_grid(tokens, grid) for tokens in kept]

    @contextmanager
    def _cut(self, n_blocks: int) -> Iterator[nn.ModuleList]:
        """A block in which the model has its first blocks alone."""
        path, _, name = self._blocks.rpartition(".")
        parent = self.model.get_submodule(path)
        every: Any = getattr(parent, name)
        setattr(parent, name, every[:n_blocks])
        try:
            yield every
        finally:
            setattr(parent, name, every)


@contextmanager
def _kept(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The list that holds the blocks' results once the model has run."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _given: Any, result: Any) -> None:  # noqa: ANN401
        kept.append(result[0] if isinstance(result, tuple) else result)

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(keep).remove)
        yield kept


def _as_grid(tokens: Tensor, grid: tuple[int, int]) -> Float[Tensor, "image channel y x"]:
    """Patch tokens in their places; SAM's lie so already."""
    if tokens.ndim == 4:
        return tokens.movedim(-1, 1)
    return tokens[:, tokens.shape[1] - grid[0] * grid[1] :].mT.unflatten(-1, grid)


def load_hf(source: str, where: str) -> HFImageEncoder:
    """Load `hf:FOLDER_OR_HUB_ID`.

    Raises:
        SourceError: the model is absent, incomplete, damaged or no vision transformer, or the hub cannot be reached.
    """
    from transformers import AutoModel

    folder = model_folder(source, where, _HUB_FILES, _HUB_WEIGHTS)
    refuse_kernels(source, folder)
    mean, spread = _colours(source, folder)
    with loading(source), without_bars():
        model, info = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, weights_only=True, output_loading_info=True
        )
        vision = _vision_part(source, model, info)
        return HFImageEncoder(source, vision, _blocks_of(source, vision), mean=mean, spread=spread)


def _vision_part(source: str, model: Any, info: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The part of a loaded model that reads images, without a pooler; all its weights must have been there."""
    part = next((name for name in _VISION_PARTS if hasattr(model, name)), "")
    # transformers leaves missing tensors at random and only warns; poolers are not used, nor tokens that stand for
    # masked patches.
    names = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
    missing = [name for name in names if name.startswith(part) and "pooler." not in name and "mask_token" not in name]
    if missing:
        raise SourceError(f"{source}: the weights lack {len(missing)} tensors: {', '.join(missing)[:300]}; fetch again")
    vision = getattr(model, part) if part else model
    drop_pooler(vision)
    return vision


def _blocks_of(source: str, model: Any) -> str:  # noqa: ANN401
    """Path of the list of a transformer's blocks."""
    config = model.config
    n_blocks = getattr(config, "num_hidden_layers", None)
    paths = [
        path for path, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == n_blocks
    ]
    sizes = [getattr(config, name, None) for name in ("hidden_size", "patch_size", "image_size")]
    reads = all(isinstance(size, int) and size > 0 for size in sizes) and getattr(config, "num_channels", 3) == 3
    if not paths or not reads or getattr(model, "main_input_name", "") != "pixel_values":
        raise SourceError(
            f"{source}: {type(model).__name__} is no vision transformer whose blocks can be numbered; expected DINOv2, "
            "DINOv3, ViT, CLIP, SAM or alike; convolutional networks are in timm"
        )
    return min(paths, key=len)


def _colours(source: str, folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and spread of the colours that the model was trained with."""
    if not (folder / PREPROCESSOR).is_file():
        raise SourceError(f"{source}: no {PREPROCESSOR} in {folder}, which has the mean and the spread of the colours")
    settings = read_model_config(source, folder / PREPROCESSOR)
    mean, spread = settings.get("image_mean"), settings.get("image_std")
    numbers = [*mean, *spread] if isinstance(mean, list) and isinstance(spread, list) else []
    finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    if len(numbers) != 6 or not finite or min(numbers[3:]) <= 0:
        raise SourceError(f"{source}: {folder / PREPROCESSOR} has no image_mean and image_std of three colours")
    return numbers[:3], numbers[3:]
