"""What an ablation leaves to look at: which subset does best, by how much, and the command that trains it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...cache.reader import FeatureReader
from ..evaluation.result import few_groups
from ..reports.charts import ladder
from ..reports.page import REPORT, Cell, Chart, Charts, Commands, KeyFigure, Page, Section, Table, write_page
from ..reports.sections import cache_section, commands_section, few


@dataclass(frozen=True)
class Contender:
    """One of the things compared."""

    name: str
    """As the flag writes it."""
    mean: float
    """Dice."""
    span: tuple[float, float] | None
    """The ends of the interval that `AblationOutcome.span_is` names; `None`: there is none."""
    single: tuple[float, ...]
    """The Dice that the mean is of, one for each seed, of all folds together."""
    p_value: float | None = None
    """Of the paired test against the best, corrected for the number of tests; `None`: was not tested."""
    command: str = ""
    """Trains a head with it; "": none is given."""


@dataclass(frozen=True)
class AblationOutcome:
    """What the report of an ablation is made of."""

    command: str
    """As it was asked for."""
    over: str
    """What differs: timesteps, blocks, texts."""
    scored_on: str
    """Which images, in words."""
    n_scored: int
    """How many they are."""
    n_groups: int
    """Of how many groups (patients)."""
    n_heads_each: int
    """Heads that were trained for each contender: one for every seed and fold."""
    span_is: str
    """What the intervals are, in words: "standard deviation over seeds", "95 % interval over groups"."""
    contenders: tuple[Contender, ...]
    verdict: str = ""
    """Whether the best beats the next one, in a sentence; "": was not tested."""


def write_ablation_report(out: Path, outcome: AblationOutcome, reader: FeatureReader) -> None:
    """Write `report.html` into the ablation's folder."""
    write_page(out / REPORT, _page(out, outcome, reader))


def _page(out: Path, outcome: AblationOutcome, reader: FeatureReader) -> Page:
    ranked = sorted(outcome.contenders, key=lambda one: -one.mean)
    n_heads = outcome.n_heads_each * len(ranked)
    lead = (
        f"{len(ranked)} {_things(outcome)}, compared by {n_heads} heads trained from one cache; the frozen models "
        "were not run.",
        f"Dice is of {outcome.scored_on}.",
    )
    return Page(
        command="ablate-timesteps",
        title=out.name,
        lead=(*lead, outcome.verdict) if outcome.verdict else lead,
        figures=tuple(_figures(ranked, outcome)),
        warnings=tuple(filter(None, _warnings(ranked, outcome))),
        sections=(
            Section("comparison", "Comparison", (Charts((_chart(ranked, outcome),)), _table(ranked, outcome))),
            Section("winners", "Train the best", _winners(ranked)),
            cache_section(reader),
            commands_section(("This comparison:", outcome.command)),
        ),
    )


def _things(outcome: AblationOutcome) -> str:
    return "ways to show texts" if outcome.over == "text" else f"sets of {outcome.over}"


def _figures(ranked: list[Contender], outcome: AblationOutcome) -> Iterator[KeyFigure]:
    best = ranked[0]
    yield KeyFigure(f"Best {outcome.over}", best.name)
    told = "" if best.span is None else f"{outcome.span_is}: {best.span[0]:.3f} to {best.span[1]:.3f}"
    yield KeyFigure("Its Dice", f"{best.mean:.3f}", told, (best.mean, *(best.span or (best.mean, best.mean))))
    if len(ranked) > 1:
        yield KeyFigure("Ahead of the next by", f"{best.mean - ranked[1].mean:.3f}", f"which is {ranked[1].name}")


def _warnings(ranked: list[Contender], outcome: AblationOutcome) -> Iterator[str]:
    yield "The best of several is flattering: it was chosen by these same figures. Score it on images it never met."
    yield few(outcome.n_scored, "images were scored")
    if few_of_them := few_groups(outcome.n_groups):
        yield f"{few_of_them.capitalize()}."
    if not outcome.verdict and len(ranked) > 1:
        yield "Whether the best is better by more than chance was not tested."


def _chart(ranked: list[Contender], outcome: AblationOutcome) -> Chart:
    drawn = ladder(
        "ladder",
        [one.name for one in ranked],
        [one.mean for one in ranked],
        [one.span for one in ranked],
        [one.single for one in ranked],
    )
    alt = "Dice by " + outcome.over + ": " + "; ".join(f"{one.name} {one.mean:.3f}" for one in ranked)
    note = f"Diamond: mean. Bar: {outcome.span_is}. Rings: seeds."
    return Chart(drawn, alt, f"Dice by {outcome.over}", note)


def _table(ranked: list[Contender], outcome: AblationOutcome) -> Table:
    tested = any(one.p_value is not None for one in ranked)
    rows: list[tuple[Cell, ...]] = []
    for place, one in enumerate(ranked, start=1):
        low, high = one.span or (None, None)
        told: tuple[Cell, ...] = (one.name, place, one.mean, low, high, outcome.n_heads_each)
        rows.append((*told, one.p_value) if tested else told)
    columns = (outcome.over, "rank", "Dice", "from", "to", "heads", *(("p, corrected",) if tested else ()))
    return Table(f"From and to: {outcome.span_is}.", columns, tuple(rows), 1)


def _winners(ranked: list[Contender]) -> tuple[Commands, ...]:
    told = tuple((f"With {one.name} (Dice {one.mean:.3f}):", one.command) for one in ranked if one.command)
    return (Commands(told),) if told else ()
