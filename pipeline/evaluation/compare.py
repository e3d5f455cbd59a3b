"""Comparison of two runs: paired differences of Dice on the same samples, tested over groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...cache.reader import FeatureReader
from ...cache.storage.location import Location
from ...errors import CacheNotFoundError, RunError
from ..config.evaluation import CompareConfig, EvaluateConfig
from ..runs.run_config import RunConfig
from ..runtime.progress import Progress
from ..runtime.results import Result
from ..scoring.paired import PairedDifference, paired_difference
from .evaluate import evaluate
from .result import Evaluation, counted, digest_of_cache, few_groups, kept_path, read_evaluation

N_SHOWN = 3

Verdict = Literal["a", "b", "cannot tell"]


@dataclass(frozen=True)
class Comparison(Result):
    """Result of `compare`: run A minus run B."""

    a: Evaluation
    b: Evaluation
    paired: PairedDifference
    """Of Dice, A minus B."""
    per_sample: tuple[Mapping[str, Any], ...]
    """`id`, `group`, `a`, `b`, `difference`; where A gains most comes first."""

    @property
    def verdict(self) -> Verdict:
        """The better run, if both the interval and the test leave no doubt."""
        if self.paired.doubt:
            return "cannot tell"
        return "a" if self.paired.difference > 0 else "b"

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "run_a": self.a.run,
            "run_b": self.b.run,
            "split": self.a.split,
            "at": self.a.at,
            "n": self.a.scores["n"],
            "n_groups": self.paired.n_groups,
            "dice_a": self.a.scores["dice"],
            "dice_b": self.b.scores["dice"],
            "difference": self.paired.difference,
            "interval": self.paired.interval,
            "test": vars(self.paired.test),
            "verdict": self.verdict,
            "per_sample": [*self.per_sample],
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each sample, where A gains most first."""
        return [dict(one) for one in self.per_sample]

    def lines(self) -> list[str]:
        """For the terminal."""
        interval = "" if self.paired.interval is None else " [{:+.4f}, {:+.4f}]".format(*self.paired.interval)
        test = self.paired.test
        flips = f"{'all' if test.exact else 'random'} {test.n_flips:,} flips"
        gains = [_signed(one) for one in self.per_sample if one["difference"] > 0][:N_SHOWN]
        losses = [_signed(one) for one in self.per_sample[::-1] if one["difference"] < 0][:N_SHOWN]
        return [
            f"{counted(self.a.scores)} of {self.a.split}, at {self.a.at} size; means over samples",
            f"A  Dice {self.a.scores['dice']:.4f}  {self.a.run} (text: {self.a.text})",
            f"B  Dice {self.b.scores['dice']:.4f}  {self.b.run} (text: {self.b.text})",
            *self.a.seen(),
            *self.b.seen(),
            f"A − B  {self.paired.difference:+.4f}{interval}  [95 % bootstrap interval over groups]",
            f"sign-flip test over groups: p = {test.p_value:.2g} ({flips})",
            *([warning] if (warning := few_groups(self.paired.n_groups)) else []),
            self._conclusion(),
            f"A gains most on {', '.join(gains) or 'no sample'}",
            f"A loses most on {', '.join(losses) or 'no sample'}",
        ]

    def _conclusion(self) -> str:
        if self.paired.doubt:
            return f"cannot tell which is better: {self.paired.doubt}"
        better = self.verdict.upper()
        return f"{better} is better on these samples (one comparison; of many, some come out like this by chance)"


def compare(config: CompareConfig, progress: Progress | None = None) -> Comparison:
    """Compare two runs on the same samples, from the evaluations that they keep; missing ones are made.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        RunError: if a run is absent or unfinished, or was not evaluated and cannot be, or if the two were evaluated
            on different samples.
        CacheError: if a cache cannot be used for its run.
        DataError: if the split has no labelled samples.
    """
    progress = progress or Progress()
    a, b = (_evaluation(run, config, progress) for run in (config.run_a, config.run_b))
    _refuse_different_samples(a, b)
    of_b = {one["id"]: one["dice"] for one in b.scores["per_sample"]}
    pairs = [
        {"id": one["id"], "group": one["group"], "a": one["dice"], "b": of_b[one["id"]],
         "difference": one["dice"] - of_b[one["id"]]}
        for one in a.scores["per_sample"]
    ]  # fmt: skip
    differences, groups = np.array([pair["difference"] for pair in pairs]), [pair["group"] for pair in pairs]
    ranked = tuple(sorted(pairs, key=lambda pair: -pair["difference"]))
    return Comparison(a, b, paired_difference(differences, groups), ranked)


def _evaluation(run: Path, config: CompareConfig, progress: Progress) -> Evaluation:
    """The run's evaluation on the cache; of a cache that is gone, the only evaluation that the run keeps."""
    trained = RunConfig.read(run)
    cache = config.cache or trained.own_cache(run)
    kept = partial(kept_path, run, split=config.split, at=config.at, text=trained.text, tta=config.tta)
    try:
        path = kept(digest_of_cache(FeatureReader(cache).manifest.digests))
    except CacheNotFoundError:
        if config.cache is not None:
            raise
        path = _only_one(kept("*"), run, config, cache)
    if path.exists():
        return read_evaluation(path)
    progress.say(f"{run}: evaluating on {config.split}")
    settings = EvaluateConfig(run, cache, split=config.split, at=config.at, tta=config.tta, device=config.device)
    return evaluate(settings, progress)


def _only_one(pattern: Path, run: Path, config: CompareConfig, cache: Location) -> Path:
    kept = sorted(pattern.parent.glob(pattern.name))
    if len(kept) != 1:
        raise RunError(
            f"{run}: keeps {len(kept)} evaluations on {config.split} at {config.at} size, and the cache that it was "
            f"trained on is gone ({cache}); say with --cache which features to evaluate on"
        )
    return kept[0]


def _refuse_different_samples(a: Evaluation, b: Evaluation) -> None:
    ids_a, ids_b = ({one["id"] for one in run.scores["per_sample"]} for run in (a, b))
    if ids_a != ids_b:
        only = [f"only {name}: {_some(ids)}" for name, ids in (("A", ids_a - ids_b), ("B", ids_b - ids_a)) if ids]
        problem = f"on different samples of {a.split} ({'; '.join(only)}); evaluate both on one cache: --cache CACHE"
    elif a.classes != b.classes:
        problem = f"on different classes ({', '.join(a.classes)} and {', '.join(b.classes)})"
    elif a.truth != b.truth:
        problem = "against other masks, or at another size: compare with --at native, on caches of the same masks"
    else:
        return
    raise RunError(f"{a.run} and {b.run} cannot be compared: they were evaluated {problem}")


def _some(ids: set[str]) -> str:
    shown = ", ".join(sorted(ids)[:N_SHOWN])
    return shown + (f" and {len(ids) - N_SHOWN} more" if len(ids) > N_SHOWN else "")


def _signed(one: Mapping[str, Any]) -> str:
    return f"{one['id']} {one['difference']:+.4f}"
