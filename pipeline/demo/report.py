"""Report of the demo: its figures, masks that follow the text, and links to the other reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...cache.reader import FeatureReader
from ..config.command_line import command_json, command_line
from ..config.data import DemoConfig
from ..evaluation.result import Evaluation
from ..reports.cases import legend
from ..reports.page import REPORT, Case, KeyFigure, Links, Page, Section, write_page
from ..reports.sections import cache_section, commands_section, figure


def write_demo_report(
    config: DemoConfig,
    evaluations: Mapping[str, Evaluation],
    cases: Sequence[Case],
) -> None:
    """Write `report.html` into the demo's folder.

    Args:
        config: of the demo.
        evaluations: `true`, `none` and `other`: of the head with the own texts, of the one without, and with the
            other kind's.
        cases: test images with both texts.
    """
    page = Page(
        command="demo",
        title="Two kinds of nuclei, told apart by words",
        lead=(
            "The program drew images of two kinds of nuclei, each with a text that says which kind is meant, "
            "pretrained a small diffusion UNet on them without labels, cached its features once and trained heads.",
            "The same image with the other text gives the other mask: the text decides.",
        ),
        figures=_figures(evaluations),
        warnings=("The images are drawn by the program. These figures say nothing about real tissue.",),
        sections=(
            Section(
                "masks", "Masks follow the text", (legend(evaluations["true"].classes, "predictive_entropy"), *cases)
            ),
            Section("reports", "Reports", (_links(config.out, evaluations),)),
            cache_section(FeatureReader(config.out / "cache")),
            commands_section(("This demo:", command_line("demo", config)), file=command_json("demo", config)),
        ),
    )
    write_page(config.out / REPORT, page)


def _figures(evaluations: Mapping[str, Evaluation]) -> tuple[KeyFigure, ...]:
    captions = {
        "true": ("Dice with the own text", "test images that nothing has seen before"),
        "none": ("Dice without texts", "by a head that was never shown one"),
        "other": ("Dice with the other text", "against the other kind's masks"),
    }
    scores = {name: evaluations[name].scores for name in captions}
    return tuple(
        figure(label, scores[name]["dice"], scores[name]["intervals"]["dice"], note)
        for name, (label, note) in captions.items()
    )


def _links(out: Path, evaluations: Mapping[str, Evaluation]) -> Links:
    """To the existing reports."""
    figures = "figures with intervals, best and worst cases"
    links = (
        (out / "run" / REPORT, "Training with texts", "curves, samples, settings"),
        (out / "run-without-text" / REPORT, "Training without texts", "the control"),
        (out / "ablation" / REPORT, "Timesteps", "which noise levels carry the segmentation"),
        (evaluations["true"].report, "Test images, own texts", figures),
        (evaluations["none"].report, "Test images, without texts", figures),
        (evaluations["other"].report, "Test images, the other kind's texts", figures),
    )
    return Links(tuple((path.relative_to(out).as_posix(), name, about) for path, name, about in links if path.exists()))
