"""Cases of a report: image, truth, prediction, error and uncertainty of single samples, and the legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ...cache.format.samples import IGNORE
from ...stages.metrics.uncertainty import UncertaintyKind, kind_of_uncertainty
from .figures import (
    CLASS_COLOURS,
    CONFUSED_COLOUR,
    FALSE_NEGATIVE_COLOUR,
    FALSE_POSITIVE_COLOUR,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    error_map,
    outline,
)
from .gallery import Gallery, Thumbnail
from .page import RAMP, Case, Element, InlineImage, Legend, Section, Swatch, inline_image

_SCALES = {
    "mutual_information": "dark: the heads agree; bright: they disagree (√ of the mutual information)",
    "predictive_entropy": "dark: certain; bright: uncertain (predictive entropy)",
}


def cases_section(
    per_sample: Sequence[Mapping[str, Any]], gallery: Gallery, classes: Sequence[str], n_members: int
) -> Section:
    """The worst, the median and the best sample by Dice.

    Args:
        per_sample: `id`, `group` and `dice` of each.
        gallery: with their thumbnails.
        classes: names of the foreground classes.
        n_members: of the head.
    """
    kind = kind_of_uncertainty(n_members)
    parts: list[Element] = [legend(classes, kind)]
    for name, one in extremes(per_sample):
        heading = f"{name}: {one['id']}, Dice {one['dice']:.3f}"
        parts.append(case(heading, one["id"], gallery.show(one["id"]), classes, kind))
    return Section("cases", "Worst, median and best", tuple(parts))


def extremes(per_sample: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The worst, the (lower) median and the best by Dice, each sample once, and its name."""
    ranked = sorted((one for one in per_sample if one["dice"] is not None), key=lambda one: (one["dice"], one["id"]))
    names = {0: "Worst", (len(ranked) - 1) // 2: "Median", len(ranked) - 1: "Best"} if ranked else {}
    if 0 < len(ranked) < 3:
        names = {0: "Worst", len(ranked) - 1: "Best"} if len(ranked) == 2 else {0: "The only sample"}
    return [(name, ranked[i]) for i, name in sorted(names.items())]


def case(heading: str, sample_id: str, small: Thumbnail, classes: Sequence[str], kind: UncertaintyKind) -> Case:
    """A sample's five pictures."""
    # The root shows mutual information, which is small; entropy is not.
    uncertainty = small.uncertainty if kind == "mutual_information" else small.uncertainty**2
    truth, predicted = small.truth, small.predicted
    known = truth != IGNORE
    confused = known & (truth > 0) & (predicted > 0) & (truth != predicted)
    predicted_as = np.where(known, predicted, 0)
    true_as = np.where(known, truth, 0)
    colours = _colours(classes)
    unlabelled = "" if known.all() else f", {1 - known.mean():.0%} of the pixels are not labelled"
    error = veiled(error_map(small.image, true_as > 0, predicted_as > 0, confused), known)
    false_negative, false_positive = (true_as > 0) & (predicted_as == 0), (true_as == 0) & (predicted_as > 0)
    shares = f"{false_negative.mean():.1%} of the pixels are false negative, {false_positive.mean():.1%} false positive"
    shares += f", {confused.mean():.1%} of another class" if len(classes) > 1 else ""
    pictures: tuple[InlineImage, ...] = (
        inline_image(small.image, "image", f"Image {sample_id}"),
        inline_image(
            veiled(painted(small.image, true_as, colours[0]), known),
            "truth",
            f"Truth of {sample_id}: {(true_as > 0).mean():.1%} foreground{unlabelled}",
        ),
        inline_image(
            painted(small.image, predicted, colours[1]),
            "prediction",
            f"Prediction for {sample_id}: {(predicted > 0).mean():.1%} foreground",
        ),
        inline_image(error, "error", f"Errors of {sample_id}: {shares}"),
        inline_image(
            ramp(uncertainty),
            "uncertainty",
            f"Uncertainty for {sample_id}: mean {uncertainty.mean():.2f} of at most 1",
        ),
    )
    return Case(heading, small.text, pictures)


def legend(classes: Sequence[str], kind: UncertaintyKind) -> Legend:
    """Meaning of the colours and patterns of cases."""
    true, predicted = _colours(classes)
    if len(classes) == 1:
        swatches = [Swatch("outline", "truth", as_hex(true[0])), Swatch("outline", "prediction", as_hex(predicted[0]))]
    else:
        swatches = [Swatch("outline", name, as_hex(colour)) for name, colour in zip(classes, true, strict=True)]
    swatches += [
        Swatch("plain", "false negative (plain)", as_hex(FALSE_NEGATIVE_COLOUR)),
        Swatch("stripes", "false positive (striped)", as_hex(FALSE_POSITIVE_COLOUR)),
    ]
    if len(classes) > 1:
        swatches.append(Swatch("dots", "of another class (dotted)", as_hex(CONFUSED_COLOUR)))
    return Legend((*swatches, Swatch("scale", _SCALES[kind])))


def painted(
    image: UInt8[np.ndarray, "y x 3"], labels: UInt8[np.ndarray, "y x"], colours: Sequence[tuple[int, int, int]]
) -> UInt8[np.ndarray, "y x 3"]:
    """The image with every class tinted and outlined in its colour."""
    for index, colour in enumerate(colours, start=1):
        image = outline(image, labels == index, colour)
    return image


def ramp(shares: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Shares in [0, 1] as the colours of `RAMP`."""
    positions = [position for position, _ in RAMP]
    channels = zip(*(bytes.fromhex(colour[1:]) for _, colour in RAMP), strict=True)
    return np.stack([np.interp(shares, positions, channel) for channel in channels], -1).round().astype(np.uint8)


def class_colours(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """Colours of foreground classes in masks."""
    if len(classes) == 1:
        return [TRUE_COLOUR]
    return [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(classes))]


def _colours(classes: Sequence[str]) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Colours of the truth and of the prediction: two for one class; of several, one for each class in both."""
    return class_colours(classes), [PREDICTED_COLOUR] if len(classes) == 1 else class_colours(classes)


def veiled(image: UInt8[np.ndarray, "y x 3"], known: np.ndarray) -> UInt8[np.ndarray, "y x 3"]:
    """The image, pale where it is not labelled."""
    veil = (image[~known] * 0.25 + 190).astype(np.uint8)
    shown = image.copy()
    shown[~known] = veil
    return shown


def as_hex(colour: tuple[int, int, int]) -> str:
    """A colour for a page."""
    return "#" + bytes(colour).hex()
