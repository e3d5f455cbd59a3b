"""Configs as the commands that make them again, and the config that would make a cache again."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cache.format.spec import FeatureSpec
from ...cache.reader import FeatureReader
from ...cache.storage.location import Location
from ..config.extraction import ExtractConfig
from ..data.layouts import LVIT_FOLDERS, MANIFESTS
from ..data.pseudonyms import is_hashed
from ..views.symmetries import VIEW_COUNTS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def command_line(command: str, config: DataclassInstance, without: Collection[str] = ()) -> str:
    """The command that gives the config, quoted for a shell; what is as by default is left out.

    Args:
        command: its name (`train-head`).
        config: its settings.
        without: fields that are left out as well.
    """
    told = [field for field in fields(config) if field.name not in without]
    words = ["textdiff", *command.split()]
    for field in told:
        words += _words(field, getattr(config, field.name))
    return shlex.join(words)


def extraction_of(reader: FeatureReader, blocks: Sequence[int], timesteps: Sequence[int]) -> ExtractConfig:
    """Settings of `extract-features` that add blocks and timesteps to a cache, as far as the cache knows what made it.

    It knows where the data lay, but not the name of a manifest that is called otherwise than those that a folder may
    hold; `DATA` stands for that.
    """
    spec, texts, root = reader.manifest.features, reader.manifest.texts, Path(reader.table.root)
    hashed = is_hashed(reader.samples[0].id)
    known = not hashed and any((root / name).exists() for name in (*LVIT_FOLDERS, *MANIFESTS))
    turned = {sample.split for sample in reader.samples if sample.view}
    return ExtractConfig(
        root if known else Path("DATA"),
        reader.root,
        timesteps=tuple(timesteps),
        blocks=tuple(blocks),
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


def _words(field: Field[Any], value: Any) -> Iterator[str]:  # noqa: ANN401
    flag = "--" + field.name.replace("_", "-")
    if field.default is MISSING and isinstance(value, Location):
        yield str(value)
    elif value == field.default or value is None:
        return
    elif isinstance(value, bool):
        yield flag if value else flag.replace("--", "--no-", 1)
    else:
        yield from (flag, _text(value))


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, tuple):
        return str(value)
    several = any(isinstance(one, tuple) for one in value)
    return (";" if several else ",").join(map(_text, value))
