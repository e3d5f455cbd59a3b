"""Ranking of the unlabelled samples of a cache: which to label next, by a trained head's uncertainty and features."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...cache.storage.atomic import write_durably
from ...errors import DataError
from ...stages.features.sampling import dense
from ...stages.heads.base import Head
from ...stages.metrics.overlap import likeliest
from ...stages.metrics.selection import choose_centres, standardised
from ...stages.metrics.uncertainty import predictive_entropy
from ..config.command_line import write_command
from ..config.evaluation import SuggestConfig
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.splits import has_labels, originals
from ..reports.figures import plot_suggestions
from ..runs.compatibility import check_same_features, open_as_trained
from ..runs.heads import load_head
from ..runs.run_config import RunConfig
from ..runtime.device import resolve_device
from ..runtime.progress import Progress
from ..runtime.results import Result

TABLE, PLOT = "suggestions.csv", "suggestions.png"

Rows = tuple[SampleRow, ...]
"""Of one sample: its tiles, or the one row of the whole image."""


@dataclass(frozen=True)
class Suggestion:
    """A sample to label."""

    rank: int
    """From 1, in the order in which to label."""
    id: str
    group: str
    uncertainty: float
    """Mean entropy of the head's probabilities over the image's pixels, in nats: 0 to the logarithm of the classes."""
    distance: float | None
    """To the nearest sample that is labelled or ranks higher, in standard deviations; `None`: no such sample."""
    image: str
    """The image file."""
    text: str


@dataclass(frozen=True)
class SuggestSummary(Result):
    """Result of `suggest`."""

    cache: str
    run: str
    split: str
    n_unlabelled: int
    n_labelled: int
    """Samples of the train split that have labels."""
    suggestions: tuple[Suggestion, ...]
    out: str | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each suggestion, the first one to label first."""
        return [asdict(one) for one in self.suggestions]

    def lines(self) -> list[str]:
        """For the terminal."""
        shown = [_cells(one) for one in self.suggestions]
        header = ("rank", "id", "group", "uncertainty", "distance", "image")
        widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
        return [
            f"{len(shown)} of {self.n_unlabelled} unlabelled samples of {self.split}, to be labelled in this order; "
            f"{self.n_labelled} are labelled",
            "",
            *("  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *shown)),
            *([f"{self.out}: {TABLE}, {PLOT}"] if self.out else []),
        ]


def _cells(one: Suggestion) -> tuple[str, ...]:
    distance = "none" if one.distance is None else f"{one.distance:.3f}"
    return str(one.rank), one.id, one.group, f"{one.uncertainty:.4f}", distance, one.image


def suggest(config: SuggestConfig, progress: Progress | None = None) -> SuggestSummary:
    """Rank unlabelled samples: uncertain ones that are unlike the labelled ones and unlike one another come first.

    Samples are compared by the means of their cached activations, channel by channel, at the run's blocks and
    timesteps, standardised over the samples; `choose_centres` ranks them by these and the uncertainty.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        RunError: if the run is absent or unfinished.
        CacheMismatchError: if the cache's features or texts are not what the head was trained on.
        DataError: if no sample of the split is without labels.
    """
    progress, device = progress or Progress(), resolve_device(config.device)
    if config.out is not None and config.out.exists() and not config.out.is_dir():
        raise DataError(f"--out {config.out} is a file; give a folder for the table and the figure")
    run, reader = RunConfig.read(config.run), FeatureReader(config.cache)
    check_same_features(run, reader)
    data = open_as_trained(run, reader, run.text, device)
    head = load_head(config.run, run, device)
    labelled, unlabelled = _labelled(reader), _unlabelled(reader, config.split)
    ranked = rank_samples(head, data, labelled, unlabelled, n=config.n, progress=progress)
    suggestions = tuple(one for _, one in ranked)
    if config.out:
        _write(config.out, suggestions, [_panel(head, data, *one) for one in ranked])
        write_command(config.out, "suggest", config)
    out = str(config.out) if config.out else None
    n_unlabelled, n_labelled = len(unlabelled), len(labelled)
    return SuggestSummary(str(config.cache), str(config.run), config.split, n_unlabelled, n_labelled, suggestions, out)


def rank_samples(
    head: Head,
    data: CachedFeatures,
    labelled: Sequence[Rows],
    unlabelled: Sequence[Rows],
    *,
    n: int,
    progress: Progress | None = None,
) -> list[tuple[Rows, Suggestion]]:
    """Choose the samples to label next, in this order.

    Args:
        head: the trained head.
        data: the cache as the head sees it.
        labelled: rows of each sample that is labelled, without augmentation.
        unlabelled: likewise of the candidates.
        n: number to choose; all of fewer candidates.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.
    """
    with (progress or Progress()).task("suggest", len(unlabelled) + len(labelled), "samples") as task:
        weights, features = [], []
        for rows in unlabelled:
            entropies = [float(predictive_entropy(of_row).mean()) for of_row in _probabilities(head, data, rows)]
            weights.append(sum(entropies) / len(rows))
            features.append(pooled(data, rows))
            task.advance()
        for rows in labelled:
            features.append(pooled(data, rows))
            task.advance()
    candidates, covered = standardised(torch.stack(features)).split([len(unlabelled), len(labelled)])
    chosen, distances = choose_centres(candidates, torch.tensor(weights, dtype=torch.float64), covered, n)
    return [
        (unlabelled[i], _suggestion(data.reader, rank, unlabelled[i][0], weights[i], distance))
        for rank, (i, distance) in enumerate(zip(chosen, distances, strict=True), start=1)
    ]


def _labelled(reader: FeatureReader) -> list[Rows]:
    """The samples that heads can learn from."""
    return [rows for rows in _samples(reader, "train") if any(has_labels(reader, row) for row in rows)]


def _unlabelled(reader: FeatureReader, split: str) -> list[Rows]:
    """The samples of a split that have no labelled pixel."""
    samples = _samples(reader, split)
    unlabelled = [rows for rows in samples if not any(has_labels(reader, row) for row in rows)]
    if not unlabelled:
        raise DataError(
            f"--split {split}: all {len(samples)} samples of that split in {reader.root} are labelled;"
            " add images without masks to the data and repeat the `textdiff extract-features` command"
        )
    return unlabelled


def _samples(reader: FeatureReader, split: str) -> list[Rows]:
    samples: dict[str, list[SampleRow]] = {}
    for row in originals(reader.split(split)):
        samples.setdefault(row.parent, []).append(row)
    return [tuple(rows) for rows in samples.values()]


def pooled(data: CachedFeatures, rows: Sequence[SampleRow]) -> Float[Tensor, " channel"]:
    """Mean of every channel of all blocks and timesteps over a sample; filters say little of an image."""
    data = replace(data, filters=False)
    means = [[dense(map_).float().mean((0, 1)) for of in data.maps(row).values() for map_ in of] for row in rows]
    return torch.stack([torch.cat(of_row) for of_row in means]).mean(0).cpu()


def _probabilities(head: Head, data: CachedFeatures, rows: Rows) -> Iterator[Float[Tensor, "n_classes y x"]]:
    return (head.segment(x).softmax(1).mean(0) for x in data.inputs(rows))


def _suggestion(reader: FeatureReader, rank: int, row: SampleRow, weight: float, distance: float) -> Suggestion:
    return Suggestion(
        rank=rank,
        id=row.parent,
        group=row.group,
        uncertainty=weight,
        distance=None if math.isinf(distance) else distance,
        image=str(Path(reader.table.root) / row.image),
        text="" if row.text is None else reader.table.texts[row.text],
    )


def _panel(head: Head, data: CachedFeatures, rows: Rows, one: Suggestion) -> dict[str, Any]:
    """Panel of `plot_suggestions`; of an image in tiles, the most uncertain tile."""
    of_rows = zip(rows, _probabilities(head, data, rows), strict=True)
    row, probabilities = max(of_rows, key=lambda one: float(predictive_entropy(one[1]).mean()))
    rank, name, _, uncertainty, distance, _ = _cells(one)
    return {
        "image": data.reader.image(row.row),
        "predicted": (likeliest(probabilities) > 0).cpu().numpy(),
        "uncertainty": (predictive_entropy(probabilities) / math.log(data.n_classes)).cpu().numpy(),
        "title": f"{rank}. {name}\nuncertainty {uncertainty}, distance {distance}",
    }


def _write(out: Path, suggestions: Sequence[Suggestion], panels: Sequence[dict[str, Any]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([field.name for field in fields(Suggestion)])
    writer.writerows(asdict(one).values() for one in suggestions)
    write_durably(out / TABLE, [table.getvalue().encode()])
    write_durably(out / PLOT, [plot_suggestions(panels)])
