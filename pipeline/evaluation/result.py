"""Result of an evaluation, on the terminal and in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cache.format.spec import digest
from ...cache.storage.atomic import parse_json, write_json
from ...errors import RunError
from ..config.training import TextMode
from ..runtime.results import Result
from ..scoring.intervals import FEW_GROUPS
from .measures import LITERATURE, MEAN, POOLED, WARNING, empty_lines, labels

FOLDER = "evaluations"
LOST_NAMED = 5
"""Classes of samples that a line names."""
_WIDTH = 17
"""Of a column of figures."""


@dataclass(frozen=True)
class Evaluation(Result):
    """Scores of one run on one split."""

    run: str
    cache: str
    split: str
    at: str
    text: TextMode
    tta: int
    """Number of views of each sample over which probabilities were averaged."""
    classes: tuple[str, ...]
    """Names of the foreground classes, in the order of the figures of each class."""
    cache_digest: str
    """Digest of the cache's digests."""
    truth: str
    """Digest of the mask files, and of the size at which they were compared with."""
    n_seen: Mapping[str, int]
    """Number of samples that the run was trained on (`train`) or that chose its epoch (`val`); empty if the run
    does not name its samples."""
    scores: Mapping[str, Any]
    """Result of `score_counts`; `lost`: id, class and pixels of the mask of each class that the labels lack; where
    distances were asked for, `surface`: their `unit`, the `tolerance` of NSD and a `remark` on the unit."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and the run's folder."""
        about = asdict(self)
        return about | about.pop("scores")

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each sample, with its figures."""
        return [dict(one) for one in self.scores["per_sample"]]

    def lines(self) -> list[str]:
        """For the terminal."""
        views = f", mean over {self.tta} views" if self.tta > 1 else ""
        worst = next(one for one in self.scores["per_sample"] if one["id"] == self.worst)
        return [
            f"{counted(self.scores)} of {self.split}, at {self.at} size, text: {self.text}{views}",
            *self.seen(),
            *self.lost(),
            "",
            *self._table(),
            "[95 % bootstrap intervals over groups]",
            *([warning] if (warning := few_groups(self.scores["n_groups"])) else []),
            *self.distances(),
            *empty_lines(self.scores),
            WARNING,
            *(f"  {kind}: {names}" for kind, names in LITERATURE),
            "",
            *self._classes(),
            *self._certainty(),
            f"lowest: {worst['id']} with Dice {worst['dice']:.4f}",
        ]

    def seen(self) -> list[str]:
        """A warning for samples that are not new to the run, or may not be."""
        if not self.n_seen:
            return [f"of these samples some may be among those of the training, which {self.run} does not name"]
        uses = [
            f"{n} were {how}" for name, how in (("train", "trained on"), ("val", "used to choose the epoch"))
            if (n := self.n_seen[name])
        ]  # fmt: skip
        return [f"of these samples {' and '.join(uses)} by {self.run}"] if uses else []

    def lost(self) -> list[str]:
        """A warning for classes that masks have and labels lack."""
        lost = self.scores.get("lost", [])
        named = [f"{one['id']} ({one['class']}, {one['pixels']} pixels)" for one in lost]
        more = f" and {len(named) - LOST_NAMED} more" if len(named) > LOST_NAMED else ""
        line = f"lost at the model's size, counted as false negatives: {', '.join(named[:LOST_NAMED])}{more}"
        return [line] if lost else []

    @property
    def worst(self) -> str:
        """The id of the sample with the lowest Dice."""
        return str(min(self.scores["per_sample"], key=lambda one: one["dice"])["id"])

    @property
    def path(self) -> Path:
        """The JSON file, one for each setting and cache."""
        return kept_path(Path(self.run), self.cache_digest, split=self.split, at=self.at, text=self.text, tta=self.tta)

    @property
    def report(self) -> Path:
        """The report, beside `path`."""
        return self.path.with_suffix(".html")

    def keep(self) -> None:
        """Write the JSON file; an earlier one of the same evaluation is replaced."""
        write_json(self.path, self.to_dict())

    def distances(self) -> list[str]:
        """A remark on the unit of HD95."""
        remark = self.scores.get("surface", {}).get("remark")
        return [remark] if remark else []

    def _table(self) -> Iterator[str]:
        yield f"{'':<{_WIDTH}}{MEAN:<30}{POOLED}{' or objects' if 'pq' in self.scores else ''}"
        for name, label in labels(self.scores).items():
            micro = self._figure(f"micro_{name}") if f"micro_{name}" in self.scores else ""
            n_without = self.scores["undefined"].get(name)
            without = f"  ({n_without} of {self.scores['n']} samples have none)" if n_without else ""
            yield f"{label:<{_WIDTH}}{self._figure(name):<30}{micro}{without}".rstrip()

    def _figure(self, name: str) -> str:
        interval = self.scores["intervals"][name]
        return _number(self.scores[name]) + ("" if interval is None else " [{}, {}]".format(*map(_number, interval)))

    def _classes(self) -> Iterator[str]:
        """A table of the classes' means over samples, where there are several."""
        if len(self.classes) > 1:
            named = labels(self.scores)
            width = max(map(len, self.classes)) + 2
            yield " " * width + "".join(f"{label:<{_WIDTH}}" for label in named.values())
            for i, of in enumerate(self.classes):
                figures = (_number(self.scores[f"class_{name}"][i]) for name in named)
                yield f"{of:<{width}}" + "".join(f"{figure:<{_WIDTH}}" for figure in figures)
            yield ""

    def _certainty(self) -> Iterator[str]:
        yield f"calibration error (ECE) {self.scores['calibration']['ece']:.4f}"
        yield "Dice of the most certain share of each image's pixels"
        for kind, of in self.scores["selective"].items():
            shown = [
                f"{_number(value)} ({kept})" for kept, value in sorted(of.items(), reverse=True) if kept[-1] == "0"
            ]
            yield f"  by {kind.replace('_', ' '):<24}{', '.join(shown)}"


def kept_path(run: Path, cache_digest: str, *, split: str, at: str, text: str, tta: int) -> Path:
    """File of an evaluation in a run's folder; a digest of `*` gives a pattern for any cache."""
    return run / FOLDER / f"{split}-{at}-{text}-{tta}-{cache_digest[:8]}.json"


def read_evaluation(path: Path) -> Evaluation:
    """Read a kept evaluation.

    Raises:
        RunError: if it is not an evaluation.
    """
    try:
        scores = parse_json(path.read_bytes())
        about = {name: scores.pop(name) for name in Evaluation.__dataclass_fields__ if name != "scores"}
        return Evaluation(**about | {"classes": tuple(about["classes"])}, scores=scores)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: not an evaluation ({error!r}); remove it and run `textdiff evaluate` again") from error


def digest_of_cache(digests: Mapping[str, str]) -> str:
    """Digest of all digests of a cache."""
    return digest(dict(digests))


def counted(scores: Mapping[str, Any]) -> str:
    """Numbers of samples and groups in words."""
    return f"{scores['n']} samples in {scores['n_groups']} groups"


def few_groups(n_groups: int) -> str:
    """A warning where intervals over so few groups mean little, else ""."""
    few = n_groups < FEW_GROUPS
    return f"only {n_groups} groups: intervals of fewer than {FEW_GROUPS} mean little" if few else ""


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
