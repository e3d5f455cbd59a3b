"""Report of `evaluate`, beside the JSON that the run keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.command_line import command_json, command_line
from ..config.evaluation import EvaluateConfig
from ..reports.cases import cases_section
from ..reports.charts import reliability_diagram, selective, spread
from ..reports.gallery import Gallery
from ..reports.page import (
    Chart,
    Charts,
    Facts,
    KeyFigure,
    Page,
    Prose,
    Section,
    Table,
    WordMap,
    words_section,
    write_page,
)
from ..reports.sections import cache_section, commands_section, few, figure, spread_chart, train_command
from ..runs.run_config import RunConfig
from .measures import LITERATURE, MEAN, POOLED, SHARES, WARNING, empty_masks, labels
from .result import Evaluation, few_groups


def write_evaluation_report(
    evaluation: Evaluation, config: EvaluateConfig, run: RunConfig, gallery: Gallery, words: Sequence[WordMap] = ()
) -> None:
    """Write the report beside the evaluation in the run's folder.

    Args:
        evaluation: the result.
        config: settings of the evaluation.
        run: that was evaluated.
        gallery: thumbnails of the samples.
        words: effects of the words on the sample with the lowest Dice; empty: not asked for.
    """
    page = Page(
        command="evaluate",
        title=f"{Path(evaluation.run).name} on {evaluation.split}",
        lead=tuple(_lead(evaluation, run)),
        figures=tuple(_figures(evaluation.scores)),
        warnings=tuple(filter(None, _warnings(evaluation))),
        sections=(
            _measures(evaluation.scores),
            cases_section(evaluation.scores["per_sample"], gallery, evaluation.classes, run.train["ensemble"]),
            words_section(words, _words_caption(evaluation)),
            _charts(evaluation.scores),
            _samples(evaluation),
            _classes(evaluation),
            cache_section(gallery.reader),
            commands_section(
                ("This evaluation:", command_line("evaluate", config)),
                (
                    "The training that made the run:",
                    train_command(run.train_config(config.run, run.train["cache"] or "CACHE")),
                ),
                file=command_json("evaluate", config),
            ),
        ),
    )
    write_page(evaluation.report, page)


def _words_caption(evaluation: Evaluation) -> str:
    return (
        f"The effect of each word on the mask of {evaluation.worst}, the sample with the lowest Dice: the log odds of "
        "the foreground less those when the word is left out. Red speaks for it, blue against it."
    )


def _lead(evaluation: Evaluation, run: RunConfig) -> Iterator[str]:
    n, n_groups = evaluation.scores["n"], evaluation.scores["n_groups"]
    size = "the size that the UNet saw" if evaluation.at == "model" else "the images' own size"
    yield f"The masks of {n} samples of {evaluation.split}, in {n_groups} groups (patients), compared at {size}."
    views = f"; the mean over {evaluation.tta} flips and rotations of each" if evaluation.tta > 1 else ""
    texts = {"true": "each image's own text", "none": "no text", "shuffled": "another image's text"}
    head, n_members = run.train["head"], run.train["ensemble"]
    heads = f"{n_members} {head} heads were" if n_members > 1 else f"The {head} head was"
    yield f"{heads} shown {texts[evaluation.text]}{views}."


def _figures(scores: Mapping[str, Any]) -> Iterator[KeyFigure]:
    """Dice and IoU as means and pooled, side by side; of the other measures the means."""
    named, intervals = labels(scores), scores["intervals"]
    for name in SHARES:
        if name in ("dice", "iou"):
            yield figure(f"{named[name]}, {MEAN}", scores[name], intervals[name])
            yield figure(f"{named[name]}, {POOLED}", scores[f"micro_{name}"], intervals[f"micro_{name}"])
        elif name in named:
            yield figure(named[name][0].upper() + named[name][1:], scores[name], intervals[name])
    if "hd95" in scores:
        value, unit = scores["hd95"], scores["surface"]["unit"]
        yield KeyFigure("HD95", "none" if value is None else f"{value:.1f} {unit}", _ends(scores, "hd95"))
    yield KeyFigure("Calibration error", f"{scores['calibration']['ece']:.3f}", "expected (ECE); 0 is best")


def _ends(scores: Mapping[str, Any], name: str) -> str:
    interval = scores["intervals"][name]
    return "" if interval is None else "95 % interval {:.1f} to {:.1f}".format(*interval)


def _warnings(evaluation: Evaluation) -> Iterator[str]:
    scores = evaluation.scores
    yield from (f"{line.replace('of', 'Of', 1)}: their figures are flattering." for line in evaluation.seen())
    yield from (f"{line[0].upper()}{line[1:]}." for line in evaluation.lost())
    yield few(scores["n"], "samples")
    if warning := few_groups(scores["n_groups"]):
        yield f"{warning.capitalize()}."
    yield from (f"{line}." for line in evaluation.distances())
    for name, n in scores["undefined"].items():
        yield f"{n} of {scores['n']} samples have no {labels(scores)[name]} and are left out of its mean."


def _measures(scores: Mapping[str, Any]) -> Section:
    named = labels(scores)
    rows = tuple(
        (label, *(of(scores, kind) for of in (_value, _interval) for kind in (name, f"micro_{name}")))
        for name, label in named.items()
    )
    columns = ("measure", MEAN, "pooled", "interval of the mean", "interval of the pooled")
    pooled = f"{POOLED}; PQ, DQ and SQ over objects" if "pq" in scores else POOLED
    table = Table(f"Mean over images, and {pooled}. Intervals are of 95 %, over groups.", columns, rows)
    empty = Table(
        "Empty masks: value of each measure where a class has no pixels, and the number of samples.",
        ("empty", "samples", *named.values()),
        tuple((words, n, *values) for words, n, values in empty_masks(scores)),
    )
    return Section("measures", "Measures", (table, Prose(WARNING), Facts(LITERATURE), empty))


def _value(scores: Mapping[str, Any], name: str) -> float | str | None:
    value: float | str | None = scores.get(name, "")
    return value


def _interval(scores: Mapping[str, Any], name: str) -> str:
    interval = scores["intervals"].get(name)
    return "" if interval is None else "{:.4f} to {:.4f}".format(*interval)


def _charts(scores: Mapping[str, Any]) -> Section:
    dice = [one["dice"] for one in scores["per_sample"] if one["dice"] is not None]
    charts = [spread_chart(spread("spread", dice, sum(dice) / len(dice)), dice)] if dice else []
    ece = scores["calibration"]["ece"]
    charts.append(
        Chart(
            reliability_diagram("reliability", scores["calibration"]["bins"]),
            f"Share of correct pixels against the probability that the head gives them; calibration error {ece:.3f}",
            "Calibration",
            "On the dashed line, the head is as accurate as it is confident. Large dots are many pixels.",
        )
    )
    curves = {kind.replace("_", " "): of for kind, of in scores["selective"].items()}
    charts.append(
        Chart(selective("selective", curves), _selective_alt(curves), "Without the most uncertain pixels",
              "Dice of the other pixels. Where it rises, the head knows where it fails.")
    )  # fmt: skip
    return Section("charts", "Calibration and uncertainty", (Charts(tuple(charts)),))


def _selective_alt(curves: Mapping[str, Mapping[str, float | None]]) -> str:
    sentences = []
    for name, of in curves.items():
        known = sorted((float(kept), value) for kept, value in of.items() if value is not None)
        (least, rest), (_, whole) = known[0], known[-1]
        sentences.append(
            f"by {name} Dice goes from {whole:.3f} to {rest:.3f} when {1 - least:.0%} of the pixels are set aside"
        )
    return "; ".join(sentences)


def _samples(evaluation: Evaluation) -> Section:
    named = labels(evaluation.scores)
    ranked = sorted(evaluation.scores["per_sample"], key=lambda one: (one["dice"] is None, one["dice"], one["id"]))
    rows = tuple((one["id"], one["group"], *(one[name] for name in named)) for one in ranked)
    columns = ("sample", "group", *named.values())
    return Section(
        "samples", "Every sample", (Table(f"Samples of {evaluation.split}, worst first.", columns, rows, 2),)
    )


def _classes(evaluation: Evaluation) -> Section:
    named, scores = labels(evaluation.scores), evaluation.scores
    rows = tuple((of, *(scores[f"class_{name}"][i] for name in named)) for i, of in enumerate(evaluation.classes))
    table = Table("Means over samples.", ("class", *named.values()), rows)
    return Section("classes", "Classes", (table,) if len(rows) > 1 else ())
