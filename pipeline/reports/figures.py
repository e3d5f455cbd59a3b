"""Figures for files and pages, drawn off screen: PNG bytes or pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

INK, ACCENT, MUTED = "#1f2430", "#2f6f9f", "#8a93a3"
TRUE_COLOUR, PREDICTED_COLOUR = (44, 160, 44), (31, 119, 220)
FALSE_NEGATIVE_COLOUR, FALSE_POSITIVE_COLOUR, CONFUSED_COLOUR = (230, 85, 13), (148, 60, 200), (10, 110, 130)
CLASS_COLOURS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66),
)  # fmt: skip
"""Colours of several classes, distinct for most colour-blind readers (Okabe & Ito 2008)."""


Dot = tuple[str, float, tuple[float, float] | None]
"""A name, a figure and its interval, `None` where it has none."""


def plot_ablation(dots: Sequence[Dot], over: str, scored_on: str) -> bytes:
    """Dice with its 95 % interval: along an axis for single timesteps or blocks, and in rows, best on top.

    At least 3 single ones make a curve; one more, all together, is a line across it, and more are rows beside it.

    Args:
        dots: of each set of timesteps or blocks (numbers with commas between), or of each text or set of models.
        over: `timesteps`, `blocks`, `text` or `sources`.
        scored_on: which images the Dice is of, in words.
    """
    from matplotlib.figure import Figure

    singles = [dot for dot in dots if dot[0].isdecimal()]
    curve = len(singles) >= 3
    rows = [] if curve and len(dots) - len(singles) <= 1 else dots
    height = 0.8 + 0.34 * len(rows)
    figure = Figure(figsize=(7.0, 3.6 * curve + height * bool(rows)), dpi=130, layout="constrained")
    panels = iter(
        figure.subplots(curve + bool(rows), squeeze=False, height_ratios=[3.6] * curve + [height] * bool(rows)).flat
    )
    if curve:
        _curve(next(panels), singles, [] if rows else [dot for dot in dots if dot not in singles], over)
    if rows:
        _rows_of_dots(next(panels), rows, over)
    figure.suptitle(f"{scored_on}; 95 % intervals over groups", fontsize=9, color=MUTED)
    return to_png(figure)


def _curve(axes: Any, singles: Sequence[Dot], across: Sequence[Dot], over: str) -> None:  # noqa: ANN401
    singles = sorted(singles, key=lambda dot: int(dot[0]))
    numbers = [int(name) for name, _, _ in singles]
    axes.errorbar(numbers, [mean for _, mean, _ in singles], yerr=_reach(singles), fmt="o-", color=ACCENT, capsize=3)
    for name, mean, interval in across:
        axes.axhline(mean, color=INK, linestyle="--", linewidth=1, label=f"{name.replace(',', ', ')} together")
        if interval is not None:
            axes.axhspan(*interval, color=MUTED, alpha=0.15, linewidth=0)
        axes.legend(frameon=False, fontsize=8)
    axes.set_xticks(numbers)
    axes.set_xlabel({"timesteps": "timestep t", "blocks": "decoder block"}[over] + ", alone")
    axes.set_ylabel("Dice")
    _tidy(axes, "y")


def _rows_of_dots(axes: Any, dots: Sequence[Dot], over: str) -> None:  # noqa: ANN401
    dots = sorted(dots, key=lambda dot: dot[1])
    ys = np.arange(len(dots))
    axes.errorbar([mean for _, mean, _ in dots], ys, xerr=_reach(dots), fmt="o", color=ACCENT, capsize=3)
    before = {"timesteps": "t = ", "blocks": "block "}.get(over, "")
    axes.set_yticks(ys, [before + name.replace(",", ", ") for name, _, _ in dots])
    axes.set_xlabel("Dice")
    axes.set_ylim(-0.6, len(dots) - 0.4)
    _tidy(axes, "x")


def _reach(dots: Sequence[Dot]) -> Any:  # noqa: ANN401
    """Lengths of the error bars below and above the figures."""
    ends = [(mean, mean) if interval is None else interval for _, mean, interval in dots]
    return np.array([[mean - low, high - mean] for (_, mean, _), (low, high) in zip(dots, ends, strict=True)]).T.clip(0)


def _tidy(axes: Any, lines_along: str) -> None:  # noqa: ANN401
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=lines_along, color="#e4e7ec")
    axes.set_axisbelow(True)


def plot_overlays(rows: Sequence[dict[str, Any]]) -> bytes:
    """Image, truth, prediction and error, a row for each sample, with its text above.

    Args:
        rows: each with `image` uint8 [y, x, 3], `truth` and `predicted` bool [y, x], `title` and `text`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 2.6 * len(rows)), dpi=110)
    grid = figure.subplots(len(rows), 4, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.24 / len(rows), wspace=0.03, hspace=0.3)
    for axes, row in zip(grid, rows, strict=True):
        image, truth, predicted = row["image"], row["truth"], row["predicted"]
        panels = (
            image,
            outline(image, truth, TRUE_COLOUR),
            outline(image, predicted, PREDICTED_COLOUR),
            error_map(image, truth, predicted),
        )
        for axis, pixels, name in zip(axes, panels, ("image", "truth", "prediction", "error"), strict=True):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(name, fontsize=8, color=MUTED)
        heading = f"{row['title']}\n{row['text']}"
        placed = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
        axes[0].annotate(heading, (0, 1), (0, 16), fontsize=8, color=INK, **placed)
    return to_png(figure)


def plot_suggestions(samples: Sequence[dict[str, Any]]) -> bytes:
    """Images to label, two in a row, each beside a map of its uncertainty (bright).

    Args:
        samples: each with `image` uint8 [y, x, 3], `predicted` bool [y, x], `uncertainty` in [0, 1] [y, x] and `title`.
    """
    from matplotlib.figure import Figure

    n_rows = -(-len(samples) // 2)
    figure = Figure(figsize=(9.0, 2.75 * n_rows), dpi=110)
    grid = figure.subplots(n_rows, 4, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.42 / (2.75 * n_rows), wspace=0.03, hspace=0.2)
    for axis in grid.flat:
        axis.set_axis_off()
    for pair, sample in zip(grid.reshape(-1, 2), samples, strict=False):
        pair[0].imshow(outline(sample["image"], sample["predicted"], PREDICTED_COLOUR), interpolation="nearest")
        pair[1].imshow(sample["uncertainty"], vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        pair[0].set_title(sample["title"], fontsize=8, color=INK, loc="left", parse_math=False)
    return to_png(figure)


def outline(
    image: UInt8[np.ndarray, "y x 3"], mask: np.ndarray, colour: tuple[int, int, int]
) -> UInt8[np.ndarray, "y x 3"]:
    """The image with the mask tinted and its border drawn."""
    painted = image.astype(np.float32)
    painted[mask] = 0.65 * painted[mask] + 0.35 * np.array(colour)
    painted[mask & ~_eroded(mask)] = colour
    return painted.astype(np.uint8)


def error_map(
    image: UInt8[np.ndarray, "y x 3"], truth: np.ndarray, predicted: np.ndarray, confused: np.ndarray | None = None
) -> UInt8[np.ndarray, "y x 3"]:
    """The image in pale grey, with errors in colours and patterns, for those who see few colours.

    False negatives are plain orange, false positives striped violet, pixels of a wrong class (`confused`) dotted teal.
    """
    painted = np.repeat(image.mean(-1, keepdims=True) * 0.4 + 150, 3, axis=-1)
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    painted[truth & ~predicted] = FALSE_NEGATIVE_COLOUR
    _pattern(painted, predicted & ~truth, FALSE_POSITIVE_COLOUR, (y + x) % 6 < 2)
    if confused is not None:
        _pattern(painted, confused, CONFUSED_COLOUR, (y % 6 < 3) & (x % 6 < 3))
    return painted.clip(0, 255).astype(np.uint8)


def _pattern(painted: np.ndarray, where: np.ndarray, colour: tuple[int, int, int], pale: np.ndarray) -> None:
    painted[where] = colour
    painted[where & pale] = 0.3 * np.array(colour) + 0.7 * 255


def _eroded(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def to_png(figure: Any) -> bytes:  # noqa: ANN401
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
