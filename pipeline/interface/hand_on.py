"""A run for others: what its head needs and how good it is, without what says whose images it learnt from.

A run folder names samples, which may be patients, and places on a machine, and its report shows images. None of that
is needed to use the head, so none of it is handed on unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from ...cache.storage.atomic import write_durably, write_json
from ...errors import ConfigError, RunError
from ..reports.page import REPORT
from ..runs.folder import RunSummary, read_summary
from ..runs.run_config import CONFIG, HEAD, METRICS, PROJECTIONS, SUMMARY, RunConfig

Extra = Literal["samples", "places", "report"]
"""Parts that are handed on only on request: `samples`, their ids, groups and scores, and digests of the cache's texts
and labels; `places`, the folders of the cache and of the frozen models; `report`, the page, which shows images and has
all of the others."""
CARD = "README.md"
"""A run's model card, as hubs name it."""
FILES = (CONFIG, SUMMARY, HEAD, METRICS, PROJECTIONS, REPORT, CARD)
"""Every file that a run may be handed on with."""
OF_SAMPLES = ("per_sample", "lost")
"""Parts of scores that name samples."""


def write_for_others(run: Path, folder: Path, include: Collection[Extra] = ()) -> None:
    """Write the files of a run into a folder that is there, with a card only if the run's folder has one.

    Args:
        run: a finished run.
        folder: where to.
        include: what to hand on beside the head, its settings and its figures.

    Raises:
        ConfigError: if `include` has an unknown name.
        RunError: if the run is absent, unfinished or damaged.
    """
    if unknown := sorted({*include} - {*get_args(Extra)}):
        raise ConfigError(f"include got {', '.join(unknown)}; expected any of {', '.join(get_args(Extra))}")
    config, summary = RunConfig.read(run), read_summary(run)
    names = [HEAD, METRICS, *([PROJECTIONS] if config.projections else []), *([REPORT] if "report" in include else [])]
    if absent := [name for name in names if not (run / name).exists()]:
        raise RunError(f"{run}: lacks {', '.join(absent)}; restore the files, or train again")
    for name in [*names, *([CARD] if (run / CARD).exists() else [])]:
        write_durably(folder / name, [(run / name).read_bytes()])
    config_for_others(config, include).write(folder)
    write_json(folder / SUMMARY, summary_for_others(summary, include).to_dict())


def config_for_others(config: RunConfig, include: Collection[Extra] = ()) -> RunConfig:
    """The configuration with hub ids as they are, and of a model's folder the last name alone."""
    if "samples" not in include:
        digests = {name: digest for name, digest in config.digests.items() if name == "features"}
        config = replace(config, samples={}, digests=digests)
    return config if "places" in include else _without_places(config)


def summary_for_others(summary: RunSummary, include: Collection[Extra] = ()) -> RunSummary:
    """The figures, of single samples only if they are asked for."""
    left_out = summary.left_out if "places" in include else None  # messages may name files
    if "samples" in include:
        return replace(summary, left_out=left_out)
    return replace(summary, left_out=left_out, val_per_sample=(), test=summary.test and _whole(summary.test))


def _whole(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scores.items() if name not in OF_SAMPLES}


def _without_places(config: RunConfig) -> RunConfig:
    features, texts = config.features, config.texts
    return replace(
        config,
        train={**config.train, "cache": None},
        features=replace(
            features,
            unet=features.unet and named_source(features.unet),
            unet_config=features.unet_config and Path(features.unet_config).name,
        ),
        texts=texts and replace(texts, encoder=named_source(texts.encoder)),
        encoders={name: replace(one, source=named_source(one.source)) for name, one in config.encoders.items()},
    )


def named_source(source: str) -> str:
    """A source without the folder in which a model lies: runs keep local places whole, and hub ids as they are."""
    head, separator, file = source.rpartition("@")  # timm:MODEL@FILE
    kind, colon, where = source.partition(":")
    if separator and Path(file).is_absolute():
        return f"{head}@{Path(file).name}"
    return f"{kind}{colon}{Path(where).name}" if Path(where).is_absolute() else source
