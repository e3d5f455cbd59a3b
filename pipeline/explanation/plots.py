"""Figure of an explanation: the prediction, and for every word its effect and the attention beside it."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from ..reports.figures import INK, MUTED, PREDICTED_COLOUR, TRUE_COLOUR, outline
from ..reports.overlays import LARGEST_OF_SEVERAL, draw_panels, fitted, to_panel
from ..reports.plots import Plot
from .maps import ExplanationMaps, WordEffect

WIDTH, MARGIN, GAP = 10.6, 0.25, 0.1
"""Of the plot, in inches, as everything here."""
TITLE, LEGEND = 0.24, 0.85
EFFECT_COLOURS, ATTENTION_COLOURS = "RdBu_r", "YlGn"
ROBUST = 99.5
"""Percentile of the maps at the ends of the colour bars, so that a few pixels do not pale the rest."""


def draw_explanation(explanation: ExplanationMaps, truth: Bool[np.ndarray, "y x"] | None = None) -> Plot:
    """The figure: the image with its masks above, below each word's two maps, largest effect first.

    Args:
        explanation: to show.
        truth: where the target is, at the size of the maps.
    """
    panels, words = _panels(explanation, truth), explanation.ranked()
    n_pairs = 2 if len(words) <= 4 else 3
    heading = [line for text in _headings(explanation) for line in textwrap.wrap(text, 125)]
    tall = explanation.mask.shape[0] / explanation.mask.shape[1]
    panel = min((WIDTH - 2 * MARGIN - GAP * (max(len(panels), 4) - 1)) / max(len(panels), 4), 4.0 / tall)
    pair = (WIDTH - 2 * MARGIN - 3 * GAP * (n_pairs - 1)) / n_pairs
    side = min((pair - GAP / 2) / 2, 3.0 / tall)
    top = MARGIN + 0.2 * len(heading) + 0.1
    words_top = top + TITLE + panel * tall + LEGEND
    sheet = Plot(WIDTH, words_top + -(-len(words) // n_pairs) * (TITLE + side * tall + GAP) + MARGIN / 2)
    for line, text in enumerate(heading):
        sheet.write(MARGIN, MARGIN + 0.2 * line, text)
    for i, (name, pixels, options) in enumerate(panels):
        axes = sheet.axes(MARGIN + i * (panel + GAP), top + TITLE, panel, panel * tall)
        axes.imshow(pixels, interpolation="nearest", **options)
        axes.set_title(name, fontsize=8, color=MUTED, loc="left", pad=3, parse_math=False)
    scales = _scales(explanation)
    _legend(sheet, explanation, words_top - LEGEND + 0.2, scales)
    for i, word in enumerate(words):
        row, column = divmod(i, n_pairs)
        x, y = MARGIN + column * (pair + 3 * GAP), words_top + row * (TITLE + side * tall + GAP) + TITLE
        for number, shown in enumerate(("effect", "attention")):
            axes = sheet.axes(x + number * (side + GAP / 2), y, side, side * tall)
            _word_map(axes, explanation, word.index, shown, scales)
        sheet.write(x, y - 0.18, f"{i + 1}  {_short(word)}", weight="bold")
        sheet.write(x + 2 * side + GAP / 2, y - 0.18, _figures(word), colour=MUTED, align="right")
    return sheet


def draw_attention(explanation: ExplanationMaps, i: int) -> Plot:
    """The image with the mask's outline, and the share that each of the head's attentions gives to one word.

    Args:
        explanation: to show.
        i: index of the word.
    """
    from matplotlib import colormaps

    maps, colours = explanation.attention[:, i], colormaps[ATTENTION_COLOURS]
    high = float(np.percentile(maps, ROBUST)) or 1.0
    image, mask = (to_panel(one, LARGEST_OF_SEVERAL) for one in (explanation.image, explanation.mask.astype(np.uint8)))
    panels = {f"“{explanation.words[i].text}”": outline(image, mask > 0, PREDICTED_COLOUR)}
    for name, map_ in zip(explanation.attention_names, maps, strict=True):
        panels[name] = fitted(colours(map_ / high, bytes=True)[..., :3], mask.shape)
    shares = {f"{100 * share * high:.3g} % of a pixel's attention": share for share in (0.0, 0.5, 1.0)}
    marks = {name: colours(np.full((15, 15), share), bytes=True)[..., :3] for name, share in shares.items()}
    return draw_panels(panels, marks)


def _headings(explanation: ExplanationMaps) -> list[str]:
    return [f"“{explanation.text}”"] + ([f"versus “{explanation.versus.text}”"] if explanation.versus else [])


def _panels(
    explanation: ExplanationMaps, truth: Bool[np.ndarray, "y x"] | None
) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    """Name, pixels and `imshow` options of the panels above the words."""
    grey: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": "gray"}
    panels: list[tuple[str, np.ndarray, dict[str, Any]]] = [("image", explanation.image, {})]
    if truth is not None:
        panels.append(("truth", outline(explanation.image, truth, TRUE_COLOUR), {}))
    panels += [
        ("prediction", outline(explanation.image, explanation.mask, PREDICTED_COLOUR), {}),
        ("probability, 0 to 1", explanation.probability, grey),
    ]
    if explanation.versus:
        difference = explanation.versus.probability - explanation.probability
        panels += [
            ("prediction, other text", outline(explanation.image, explanation.versus.mask, PREDICTED_COLOUR), {}),
            ("change of probability (±1)", difference, {"vmin": -1, "vmax": 1, "cmap": EFFECT_COLOURS}),
        ]
    return panels


def scale_of_effects(explanation: ExplanationMaps) -> float:
    """Effect in nats at the ends of the colour bar, the same for all words."""
    return float(np.percentile(np.abs(explanation.effects), ROBUST)) or 1.0


def _scales(explanation: ExplanationMaps) -> dict[str, tuple[float, float]]:
    """Values at the ends of the colour bars, the same for all words."""
    effect = scale_of_effects(explanation)
    attention = float(np.percentile(explanation.attention.mean(0), ROBUST)) or 1.0
    return {"effect": (-effect, effect), "attention": (0.0, 100 * attention)}


def _word_map(
    axes: Any,  # noqa: ANN401
    explanation: ExplanationMaps,
    i: int,
    shown: str,
    scales: dict[str, tuple[float, float]],
) -> None:
    map_: Float32[np.ndarray, "y x"] = (
        explanation.effects[i] if shown == "effect" else 100 * explanation.attention[:, i].mean(0)
    )
    (low, high), colours = scales[shown], EFFECT_COLOURS if shown == "effect" else ATTENTION_COLOURS
    axes.imshow(map_, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
    if explanation.has_both_sides:
        axes.contour(explanation.mask, levels=[0.5], colors=[INK], linewidths=0.4)


def _legend(sheet: Plot, explanation: ExplanationMaps, y: float, scales: dict[str, tuple[float, float]]) -> None:
    """Two colour bars with their units, and the meaning of the line around the mask."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bars = {
        "effect": (f"left: effect on the log odds of {explanation.target} (nats)", EFFECT_COLOURS, "both"),
        "attention": ("right: share of the attention (%)", ATTENTION_COLOURS, "max"),
    }
    for number, (shown, (label, colours, extend)) in enumerate(bars.items()):
        axes = sheet.axes(MARGIN + 3.5 * number, y + 0.2, 3.1, 0.1)
        axes.set_axis_on()
        mapped = ScalarMappable(Normalize(*scales[shown]), colours)
        bar = sheet.figure.colorbar(mapped, cax=axes, orientation="horizontal", extend=extend)
        bar.ax.tick_params(labelsize=7, length=2, colors=MUTED)
        bar.outline.set_visible(False)
        sheet.write(MARGIN + 3.5 * number, y, label)
    sheet.write(MARGIN + 7.0, y, "thin line: border of the prediction", colour=MUTED)
    sheet.write(MARGIN + 7.0, y + 0.18, "numbers: mean effect inside | outside of it", colour=MUTED)


def _figures(word: WordEffect) -> str:
    inside, outside = (round(value, 2) + 0.0 for value in (word.effect_inside, word.effect_outside))  # no −0.00
    return f"{inside:+.2f} | {outside:+.2f}".replace("-", "−")


def _short(word: WordEffect) -> str:
    return word.label if len(word.label) <= 24 else f"{word.label[:23]}…"
