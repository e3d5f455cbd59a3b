"""Report of a training: figures, curves, and cases among the images that chose the epoch.

Test images are shown by `evaluate` alone, so that tuning a head does not mean looking at them each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from ..config.command_line import command_json, command_line
from ..config.evaluation import EvaluateConfig
from ..config.training import TrainConfig
from ..head_inputs.scoring import segment_samples
from ..reports.cases import cases_section, extremes
from ..reports.charts import curve, spread
from ..reports.gallery import Gallery
from ..reports.page import REPORT, Chart, Charts, KeyFigure, Page, Section, Table, write_page
from ..reports.sections import cache_section, commands_section, few, figure, spread_chart
from ..runs.folder import RunSummary
from ..runs.run_config import CANDIDATES
from ..scoring.intervals import mean_intervals
from .trainer import Trainer


def write_train_report(config: TrainConfig, trainer: Trainer, summary: RunSummary) -> None:
    """Write `report.html` into the run's folder.

    Args:
        config: settings.
        trainer: after `finish`.
        summary: result of the training.
    """
    page = Page(
        command="train-head",
        title=config.run.name,
        lead=tuple(_lead(config, trainer, summary)),
        figures=tuple(_figures(summary)),
        warnings=tuple(filter(None, _warnings(summary))),
        sections=(
            *_choice(summary),
            _curves(trainer, summary),
            cases_section(summary.val_per_sample, _gallery(trainer, summary), summary.classes, summary.ensemble),
            _samples(summary),
            cache_section(trainer.data.reader),
            commands_section(*_commands(config, trainer), file=command_json("train-head", config)),
        ),
    )
    write_page(config.run / REPORT, page)


def _gallery(trainer: Trainer, summary: RunSummary) -> Gallery:
    """Thumbnails of the cases that are shown."""
    gallery, shown = Gallery(trainer.data), {case["id"] for _, case in extremes(summary.val_per_sample)}
    rows = [row for row in trainer.split.val if row.parent in shown]
    for row, members, labels in segment_samples(trainer.head, trainer.data, rows):
        gallery.add(row, members, labels)
    return gallery


def _lead(config: TrainConfig, trainer: Trainer, summary: RunSummary) -> Iterator[str]:
    n_members, data = summary.ensemble, trainer.data
    heads = (
        f"{n_members} {config.head} heads, whose probabilities are averaged,"
        if n_members > 1
        else f"A {config.head} head"
    )
    texts = {
        "true": "each image's own text",
        "none": "no text",
        "shuffled": "another image's text, as a control",
        "auto": "each image's own text" if summary.text and summary.text.used else "no text in the end",
    }[config.text]
    yield (
        f"{heads} with {summary.n_parameters:,} parameters learnt to find {' and '.join(summary.classes)} from "
        f"{summary.n_train} labelled images, with {texts}."
    )
    if summary.text:
        yield f"By --text auto, {summary.text.line()}."
    blocks, timesteps, layers = (", ".join(map(str, names)) for names in (data.blocks, data.timesteps, data.layers))
    seen = [f"blocks {blocks} at timesteps {timesteps}"] if data.blocks else []
    seen += [f"layers {layers}"] if data.layers else []
    yield f"Features: {', '.join([*seen, *(['and the filters of each image'] if data.filters else [])])}."


def _figures(summary: RunSummary) -> Iterator[KeyFigure]:
    if test := summary.test:
        for name, label in (("dice", "Dice"), ("iou", "IoU")):
            yield figure(f"{label} on test", test[name], test["intervals"][name], f"mean over {test['n']} samples")
            pooled = f"micro_{name}"
            yield figure(f"{label} on test, pooled", test[pooled], test["intervals"][pooled], "over all pixels")
    values = np.array([[sample["dice"]] for sample in summary.val_per_sample])
    (interval,) = mean_intervals(values, [sample["group"] for sample in summary.val_per_sample])
    yield figure("Dice on what chose the epoch", summary.val_dice, interval, f"{summary.n_val} samples")
    yield KeyFigure("Best epoch", str(summary.best_epoch), f"of {summary.epochs}")


def _warnings(summary: RunSummary) -> Iterator[str]:
    yield (
        f"The Dice on {summary.val_is} is flattering: the epoch was chosen on these same images. "
        + ("Go by the test figures." if summary.test else "Score the head on images that it never saw.")
    )
    yield few(summary.n_val, "samples chose the epoch")
    yield few(summary.n_train, "labelled images were trained on")
    if summary.best_epoch == summary.epochs > 1:
        yield "The last epoch was the best: a longer training (--epochs) may be better."


def _choice(summary: RunSummary) -> Iterator[Section]:
    """The runs of which this is the best; none where one head was asked for."""
    if summary.choice:
        ranked = sorted(summary.choice, key=lambda one: -one["val_dice"])
        rows = tuple((one["name"], one["ensemble"], one["val_dice"]) for one in ranked)
        caption = f"Runs in the folder {CANDIDATES}, and their Dice on {summary.val_is}: the first was kept."
        for head, reason in (summary.left_out or {}).items():
            caption += f" The {head} head was left out: {reason}."
        yield Section("choice", "Choice of the head", (Table(caption, ("run", "members", "Dice"), rows),))


def _curves(trainer: Trainer, summary: RunSummary) -> Section:
    epochs, best = [row["epoch"] for row in trainer.history], summary.best_epoch
    charts = []
    for name, title, note in (
        ("loss", "Loss", "Mean over the steps of each epoch."),
        (trainer.objective.check_name, "Dice while training", "Quick check on images that choose the epoch."),
    ):
        values = [row[name] for row in trainer.history]
        alt = (
            f"{title} by epoch: {values[0]:.3f} in the first, {values[best - 1]:.3f} in epoch {best}, "
            f"which was chosen, {values[-1]:.3f} in the last"
        )
        charts.append(Chart(curve(f"curve-{name}", epochs, values, best, title.split()[0]), alt, title, note))
    dice = [sample["dice"] for sample in summary.val_per_sample]
    charts.append(spread_chart(spread("spread", dice, sum(dice) / len(dice)), dice))
    return Section("curves", "Training", (Charts(tuple(charts)),))


def _samples(summary: RunSummary) -> Section:
    several = summary.classes if len(summary.classes) > 1 else ()
    ranked = sorted(summary.val_per_sample, key=lambda sample: (sample["dice"], sample["id"]))
    rows = tuple((x["id"], x["group"], x["dice"], *(x["class_dice"] if several else ())) for x in ranked)
    columns = ("sample", "group", "Dice", *(f"Dice, {name}" for name in several))
    return Section("samples", "Every sample", (Table(f"Samples of {summary.val_is}, worst first.", columns, rows, 2),))


def _commands(config: TrainConfig, trainer: Trainer) -> Iterator[tuple[str, str]]:
    yield "This training:", command_line("train-head", config, without=("resume", "log"))
    split: Literal["test", "val", "train"] = "train"
    if trainer.split.test:
        split = "test"
    elif trainer.data.reader.split("val"):
        split = "val"
    evaluation = command_line("evaluate", EvaluateConfig(config.run, config.cache, split=split))
    yield "Score it, with pictures of the samples:", evaluation
