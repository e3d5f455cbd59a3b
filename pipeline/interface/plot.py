"""Plots for notebooks and papers: masks and errors on their image, features, attention, the curves of a training.

Each function returns a `Plot`: a notebook shows it, `save` writes it as PNG, SVG or PDF, `figure` is matplotlib's to
change. Colours are those of reports, distinct for most colour-blind readers; large images are shrunk.

An image is an array (uint8 [y, x, 3] or grey [y, x]), a Pillow image, the path of a file, a sample of a cache or a
prediction. A mask is an array (bool or integers [y, x]), a Pillow image, a path, a sample (its labels) or a prediction.

A file has mask values. So has an array or Pillow image; but if a sample or a prediction is shown too, it may have class
indices, of samples with 255 where not labelled (`sample.labels`, masks of `HeadClassifier.predict`), and is refused
where values and indices would differ. Of one foreground class, 1, 255 or any other single value is it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from ...cache.format.blocks import NO_NOISE, Block
from ...errors import ConfigError, DataError
from ..explanation.plots import draw_attention
from ..explanation.result import Explanation
from ..image_files.reading import read_image
from ..prediction.request import GivenImage, Pixels
from ..prediction.result import Prediction
from ..reports.charts import plot_curves
from ..reports.overlays import draw_errors, draw_overlay, draw_panels, fitted, principal_colours, to_panel
from ..reports.plots import Plot
from .caches import Cache, CachedSample, plain_block
from .masks import GivenMask, MaskReading
from .runs import Run

LARGEST_MAP = 320
"""Pixels of the longer side of a map of features."""


def overlay(
    image: GivenImage | CachedSample | Prediction,
    mask: GivenMask | None = None,
    *,
    classes: Mapping[int, str] | None = None,
    title: str = "",
) -> Plot:
    """A mask on its image: each class tinted and outlined, pale where it is not labelled.

    Args:
        image: that is shown.
        mask: of the image's size; `None`: the labels of the sample, or the mask of the prediction, that `image` is.
        classes: value in the mask → name of the class, background first; `None`: those of the sample or prediction, if
            one was given; else 0 is the background, and each other value a class. The labels of samples and predictions
            keep their meaning: names alone are taken, in the order of the classes.
        title: above the image.

    Raises:
        DataError: if a file cannot be read, an array is no image or mask, sizes differ, a value is no class or may be
            read in two ways, or samples and predictions differ in their classes.
    """
    if mask is None:
        if not isinstance(image, CachedSample | Prediction):
            raise DataError("there is no mask; give one, or a sample or prediction as the image")
        mask = image
    reading = MaskReading.of([mask], image, classes)
    pixels, labels = _pixels(image), reading.labels(mask)
    _refuse_other_sizes(image=pixels, mask=labels)
    return draw_overlay(pixels, labels, reading.names, title=title, is_truth=isinstance(mask, CachedSample))


def errors(
    image: GivenImage | CachedSample | Prediction,
    mask: GivenMask,
    truth: GivenMask | None = None,
    *,
    classes: Mapping[int, str] | None = None,
) -> Plot:
    """Truth, mask and errors side by side: false negatives plain, false positives striped, wrong classes dotted.

    Dice and errors are of the pixels that are labelled in both masks; others are pale.

    Args:
        image: that is shown.
        mask: predicted.
        truth: true mask; `None`: the labels of the sample that `image` is.
        classes: as of `overlay`.

    Raises:
        DataError: as `overlay`.
    """
    if truth is None:
        if not isinstance(image, CachedSample):
            raise DataError("there is no true mask; give one, or a labelled sample as the image")
        truth = image
    reading = MaskReading.of([mask, truth], image, classes)
    pixels, predicted, true = _pixels(image), reading.labels(mask), reading.labels(truth)
    _refuse_other_sizes(image=pixels, mask=predicted, truth=true)
    return draw_errors(pixels, true, predicted, reading.names)


def features(
    cache: Cache | os.PathLike[str] | str,
    sample: CachedSample | str | SupportsIndex,
    block: Block | Sequence[Block] | None = None,
    timestep: int | Sequence[int] | None = None,
) -> Plot:
    """Activations of a sample as colours, beside its image: the first three principal components are red, green, blue.

    Places of like colour are alike for the model. The components are those of each map by itself, so that colours of
    different maps cannot be compared.

    Args:
        cache: or its path.
        sample: or its id, or its number.
        block: blocks of the UNet by number, layers of encoders by name, or several; `None`: all that are cached.
        timestep: of the UNet, or several; `None`: all that are cached.

    Raises:
        CacheError: if the cache cannot be read, or has no such sample, block or timestep.
    """
    cache = cache if isinstance(cache, Cache) else Cache(cache)
    sample = sample if isinstance(sample, CachedSample) else cache[sample]
    blocks: Sequence[Block] = (*cache.blocks, *cache.layers)
    if block is not None:
        blocks = [block] if isinstance(block, str | int | np.integer) else [*block]
    timesteps: Sequence[int] = cache.timesteps
    if timestep is not None:
        timesteps = [timestep] if isinstance(timestep, int | np.integer) else [*timestep]
    image = to_panel(sample.image, LARGEST_MAP)
    panels = {sample.id: image}
    for one in map(plain_block, blocks):
        for t in timesteps if isinstance(one, int) else [NO_NOISE]:
            name = f"block {one}, t = {t}" if isinstance(one, int) else one
            panels[name] = fitted(principal_colours(sample.features(one, t)), image.shape[:2])
    return draw_panels(panels)


def attention(explanation: Explanation, word: str | int | None = None) -> Plot:
    """Attention to the words of a text, beside their effects; or to one word, by each of the head's attentions.

    Args:
        explanation: of `Segmenter.explain`, or `td.explain(...).explanation`.
        word: as it stands in the text (a repeated one: `nuclei (2)`), or its number; `None`: all words together.

    Raises:
        ConfigError: if the text has no such word.
    """
    if word is None:
        return explanation.plot()
    labels = {one.label: one.index for one in explanation.ranked()}
    index = labels.get(word, -1) if isinstance(word, str) else word
    if not 0 <= index < len(labels):
        expected = ", ".join(sorted(labels, key=lambda label: labels[label]))
        raise ConfigError(f"word got {word!r}; the text has {expected}")
    return draw_attention(explanation, index)


def curve(run: Run | os.PathLike[str] | str) -> Plot:
    """Loss and validation Dice of each epoch of a training, with the epoch that was chosen.

    Args:
        run: or its folder.

    Raises:
        RunError: if there is no run, or its training did not finish.
    """
    run = run if isinstance(run, Run) else Run(os.fspath(run))
    check = next(name for name in run.history[0] if name.startswith("val_dice"))
    named = {"loss": "loss", check: "Dice, quick check"}
    values = {label: [row[name] for row in run.history] for name, label in named.items()}
    return plot_curves([row["epoch"] for row in run.history], values, run.summary.best_epoch)


def _pixels(image: GivenImage | CachedSample | Prediction) -> UInt8[np.ndarray, "y x 3"]:
    if isinstance(image, CachedSample | Prediction):
        return image.image
    if isinstance(image, os.PathLike | str):
        return read_image(Path(image))
    return Pixels.of(image).pixels


def _refuse_other_sizes(**given: np.ndarray) -> None:
    if len({one.shape[:2] for one in given.values()}) > 1:
        sizes = ", ".join(f"{name} {one.shape[0]}×{one.shape[1]}" for name, one in given.items())
        raise DataError(
            f"sizes differ: {sizes} pixels; expected one size. A sample of a cache has the model's size, a prediction "
            "its image's own"
        )
