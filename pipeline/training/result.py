"""Result of `train-head`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..reports.page import REPORT
from ..runs.folder import RunSummary
from ..runs.run_config import CANDIDATES


@dataclass(frozen=True)
class TrainSummary:
    """Result of `train-head`."""

    run: str
    summary: RunSummary
    seconds: float
    """Wall time of this call."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"run": self.run, **self.summary.to_dict(), "seconds": self.seconds}

    def lines(self) -> list[str]:
        """For the terminal."""
        result = self.summary
        heads = f"{result.ensemble} heads, together " if result.ensemble > 1 else ""
        lines = [
            f"{self.run}: {heads}{result.n_parameters:,} parameters trained on {result.n_train} samples "
            f"in {self.seconds:.1f} s; epoch {result.best_epoch} of {result.epochs} is the best",
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
