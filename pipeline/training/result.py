"""Result of `train-head`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..reports.page import REPORT
from ..runs.folder import RunSummary
from ..runs.run_config import CANDIDATES
from ..runtime.results import Result


@dataclass(frozen=True)
class TrainSummary(Result):
    """Result of `train-head`."""

    run: str
    summary: RunSummary
    seconds: float | None = None
    """Wall time of the call that trained it; `None`: it was trained before."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"run": self.run, **self.summary.to_dict(), "seconds": self.seconds}

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each sample that chose the epoch, with its Dice."""
        return [dict(one) for one in self.summary.val_per_sample]

    def lines(self) -> list[str]:
        """For the terminal."""
        result = self.summary
        heads = f"{result.ensemble} heads, together " if result.ensemble > 1 else ""
        took = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        lines = [
            f"{self.run}: {heads}{result.n_parameters:,} parameters trained on {result.n_train} samples"
            f"{took}; epoch {result.best_epoch} of {result.epochs} is the best",
            f"Dice {result.val_dice:.4f} on {result.n_val} samples of {result.val_is}, which chose the epoch",
        ]
        if result.text is not None:
            lines.append(result.text.line())
        if result.test is not None:
            n, mean, pooled = (result.test[name] for name in ("n", "dice", "micro_dice"))
            lines.append(f"Dice {mean:.4f} on {n} test samples, {pooled:.4f} pooled over their pixels")
        if result.choice:
            each = ", ".join(f"{one['name']} {one['val_dice']:.4f}" for one in result.choice)
            lines.append(f"kept the best of {each}, by these samples; {Path(self.run) / CANDIDATES} has them all")
            lines += [f"{head} was left out: {reason}" for head, reason in (result.left_out or {}).items()]
        return [*lines, f"look at {Path(self.run) / REPORT}"]
