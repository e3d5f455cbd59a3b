"""What `evaluate` leaves to look at, beside the JSON that the run keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.reader import FeatureReader
from ..config.command_line import command_line
from ..config.evaluation import EvaluateConfig
from ..reports.cases import cases_section
from ..reports.charts import reliability, selective, spread
from ..reports.gallery import Gallery
from ..reports.page import Chart, Charts, KeyFigure, Page, Section, Table, WordMap, words_section, write_page
from ..reports.sections import cache_section, commands_section, few, figure, spread_chart, train_command
from ..runs.run_config import RunConfig
from .result import LABELS, Evaluation, few_groups

_SHARES = ("dice", "iou", "precision", "recall", "aji", "pq")
_UNCERTAINTY = {"entropy": "entropy", "divergence": "heads' disagreement"}


@dataclass(frozen=True)
class EvaluationOutcome:
    """What the report of an evaluation is made of."""

    config: EvaluateConfig
    found: Evaluation
    run: RunConfig
    """That was evaluated."""
    reader: FeatureReader
    """Of the cache that it was evaluated on."""
    gallery: Gallery
    """Has thumbnails of the samples."""
    words: tuple[WordMap, ...] = ()
    """Maps of what the words did to the sample with the lowest Dice; empty: not asked for."""


def write_evaluation_report(outcome: EvaluationOutcome) -> None:
    """Write the report beside where the run keeps the evaluation."""
    write_page(outcome.found.report, _page(outcome))


def _page(outcome: EvaluationOutcome) -> Page:
    config, found, run = outcome.config, outcome.found, outcome.run
    per_sample = found.scores["per_sample"]
    return Page(
        command="evaluate",
        title=f"{Path(found.run).name} on {found.split}",
        lead=tuple(_lead(found, run)),
        figures=tuple(_figures(found.scores)),
        warnings=tuple(filter(None, _warnings(found))),
        sections=(
            cases_section(per_sample, outcome.gallery, found.classes, run.train["ensemble"]),
            words_section(outcome.words, _told_of_words(found)),
            _charts(found.scores),
            _samples(found),
            _classes(found),
            cache_section(outcome.reader),
            commands_section(
                ("This evaluation:", command_line("evaluate", config)),
                ("The training that made the run:", train_command(config.run, run.train)),
            ),
        ),
    )


def _told_of_words(found: Evaluation) -> str:
    return (
        f"What each word did to the mask of {found.worst}, the sample with the lowest Dice: the log odds of the "
        "foreground less those when the word is left out. Red speaks for it, blue against it."
    )


def _lead(found: Evaluation, run: RunConfig) -> Iterator[str]:
    n, n_groups = found.scores["n"], found.scores["n_groups"]
    size = "the size that the UNet saw" if found.at == "model" else "the images' own size"
    yield f"The masks of {n} samples of {found.split}, in {n_groups} groups (patients), compared at {size}."
    views = f"; the mean over {found.tta} flips and rotations of each" if found.tta > 1 else ""
    shown = {"true": "each image's own text", "none": "no text", "shuffled": "another image's text"}
    head, n_heads = run.train["head"], run.train["ensemble"]
    heads = f"{n_heads} {head} heads were" if n_heads > 1 else f"The {head} head was"
    yield f"{heads} shown {shown[found.text]}{views}."


def _figures(scores: Mapping[str, Any]) -> Iterator[KeyFigure]:
    for name in _SHARES:
        if name in scores:
            yield figure(LABELS[name].capitalize() if name.islower() and len(name) > 4 else LABELS[name], scores[name],
                         scores["intervals"][name])  # fmt: skip
    if "hd95" in scores:
        yield KeyFigure("HD95", "none" if scores["hd95"] is None else f"{scores['hd95']:.1f} px", _ends(scores, "hd95"))
    yield KeyFigure("Calibration error", f"{scores['calibration']['ece']:.3f}", "expected (ECE); 0 is best")


def _ends(scores: Mapping[str, Any], name: str) -> str:
    interval = scores["intervals"][name]
    return "" if interval is None else "95 % interval {:.1f} to {:.1f}".format(*interval)


def _warnings(found: Evaluation) -> Iterator[str]:
    if told := found.seen():
        yield f"{told[0].replace('of', 'Of', 1)}: their figures are flattering."
    yield few(found.scores["n"], "samples")
    if few_of_them := few_groups(found.scores["n_groups"]):
        yield f"{few_of_them.capitalize()}."
    for name, n in found.scores["undefined"].items():
        yield f"{n} of {found.scores['n']} samples have no {LABELS[name].strip()} and are left out of its mean."


def _charts(scores: Mapping[str, Any]) -> Section:
    dice = [one["dice"] for one in scores["per_sample"] if one["dice"] is not None]
    charts = [spread_chart(spread("spread", dice, sum(dice) / len(dice)), dice)] if dice else []
    ece = scores["calibration"]["ece"]
    charts.append(
        Chart(
            reliability("reliability", scores["calibration"]["bins"]),
            f"Share of right pixels against the probability that the head gives them; calibration error {ece:.3f}",
            "Calibration",
            "On the dashed line, the head is right as often as it says. Large dots are many pixels.",
        )
    )
    curves = {_UNCERTAINTY[kind]: of for kind, of in scores["selective"].items()}
    charts.append(
        Chart(selective("selective", curves), _selective_alt(curves), "Without the most uncertain pixels",
              "Dice of what is left. Where it rises, the head knows where it fails.")
    )  # fmt: skip
    return Section("charts", "Trust", (Charts(tuple(charts)),))


def _selective_alt(curves: Mapping[str, Mapping[str, float | None]]) -> str:
    told = []
    for name, of in curves.items():
        known = sorted((float(kept), value) for kept, value in of.items() if value is not None)
        (least, rest), (_, whole) = known[0], known[-1]
        told.append(
            f"by {name} Dice goes from {whole:.3f} to {rest:.3f} when {1 - least:.0%} of the pixels are set aside"
        )
    return "; ".join(told)


def _samples(found: Evaluation) -> Section:
    names = [name for name in LABELS if name in found.scores]
    ranked = sorted(found.scores["per_sample"], key=lambda one: (one["dice"] is None, one["dice"], one["id"]))
    rows = tuple((one["id"], one["group"], *(one[name] for name in names)) for one in ranked)
    columns = ("sample", "group", *(LABELS[name].strip() for name in names))
    return Section("samples", "Every sample", (Table(f"Samples of {found.split}, worst first.", columns, rows, 2),))


def _classes(found: Evaluation) -> Section:
    names = [name for name in LABELS if name in found.scores]
    rows = tuple(
        (of, *(found.scores[f"class_{name}"][place] for name in names)) for place, of in enumerate(found.classes)
    )
    table = Table("Means over samples.", ("class", *(LABELS[name].strip() for name in names)), rows)
    return Section("classes", "Classes", (table,) if len(rows) > 1 else ())
