"""Groups (patients) drawn so that every kind of them is there: strata, and the order in which groups are taken.

An order, not a set: whoever takes the first N of it has the first N - 1 too, so that heads trained on more and more
labels differ in what was added and in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int

from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...stages.seeds import named_generator

N_QUARTERS = 4

Stratum = tuple[str | int, ...]


def strata_of(reader: FeatureReader, samples: Sequence[SampleRow]) -> dict[str, Stratum]:
    """Group → what kind of group it is.

    The strata that the data name (column `stratum` of a manifest), where any sample has one: a group of several has
    all of them together. Else the set of foreground classes in the group's labels; and where that is the same for all,
    the quarter of the groups that it is in by its share of foreground among labelled pixels.

    Args:
        reader: the cache.
        samples: labelled, as they are (view 0).
    """
    named = {sample.group: set[str]() for sample in samples}
    for sample in samples:
        named[sample.group].add(sample.stratum)
    if any(sample.stratum for sample in samples):
        return {group: tuple(sorted(strata)) for group, strata in named.items()}
    n_pixels = _pixels_of_classes(reader, samples)
    classes: dict[str, Stratum] = {group: tuple(n[1:].nonzero()[0].tolist()) for group, n in n_pixels.items()}
    if len({*classes.values()}) > 1:
        return classes
    ranked = sorted(n_pixels, key=lambda group: (1 - n_pixels[group][0] / n_pixels[group].sum(), group))
    return {group: (i * N_QUARTERS // len(ranked),) for i, group in enumerate(ranked)}


def order_groups(strata: Mapping[str, Stratum], seed: int, *, cover: bool) -> list[str]:
    """Groups in the order in which they are to be taken, random within a stratum.

    The k-th of a stratum's n groups is ranked at (k - 1/2) / n of the whole order, so that any beginning holds of
    each stratum its share, up to one group: proportional allocation.

    Args:
        strata: of the groups.
        seed: of the order.
        cover: take one group of each stratum before the second of any, the largest stratum's first.
    """
    names = sorted(strata)
    shuffled = torch.randperm(len(names), generator=named_generator(seed, "labelled groups")).tolist()
    of_stratum: dict[Stratum, list[str]] = {}
    for i in shuffled:
        of_stratum.setdefault(strata[names[i]], []).append(names[i])
    ranks = [
        (cover and k > 0, (k + 0.5) / len(groups), group)
        for groups in of_stratum.values()
        for k, group in enumerate(groups)
    ]
    # Stable: groups of equal rank follow the shuffled order of their strata.
    return [group for *_, group in sorted(ranks, key=lambda rank: rank[:2])]


def _pixels_of_classes(reader: FeatureReader, samples: Sequence[SampleRow]) -> dict[str, Int[np.ndarray, "class"]]:
    """Group → how many labelled pixels of each class it has, background first."""
    n_classes = len(reader.manifest.classes["classes"])
    n_pixels: dict[str, np.ndarray] = {}
    for sample in samples:
        counts = np.bincount(reader.labels(sample.row).reshape(-1), minlength=reader.table.ignore + 1)[:n_classes]
        n_pixels[sample.group] = n_pixels.get(sample.group, 0) + counts
    return n_pixels
