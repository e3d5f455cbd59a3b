"""The pictures: made off screen, returned as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

INK, ACCENT, MUTED = "#1f2430", "#2f6f9f", "#8a93a3"
TRUE_COLOUR, PREDICTED_COLOUR = (44, 160, 44), (31, 119, 220)
MISSED_COLOUR, INVENTED_COLOUR, CONFUSED_COLOUR = (230, 85, 13), (148, 60, 200), (10, 110, 130)
CLASS_COLOURS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66),
)  # fmt: skip
"""Of several classes: told apart by most people who see few colours (Okabe & Ito 2008)."""


def plot_ablation(names: Sequence[str], means: Sequence[float], stds: Sequence[float], scored_on: str) -> bytes:
    """A dot with its spread for each subset of timesteps, best on top.

    Args:
        names: of the subsets.
        means: Dice in [0, 1].
        stds: standard deviation over seeds.
        scored_on: which images the Dice is of, in words.
    """
    figure, axes = _figure(7.0, 1.4 + 0.38 * len(names))
    order = np.argsort(means)
    places = np.arange(len(names))
    axes.errorbar(np.array(means)[order], places, xerr=np.array(stds)[order], fmt="o", color=ACCENT, capsize=3)
    axes.set_yticks(places, [f"t = {names[i].replace(',', ', ')}" for i in order])
    axes.set_xlabel(f"Dice, mean and standard deviation over seeds ({scored_on})")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color="#e4e7ec")
    return to_png(figure)


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
        pictures = (
            image,
            outline(image, truth, TRUE_COLOUR),
            outline(image, predicted, PREDICTED_COLOUR),
            error_map(image, truth, predicted),
        )
        for axis, picture, name in zip(axes, pictures, ("image", "truth", "prediction", "error"), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(name, fontsize=8, color=MUTED)
        heading = f"{row['title']}\n{row['text']}"
        axes[0].annotate(heading, (0, 1), (0, 16), "axes fraction", "offset points", fontsize=8, color=INK)
    return to_png(figure)


def plot_suggestions(samples: Sequence[dict[str, Any]]) -> bytes:
    """Images to be labelled, two in a row, each beside a map of where the head is unsure (bright).

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
        pair[0].set_title(sample["title"], fontsize=8, color=INK, loc="left")
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
    """The image in pale grey, with what is wrong in patterns too, for those who see few colours.

    Missed pixels are plain orange, invented ones striped violet, those of a wrong class (`confused`) dotted teal.
    """
    painted = np.repeat(image.mean(-1, keepdims=True) * 0.4 + 150, 3, axis=-1)
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    painted[truth & ~predicted] = MISSED_COLOUR
    _pattern(painted, predicted & ~truth, INVENTED_COLOUR, (y + x) % 6 < 2)
    if confused is not None:
        _pattern(painted, confused, CONFUSED_COLOUR, (y % 6 < 3) & (x % 6 < 3))
    return painted.clip(0, 255).astype(np.uint8)


def _pattern(painted: np.ndarray, where: np.ndarray, colour: tuple[int, int, int], pale: np.ndarray) -> None:
    painted[where] = colour
    painted[where & pale] = 0.3 * np.array(colour) + 0.7 * 255


def _eroded(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_png(figure: Any) -> bytes:  # noqa: ANN401
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
