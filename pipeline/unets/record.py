"""Files that `pretrain-unet` leaves beside its UNet; known here without diffusers, whose import takes seconds."""

from __future__ import annotations

from pathlib import Path

from ...cache.storage.atomic import parse_json

INDEX = "model_index.json"
"""Comes last: a folder that has it is whole."""
RECORD = "pretraining.json"


def colours_learnt(unet: str) -> str | None:
    """The colours of the images that a UNet (`kind:where`) learnt from, if `pretrain_unet` made it."""
    record = Path(unet.partition(":")[2]) / RECORD
    try:
        return str(parse_json(record.read_bytes())["settings"].get("colours", "own"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # any other UNet
        return None
