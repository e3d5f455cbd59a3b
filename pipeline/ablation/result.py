"""Result of an ablation: Dice with its interval for each variant, and the test of the best against the others."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..config.ablation import Over
from ..evaluation.result import few_groups
from ..runtime.results import Result
from ..scoring.intervals import Interval, mean_intervals
from ..scoring.paired import PairedDifference, holm, paired_difference
from .variants import Variant


@dataclass(frozen=True)
class AblationRow:
    """One variant."""

    variant: Variant
    name: str
    """The timesteps, blocks or text in which it differs from the others, as the flag writes them."""
    per_sample: Mapping[str, float]
    """Sample → Dice, the mean over the seeds."""
    dice: tuple[float, ...]
    """Mean Dice per sample, one for each seed."""
    interval: Interval | None
    """95 % bootstrap interval of the mean, over groups; `None` with fewer than two groups."""
    behind: PairedDifference | None = None
    """The best variant minus this one, p corrected for all comparisons (Holm); `None`: this is the best."""

    @property
    def mean(self) -> float:
        """Over samples."""
        return statistics.fmean(self.per_sample.values())

    @property
    def std(self) -> float:
        """Sample standard deviation over the seeds; 0 for a single one."""
        return statistics.stdev(self.dice) if len(self.dice) > 1 else 0.0

    def figures(self, over: Over) -> dict[str, Any]:
        """One row of a table: Dice with its interval, and the best variant minus this one."""
        low, high = self.interval or (None, None)
        behind = self.behind
        return {
            over: self.name,
            "dice": self.mean,
            "low": low,
            "high": high,
            "std": self.std,
            "behind": behind and behind.difference,
            "p": behind and behind.p_value,
        }

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            **vars(self.variant),
            "mean": self.mean,
            "interval": self.interval,
            "std": self.std,
            "n_seeds": len(self.dice),
            "dice": self.dice,
            "behind": self.behind and {**vars(self.behind), "test": vars(self.behind.test)},
            "per_sample": dict(self.per_sample),
        }


@dataclass(frozen=True)
class AblationSummary(Result):
    """Result of `ablate-timesteps`."""

    out: str
    over: Over
    scored_on: str
    seeds: tuple[int, ...]
    n_groups: int
    rows: tuple[AblationRow, ...]
    """In the order of the request."""
    path: tuple[str, ...]
    """Best subset of each stage of forward selection; empty for other grids."""
    command: str
    """Command that trains the winner's head, with the first seed."""
    note: str
    """Remark on that command; may be empty."""

    @property
    def ranked(self) -> list[AblationRow]:
        """Rows by Dice, best first."""
        return sorted(self.rows, key=lambda row: -row.mean)

    @property
    def verdict(self) -> str:
        """Comparison of the winner with the next one, in a sentence."""
        winner, *others = self.ranked
        if not others or others[0].behind is None:
            return f"{winner.name} alone was trained; there is nothing to compare it with"
        behind, second = others[0].behind, others[0].name
        by = f"by {_signed(behind.difference)}{_interval(behind.interval, signed=True)}"
        if behind.doubt:
            return (
                f"{winner.name} has the highest Dice, {by} over {second}, from which it cannot be told: {behind.doubt}"
            )
        return f"{winner.name} is better than the next one, {second}, {by}, p = {behind.p_value:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and `ablation.json`."""
        return {
            "out": self.out,
            "over": self.over,
            "scored_on": self.scored_on,
            "seeds": list(self.seeds),
            "n_groups": self.n_groups,
            "rows": [row.to_dict() for row in self.rows],
            "path": list(self.path),
            "winner": self.ranked[0].name,
            "verdict": self.verdict,
            "command": self.command,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each variant, best first."""
        return [row.figures(self.over) for row in self.ranked]

    def lines(self) -> list[str]:
        """The table for a terminal."""
        width = max(len(self.over), *(len(row.name) for row in self.rows))
        n_seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"
        return [
            f"Dice on {self.scored_on}, in {self.n_groups} groups; mean over {n_seeds}",
            f"{self.over:<{width}}  mean [95 % interval]      best − this [95 % interval]  p (Holm)",
            *(self._line(row, width) for row in self.ranked),
            *([warning] if (warning := few_groups(self.n_groups)) else []),
            *([f"forward: {' → '.join(self.path)}"] if self.path else []),
            self.verdict,
            f"train it: {self.command}",
            *([self.note] if self.note else []),
        ]

    def csv(self) -> str:
        """The table as CSV, in the order of the request."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([
            self.over, "dice_mean", "dice_low", "dice_high", "dice_std", "n_seeds",
            "behind", "behind_low", "behind_high", "p", "p_holm", *(f"dice_seed_{seed}" for seed in self.seeds),
        ])  # fmt: skip
        writer.writerows([*_cells(row), *row.dice] for row in self.rows)
        return table.getvalue()

    def _line(self, row: AblationRow, width: int) -> str:
        figure = f"{row.name:<{width}}  {f'{row.mean:.4f}{_interval(row.interval)}':<24}"
        if row.behind is None:
            return f"{figure}  best"
        behind = f"{_signed(row.behind.difference)}{_interval(row.behind.interval, signed=True)}"
        return f"{figure}  {behind:<27}  {row.behind.p_value:.2g}"


def rows_of(
    dice: Mapping[Variant, Sequence[Mapping[str, float]]], groups: Mapping[str, str], over: Over
) -> tuple[AblationRow, ...]:
    """Rows of the table.

    Args:
        dice: variant → for each seed, sample → Dice.
        groups: sample → its group.
        over: the setting in which the variants differ.
    """
    rows = [_row(variant, by_seed, groups, over) for variant, by_seed in dice.items()]
    best = max(rows, key=lambda row: row.mean)
    others = [row for row in rows if row is not best]
    behind = [_difference(best, row, groups) for row in others]
    corrected = holm([one.test.p_value for one in behind])
    of_row = {
        row.name: replace(one, p_value=p_value, n_comparisons=len(others))
        for row, one, p_value in zip(others, behind, corrected, strict=True)
    }
    return tuple(replace(row, behind=of_row.get(row.name)) for row in rows)


def _row(
    variant: Variant, by_seed: Sequence[Mapping[str, float]], groups: Mapping[str, str], over: Over
) -> AblationRow:
    ids = sorted({name for scored in by_seed for name in scored})
    # Where each seed holds other images out, an image's mean is over the seeds that scored it.
    per_sample = {name: statistics.fmean(scored[name] for scored in by_seed if name in scored) for name in ids}
    values = np.array([*per_sample.values()])
    (interval,) = mean_intervals(values[:, None], [groups[name] for name in ids])
    dice = tuple(statistics.fmean(scored.values()) for scored in by_seed)
    return AblationRow(variant, variant.name(over), per_sample, dice, interval)


def _difference(best: AblationRow, row: AblationRow, groups: Mapping[str, str]) -> PairedDifference:
    differences = np.array([best.per_sample[name] - dice for name, dice in row.per_sample.items()])
    return paired_difference(differences, [groups[name] for name in row.per_sample])


def _cells(row: AblationRow) -> Iterator[Any]:
    yield from (row.name, row.mean, *(row.interval or ("", "")), row.std, len(row.dice))
    if row.behind is None:
        yield from ("",) * 5
    else:
        yield from (row.behind.difference, *(row.behind.interval or ("", "")))
        yield from (row.behind.test.p_value, row.behind.p_value)


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    return "" if interval is None else (" [{:+.4f}, {:+.4f}]" if signed else " [{:.4f}, {:.4f}]").format(*interval)
