"""Cases of a report: image, truth, prediction, error and uncertainty of single samples, and the legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, UInt8

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


@dataclass(frozen=True)
class MaskPair:
    """A true mask and a predicted one, compared where both are labelled."""

    known: Bool[np.ndarray, "y x"]
    """Where both are labelled."""
    true: UInt8[np.ndarray, "y x"]
    """Class indices; 0 where not known."""
    predicted: UInt8[np.ndarray, "y x"]
    """Class indices; 0 where not known."""

    @classmethod
    def of(cls, truth: UInt8[np.ndarray, "y x"], predicted: UInt8[np.ndarray, "y x"]) -> Self:
        """Class indices of each, IGNORE where not labelled."""
        known = (truth != IGNORE) & (predicted != IGNORE)
        return cls(known, np.where(known, truth, 0), np.where(known, predicted, 0))

    @property
    def confused(self) -> Bool[np.ndarray, "y x"]:
        """Foreground in both, of different classes."""
        return (self.true > 0) & (self.predicted > 0) & (self.true != self.predicted)

    def errors_on(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "y x 3"]:
        """The errors painted on the image, pale where not known."""
        return veiled(error_map(image, self.true > 0, self.predicted > 0, self.confused), self.known)

    def shares(self, *, several: bool) -> str:
        """Shares of errors in words; of several classes also of confused ones."""
        false_negative = (self.true > 0) & (self.predicted == 0)
        false_positive = (self.true == 0) & (self.predicted > 0)
        shares = (
            f"{false_negative.mean():.1%} of the pixels are false negative, {false_positive.mean():.1%} false positive"
        )
        return shares + (f", {self.confused.mean():.1%} of another class" if several else "")


def case(heading: str, sample_id: str, small: Thumbnail, classes: Sequence[str], kind: UncertaintyKind) -> Case:
    """A sample's five pictures."""
    # The root shows mutual information, which is small; entropy is not.
    uncertainty = small.uncertainty if kind == "mutual_information" else small.uncertainty**2
    masks = MaskPair.of(small.truth, small.predicted)
    unlabelled = "" if masks.known.all() else f", {1 - masks.known.mean():.0%} of the pixels are not labelled"
    pictures: tuple[InlineImage, ...] = (
        inline_image(small.image, "image", f"Image {sample_id}"),
        inline_image(
            veiled(painted(small.image, masks.true, class_colours(classes)), masks.known),
            "truth",
            f"Truth of {sample_id}: {(masks.true > 0).mean():.1%} foreground{unlabelled}",
        ),
        inline_image(
            painted(small.image, small.predicted, class_colours(classes, predicted=True)),
            "prediction",
            f"Prediction for {sample_id}: {(small.predicted > 0).mean():.1%} foreground",
        ),
        inline_image(
            masks.errors_on(small.image), "error", f"Errors of {sample_id}: {masks.shares(several=len(classes) > 1)}"
        ),
        inline_image(
            ramp(uncertainty),
            "uncertainty",
            f"Uncertainty for {sample_id}: mean {uncertainty.mean():.2f} of at most 1",
        ),
    )
    return Case(heading, small.text, pictures)


def legend(classes: Sequence[str], kind: UncertaintyKind) -> Legend:
    """Meaning of the colours and patterns of cases."""
    true, predicted = class_colours(classes), class_colours(classes, predicted=True)
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


def class_colours(classes: Sequence[str], *, predicted: bool = False) -> list[tuple[int, int, int]]:
    """Colours of foreground classes in masks; a single class has one where it is true and another where predicted."""
    if len(classes) == 1:
        return [PREDICTED_COLOUR if predicted else TRUE_COLOUR]
    return [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(classes))]


def veiled(image: UInt8[np.ndarray, "y x 3"], known: np.ndarray) -> UInt8[np.ndarray, "y x 3"]:
    """The image, pale where it is not labelled."""
    veil = (image[~known] * 0.25 + 190).astype(np.uint8)
    shown = image.copy()
    shown[~known] = veil
    return shown


def as_hex(colour: tuple[int, int, int]) -> str:
    """A colour for a page."""
    return "#" + bytes(colour).hex()
