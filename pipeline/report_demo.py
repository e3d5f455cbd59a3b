"""The demo's index: what came out, the masks that follow the text, and the way to the other reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..cache.reader import FeatureReader
from .commands import command_line
from .config import DemoConfig
from .report_cases import legend
from .report_page import REPORT, Case, KeyFigure, Links, Page, Part, Section, write_page
from .report_parts import cache_section, commands_section, figure


def write_demo_report(
    config: DemoConfig,
    dice: Mapping[str, float],
    cases: Sequence[Case],
    classes: Sequence[str],
    evaluations: Mapping[str, Path],
) -> None:
    """Write `report.html` into the demo's folder.

    Args:
        config: of the demo.
        dice: as `DemoSummary.dice`.
        cases: test images with both reports.
        classes: names of the foreground classes.
        evaluations: what each is of, in words → its report.
    """
    page = Page(
        command="demo",
        title="Two kinds of nuclei, told apart by words",
        lead=(
            "The program drew images of two kinds of nuclei, each with a report that says which kind is meant, "
            "pretrained a small diffusion UNet on them without labels, cached its features once and trained heads.",
            "The same image with the other report gives the other mask: the text decides.",
        ),
        figures=tuple(_figures(dice)),
        warnings=("The images are drawn by the program. These figures say nothing about real tissue.",),
        sections=(
            Section("masks", "Masks follow the text", (legend(classes, "entropy"), *cases)),
            Section("reports", "Reports", (_links(config.out, evaluations),)),
            cache_section(FeatureReader(config.out / "cache")),
            commands_section(("This demo:", command_line("demo", config))),
        ),
    )
    write_page(config.out / REPORT, page)


def _figures(dice: Mapping[str, float]) -> tuple[KeyFigure, ...]:
    return (
        figure("Dice with the own report", dice["true"], None, "test images that nothing has seen before"),
        figure("Dice without reports", dice["none"], None, "by a head that was never shown one"),
        figure("Dice with the other report", dice["other"], None, "against the other kind's masks"),
    )


def _links(out: Path, evaluations: Mapping[str, Path]) -> Part:
    runs = (
        ("run/report.html", "Training with reports", "curves, samples, settings"),
        ("run-without-text/report.html", "Training without reports", "the control"),
        ("ablation/report.html", "Timesteps", "which noise levels carry the segmentation"),
    )
    scored = (
        (path.relative_to(out).as_posix(), name, "figures with intervals, best and worst cases")
        for name, path in evaluations.items()
        if path.exists()
    )
    return Links((*runs, *scored))
