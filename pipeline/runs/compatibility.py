"""Check that a cache holds the features that a run was trained on."""

from __future__ import annotations

from dataclasses import replace

from ...cache.reader import FeatureReader
from ...errors import CacheMismatchError
from ..config.training import TextMode
from ..data.classes import Classes
from ..head_inputs.inputs import CachedFeatures, open_head_data
from .projections import projection_differences
from .run_config import RunConfig


def open_as_trained(run: RunConfig, reader: FeatureReader, text: TextMode, device: str) -> CachedFeatures:
    """The features that the run's head sees of a cache that passed `check_same_features`."""
    return open_head_data(
        reader,
        blocks=run.blocks,
        timesteps=run.timesteps,
        text=text,
        seed=run.train["seed"],
        device=device,
        text_dim=run.head.text_dim,
        filters=run.filters,
        sources=run.sources,
    )


def check_same_features(config: RunConfig, reader: FeatureReader) -> None:
    """Refuse a cache whose features or tokens the head was not trained on.

    Raises:
        CacheMismatchError: with every field that differs.
    """
    manifest = reader.manifest
    # How many images shared a forward changes last bits only.
    needed = replace(config.features, rows_per_shard=manifest.features.rows_per_shard)
    problems = [*manifest.features.differences(needed), *projection_differences(config, manifest)]
    for name, encoder in config.encoders.items():
        there = manifest.encoders.get(name)
        lines = there.differences(encoder) if there else [f"the cache has none, the head needs {encoder.source}"]
        problems += [f"encoder {name}: {line}" for line in lines]
    if config.texts and manifest.texts and config.texts.encoder_digest != manifest.texts.encoder_digest:
        problems.append(f"text encoder: {config.texts.encoder} and {manifest.texts.encoder} differ")
    if config.texts is None and manifest.texts is not None:
        problems.append("texts: the head was trained without any, the cache has some")
    ours, theirs = (Classes.from_dict(declared).names for declared in (config.classes, manifest.classes))
    if ours != theirs:  # mask values may differ between data sets
        problems.append(f"classes: the head has {', '.join(ours)}; the cache has {', '.join(theirs)}")
    if problems:
        raise CacheMismatchError(
            f"{reader.root}: not the kind of cache that the head was trained on:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
            + "\nextract these samples with the settings of the run's config.json"
        )
