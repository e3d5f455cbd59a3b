"""Measures of a sample that need the whole image: distances between surfaces, and instances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ...cache.format.samples import IGNORE
from ...stages.metrics.instances import aggregated_jaccard, match_objects, split_objects
from ...stages.metrics.surfaces import surface_distances


@dataclass(frozen=True)
class SurfaceSettings:
    """Measurement of distances between surfaces."""

    spacing: tuple[float, float] = (1.0, 1.0)
    """From one pixel's centre to the next along y and x; its unit is that of the distances."""
    tolerance: float | None = None
    """Of the normalised surface Dice (NSD), in the same unit; `None`: no NSD."""


@dataclass(frozen=True)
class SampleShapes:
    """Measures of one sample, of each foreground class."""

    figures: Mapping[str, Float[Tensor, "class"]] = field(default_factory=dict)
    """`hd95`, `nsd`, `aji`: those asked for."""
    matches: Float[Tensor, "class 3"] | None = None
    """Result of `match_objects`; `None`: not asked for."""


def measure_shapes(
    maps: UInt8[np.ndarray, "2 y x"],
    n_classes: int,
    *,
    surface: SurfaceSettings | None,
    instances: bool,
    true_objects: Int[np.ndarray, "y x"] | None,
) -> SampleShapes:
    """Measure a sample class by class; unlabelled pixels are background in both masks.

    Args:
        maps: labels and predicted classes.
        n_classes: background included.
        surface: how to measure distances between surfaces; `None`: not at all.
        instances: whether to compare instances.
        true_objects: numbered true instances of the foreground, 0 elsewhere; `None`: those that labels show.
    """
    labels, classes = maps
    figures: defaultdict[str, list[float]] = defaultdict(list)
    matches: list[Float[Tensor, "3"]] = []
    for index in range(1, n_classes):
        truth, predicted = labels == index, (classes == index) & (labels != IGNORE)
        if surface:
            distances = surface_distances(truth, predicted, surface.spacing)
            figures["hd95"].append(distances.hausdorff_95)
            if surface.tolerance is not None:
                figures["nsd"].append(distances.dice(surface.tolerance))
        if instances:
            objects = split_objects(truth) if true_objects is None else true_objects, split_objects(predicted)
            figures["aji"].append(aggregated_jaccard(*objects))
            matches.append(match_objects(*objects))
    of_classes = {name: torch.tensor(values, dtype=torch.float64) for name, values in figures.items()}
    return SampleShapes(of_classes, torch.stack(matches) if matches else None)
