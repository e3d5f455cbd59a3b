"""Page of a fit: its figures, decisions and commands, and the way to the other pages."""

from __future__ import annotations

from collections.abc import Iterator

from ...cache.reader import FeatureReader
from ..config.command_line import command_json, command_line
from ..config.fitting import FitConfig
from ..evaluation.result import FOLDER
from ..reports.page import REPORT, Facts, KeyFigure, Links, Page, Section, write_page
from ..reports.sections import cache_section, commands_section, few, figure
from .record import CHECK
from .result import FitSummary


def write_fit_report(config: FitConfig, summary: FitSummary) -> None:
    """Write `report.html` into the fit's folder."""
    record = summary.record
    decisions = ((one.name, f"{one.shown}; {one.reason}") for one in record.decisions)
    page = Page(
        command="fit",
        title=config.out.resolve().name,
        lead=tuple(_lead(summary)),
        figures=tuple(_figures(summary)),
        warnings=tuple(_warnings(summary)),
        sections=(
            Section("reports", "Reports", (Links(tuple(_links(summary))),)),
            Section("decisions", "Decisions", (Facts(tuple(decisions)),)),
            cache_section(FeatureReader(config.out / "cache")),
            commands_section(
                ("The whole:", command_line("fit", config)),
                *((f"{step.name}, {step.seconds:.0f} s:", step.line) for step in record.steps),
                file=command_json("fit", config),
            ),
        ),
    )
    write_page(summary.report, page)


def _lead(summary: FitSummary) -> Iterator[str]:
    yield f"{summary.score()}."
    if summary.training.choice:
        each = ", ".join(f"{one['name']} {one['val_dice']:.4f}" for one in summary.training.choice)
        yield f"The head is the best by the samples that chose the epoch: {each}."
    if summary.training.text:
        yield f"By --text auto, {summary.training.text.line()}."


def _figures(summary: FitSummary) -> Iterator[KeyFigure]:
    if summary.evaluation is None:
        yield figure("Dice", summary.training.val_dice, None, "samples that chose the epoch")
        return
    scores = summary.evaluation.scores
    for name, label, note in (("dice", "Dice", "mean over samples"), ("iou", "IoU", "mean over samples")):
        yield figure(label, scores[name], scores["intervals"][name], note)
    yield KeyFigure("Time", f"{summary.record.seconds / 60:.1f} min", "all steps")


def _warnings(summary: FitSummary) -> Iterator[str]:
    if summary.evaluation is None:
        yield "Only samples that chose the epoch could be scored: the figure is somewhat high."
        return
    yield from summary.warnings()
    if warning := few(summary.evaluation.scores["n"], "samples"):
        yield warning


def _links(summary: FitSummary) -> Iterator[tuple[str, str, str]]:
    yield CHECK, "Data", "counts, samples, warnings"
    yield f"run/{REPORT}", "Training", "curves, samples, settings"
    if summary.evaluation is not None:
        page = f"run/{FOLDER}/{summary.evaluation.report.name}"
        yield page, "Evaluation", "figures with intervals, best and worst cases"
