"""Report of an ablation: the best subset, its lead over the next, and the command that trains it."""

from __future__ import annotations

from collections.abc import Iterator

from ...cache.reader import FeatureReader
from ..config.ablation import AblateConfig
from ..config.command_line import command_json, command_line
from ..evaluation.result import few_groups
from ..reports.charts import ladder
from ..reports.page import REPORT, Cell, Chart, Charts, Commands, KeyFigure, Page, Section, Table, write_page
from ..reports.sections import cache_section, commands_section, few
from .result import AblationRow, AblationSummary

INTERVAL = "95 % interval over groups"


def write_ablation_report(config: AblateConfig, result: AblationSummary, reader: FeatureReader) -> None:
    """Write `report.html` into the ablation's folder."""
    n_heads_each = len(config.seeds) * (config.folds or 1)
    ranked = result.ranked
    things = {"text": "ways to show texts", "sources": "sets of models"}.get(result.over, f"sets of {result.over}")
    best = f"With {ranked[0].name} (Dice {ranked[0].mean:.3f}):", result.command
    page = Page(
        command="ablate-timesteps",
        title=config.out.name,
        lead=(
            f"{len(ranked)} {things}, compared by {n_heads_each * len(ranked)} heads trained from one cache; the "
            "frozen models were not run.",
            f"Dice is of {result.scored_on}.",
            result.verdict,
        ),
        figures=tuple(_figures(ranked, result)),
        warnings=tuple(filter(None, _warnings(result))),
        sections=(
            Section(
                "comparison", "Comparison", (Charts((_chart(ranked, result),)), _table(ranked, result, n_heads_each))
            ),
            Section("winners", "Train the best", (Commands((best,)),)),
            cache_section(reader),
            commands_section(
                ("This comparison:", command_line("ablate-timesteps", config)),
                file=command_json("ablate-timesteps", config),
            ),
        ),
    )
    write_page(config.out / REPORT, page)


def _figures(ranked: list[AblationRow], result: AblationSummary) -> Iterator[KeyFigure]:
    best = ranked[0]
    yield KeyFigure(f"Best {result.over}", best.name)
    interval = best.interval
    note = "" if interval is None else f"{INTERVAL}: {interval[0]:.3f} to {interval[1]:.3f}"
    yield KeyFigure("Its Dice", f"{best.mean:.3f}", note, (best.mean, *(interval or (best.mean, best.mean))))
    if len(ranked) > 1:
        yield KeyFigure("Ahead of the next by", f"{best.mean - ranked[1].mean:.3f}", f"which is {ranked[1].name}")


def _warnings(result: AblationSummary) -> Iterator[str]:
    yield "The best of several is flattering: it was chosen by these same figures. Score it on images it never met."
    yield few(len(result.rows[0].per_sample), "images were scored")
    if warning := few_groups(result.n_groups):
        yield f"{warning.capitalize()}."


def _chart(ranked: list[AblationRow], result: AblationSummary) -> Chart:
    drawn = ladder(
        "ladder",
        [row.name for row in ranked],
        [row.mean for row in ranked],
        [row.interval for row in ranked],
        [row.dice for row in ranked],
    )
    alt = f"Dice by {result.over}: " + "; ".join(f"{row.name} {row.mean:.3f}" for row in ranked)
    return Chart(drawn, alt, f"Dice by {result.over}", f"Diamond: mean. Bar: {INTERVAL}. Rings: seeds.")


def _table(ranked: list[AblationRow], result: AblationSummary, n_heads_each: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for rank, row in enumerate(ranked, start=1):
        low, high = row.interval or (None, None)
        p_value = None if row.behind is None else row.behind.p_value
        rows.append((row.name, rank, row.mean, low, high, n_heads_each, p_value))
    columns = (result.over, "rank", "Dice", "from", "to", "heads", "p, corrected")
    return Table(f"From and to: {INTERVAL}.", columns, tuple(rows), 1)
