"""The image to label next: one of which the answer is uncertain and that is unlike those that are labelled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ....errors import LabelError
from ....stages.metrics.selection import choose_centres, standardised


@dataclass(frozen=True)
class ImageSuggestion:
    """An image to label."""

    image: int
    why: str
    """For people."""


def suggest(
    candidates: Sequence[int],
    labelled: Sequence[int],
    features: Mapping[int, Float[Tensor, " channel"]],
    uncertainty: Mapping[int, float],
) -> ImageSuggestion:
    """Choose as `textdiff suggest` does: uncertainty times the distance to what is labelled.

    Args:
        candidates: images that may be labelled and are not.
        labelled: images that are.
        features: means of the activations of both, as far as they are there.
        uncertainty: of candidates, in nats; where it is not known of all, it counts for none.

    Raises:
        LabelError: if there is no candidate with features.
    """
    ready, covered = ([image for image in images if image in features] for images in (candidates, labelled))
    if not ready:
        what = "all images are labelled" if not candidates else "no image without labels has features yet"
        raise LabelError("there is no image to suggest", what, "one without labels", "add images, or wait", "conflict")
    known = all(image in uncertainty for image in ready)
    weights = torch.tensor([uncertainty[image] if known else 1.0 for image in ready], dtype=torch.float64)
    scaled = standardised(torch.stack([features[image] for image in (*ready, *covered)]))
    (best,), (distance,) = choose_centres(scaled[: len(ready)], weights, scaled[len(ready) :], 1)
    return ImageSuggestion(ready[best], _why(uncertainty.get(ready[best]) if known else None, distance, len(ready)))


def _why(uncertainty: float | None, distance: float, n: int) -> str:
    reasons = [] if uncertainty is None else [f"uncertainty {uncertainty:.2f} nats"]
    reasons += [] if math.isinf(distance) else [f"distance {distance:.2f} from the nearest labelled image"]
    return ", ".join(reasons or ["the first of all"]) + f"; of {n} images without labels"
