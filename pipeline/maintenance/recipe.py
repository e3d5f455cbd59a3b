"""Configs as the commands that make them again, and the config that would make a cache again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...cache.format.blocks import encoder_of, layer_number
from ...cache.format.samples import is_hashed
from ...cache.format.spec import FeatureSpec
from ...cache.reader import FeatureReader
from ..config.data import LVIT_FOLDERS, MANIFESTS
from ..config.extraction import ExtractConfig
from ..views.symmetries import VIEW_COUNTS


def extraction_of(reader: FeatureReader, blocks: Sequence[int], timesteps: Sequence[int]) -> ExtractConfig:
    """Settings of `extract-features` that add blocks and timesteps to a cache, as far as the cache knows what made it.

    They name its encoders with the layers that it has.

    It knows where the data lay, but not the name of a manifest that is called otherwise than those that a folder may
    hold; `DATA` stands for that.
    """
    spec, texts, root = reader.manifest.features, reader.manifest.texts, Path(reader.table.root)
    hashed = is_hashed(reader.samples[0].id)
    known = not hashed and any((root / name).exists() for name in (*LVIT_FOLDERS, *MANIFESTS))
    layers = {name: tuple(layer_number(x) for x in reader.layers if encoder_of(x) == name) for name in reader.encoders}
    turned = {sample.split for sample in reader.samples if sample.view}
    return ExtractConfig(
        root if known else Path("DATA"),
        reader.root,
        encoder=tuple(reader.manifest.encoders[name].source for name in layers),
        encoder_layers=tuple(layers.values()) or None,
        timesteps=tuple(timesteps) or ExtractConfig.timesteps,
        blocks=tuple(blocks) or ExtractConfig.blocks,
        text_encoder=texts.encoder if texts else None,
        truncate_texts=texts is not None and texts.truncated,
        views=_views(reader),
        views_of="all" if turned - {"train"} else "train",
        filters=reader.manifest.has_filters,
        hash_ids=hashed,
        **_of_spec(spec),
    )


def _views(reader: FeatureReader) -> int:
    """How many views were asked for: a sample lacks those for which its text could not be rewritten."""
    last = max(sample.view for sample in reader.samples)
    return next(n_views for n_views in VIEW_COUNTS if last < n_views)


def _of_spec(spec: FeatureSpec) -> dict[str, Any]:
    """The fields that `extract-features` takes under the same names, and those that are called otherwise there."""
    same = {field.name for field in fields(ExtractConfig)} & {field.name for field in fields(FeatureSpec)}
    given = {name: getattr(spec, name) for name in same} | {"batch_size": spec.rows_per_shard}
    given["unet_config"] = Path(spec.unet_config) if spec.unet_config else None
    given["image_size"] = None if spec.image_size == (spec.tile or 256) else spec.image_size
    if spec.condition == "none":
        del given["condition"]
    return given
