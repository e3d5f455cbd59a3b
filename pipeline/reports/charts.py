"""Charts of reports: SVG in the page's own colours, so that they are legible in its light and its dark theme.

matplotlib draws with stand-in colours, which become CSS variables afterwards. Charts are narrow, so that their text is
of a readable size on a phone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import figures
from .plots import Plot

INK, SOFT, LINE, ACCENT, SECOND = "#010203", "#010204", "#010205", "#010206", "#010207"
_COLOURS = {
    INK: "currentColor",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}
_STAND_INS = {colour: colour for colour in _COLOURS}
_OWN_COLOURS = {INK: figures.INK, SOFT: "#5a6372", LINE: "#d5dae1", ACCENT: figures.ACCENT, SECOND: "#b4531b"}
"""Of plots that stand by themselves, on white."""
WIDTH, HEIGHT = 4.4, 2.7
MAX_DOTS = 120
"""More samples are a line of their quantiles."""

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "textdiff",
    "font.size": 11.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "lines.linewidth": 2.0,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


def curve(name: str, epochs: Sequence[float], values: Sequence[float], best: float, label: str) -> str:
    """A figure of every epoch, with the epoch that was chosen.

    Args:
        name: of the drawing, unlike that of any other on the page.
        epochs: from 1.
        values: one an epoch.
        best: the epoch that was chosen.
        label: what the values are.
    """
    with _drawing() as (figure, axes):
        _draw_curve(axes, epochs, values, best, label=label)
        return _svg(figure, name)


def plot_curves(epochs: Sequence[float], curves: Mapping[str, Sequence[float]], best: float) -> Plot:
    """As `curve`, of several figures side by side, in colours of their own.

    Args:
        epochs: as of `curve`.
        curves: what the values are → the values.
        best: as of `curve`.
    """
    import matplotlib as mpl

    gap = 0.95
    with mpl.rc_context({key: _OWN_COLOURS.get(str(value), value) for key, value in _STYLE.items()}):
        plot = Plot(len(curves) * (WIDTH + gap) + 0.1, HEIGHT + 0.95)
        for i, (label, values) in enumerate(curves.items()):
            axes = plot.axes(gap + i * (WIDTH + gap), 0.35, WIDTH - 0.1, HEIGHT, bare=False)
            _draw_curve(axes, epochs, values, best, label=label, colours=_OWN_COLOURS)
    return plot


def _draw_curve(
    axes: Any,  # noqa: ANN401
    epochs: Sequence[float],
    values: Sequence[float],
    best: float,
    *,
    label: str,
    colours: Mapping[str, str] = _STAND_INS,
) -> None:
    accent, second = colours[ACCENT], colours[SECOND]
    axes.plot(epochs, values, color=accent, marker="o" if len(epochs) < 12 else "", markersize=4)
    axes.axvline(best, color=second, linestyle=(0, (3, 3)), linewidth=1.4)
    axes.annotate(f"epoch {best:g}", (best, 1), (0, 3), ("data", "axes fraction"), "offset points", color=second,
                  ha="center")  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.get_major_locator().set_params(integer=True)


def spread(name: str, dice: Sequence[float], mean: float) -> str:
    """The Dice of every sample, from the worst to the best."""
    ranked, ranks = np.sort(dice), np.arange(1, len(dice) + 1)
    with _drawing() as (figure, axes):
        if len(ranked) <= MAX_DOTS:
            axes.vlines(ranks, 0, ranked, color=LINE, linewidth=1)
            axes.plot(ranks, ranked, "o", color=ACCENT, markersize=4.5)
        else:
            shares = np.linspace(0, 1, MAX_DOTS)
            axes.plot(1 + shares * (len(ranked) - 1), np.quantile(ranked, shares), color=ACCENT)
        axes.axhline(mean, color=SECOND, linestyle=(0, (3, 3)), linewidth=1.4)
        axes.annotate(f"mean {mean:.3f}", (0, mean), (4, 4), ("axes fraction", "data"), "offset points", color=SECOND)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0.3, len(ranked) + 0.7)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("samples, worst to best")
        axes.set_ylabel("Dice")
        return _svg(figure, name)


def shares(name: str, values: Sequence[float], label: str) -> str:
    """A share of every sample, from the least to the most.

    Args:
        name: as of `curve`.
        values: from 0 to 1, one a sample.
        label: what the shares are of.
    """
    ranked, ranks = 100 * np.sort(values), np.arange(1, len(values) + 1)
    with _drawing() as (figure, axes):
        axes.vlines(ranks, 0, ranked, color=LINE, linewidth=1)
        axes.plot(ranks, ranked, "o" if len(ranked) <= MAX_DOTS else "-", color=ACCENT, markersize=4.5)
        axes.set_ylim(0, max(1.0, 1.08 * ranked[-1]))
        axes.set_xlim(0.3, len(ranked) + 0.7)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("samples, least to most")
        axes.set_ylabel(f"{label}, %")
        return _svg(figure, name)


def reliability_diagram(name: str, bins: Sequence[Mapping[str, Any]]) -> str:
    """Reliability diagram: accuracy against confidence; on the diagonal, calibration is perfect."""
    known = [one for one in bins if one["n"]]
    shares = np.array([one["n"] for one in known]) / sum(one["n"] for one in known)
    with _drawing() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (3, 3)), linewidth=1.2)
        confidence, accuracy = ([one[of] for one in known] for of in ("confidence", "accuracy"))
        axes.plot(confidence, accuracy, color=ACCENT)
        axes.scatter(confidence, accuracy, s=18 + 160 * np.sqrt(shares), color=ACCENT)
        low = min(0.5, *confidence, *accuracy)
        axes.set_xlim(low - 0.02, 1.02)
        axes.set_ylim(low - 0.02, 1.04)
        axes.set_xlabel("confidence (probability)")
        axes.set_ylabel("accuracy")
        return _svg(figure, name)


def selective(name: str, curves: Mapping[str, Mapping[str, float | None]]) -> str:
    """Dice of the other pixels, as the most uncertain ones are set aside.

    Args:
        name: as of `curve`.
        curves: name of a measure of uncertainty → share that is kept → Dice.
    """
    with _drawing() as (figure, axes):
        for (label, of), colour, line in zip(curves.items(), (ACCENT, SECOND), ("-", "--"), strict=False):
            known = sorted((100 * (1 - float(kept)), value) for kept, value in of.items() if value is not None)
            axes.plot(*zip(*known, strict=True), color=colour, linestyle=line, label=label)
        if len(curves) > 1:
            axes.legend(loc="best", labelcolor=SOFT)
        axes.set_xlabel("most uncertain pixels set aside, %")
        axes.set_ylabel("Dice of the rest")
        return _svg(figure, name)


def ladder(
    name: str,
    names: Sequence[str],
    means: Sequence[float],
    spans: Sequence[tuple[float, float] | None],
    dots: Sequence[Sequence[float]],
) -> str:
    """A row for each thing compared, best on top: its mean, its interval, and single values as small rings.

    Args:
        name: as of `curve`.
        names: of the things compared.
        means: Dice.
        spans: ends of the interval of each.
        dots: single values of each.
    """
    order = np.argsort(means, kind="stable")
    with _drawing(height=1.0 + 0.42 * len(names)) as (figure, axes):
        for y, i in enumerate(order):
            if spans[i] is not None:
                axes.plot(spans[i], (y, y), color=ACCENT, linewidth=5, alpha=0.35, solid_capstyle="round")
            axes.plot(dots[i], [y] * len(dots[i]), "o", mfc="none", mec=SOFT, markersize=4.5, mew=1)
            axes.plot(means[i], y, "D", color=ACCENT, markersize=6)
        axes.set_yticks(range(len(names)), [names[i] for i in order])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Dice")
        return _svg(figure, name)


@contextmanager
def _drawing(height: float = HEIGHT) -> Iterator[tuple[Any, Any]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: Any, name: str) -> str:  # noqa: ANN401
    """The drawing for a page: ids of its own, colours of the page, no links to other documents."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    canvas = FigureCanvasSVG(figure)  # `figure.savefig` would draw it twice for the same bytes
    canvas.print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"<style.*?</style>| font-family: [^;]*;", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<g id=\"[^\"]*\"", "<g", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'<svg height="[^"]*"(.*?) width="[^"]*"|<svg width="[^"]*" height="[^"]*"', r"<svg\1", svg, count=1)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg
