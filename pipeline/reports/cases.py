"""Single samples in a report: image, truth, prediction, error and uncertainty, and what their colours mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ...cache.format.samples import IGNORE
from ...stages.metrics.uncertainty import UncertaintyKind
from .figures import (
    CLASS_COLOURS,
    CONFUSED_COLOUR,
    INVENTED_COLOUR,
    MISSED_COLOUR,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    error_map,
    outline,
)
from .gallery import Gallery, Thumbnail
from .page import RAMP, Case, Element, InlineImage, Legend, Section, Swatch, picture

_UNSURE = {
    "divergence": "dark: the heads agree; bright: they disagree (√ of their Jensen-Shannon divergence)",
    "entropy": "dark: certain; bright: uncertain (entropy)",
}


def cases_section(
    per_sample: Sequence[Mapping[str, Any]], gallery: Gallery, classes: Sequence[str], n_members: int
) -> Section:
    """The worst, the median and the best sample by Dice.

    Args:
        per_sample: `id`, `group` and `dice` of each.
        gallery: which has thumbnails of them.
        classes: names of the foreground classes.
        n_members: of the head.
    """
    kind: UncertaintyKind = "divergence" if n_members > 1 else "entropy"
    parts: list[Element] = [legend(classes, kind)]
    for name, one in extremes(per_sample):
        heading = f"{name}: {one['id']}, Dice {one['dice']:.3f}"
        parts.append(case(heading, one["id"], gallery.show(one["id"]), classes, kind))
    return Section("cases", "Worst, median and best", tuple(parts))


def extremes(per_sample: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The worst, the (lower) median and the best by Dice, each sample once, with what it is."""
    ranked = sorted((one for one in per_sample if one["dice"] is not None), key=lambda one: (one["dice"], one["id"]))
    places = {0: "Worst", (len(ranked) - 1) // 2: "Median", len(ranked) - 1: "Best"} if ranked else {}
    if 0 < len(ranked) < 3:
        places = {0: "Worst", len(ranked) - 1: "Best"} if len(ranked) == 2 else {0: "The only sample"}
    return [(name, ranked[place]) for place, name in sorted(places.items())]


def case(heading: str, sample_id: str, small: Thumbnail, classes: Sequence[str], kind: UncertaintyKind) -> Case:
    """A sample's five pictures."""
    unsure = small.uncertainty if kind == "divergence" else small.uncertainty**2  # divergences are small
    truth, predicted = small.truth, small.predicted
    known = truth != IGNORE
    confused = known & (truth > 0) & (predicted > 0) & (truth != predicted)
    seen_as = np.where(known, predicted, 0)
    true_as = np.where(known, truth, 0)
    colours = _colours(classes)
    unlabelled = "" if known.all() else f", {1 - known.mean():.0%} of the pixels are not labelled"
    error = _veiled(error_map(small.image, true_as > 0, seen_as > 0, confused), known)
    missed, invented = (true_as > 0) & (seen_as == 0), (true_as == 0) & (seen_as > 0)
    told = f"{missed.mean():.1%} of the pixels are missed, {invented.mean():.1%} invented"
    told += f", {confused.mean():.1%} of another class" if len(classes) > 1 else ""
    pictures: tuple[InlineImage, ...] = (
        picture(small.image, "image", f"Image {sample_id}"),
        picture(
            _veiled(painted(small.image, true_as, colours[0]), known),
            "truth",
            f"Truth of {sample_id}: {(true_as > 0).mean():.1%} foreground{unlabelled}",
        ),
        picture(
            painted(small.image, predicted, colours[1]),
            "prediction",
            f"Prediction for {sample_id}: {(predicted > 0).mean():.1%} foreground",
        ),
        picture(error, "error", f"Errors of {sample_id}: {told}"),
        picture(
            ramp(unsure),
            "uncertainty",
            f"Uncertainty for {sample_id}: mean {unsure.mean():.2f} of at most 1",
        ),
    )
    return Case(heading, small.text, pictures)


def legend(classes: Sequence[str], kind: UncertaintyKind) -> Legend:
    """What the colours and patterns of cases mean."""
    true, seen = _colours(classes)
    if len(classes) == 1:
        swatches = [Swatch("outline", "truth", _hex(true[0])), Swatch("outline", "prediction", _hex(seen[0]))]
    else:
        swatches = [Swatch("outline", name, _hex(colour)) for name, colour in zip(classes, true, strict=True)]
    swatches += [
        Swatch("plain", "missed (plain)", _hex(MISSED_COLOUR)),
        Swatch("stripes", "invented (striped)", _hex(INVENTED_COLOUR)),
    ]
    if len(classes) > 1:
        swatches.append(Swatch("dots", "of another class (dotted)", _hex(CONFUSED_COLOUR)))
    return Legend((*swatches, Swatch("scale", _UNSURE[kind])))


def painted(
    image: UInt8[np.ndarray, "y x 3"], labels: UInt8[np.ndarray, "y x"], colours: Sequence[tuple[int, int, int]]
) -> UInt8[np.ndarray, "y x 3"]:
    """The image with every class tinted and outlined in its colour."""
    for index, colour in enumerate(colours, start=1):
        image = outline(image, labels == index, colour)
    return image


def ramp(shares: Float[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Shares in [0, 1] as the colours of `RAMP`."""
    places = [place for place, _ in RAMP]
    channels = zip(*(bytes.fromhex(colour[1:]) for _, colour in RAMP), strict=True)
    return np.stack([np.interp(shares, places, channel) for channel in channels], -1).round().astype(np.uint8)


def _colours(classes: Sequence[str]) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Of the truth and of the prediction: told apart where there is one class, else classes are."""
    if len(classes) == 1:
        return [TRUE_COLOUR], [PREDICTED_COLOUR]
    each = [CLASS_COLOURS[place % len(CLASS_COLOURS)] for place in range(len(classes))]
    return each, each


def _veiled(image: UInt8[np.ndarray, "y x 3"], known: np.ndarray) -> UInt8[np.ndarray, "y x 3"]:
    """The image, pale where it is not labelled."""
    veil = (image[~known] * 0.25 + 190).astype(np.uint8)
    shown = image.copy()
    shown[~known] = veil
    return shown


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()
