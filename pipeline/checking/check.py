"""Report of `check-data`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.classes import Classes
from ..data.dataset import Sample, scan_files
from ..data.lost_classes import LabelSize
from ..image_files.intensities import IntensityWindow


@dataclass(frozen=True)
class DataReport:
    """What `check-data` shows."""

    root: Path
    splits: dict[str, int]
    """Samples in each split."""
    n_groups: int
    classes: Classes
    shares: tuple[float, ...]
    """Share of each class among all pixels of all masks, 0..1."""
    not_labelled: float
    """Share of the unlabelled pixels, 0..1."""
    sizes: dict[tuple[int, int], int]
    """Images of each (height, width)."""
    n_texts: int
    """Distinct texts."""
    n_without_text: int
    n_without_mask: int
    strata: dict[str, int]
    """Samples of each stratum, by name; none where no sample has one."""
    weights: tuple[float, float]
    """The lowest and the highest; 1 and 1 where none are given."""
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    silenced: tuple[str, ...]
    """Warnings that the data set's `textdiff.json` silences, each with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """The report for programs, ready for JSON; sizes are written "height x width"."""
        named = zip(self.classes.ids, self.classes.names, self.shares, strict=True)
        return {
            "data": str(self.root),
            "n": sum(self.splits.values()),
            "splits": self.splits,
            "groups": self.n_groups,
            "classes": [{"value": value, "name": name, "share": share} for value, name, share in named],
            "not_labelled": self.not_labelled,
            "sizes": {f"{height} x {width}": n for (height, width), n in self.sizes.items()},
            "texts": self.n_texts,
            "without_text": self.n_without_text,
            "without_mask": self.n_without_mask,
            "strata": self.strata,
            "weights": list(self.weights),
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "silenced": list(self.silenced),
        }

    def lines(self) -> list[str]:
        """The report for people: a line for each kind of fact, then the warnings and the problems."""
        silenced = _listed("silenced warning", self.silenced) if self.silenced else []
        return [*self._facts(), *_listed("warning", self.warnings), *silenced, *_listed("problem", self.problems)]

    def _facts(self) -> Iterator[str]:
        splits = ", ".join(f"{n} {split}" for split, n in self.splits.items())
        yield f"samples: {sum(self.splits.values())} ({splits or 'none'}), groups: {self.n_groups}"
        named = zip(self.classes.ids, self.classes.names, self.shares, strict=True)
        classes = [f"{name} ({value}) {share:.1%}" for value, name, share in named]
        yield "classes: " + ", ".join(
            [*classes, *([f"not labelled {self.not_labelled:.1%}"] * (self.not_labelled > 0))]
        )
        sizes = (f"{height} x {width} ({n})" for (height, width), n in self.sizes.items())
        yield f"sizes (height x width): {', '.join(sizes) or 'none'}"
        yield f"texts: {self.n_texts} distinct, samples without: {self.n_without_text}"
        yield f"masks: samples without: {self.n_without_mask}"
        if self.strata:
            yield "strata: " + ", ".join(f"{name or '(none)'} {n}" for name, n in self.strata.items())
        if self.weights != (1.0, 1.0):
            yield "weights in the loss: {:g} to {:g}".format(*self.weights)


def _listed(kind: str, lines: Sequence[str]) -> list[str]:
    title = f"{len(lines) or 'no'} {kind}{'' if len(lines) == 1 else 's'}"
    return [title + (":" if lines else ""), *(f"  - {line}" for line in lines)]


def check_data(data: Path, window: IntensityWindow | None = None, image_size: int | None = None) -> DataReport:
    """Look at everything in a data folder or manifest and report what is there and what is wrong.

    `window` is the intensity window of images that need one (see `open_image`). `image_size` is the side in pixels at
    which masks are to be learnt, for warnings of classes that are lost there.

    Raises:
        DataError: There is no data of a known layout at the path.
    """
    scan = scan_files(data, window, None if image_size is None else LabelSize(image_size))
    samples, classes = scan.dataset.samples, scan.dataset.classes
    of_classes = [sum(counts) for counts in zip(*(one.n_pixels for one in samples if one.n_pixels), strict=True)]
    total = max(sum(height * width for height, width in (mask.size for mask in scan.masks)), 1)
    return DataReport(
        root=scan.dataset.root,
        splits=dict(Counter(sample.split for sample in samples)),
        n_groups=len({sample.group for sample in samples}),
        classes=classes,
        shares=tuple(n / total for n in of_classes) or (0.0,) * len(classes.ids),
        not_labelled=1 - sum(of_classes) / total if of_classes else 0.0,
        sizes=dict(sorted(Counter(sample.size for sample in samples).items())),
        n_texts=len({sample.text for sample in samples if sample.text}),
        n_without_text=sum(not sample.text for sample in samples),
        n_without_mask=sum(sample.mask is None for sample in samples),
        strata=_strata(samples),
        weights=_range([sample.weight for sample in samples]),
        problems=scan.problems,
        warnings=tuple(map(str, scan.dataset.warnings)),
        silenced=scan.silenced,
    )


def _strata(samples: Sequence[Sample]) -> dict[str, int]:
    n_samples = Counter(sample.stratum for sample in samples)
    return dict(sorted(n_samples.items())) if any(n_samples) else {}


def _range(weights: Sequence[float]) -> tuple[float, float]:
    return min(weights, default=1.0), max(weights, default=1.0)
