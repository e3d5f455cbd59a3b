"""Findings of `check-data`, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.classes import Classes
from ..runtime.results import Result

if TYPE_CHECKING:
    from .encoder import EncoderReport


@dataclass(frozen=True)
class DataReport(Result):
    """Result of `check-data`."""

    root: Path
    splits: dict[str, int]
    """Samples in each split."""
    n_groups: int
    group_origins: dict[str, int]
    """How groups came about → how many came so."""
    classes: Classes
    shares: tuple[float, ...]
    """Share of each class among all pixels of all masks, 0..1."""
    not_labelled: float
    """Share of the unlabelled pixels, 0..1."""
    formats: dict[str, dict[str, int]]
    """`images` and `masks` → name of a format → files and slices of it."""
    sizes: dict[tuple[int, int], int]
    """Images of each (height, width)."""
    n_texts: int
    """Distinct texts."""
    languages: dict[str, int]
    """Language or script that texts seem to be in → distinct texts."""
    n_without_text: int
    n_without_mask: int
    strata: dict[str, int]
    """Samples of each stratum, by name; none where no sample has one."""
    weights: tuple[float, float]
    """The lowest and the highest; 1 and 1 where none are given."""
    encoder: EncoderReport | None
    """The text encoder's reading of the texts, where one was asked for."""
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    silenced: tuple[str, ...]
    """Warnings that the data set's `textdiff.json` silences, each with the reason."""
    page: str | None = None
    """The page that was written."""

    @property
    def n_samples(self) -> int:
        """Samples in all splits."""
        return sum(self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """The report for programs, ready for JSON; sizes are written "height x width"."""
        named = zip(self.classes.declared, self.classes.names, self.shares, strict=True)
        return {
            "data": str(self.root),
            "n": self.n_samples,
            "splits": self.splits,
            "groups": self.n_groups,
            "group_origins": self.group_origins,
            "classes": [{"value": value, "name": name, "share": share} for value, name, share in named],
            "not_labelled": self.not_labelled,
            "formats": self.formats,
            "sizes": {f"{height} x {width}": n for (height, width), n in self.sizes.items()},
            "texts": self.n_texts,
            "languages": self.languages,
            "without_text": self.n_without_text,
            "without_mask": self.n_without_mask,
            "strata": self.strata,
            "weights": list(self.weights),
            "text_encoder": self.encoder and self.encoder.to_dict(),
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "silenced": list(self.silenced),
            "page": self.page,
        }

    def lines(self) -> list[str]:
        """The report for people: a line for each kind of fact, then the warnings and the problems."""
        return [
            *(f"{name}: {fact}" for name, fact in self.facts()),
            *_listed("warning", self.warnings),
            *(_listed("silenced warning", self.silenced) if self.silenced else []),
            *_listed("problem", self.problems),
            *([f"page: {self.page}"] if self.page else []),
        ]

    def facts(self) -> Iterator[tuple[str, str]]:
        """Names of facts and the facts, in words."""
        yield "samples", f"{self.n_samples} ({counted(self.splits)}), groups: {self.n_groups}"
        yield "groups", counted(self.group_origins)
        named = zip(self.classes.declared, self.classes.names, self.shares, strict=True)
        classes = [f"{name} ({value}) {share:.1%}" for value, name, share in named]
        unlabelled = [f"not labelled {self.not_labelled:.1%}"] * (self.not_labelled > 0)
        yield "classes", ", ".join([*classes, *unlabelled])
        yield "images", counted(self.formats["images"])
        read_as = f" read by their {_read_as(self.classes)}" if self.formats["masks"] else ""
        yield "masks", f"{counted(self.formats['masks'])}{read_as}, samples without: {self.n_without_mask}"
        sizes = (f"{height} x {width} ({n})" for (height, width), n in self.sizes.items())
        yield "sizes (height x width)", ", ".join(sizes) or "none"
        languages = f" ({counted(self.languages)})" if self.languages else ""
        yield "texts", f"{self.n_texts} distinct{languages}, samples without: {self.n_without_text}"
        if self.encoder:
            yield "text encoder", str(self.encoder)
        if self.strata:
            yield "strata", ", ".join(f"{name or '(none)'} {n}" for name, n in self.strata.items())
        if self.weights != (1.0, 1.0):
            yield "weights in the loss", "{:g} to {:g}".format(*self.weights)


def _read_as(classes: Classes) -> str:
    """The part of masks by which classes are told apart."""
    foreground = classes.names[-1]
    return {
        "values": "values",
        "indices": "palette indices",
        "colours": "colours",
        "threshold": f"grey levels ({foreground} from {classes.threshold} on)",
        "instances": f"objects ({foreground}: all above 0)",
        "alpha": f"opacity ({foreground} from {classes.threshold} of 255 on)",
    }[classes.reading]


def counted(numbers: dict[str, int]) -> str:
    """Names with their numbers before them."""
    return ", ".join(f"{n} {name}" for name, n in numbers.items()) or "none"


def _listed(kind: str, lines: Sequence[str]) -> list[str]:
    title = f"{len(lines) or 'no'} {kind}{'' if len(lines) == 1 else 's'}"
    return [title + (":" if lines else ""), *(f"  - {line}" for line in lines)]
