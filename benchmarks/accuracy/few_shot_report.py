"""Results of `few_shot.py`: rows with intervals, a table, a plot, and one sentence that decides."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from textdiff.components import mean_intervals

Interval = tuple[float, float]
OURS = ("head", "head-no-text", "context", "context-no-text")
REFERENCE = "unet"


@dataclass(frozen=True)
class Row:
    """A method at one number of labels: Dice over images, each the mean over seeds."""

    method: str
    sources: str
    """Frozen models that it learnt from, with + between them; empty where these are not compared."""
    n: int
    """Labelled groups that were asked for."""
    n_groups: float
    """Groups learnt from, mean over trainings; fewer where a fold has no more."""
    n_images: int
    n_seeds: int
    dice: float
    low: float | None
    """Lower end of the 95 % bootstrap interval over groups; `None` with one group."""
    high: float | None
    lowest_seed: float
    highest_seed: float
    seconds: float
    """Of one training with its scoring, mean."""


@dataclass(frozen=True)
class Cells:
    """The finished trainings of one method at one number of labels."""

    method: str
    n: int
    results: Mapping[tuple[int, int], Mapping[str, Any]]
    """(seed, fold) → `dice` by sample, `n_groups`, `seconds`."""
    sources: tuple[str, ...] | None = None
    """Frozen models that it learnt from, where these are compared."""

    @property
    def of(self) -> str:
        """The models, with + between them; empty where they are not compared."""
        return "+".join(self.sources or ())

    @property
    def by_seed(self) -> list[dict[str, float]]:
        """Sample → Dice, for each seed; the folds put together."""
        seeds = sorted({seed for seed, _ in self.results})
        return [
            {name: dice for (of, _), cell in self.results.items() if of == seed for name, dice in cell["dice"].items()}
            for seed in seeds
        ]

    def by_image(self) -> dict[str, float]:
        """Sample → mean Dice over seeds."""
        by_seed = self.by_seed
        return {name: statistics.fmean(dice[name] for dice in by_seed) for name in by_seed[0]}


def summarise(cells: Cells, group_of: Mapping[str, str]) -> Row:
    """One row of the table."""
    by_image = cells.by_image()
    of_seeds = [statistics.fmean(dice.values()) for dice in cells.by_seed]
    low, high = interval(by_image, group_of) or (None, None)
    results = cells.results.values()
    return Row(
        cells.method,
        cells.of,
        cells.n,
        statistics.fmean(cell["n_groups"] for cell in results),
        len(by_image),
        len(of_seeds),
        statistics.fmean(by_image.values()),
        low,
        high,
        min(of_seeds),
        max(of_seeds),
        statistics.fmean(cell["seconds"] for cell in results),
    )


def interval(by_image: Mapping[str, float], group_of: Mapping[str, str]) -> Interval | None:
    """Of the mean over images, 95 %, over draws of groups."""
    values = np.array(list(by_image.values()))[:, None]
    return mean_intervals(values, [group_of[name] for name in by_image])[0]


@dataclass(frozen=True)
class Match:
    """The fewest labels with which a head is as good, on average, as the U-Net with the most."""

    method: str
    n: int | None
    """`None`: it never is."""
    reference_n: int
    difference: float
    """Dice of the head minus the U-Net's on the same images, at `n`, or at the head's best where it never matches."""
    interval: Interval | None
    """95 %, over groups."""

    def line(self) -> str:
        """The sentence."""
        low_high = "" if self.interval is None else f" ({self.interval[0]:+.4f} to {self.interval[1]:+.4f})"
        gain = f"{self.difference:+.4f}{low_high} Dice"
        if self.n is None:
            return f"{self.method} does not match the U-Net's {self.reference_n} labels: {gain} at its best"
        return f"{self.method} matches the U-Net's {self.reference_n} labels with {self.n}: {gain}"


def matches(ladder: Sequence[Cells], group_of: Mapping[str, str]) -> list[Match]:
    """For each of our heads that was run, where the U-Net was run too."""
    references = [cells for cells in ladder if cells.method == REFERENCE]
    if not references:
        return []
    reference = max(references, key=lambda cells: cells.n)
    ours: dict[tuple[str, str], list[Cells]] = {}
    for cells in ladder:
        if cells.method in OURS:
            ours.setdefault((cells.method, cells.of), []).append(cells)
    return [_match(of, reference, group_of) for of in ours.values()]


def _match(ours: Sequence[Cells], reference: Cells, group_of: Mapping[str, str]) -> Match:
    theirs = reference.by_image()
    differences = {
        cells.n: {name: dice - theirs[name] for name, dice in cells.by_image().items()}
        for cells in sorted(ours, key=lambda cells: cells.n)
    }
    means = {n: statistics.fmean(of.values()) for n, of in differences.items()}
    n = next((n for n, mean in means.items() if mean >= 0), None)
    shown = max(means, key=lambda one: means[one]) if n is None else n
    return Match(
        f"{ours[0].method} {ours[0].of}".strip(), n, reference.n, means[shown], interval(differences[shown], group_of)
    )


def to_csv(rows: Sequence[Row]) -> str:
    """The table for programs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def lines(rows: Sequence[Row], matches: Sequence[Match]) -> Iterator[str]:
    """The table and the sentences for people."""
    yield "| method | sources | N | Dice (95 % interval) | seeds, lowest to highest | images | s |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        between = "" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})"
        n = f"{row.n}" if row.n_groups == row.n else f"{row.n} ({row.n_groups:.1f} in a fold)"
        yield (
            f"| {row.method} | {row.sources} | {n} | {row.dice:.4f}{between} | {row.n_seeds}: {row.lowest_seed:.4f} to "
            f"{row.highest_seed:.4f} | {row.n_images} | {row.seconds:.1f} |"
        )
    yield from (match.line() for match in matches)


def plot(rows: Sequence[Row], scored_on: str) -> bytes:
    """Dice with its interval against the number of labels, as PNG: a line for each method.

    Where sources are compared, a panel for each method with a line for each set of them; methods that have none are in
    all panels.
    """
    panels = list(dict.fromkeys(row.method for row in rows if row.sources)) or [""]
    figure = Figure(figsize=(7.5 if panels == [""] else 4.2 * len(panels), 4.5), dpi=110, layout="constrained")
    learnt_from = sorted({row.n_groups for row in rows})
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _panel(axes, [row for row in rows if not row.sources or row.method == panel])
        axes.set_title(panel, fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xlim(learnt_from[0] / 1.3, learnt_from[-1] * 1.3)
        axes.set_xticks(learnt_from)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(color="#e4e7ec")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.supxlabel("labelled groups learnt from", fontsize=10)
    figure.supylabel(f"Dice, mean and 95 % interval over groups\n({scored_on})", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    """A line for each method, or for each set of sources."""
    names = list(dict.fromkeys(row.sources or row.method for row in rows))
    for i, name in enumerate(names):
        shown = sorted((row for row in rows if name == (row.sources or row.method)), key=lambda row: row.n)
        dice = np.array([row.dice for row in shown])
        reach = [[row.dice - (row.low or row.dice), (row.high or row.dice) - row.dice] for row in shown]
        beside = np.array([row.n_groups for row in shown]) * 1.02 ** (i - len(names) / 2)
        axes.errorbar(beside, dice, np.array(reach).T.clip(min=0), fmt="o-", capsize=2, markersize=4, label=name)
