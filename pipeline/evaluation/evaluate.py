"""Scores of a trained head on the labelled samples of a cache, at the model's size or at the images' own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...cache.format.spec import digest
from ...cache.reader import FeatureReader
from ...errors import ConfigError, DataError
from ...stages.heads.base import Head
from ..config.command_line import write_command
from ..config.evaluation import EvaluateConfig
from ..config.training import TextMode
from ..data.classes import Classes
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.lost import false_negatives, lost_pixels, older_labels
from ..head_inputs.source import segment_tiles
from ..head_inputs.splits import group_views, has_labels, originals
from ..images.blending import whole_image
from ..reports.gallery import Gallery
from ..reports.page import WordMap
from ..runs.compatibility import check_same_features, open_as_trained
from ..runs.heads import load_head
from ..runs.run_config import RunConfig
from ..runtime.device import resolve_device
from ..runtime.progress import Progress
from ..scoring.counts import LabelledBand, SampleCounts, count_sample, score_counts
from ..scoring.shapes import SurfaceSettings
from .report import write_evaluation_report
from .result import Evaluation, digest_of_cache
from .truth import LabelsOf, ObjectsOf, cached_labels

if TYPE_CHECKING:
    from ..explanation.report import WordExplainer
    from .distance_unit import DistanceUnit


def evaluate(config: EvaluateConfig, progress: Progress | None = None) -> Evaluation:
    """Score a run's head on the labelled samples of one split; the run keeps the result.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        RunError: if the run is absent or unfinished.
        CacheMismatchError: if the cache's features or texts are not what the head was trained on.
        ConfigError: if texts are asked for and the head was trained without any.
        SourceError: if the text encoder is needed and cannot be loaded.
        DataError: if the split has no labelled samples or lacks the views that are asked for, or if mask files are
            gone or changed (`native`).
    """
    progress = progress or Progress()
    run, reader = RunConfig.read(config.run), FeatureReader(config.cache)
    device = resolve_device(config.device)
    check_same_features(run, reader)
    text: TextMode = config.text or run.text
    if run.text == "none" and text != "none":
        raise ConfigError(f"--text {text}: {config.run} was trained without texts; leave --text out")
    data = open_as_trained(run, reader, text, device)
    wholes = _labelled(reader, config.split)
    firsts = [rows[0] for rows in wholes]
    explainer = _explainer(config, run, reader, text=text, device=device) if config.words else None
    gallery, head = Gallery(data), load_head(config.run, run, device)
    if config.at == "model" and (warning := older_labels(reader)):
        progress.warn(warning)
    scores = _scores(config, head, data, wholes, gallery=gallery, progress=progress)
    evaluation = _describe(config, text, run, reader, firsts=firsts, scores=scores)
    words: tuple[WordMap, ...] = ()
    if explainer is not None:
        words = explainer.maps(head, data, next(row for row in firsts if row.parent == evaluation.worst), progress)
    progress.say(_kept(config, evaluation, lambda: write_evaluation_report(evaluation, config, run, gallery, words)))
    return evaluation


def _kept(config: EvaluateConfig, evaluation: Evaluation, write_report: Callable[[], None]) -> str:
    """Write the evaluation into the run's folder, and say so."""
    try:
        write_report()
        write_command(evaluation.path.parent, "evaluate", config, f"command-{evaluation.path.name}")
        evaluation.keep()
    except OSError as error:  # a run that was handed on may be read-only
        return f"not kept: {evaluation.path} cannot be written ({error.strerror or error})"
    return f"kept in {evaluation.path}; look at {evaluation.report}"


def _explainer(
    config: EvaluateConfig, run: RunConfig, reader: FeatureReader, *, text: TextMode, device: str
) -> WordExplainer:
    from ..explanation.report import WordExplainer

    return WordExplainer(run, reader, text, device, offline=config.offline)


def _scores(
    config: EvaluateConfig,
    head: Head,
    data: CachedFeatures,
    wholes: Sequence[Sequence[SampleRow]],
    *,
    gallery: Gallery,
    progress: Progress,
) -> dict[str, Any]:
    reader, firsts = data.reader, [rows[0] for rows in wholes]
    lost = lost_pixels(reader, firsts) if config.at == "model" else {}
    unit = _distance_unit(reader, firsts, config.at) if config.measures_surface else None
    counts = _count(config, head, data, wholes, lost=lost, unit=unit, gallery=gallery, progress=progress)
    scores = score_counts(counts, firsts) | {"lost": _named(lost, reader)}
    if unit is not None:
        scores["surface"] = {"unit": unit.name, "tolerance": config.tolerance, "remark": unit.remark}
    return scores


def _count(
    config: EvaluateConfig,
    head: Head,
    data: CachedFeatures,
    wholes: Sequence[Sequence[SampleRow]],
    *,
    lost: Mapping[str, Mapping[int, int]],
    unit: DistanceUnit | None,
    gallery: Gallery,
    progress: Progress,
) -> list[SampleCounts]:
    reader, firsts = data.reader, [rows[0] for rows in wholes]
    labels_of = _native_labels(reader, firsts) if config.at == "native" else partial(cached_labels, reader)
    objects_of = _objects(reader, firsts) if config.at == "native" and config.instances else None
    views = group_views(reader.split(config.split), config.tta)
    counts = []
    with progress.task("evaluate", len(wholes), "samples") as task:
        for rows in wholes:
            tiles = [views[row.id] for row in rows]
            inputs = data.inputs(row for tile in tiles for row in tile)
            logits = segment_tiles(head, inputs, ([row.view for row in tile] for tile in tiles))
            bands = gallery.watch(rows[0], _bands(logits, data, config.at, labels_of, rows))
            counted = count_sample(
                bands,
                data.n_classes,
                surface=SurfaceSettings(unit.of(rows[0]), config.tolerance) if unit else None,
                instances=config.instances,
                objects=objects_of(rows[0]) if objects_of else None,
            )
            counts.append(counted.plus(_of_lost(data, lost, rows[0])))
            task.advance()
    return counts


def _of_lost(
    data: CachedFeatures, lost: Mapping[str, Mapping[int, int]], row: SampleRow
) -> Int[Tensor, "label predicted"]:
    spec = data.reader.manifest.features
    scale = 1.0 if spec.tile else spec.image_size**2 / (row.size[0] * row.size[1])  # tiles are scored at native size
    return false_negatives(lost.get(row.parent, {}), data.n_classes, scale)


def _named(lost: Mapping[str, Mapping[int, int]], reader: FeatureReader) -> list[dict[str, Any]]:
    names = Classes.from_dict(reader.manifest.classes).names
    return [
        {"id": parent, "class": names[label], "pixels": n} for parent, of in lost.items() for label, n in of.items()
    ]


def _native_labels(reader: FeatureReader, firsts: Sequence[SampleRow]) -> LabelsOf:
    from .mask_files import labels_of_files  # image readers, which stage two needs nowhere else but below

    return labels_of_files(reader, firsts)


def _objects(reader: FeatureReader, firsts: Sequence[SampleRow]) -> ObjectsOf | None:
    from .mask_files import objects_of_files

    return objects_of_files(reader, firsts)


def _distance_unit(reader: FeatureReader, firsts: Sequence[SampleRow], at: Literal["model", "native"]) -> DistanceUnit:
    from .distance_unit import distance_unit

    return distance_unit(reader, firsts, at)


def _describe(
    config: EvaluateConfig,
    text: TextMode,
    run: RunConfig,
    reader: FeatureReader,
    *,
    firsts: Sequence[SampleRow],
    scores: dict[str, Any],
) -> Evaluation:
    manifest = reader.manifest
    at_model = config.at == "model" and manifest.features.tile is None
    masks = sorted((sample.parent, sample.mask_digest or "") for sample in firsts)
    return Evaluation(
        run=str(config.run),
        cache=str(config.cache),
        split=config.split,
        at=config.at,
        text=text,
        tta=config.tta,
        classes=Classes.from_dict(manifest.classes).names[1:],
        cache_digest=digest_of_cache(manifest.digests),
        truth=digest([manifest.features.image_size if at_model else "native", masks]),
        n_seen={name: len({sample.parent for sample in firsts} & {*ids}) for name, ids in run.samples.items()},
        scores=scores,
    )


def _labelled(reader: FeatureReader, split: str) -> list[tuple[SampleRow, ...]]:
    """The rows of each sample of which at least one is labelled, in the order of `cut_tiles`."""
    wholes: dict[str, list[SampleRow]] = {}
    for row in originals(reader.samples):
        wholes.setdefault(row.parent, []).append(row)
    labelled = [rows for rows in wholes.values() if any(has_labels(reader, row) for row in rows)]
    chosen = [tuple(sorted(rows, key=lambda row: row.tile)) for rows in labelled if rows[0].split == split]
    if not chosen:
        names = ", ".join(sorted({rows[0].split for rows in labelled})) or "none"
        raise DataError(f"--split {split}: {reader.root} has no labelled samples there; it has some in {names}")
    return chosen


def _bands(
    logits: Iterable[Float[Tensor, "member n_classes y x"]],
    data: CachedFeatures,
    at: str,
    labels_of: LabelsOf,
    rows: Sequence[SampleRow],
) -> Iterator[LabelledBand]:
    """Probabilities and labels of an image: at its own size, or whole at the model's where it was not cut."""
    tile = data.reader.manifest.features.tile
    if at == "model" and tile is None:
        yield from ((one.softmax(1).cpu(), data.labels(rows[0]).cpu()) for one in logits)
        return
    for top, members in whole_image(logits, rows[0].size, tile, [row.tile for row in rows]):
        yield members.cpu(), torch.from_numpy(labels_of(rows, top, members.shape[2]))
