"""`merge-labels`: several people's labels of the same images put together, and how far they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from ...cache.format.samples import IGNORE
from ...cache.storage.atomic import write_json
from ...errors import DataError
from ..config.data import MANIFESTS
from ..config.labelling import MergeLabelsConfig
from ..data.classes import CLASSES_FILE, Classes
from ..data.dataset import Dataset, Sample, read_dataset
from ..image_files.reading import read_mask
from ..runtime.progress import Progress
from ..runtime.results import Result
from .data_set.images import ImageEntry
from .data_set.manifest import write_manifest
from .data_set.writing import MASKS, write_png


@dataclass(frozen=True)
class Agreement:
    """Agreement of two annotators, over all pixels that both of them labelled."""

    a: str
    b: str
    """Their data sets."""
    n_images: int
    """Images with such pixels."""
    n_pixels: int
    dice: Mapping[str, float]
    """Foreground class → Dice, pooled over pixels; a class that neither has is left out."""
    kappa: float | None
    """Cohen's kappa (1960): agreement beyond that of chance, 1 at most; `None`: both have one and the same class
    everywhere, where it is not defined."""


@dataclass(frozen=True)
class MergeLabelsSummary(Result):
    """Result of `merge-labels`."""

    out: str | None
    n_images: int
    n_labelled: int
    """Pixels with a class after merging."""
    n_disputed: int
    """Pixels with different classes, which are not labelled after merging."""
    agreements: tuple[Agreement, ...]
    """Of each two data sets."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each two data sets."""
        return [asdict(one) for one in self.agreements]

    def lines(self) -> list[str]:
        """For the terminal."""
        merged = f"{self.out}: " if self.out else ""
        return [
            *(_line(one) for one in self.agreements),
            f"{merged}{self.n_labelled:,} pixels labelled in {self.n_images} images; {self.n_disputed:,} on which the "
            "annotators differ count as not labelled",
        ]


def _line(one: Agreement) -> str:
    if not one.n_pixels:
        return f"{one.a}, {one.b}: no pixel that both labelled"
    dice = ", ".join(f"{name} {value:.3f}" for name, value in one.dice.items()) or "no foreground"
    kappa = "not defined (one class everywhere)" if one.kappa is None else f"{one.kappa:.3f}"
    return (
        f"{one.a}, {one.b}: Dice {dice}; Cohen's kappa {kappa} ({one.n_pixels:,} pixels that both labelled, in "
        f"{one.n_images} images)"
    )


def merge_labels(config: MergeLabelsConfig, progress: Progress | None = None) -> MergeLabelsSummary:
    """Merge label images pixel by pixel: what all who labelled a pixel say, and "not labelled" where they differ.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        DataError: if the data sets have different classes, or other images under the same ids, or problems of their
            own; nothing is written then.
    """
    sets = [read_dataset(path) for path in config.data]
    _refuse_differences(config.data, sets)
    if config.out is not None and config.out.exists():
        raise DataError(f"--out {config.out} exists; give the name of a new folder")
    samples = {one.id: one for data in reversed(sets) for one in data.samples}
    classes, n_classes = sets[0].classes, len(sets[0].classes.names)
    tables = {pair: _Table(n_classes) for pair in combinations(range(len(sets)), 2)}
    masks, n_labelled, n_disputed = dict[str, Path](), 0, 0
    with (progress or Progress()).task("merge", len(samples), "images") as task:
        for name, sample in samples.items():
            labels = [_labels(data, name) for data in sets]
            for (a, b), table in tables.items():
                table.add(labels[a], labels[b])
            merged, disputed = _merged(labels, sample.size)
            n_labelled, n_disputed = n_labelled + int((merged != IGNORE).sum()), n_disputed + disputed
            if config.out is not None and (merged != IGNORE).any():
                masks[name] = write_png(config.out / MASKS / f"{name}.png", merged)
            task.advance()
    if config.out is not None:
        _write(config.out, [*samples.values()], masks, classes)
    agreements = [table.agreement(config.data[a], config.data[b], classes) for (a, b), table in tables.items()]
    out = None if config.out is None else str(config.out)
    return MergeLabelsSummary(out, len(samples), n_labelled, n_disputed, tuple(agreements))


def _refuse_differences(paths: Sequence[Path], sets: Sequence[Dataset]) -> None:
    problems = [
        f"{path} has the classes {', '.join(data.classes.names)}; {paths[0]} has {', '.join(sets[0].classes.names)}"
        for path, data in zip(paths[1:], sets[1:], strict=True)
        if data.classes.names != sets[0].classes.names
    ]
    digests: dict[str, tuple[Path, str]] = {}
    for path, data in zip(paths, sets, strict=True):
        for sample in data.samples:
            first, digest = digests.setdefault(sample.id, (path, sample.image_digest))
            if digest != sample.image_digest:
                problems.append(f"{sample.id} is one image in {first} and another in {path}")
    most = Counter(name for data in sets for name in {one.id for one in data.samples})
    if not any(n > 1 for n in most.values()):
        problems.append("no two of the data sets have an image in common, by its id")
    if problems:
        raise DataError("these labels cannot be merged; nothing was written:", problems)


def _labels(data: Dataset, name: str) -> UInt8[np.ndarray, "y x"] | None:
    """Classes of a sample's pixels; `None`: it has no mask there."""
    sample = next((one for one in data.samples if one.id == name), None)
    if sample is None or sample.mask is None:
        return None
    return data.classes.labels(read_mask(sample.mask, data.classes.content))


def _merged(
    labels: Sequence[UInt8[np.ndarray, "y x"] | None], size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "y x"], int]:
    """The class that all give who labelled a pixel, else IGNORE; and the number of pixels on which they differ."""
    merged, disputed = np.full(size, IGNORE, np.uint8), np.zeros(size, bool)
    for one in labels:
        if one is not None:
            disputed |= (one != IGNORE) & (merged != IGNORE) & (one != merged)
            merged = np.where(merged == IGNORE, one, merged)
    merged[disputed] = IGNORE
    return merged, int(disputed.sum())


class _Table:
    """Pixels of two annotators by the classes that they gave."""

    def __init__(self, n_classes: int) -> None:
        self.counts: Int[np.ndarray, "a b"] = np.zeros((n_classes, n_classes), np.int64)
        self.n_images = 0

    def add(self, a: UInt8[np.ndarray, "y x"] | None, b: UInt8[np.ndarray, "y x"] | None) -> None:
        """Count an image."""
        if a is None or b is None:
            return
        both = (a != IGNORE) & (b != IGNORE)
        n = len(self.counts)
        of_image = np.bincount(a[both].astype(np.int64) * n + b[both], minlength=n * n).reshape(n, n)
        self.counts += of_image
        self.n_images += bool(of_image.any())

    def agreement(self, a: Path, b: Path, classes: Classes) -> Agreement:
        """The figures over all images."""
        n = int(self.counts.sum())
        return Agreement(str(a), str(b), self.n_images, n, dict(self._dice(classes)), self._kappa() if n else None)

    def _dice(self, classes: Classes) -> Iterator[tuple[str, float]]:
        for label, name in enumerate(classes.names[1:], 1):
            total = self.counts[label].sum() + self.counts[:, label].sum()
            if total:
                yield name, float(2 * self.counts[label, label] / total)

    def _kappa(self) -> float | None:
        shares = self.counts / self.counts.sum()
        observed, by_chance = np.trace(shares), shares.sum(0) @ shares.sum(1)
        return None if by_chance == 1 else float((observed - by_chance) / (1 - by_chance))


def _write(out: Path, samples: Sequence[Sample], masks: Mapping[str, Path], classes: Classes) -> None:
    names = Classes(tuple(range(len(classes.names))), classes.names, IGNORE)
    write_json(out / CLASSES_FILE, names.to_dict())
    images = [
        ImageEntry(one.id, one.group, one.split, one.image, one.size, one.text, None, one.stratum, one.weight)
        for one in samples
    ]
    write_manifest(out / MANIFESTS[0], images, {one.id: one.text for one in samples}, masks)
