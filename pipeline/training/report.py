"""What `train-head` leaves to look at: figures, curves, and cases among the images that chose the epoch.

Pictures of test images are left to `evaluate`, so that who tunes a head does not look at them each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..config.command_line import command_line
from ..config.evaluation import EvaluateConfig
from ..config.training import TrainConfig
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.splits import Split
from ..reports.cases import cases_section
from ..reports.charts import curve, spread
from ..reports.gallery import Gallery
from ..reports.page import REPORT, Chart, Charts, KeyFigure, Page, Section, Table, write_page
from ..reports.sections import cache_section, commands_section, few, figure, spread_chart
from ..scoring.intervals import mean_intervals


@dataclass(frozen=True)
class TrainOutcome:
    """What the report of a training is made of."""

    config: TrainConfig
    data: CachedFeatures
    split: Split
    history: Sequence[Mapping[str, float]]
    """As `metrics.jsonl`."""
    summary: Mapping[str, Any]
    """As `summary.json`."""
    val_dice: Float[Tensor, "sample class"]
    """Of the images that chose the epoch."""
    gallery: Gallery
    """Has thumbnails of these."""


def write_train_report(outcome: TrainOutcome) -> None:
    """Write `report.html` into the run's folder."""
    write_page(outcome.config.run / REPORT, _page(outcome))


def _page(outcome: TrainOutcome) -> Page:
    config, summary = outcome.config, outcome.summary
    per_sample = _per_sample(outcome)
    classes = tuple(summary["classes"])
    return Page(
        command="train-head",
        title=config.run.name,
        lead=tuple(_lead(outcome)),
        figures=tuple(_figures(summary, per_sample)),
        warnings=tuple(filter(None, _warnings(summary))),
        sections=(
            _curves(outcome),
            cases_section(per_sample, outcome.gallery, classes, summary["ensemble"]),
            _samples(per_sample, classes, summary["val_is"]),
            cache_section(outcome.data.reader),
            commands_section(*_commands(outcome)),
        ),
    )


def _per_sample(outcome: TrainOutcome) -> list[dict[str, Any]]:
    groups = {row.parent: row.group for row in outcome.split.val}
    rows = zip(groups.items(), outcome.val_dice.tolist(), strict=True)
    return [
        {"id": name, "group": group, "dice": sum(dice) / len(dice), "classes": dice} for (name, group), dice in rows
    ]


def _lead(outcome: TrainOutcome) -> Iterator[str]:
    config, summary, data = outcome.config, outcome.summary, outcome.data
    n_heads = summary["ensemble"]
    heads = (
        f"{n_heads} {config.head} heads, whose probabilities are averaged," if n_heads > 1 else f"A {config.head} head"
    )
    texts = {
        "true": "each image's own text",
        "none": "no text",
        "shuffled": "another image's text, as a control",
    }[config.text]
    yield (
        f"{heads} with {summary['n_parameters']:,} parameters learnt to find {' and '.join(summary['classes'])} from "
        f"{summary['n_train']} labelled images, with {texts}."
    )
    blocks, timesteps = (", ".join(map(str, of)) for of in (data.blocks, data.timesteps))
    filters = ", and the filters of each image" if data.filters else ""
    yield f"Features: blocks {blocks} at timesteps {timesteps}{filters}."


def _figures(summary: Mapping[str, Any], per_sample: Sequence[Mapping[str, Any]]) -> Iterator[KeyFigure]:
    if "test" in summary:
        test = summary["test"]
        yield figure("Dice on test", test["dice"], test["intervals"]["dice"], f"{test['n']} samples")
        yield figure("IoU on test", test["iou"], test["intervals"]["iou"], f"{test['n']} samples")
    values = np.array([[one["dice"]] for one in per_sample])
    (interval,) = mean_intervals(values, [one["group"] for one in per_sample])
    yield figure("Dice on what chose the epoch", summary["val_dice"], interval, f"{summary['n_val']} samples")
    yield KeyFigure("Best epoch", str(summary["best_epoch"]), f"of {summary['epochs']}")


def _warnings(summary: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"The Dice on {summary['val_is']} is flattering: the epoch was chosen on these same images. "
        + ("Go by the test figures." if "test" in summary else "Score the head on images that it never saw.")
    )
    yield few(summary["n_val"], "samples chose the epoch")
    yield few(summary["n_train"], "labelled images were trained on")
    if summary["best_epoch"] == summary["epochs"] > 1:
        yield "The last epoch was the best: a longer training (--epochs) may be better."


def _curves(outcome: TrainOutcome) -> Section:
    epochs = [row["epoch"] for row in outcome.history]
    best = outcome.summary["best_epoch"]
    charts = []
    for name, title, note in (
        ("loss", "Loss", "Mean over the steps of each epoch."),
        (_check_name(outcome.history), "Dice while training", "Quick check on images that choose the epoch."),
    ):
        values = [row[name] for row in outcome.history]
        alt = (
            f"{title} by epoch: {values[0]:.3f} in the first, {values[best - 1]:.3f} in epoch {best}, "
            f"which was chosen, {values[-1]:.3f} in the last"
        )
        charts.append(Chart(curve(f"curve-{name}", epochs, values, best, title.split()[0]), alt, title, note))
    dice = [one["dice"] for one in _per_sample(outcome)]
    charts.append(spread_chart(spread("spread", dice, sum(dice) / len(dice)), dice))
    return Section("curves", "Training", (Charts(tuple(charts)),))


def _check_name(history: Sequence[Mapping[str, float]]) -> str:
    return next(name for name in history[0] if name not in ("epoch", "loss"))


def _samples(per_sample: Sequence[Mapping[str, Any]], classes: Sequence[str], val_is: str) -> Section:
    several = classes if len(classes) > 1 else ()
    ranked = sorted(per_sample, key=lambda one: (one["dice"], one["id"]))
    rows = tuple((one["id"], one["group"], one["dice"], *(one["classes"] if several else ())) for one in ranked)
    columns = ("sample", "group", "Dice", *(f"Dice, {name}" for name in several))
    return Section("samples", "Every sample", (Table(f"Samples of {val_is}, worst first.", columns, rows, 2),))


def _commands(outcome: TrainOutcome) -> Iterator[tuple[str, str]]:
    config, reader = outcome.config, outcome.data.reader
    yield "This training:", command_line("train-head", config, without=("resume", "log"))
    split: Literal["test", "val", "train"] = "test" if outcome.split.test else "val" if reader.split("val") else "train"
    evaluation = command_line("evaluate", EvaluateConfig(config.run, config.cache, split=split))
    yield "Score it, with pictures of the samples:", evaluation
