"""The picture of an explanation: what was predicted, and for every word its effect and the attention beside it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32

from ..reports.figures import INK, MUTED, PREDICTED_COLOUR, TRUE_COLOUR, outline, to_png

if TYPE_CHECKING:
    from .result import Explanation, WordEffect

WIDTH, MARGIN, GAP = 10.6, 0.25, 0.1
"""Of the sheet, in inches, as everything here."""
TITLE, LEGEND = 0.24, 0.85
EFFECT_COLOURS, ATTENTION_COLOURS = "RdBu_r", "YlGn"
ROBUST = 99.5
"""Percentile of the maps that the ends of the colour bars stand for, so that a few pixels do not pale the rest."""


def plot_explanation(found: Explanation, truth: Bool[np.ndarray, "y x"] | None = None) -> bytes:
    """The whole picture as PNG: the image with its masks above, below each word's two maps, largest effect first.

    Args:
        found: what to show.
        truth: where the target is, at the size of the maps.
    """
    panels, words = _panels(found, truth), found.ranked()
    n_pairs = 2 if len(words) <= 4 else 3
    heading = [line for text in _headings(found) for line in textwrap.wrap(text, 125)]
    tall = found.mask.shape[0] / found.mask.shape[1]
    panel = min((WIDTH - 2 * MARGIN - GAP * (max(len(panels), 4) - 1)) / max(len(panels), 4), 4.0 / tall)
    pair = (WIDTH - 2 * MARGIN - 3 * GAP * (n_pairs - 1)) / n_pairs
    side = min((pair - GAP / 2) / 2, 3.0 / tall)
    top = MARGIN + 0.2 * len(heading) + 0.1
    words_top = top + TITLE + panel * tall + LEGEND
    sheet = _Sheet(words_top + -(-len(words) // n_pairs) * (TITLE + side * tall + GAP) + MARGIN / 2)
    for line, text in enumerate(heading):
        sheet.write(MARGIN, MARGIN + 0.2 * line, text)
    for place, (name, picture, options) in enumerate(panels):
        axes = sheet.axes(MARGIN + place * (panel + GAP), top + TITLE, panel, panel * tall)
        axes.imshow(picture, interpolation="nearest", **options)
        axes.set_title(name, fontsize=8, color=MUTED, loc="left", pad=3, parse_math=False)
    scales = _scales(found)
    _legend(sheet, found, words_top - LEGEND + 0.2, scales)
    for place, word in enumerate(words):
        row, column = divmod(place, n_pairs)
        x, y = MARGIN + column * (pair + 3 * GAP), words_top + row * (TITLE + side * tall + GAP) + TITLE
        for number, shown in enumerate(("effect", "attention")):
            axes = sheet.axes(x + number * (side + GAP / 2), y, side, side * tall)
            _word_map(axes, found, word.place, shown, scales)
        sheet.write(x, y - 0.18, f"{place + 1}  {_short(word)}", weight="bold")
        sheet.write(x + 2 * side + GAP / 2, y - 0.18, _told(word), colour=MUTED, align="right")
    return to_png(sheet.figure)


class _Sheet:
    """A figure on which things lie at inches from its upper left corner."""

    def __init__(self, height: float) -> None:
        from matplotlib.figure import Figure

        self.figure, self._height = Figure(figsize=(WIDTH, height), dpi=110), height

    def axes(self, x: float, y: float, width: float, height: float) -> Any:  # noqa: ANN401
        """Axes without ticks whose upper left corner is at (x, y)."""
        box = (x / WIDTH, 1 - (y + height) / self._height, width / WIDTH, height / self._height)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        return axes

    def write(
        self, x: float, y: float, text: str, *, colour: str = INK, weight: str = "normal", align: str = "left"
    ) -> None:
        """A line of text below (x, y)."""
        look: dict[str, Any] = {
            "fontsize": 8.5,
            "color": colour,
            "weight": weight,
            "ha": align,
            "va": "top",
            "parse_math": False,
        }
        self.figure.text(x / WIDTH, 1 - y / self._height, text, fontdict=None, **look)


def _headings(found: Explanation) -> list[str]:
    return [f"“{found.text}”"] + ([f"versus “{found.versus.text}”"] if found.versus else [])


def _panels(found: Explanation, truth: Bool[np.ndarray, "y x"] | None) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    """Name, picture and its colours of what stands above."""
    grey: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": "gray"}
    panels: list[tuple[str, np.ndarray, dict[str, Any]]] = [("image", found.image, {})]
    if truth is not None:
        panels.append(("truth", outline(found.image, truth, TRUE_COLOUR), {}))
    panels += [
        ("prediction", outline(found.image, found.mask, PREDICTED_COLOUR), {}),
        ("probability, 0 to 1", found.probability, grey),
    ]
    if found.versus:
        difference = found.versus.probability - found.probability
        panels += [
            ("prediction, other text", outline(found.image, found.versus.mask, PREDICTED_COLOUR), {}),
            ("change of probability (±1)", difference, {"vmin": -1, "vmax": 1, "cmap": EFFECT_COLOURS}),
        ]
    return panels


def scale_of_effects(found: Explanation) -> float:
    """The effect in nats, for or against, that the strongest colours stand for, the same for all words."""
    return float(np.percentile(np.abs(found.effects), ROBUST)) or 1.0


def _scales(found: Explanation) -> dict[str, tuple[float, float]]:
    """What the ends of the colour bars mean, the same for all words."""
    effect = scale_of_effects(found)
    attention = float(np.percentile(found.attention.mean(0), ROBUST)) or 1.0
    return {"effect": (-effect, effect), "attention": (0.0, 100 * attention)}


def _word_map(
    axes: Any,  # noqa: ANN401
    found: Explanation,
    place: int,
    shown: str,
    scales: dict[str, tuple[float, float]],
) -> None:
    map_: Float32[np.ndarray, "y x"] = (
        found.effects[place] if shown == "effect" else 100 * found.attention[:, place].mean(0)
    )
    (low, high), colours = scales[shown], EFFECT_COLOURS if shown == "effect" else ATTENTION_COLOURS
    axes.imshow(map_, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
    if found.has_both_sides:
        axes.contour(found.mask, levels=[0.5], colors=[INK], linewidths=0.4)


def _legend(sheet: _Sheet, found: Explanation, y: float, scales: dict[str, tuple[float, float]]) -> None:
    """Two colour bars with their units; the line around the mask is explained beside them."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    told = {
        "effect": (f"left: effect on the log odds of {found.target} (nats)", EFFECT_COLOURS, "both"),
        "attention": ("right: share of the attention (%)", ATTENTION_COLOURS, "max"),
    }
    for number, (shown, (label, colours, extend)) in enumerate(told.items()):
        axes = sheet.axes(MARGIN + 3.5 * number, y + 0.2, 3.1, 0.1)
        axes.set_axis_on()
        mapped = ScalarMappable(Normalize(*scales[shown]), colours)
        bar = sheet.figure.colorbar(mapped, cax=axes, orientation="horizontal", extend=extend)
        bar.ax.tick_params(labelsize=7, length=2, colors=MUTED)
        bar.outline.set_visible(False)
        sheet.write(MARGIN + 3.5 * number, y, label)
    sheet.write(MARGIN + 7.0, y, "thin line: border of the prediction", colour=MUTED)
    sheet.write(MARGIN + 7.0, y + 0.18, "numbers: mean effect inside | outside of it", colour=MUTED)


def _told(word: WordEffect) -> str:
    inside, outside = (round(value, 2) + 0.0 for value in (word.effect_inside, word.effect_outside))  # no −0.00
    return f"{inside:+.2f} | {outside:+.2f}".replace("-", "−")


def _short(word: WordEffect) -> str:
    return word.label if len(word.label) <= 24 else f"{word.label[:23]}…"
