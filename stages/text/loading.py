"""Loading of frozen text encoders by SOURCE."""

from __future__ import annotations

from ..sources.guard import network_forbidden
from ..sources.loading import parse_source
from .encoder import TextEncoder


def load_text_encoder(source: str, device: str = "cpu", *, offline: bool = False) -> TextEncoder:
    """Load a frozen text encoder in float32.

    Args:
        source: one of
            `open_clip:MODEL/PRETRAINED` (a built-in model with a pretrained tag or a checkpoint file),
            `open_clip:hf-hub:ORG/NAME`, `open_clip:local-dir:FOLDER`,
            `hf:FOLDER_OR_HUB_ID` (a transformers encoder, or the encoder of an encoder-decoder), or
            `package:NAME` (an installed Python package that carries a transformers model's folder).
        device: where to put the weights; results always come back on the CPU.
        offline: whether the network is forbidden: hub ids and tags then stand for what was fetched before.

    Raises:
        SourceError: there is no such model, it is damaged, incomplete or no text encoder, or the hub cannot be reached.
    """
    kind, where = parse_source(source, ["open_clip", "hf", "package"])
    with network_forbidden(offline):
        return _load(source, kind, where, device)


def _load(source: str, kind: str, where: str, device: str) -> TextEncoder:
    if kind == "open_clip":
        from .open_clip_encoder import load_open_clip

        return load_open_clip(source, where, device)
    from .transformers_encoder import load_hf, load_package

    return load_hf(source, where, device) if kind == "hf" else load_package(source, where, device)
