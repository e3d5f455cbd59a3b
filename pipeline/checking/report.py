"""Page of `check-data`: counts, samples with their masks and texts, warnings and how to silence them, problems."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config.command_line import command_json, command_line
from ..config.data import CheckConfig
from ..data.dataset import Sample, Scan
from ..data.warnings import SETTINGS_FILE, WARNINGS
from ..reports.cases import as_hex, class_colours
from ..reports.charts import shares as shares_chart
from ..reports.page import (
    Case,
    Chart,
    Charts,
    Commands,
    Element,
    Facts,
    KeyFigure,
    Legend,
    Page,
    Prose,
    Section,
    Swatch,
    Table,
    write_page,
)
from ..reports.sections import commands_section
from ..views.languages import language_of
from .pictures import pictures_of, shares_of
from .result import DataReport, counted

MAX_SHOWN = 6
"""Samples on a page, with those that warnings name."""
_SHORT = 60
"""Characters of a text in a table."""


def write_check_report(config: CheckConfig, scan: Scan, report: DataReport) -> None:
    """Write the page.

    Args:
        config: settings, with the page's path.
        scan: the data.
        report: findings.
    """
    assert config.out is not None
    page = Page(
        command="check-data",
        title=report.root.resolve().name,
        lead=tuple(_lead(report)),
        figures=tuple(_figures(report)),
        warnings=report.warnings,
        sections=(
            _problems(report),
            _samples(config, scan),
            Section("facts", "Read as", (Facts(tuple(report.facts())),)),
            _masks(scan, report),
            _texts(scan, report),
            _silencing(scan, report),
            Section("all", "Every sample", (_table(scan),) if scan.dataset.samples else ()),
            commands_section(
                ("This check:", command_line("check-data", config)), file=command_json("check-data", config)
            ),
        ),
    )
    write_page(config.out, page)


def _lead(report: DataReport) -> Iterator[str]:
    yield f"{report.n_samples} samples ({counted(report.splits)}) of {report.n_groups} groups in {report.root}."
    n = len(report.problems)
    if n:
        yield f"{n} problem{'s' * (n > 1)}: no features are extracted before {'they are' if n > 1 else 'it is'} solved."
    else:
        yield "No problems: features can be extracted."


def _figures(report: DataReport) -> Iterator[KeyFigure]:
    yield KeyFigure("Samples", str(report.n_samples), counted(report.splits))
    yield KeyFigure("Groups", str(report.n_groups), counted(report.group_origins))
    foreground = sum(report.shares[1:])
    note = f"of the pixels of all masks; {report.n_without_mask} samples without a mask"
    yield KeyFigure("Foreground", f"{foreground:.1%}" if any(report.shares) else "none", note)
    note = f"distinct; {report.n_without_text} samples without a text"
    yield KeyFigure("Texts", str(report.n_texts), note)
    yield KeyFigure("Problems", str(len(report.problems)), f"Warnings: {len(report.warnings)}")


def _problems(report: DataReport) -> Section:
    facts = tuple((str(number), line) for number, line in enumerate(report.problems, 1))
    return Section("problems", "Problems", (Facts(facts),) if facts else ())


def _samples(config: CheckConfig, scan: Scan) -> Section:
    """The typical sample, the extremes, and some that warnings name."""
    cases = [_case(config, scan, heading, sample) for heading, sample in chosen_samples(scan)]
    names = scan.dataset.classes.names[1:]
    swatches = [Swatch("outline", name, as_hex(one)) for name, one in zip(names, class_colours(names), strict=True)]
    legend: list[Element] = [Legend(tuple(swatches))] if any(sample.mask for sample in scan.dataset.samples) else []
    return Section("samples", "Samples", (*legend, *cases) if cases else ())


def chosen_samples(scan: Scan) -> list[tuple[str, Sample]]:
    """Samples to look at, each once, with the reason.

    Those with the least, the (lower) median and the most foreground; without masks the first, the middle and the last.
    Then the first that each of some warnings names.
    """
    samples = scan.dataset.samples
    ranked: Sequence[Sample] = sorted((one for one in samples if one.n_pixels), key=_foreground)
    last = len(ranked or samples) - 1
    if ranked:
        places = {"Typical": last // 2, "Least foreground": 0, "Most foreground": last}
    else:
        ranked, places = samples, {"First": 0, "Middle": last // 2, "Last": last}
    chosen: dict[str, tuple[str, Sample]] = {}
    for name, place in places.items() if samples else ():
        chosen.setdefault(ranked[place].id, (name, ranked[place]))
    by_id = {sample.id: sample for sample in samples}
    for warning in scan.dataset.warnings:
        first = next((name for name in warning.ids if name in by_id and name not in chosen), None)
        if first is not None and len(chosen) < MAX_SHOWN:
            chosen[first] = (f"Warning {warning.name}", by_id[first])
    return [*chosen.values()]


def _foreground(sample: Sample) -> float:
    return sum(shares_of(sample)[1:])


def _case(config: CheckConfig, scan: Scan, heading: str, sample: Sample) -> Case:
    return Case(
        f"{heading}: {sample.id} ({sample.split}, group {sample.group})",
        sample.text,
        pictures_of(sample, scan.dataset.classes, config.window),
    )


def _masks(scan: Scan, report: DataReport) -> Section:
    masked = [sample for sample in scan.dataset.samples if sample.n_pixels]
    if not masked:
        return Section("masks", "Masks", ())
    classes = report.classes
    rows = tuple(
        (name, value, f"{share:.2%}", sum(sample.n_pixels[label] > 0 for sample in masked))
        for label, (name, value, share) in enumerate(zip(classes.names, classes.declared, report.shares, strict=True))
    )
    table = Table("Classes: value in masks, share of the pixels, masks that have it.", _CLASS_COLUMNS, rows)
    values = [_foreground(sample) for sample in masked]
    alt = f"Share of foreground in {len(values)} masks, from {min(values):.1%} to {max(values):.1%}"
    chart = Chart(shares_chart("foreground", values, "foreground"), alt, "Foreground of every mask")
    return Section("masks", "Masks", (table, Charts((chart,))))


_CLASS_COLUMNS = ("class", "value", "share", "masks")


def _texts(scan: Scan, report: DataReport) -> Section:
    n_samples: dict[str, int] = {}
    for sample in scan.dataset.samples:
        if sample.text:
            n_samples[sample.text] = n_samples.get(sample.text, 0) + 1
    if not n_samples:
        return Section("texts", "Texts", ())
    counts: Mapping[str, Any] = report.encoder.counts if report.encoder else {}
    rows = tuple(
        (
            text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}...",
            n,
            language_of(text).name,
            *((counts[text].n_tokens, counts[text].n_unknown) if counts else ()),
        )
        for text, n in sorted(n_samples.items(), key=lambda one: (-one[1], one[0]))
    )
    columns = ("text", "samples", "seems to be", *(("tokens", "unknown") if counts else ()))
    read = [Prose(str(report.encoder) + ".")] if report.encoder else []
    return Section("texts", "Texts", (*read, Table("Distinct texts, the most frequent first.", columns, rows)))


def _silencing(scan: Scan, report: DataReport) -> Section:
    """Meaning of the warnings, and the file that silences them."""
    names = sorted({warning.name for warning in scan.dataset.warnings})
    parts: list[Element] = []
    if names:
        about = (
            f"A warning that was looked at and is right is silenced by its name, with the reason, in {SETTINGS_FILE} "
            "beside the data; it is shown with the reason from then on."
        )
        content = json.dumps({"silence": dict.fromkeys(names, "the reason")}, indent=2)
        parts = [Prose(about), Facts(tuple((name, WARNINGS[name]) for name in names))]
        parts.append(Commands(((f"{report.root / SETTINGS_FILE}, with all of them:", content),)))
    if report.silenced:
        parts.append(Facts(tuple((f"silenced {i}", line) for i, line in enumerate(report.silenced, 1))))
    return Section("silence", "Names of the warnings", tuple(parts))


def _table(scan: Scan) -> Table:
    rows = tuple(
        (
            sample.id,
            sample.split,
            sample.group,
            f"{sample.size[0]} x {sample.size[1]}",
            sample.mask.name if sample.mask else "none",
            f"{_foreground(sample):.2%}" if sample.n_pixels else "none",
            "yes" if sample.text else "no",
        )
        for sample in scan.dataset.samples
    )
    columns = ("sample", "split", "group", "height x width", "mask", "foreground", "text")
    return Table("Samples in the order of the data.", columns, rows)
