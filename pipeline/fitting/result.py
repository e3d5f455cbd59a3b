"""Result of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.result import Evaluation
from ..reports.page import REPORT
from ..runs.folder import RunSummary
from ..runtime.results import Result
from .record import FitRecord


@dataclass(frozen=True)
class FitSummary(Result):
    """Result of `fit`."""

    out: str
    record: FitRecord
    training: RunSummary
    evaluation: Evaluation | None
    """On labelled samples that were not trained on; `None`: there are none but those that chose the epoch."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        scores = self.evaluation.scores if self.evaluation else {}
        names = ("n", "dice", "iou", "micro_dice", "micro_iou", "intervals")
        return {
            "out": self.out,
            "decisions": {decision.name: decision.value for decision in self.record.decisions},
            "split": self.evaluation and self.evaluation.split,
            "scores": {name: scores[name] for name in names} if scores else None,
            "val_dice": self.training.val_dice,
            "seconds": {step.name: step.seconds for step in self.record.steps},
            "report": str(self.report),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        steps = ", ".join(f"{step.name} {step.seconds:.0f} s" for step in self.record.steps)
        return [
            self.score(),
            *self.warnings(),
            f"{steps}; {self.record.seconds:.0f} s in all",
            f"look at {self.report}, which leads to all the rest",
            f"segment new images with: textdiff predict {Path(self.out) / 'run'} IMAGES MASKS",
        ]

    def score(self) -> str:
        """The Dice, and the samples that it is of."""
        if self.evaluation is None:
            of = f"{self.training.n_val} samples of {self.training.val_is}, which chose the epoch"
            return f"Dice {self.training.val_dice:.4f} on {of}"
        scores, interval = self.evaluation.scores, self.evaluation.scores["intervals"]["dice"]
        ends = " (95 % interval {:.4f} to {:.4f})".format(*interval) if interval else ""
        return f"Dice {scores['dice']:.4f}{ends} on {scores['n']} samples of {self.evaluation.split}"

    def warnings(self) -> list[str]:
        """Reservations about the score."""
        return self.evaluation.seen() if self.evaluation else []

    @property
    def report(self) -> Path:
        """The page."""
        return Path(self.out) / REPORT
