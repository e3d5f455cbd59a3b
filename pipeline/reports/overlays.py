"""Masks on their image, side by side with a legend, as plots: in the colours and patterns of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from ...cache.format.samples import IGNORE
from ...stages.features.compression import fit_projection
from ...stages.metrics.overlap import confusion, dice
from .cases import MaskPair, class_colours, painted, veiled
from .figures import MUTED, error_map
from .plots import DPI, Plot

LARGEST, SMALLEST = 640, 240
"""Pixels of a single panel's longer side: larger images are shrunk, smaller ones enlarged by a whole number."""
LARGEST_OF_SEVERAL, WIDEST = 440, 1500
"""Of one of several panels, and of all in a row together."""
MARGIN, GAP, TITLE, LINE = 0.1, 0.12, 0.22, 0.22
SWATCH, LETTER = 0.15, 0.068
"""Inches, as above; a letter's width is that of a broad one."""
MOST_LETTERS = 40

ShownPixels = UInt8[np.ndarray, "y x 3"]
ShownPictures = Mapping[str, ShownPixels]
"""Title → pixels."""
Marks = Mapping[str, ShownPixels]
"""Meaning → a square of the colour or pattern."""


def draw_overlay(
    image: ShownPixels,
    labels: UInt8[np.ndarray, "y x"],
    classes: Sequence[str],
    *,
    title: str = "",
    is_truth: bool = False,
) -> Plot:
    """The image with each class tinted and outlined; pale where it is not labelled.

    Args:
        image: of the labels' size.
        labels: class indices, 0 the background; IGNORE where not labelled.
        classes: names of the foreground classes.
        title: above it; "": none.
        is_truth: whether a single class has the colour of truths, not that of predictions.
    """
    image, labels = to_panel(image, LARGEST), to_panel(labels, LARGEST)
    colours = class_colours(classes, predicted=not is_truth)
    pixels = veiled(painted(image, labels, colours), labels != IGNORE)
    return draw_panels({title: pixels}, _class_marks(classes, colours, labels) | _unlabelled_mark(labels))


def draw_errors(
    image: ShownPixels, truth: UInt8[np.ndarray, "y x"], predicted: UInt8[np.ndarray, "y x"], classes: Sequence[str]
) -> Plot:
    """Truth, prediction and errors side by side, with the mean Dice of the classes; pale where not labelled.

    Args:
        image: of the masks' size.
        truth: class indices; IGNORE where not labelled.
        predicted: likewise.
        classes: names of the foreground classes.
    """
    scores = _dice(MaskPair.of(truth, predicted), classes)
    image, truth, predicted = (to_panel(one, LARGEST_OF_SEVERAL) for one in (image, truth, predicted))
    of_truth, of_prediction = class_colours(classes), class_colours(classes, predicted=True)
    panels = {
        "truth": veiled(painted(image, truth, of_truth), truth != IGNORE),
        "prediction": veiled(painted(image, predicted, of_prediction), predicted != IGNORE),
        f"errors; {scores}": MaskPair.of(truth, predicted).errors_on(image),
    }
    marks = _class_marks(classes, of_prediction, truth, predicted) if len(classes) > 1 else {}
    return draw_panels(panels, marks | _error_marks(several=len(classes) > 1) | _unlabelled_mark(truth, predicted))


def draw_panels(panels: ShownPictures, marks: Marks | None = None) -> Plot:
    """Pictures under their titles, of one size each, and a legend below.

    Args:
        panels: in reading order; drawn pixel for pixel.
        marks: the legend; `None`: none.
    """
    marks = marks or {}
    height, width = (max(pixels.shape[axis] for pixels in panels.values()) / DPI for axis in (0, 1))
    n_columns = min(max(1, int(WIDEST / DPI / (width + GAP))), len(panels))
    title = TITLE if any(panels) else 0.0
    whole = 2 * MARGIN + n_columns * (width + GAP) - GAP
    lines = _legend_lines(marks, whole - 2 * MARGIN)
    n_rows = -(-len(panels) // n_columns)
    legend = MARGIN + n_rows * (title + height + GAP)
    plot = Plot(whole, legend + LINE * len(lines) + (MARGIN if lines else MARGIN - GAP))
    for i, (name, pixels) in enumerate(panels.items()):
        x, y = MARGIN + i % n_columns * (width + GAP), MARGIN + i // n_columns * (title + height + GAP)
        plot.write(x, y, _cut(name, int(width / LETTER)), colour=MUTED)
        axes = plot.axes(x, y + title, pixels.shape[1] / DPI, pixels.shape[0] / DPI)
        axes.imshow(pixels, interpolation="nearest", aspect="auto")
    for i, line in enumerate(lines):
        for x, name in line:
            axes = plot.axes(MARGIN + x, legend + LINE * i + 0.02, SWATCH, SWATCH)
            axes.imshow(marks[name], interpolation="nearest", aspect="auto")
            room = int((whole - 2 * MARGIN - SWATCH - 0.07) / LETTER)
            plot.write(MARGIN + x + SWATCH + 0.07, legend + LINE * i + 0.025, _cut(name, min(room, MOST_LETTERS)))
    return plot


def to_panel(pixels: UInt8[np.ndarray, "y x *channel"], at_most: int) -> UInt8[np.ndarray, "shown_y shown_x *channel"]:
    """An image or a label map in the size of a panel.

    Args:
        pixels: RGB, which is averaged where it is shrunk, or class indices, of which the central pixels are kept.
        at_most: pixels of the longer side.
    """
    from PIL import Image

    longest = max(pixels.shape[:2])
    if longest <= at_most:
        times = at_most // longest
        return pixels.repeat(times, 0).repeat(times, 1)
    height, width = (max(1, round(n * at_most / longest)) for n in pixels.shape[:2])
    if pixels.ndim == 3:
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
    return fitted(pixels, (height, width))


def fitted(
    pixels: UInt8[np.ndarray, "y x *channel"], size: tuple[int, int]
) -> UInt8[np.ndarray, "shown_y shown_x *channel"]:
    """Pixels brought to a size, each by the nearest."""
    ys, xs = (((np.arange(n) + 0.5) * of / n).astype(int) for n, of in zip(size, pixels.shape[:2], strict=True))
    return pixels[ys[:, None], xs]


def principal_colours(activations: Float[np.ndarray, "y x channel"]) -> ShownPixels:
    """The first three principal components of a map as red, green and blue, each from its 1st to its 99th percentile.

    A component that a map is too small for, or has no spread in, is at half.
    """
    height, width, n_channels = activations.shape
    components = np.zeros((height * width, 3), np.float32)
    if n_components := min(3, height * width - 1, n_channels):
        pixels = torch.from_numpy(np.asarray(activations, np.float32)).flatten(0, 1)
        components[:, :n_components] = fit_projection(pixels, n_components).apply(pixels).numpy()
    low, high = np.percentile(components, (1, 99), axis=0)
    shares = np.where(high > low, (components - low) / np.where(high > low, high - low, 1), 0.5)
    return (255 * shares.clip(0, 1)).round().astype(np.uint8).reshape(height, width, 3)


def _dice(masks: MaskPair, classes: Sequence[str]) -> str:
    """Dice in words, of several classes their mean, over the pixels that are labelled in both."""
    if not masks.known.any():
        return "no pixel is labelled"
    true, predicted = (torch.from_numpy(labels[masks.known]) for labels in (masks.true, masks.predicted))
    counts = confusion(predicted, true, len(classes) + 1, IGNORE)
    return f"{'mean ' if len(classes) > 1 else ''}Dice {float(dice(counts).mean()):.3f}"


def _class_marks(
    classes: Sequence[str], colours: Sequence[tuple[int, int, int]], *maps: np.ndarray
) -> dict[str, ShownPixels]:
    """Squares of the classes that occur in the maps."""
    occurring = {*np.concatenate([np.unique(labels) for labels in maps]).tolist()}
    white = np.full((15, 15, 3), 255, np.uint8)
    return {
        name: painted(white, np.ones((15, 15), np.uint8), [colour])
        for index, (name, colour) in enumerate(zip(classes, colours, strict=True), start=1)
        if index in occurring or len(classes) == 1
    }


def _unlabelled_mark(*maps: np.ndarray) -> dict[str, ShownPixels]:
    """A square of pixels without labels, if the maps have some."""
    some = any((labels == IGNORE).any() for labels in maps)
    return {"not labelled": veiled(np.full((15, 15, 3), 127, np.uint8), _nowhere())} if some else {}


def _error_marks(*, several: bool) -> dict[str, ShownPixels]:
    white, everywhere, nowhere = np.full((15, 15, 3), 255, np.uint8), ~_nowhere(), _nowhere()
    marks = {
        "false negative (plain)": error_map(white, everywhere, nowhere),
        "false positive (striped)": error_map(white, nowhere, everywhere),
    }
    return marks | ({"of another class (dotted)": error_map(white, nowhere, nowhere, everywhere)} if several else {})


def _nowhere() -> Bool[np.ndarray, "15 15"]:
    return np.zeros((15, 15), bool)


def _legend_lines(marks: Marks, width: float) -> list[list[tuple[float, str]]]:
    """Lines of the legend: the place of each mark along its line, and its meaning."""
    lines: list[list[tuple[float, str]]] = []
    x = width
    for name in marks:
        needed = SWATCH + 0.2 + LETTER * min(len(name), MOST_LETTERS)
        if x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, name))
        x += needed
    return lines


def _cut(text: str, n_letters: int) -> str:
    return text if len(text) <= n_letters else f"{text[: n_letters - 1]}…"
