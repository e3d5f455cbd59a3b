"""The ladder of `few_shot.py`: which images each rung learns from and is scored on, and a record of what is finished.

A *cell* is one training: a method, N labelled groups, a seed and a fold. Its *identity* is all that its result depends
on, so that a cell is computed again when the cache, the protocol or the method's settings change, and only then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from folds import folds, has_labels, originals
from seeding import named_generator

from textdiff.components import FeatureReader, SampleRow
from textdiff.errors import DataError

Protocol = Literal["cv", "val"]


@dataclass(frozen=True)
class Rung:
    """Samples of one training, and those on which it is scored."""

    n: int
    """Labelled groups that were asked for."""
    seed: int
    fold: int
    train: tuple[SampleRow, ...]
    """All cached views of the images drawn; fewer than `n` groups where the fold has no more."""
    scored: tuple[SampleRow, ...]
    """Labelled images as they are, of other groups than those in `train`."""

    @property
    def n_groups(self) -> int:
        """Groups learnt from."""
        return len({sample.group for sample in self.train})


def climb(
    reader: FeatureReader, ns: Sequence[int], seeds: Sequence[int], protocol: Protocol, n_folds: int
) -> Iterator[Rung]:
    """Every rung of the ladder, the fewest labels first.

    For one seed and fold, the images of a lower rung are among those of a higher one.

    Args:
        reader: the open cache.
        ns: numbers of labelled groups.
        seeds: each divides the folds and draws the groups in its own way.
        protocol: `cv` scores the training images in folds; `val` learns from them and scores the validation images.
        n_folds: for `cv`.

    Raises:
        DataError: if the cache has too few labelled groups for that.
    """
    divided = {seed: divide(reader, seed, protocol, n_folds) for seed in seeds}
    for n in ns:
        for seed, parts in divided.items():
            for fold, (pool, scored) in enumerate(parts):
                yield Rung(n, seed, fold, draw_groups(pool, n, seed), originals(scored))


def divide(
    reader: FeatureReader, seed: int, protocol: Protocol, n_folds: int
) -> list[tuple[Sequence[SampleRow], Sequence[SampleRow]]]:
    """(to draw from, to score) for each fold; `val` has one."""
    train, val = ([sample for sample in reader.split(name) if has_labels(reader, sample)] for name in ("train", "val"))
    n_groups, needed = len({sample.group for sample in train}), n_folds if protocol == "cv" else 1
    if n_groups < needed or (protocol == "val" and not val):
        raise DataError(
            f"{reader.root} has {n_groups} labelled groups to train on and {len(val)} labelled samples of the val "
            f"split; expected at least {needed} groups" + (" and 1 sample; give --split-for-report cv" * (not val))
        )
    if protocol == "val":
        return [(train, val)]
    return [(fold.train, fold.val) for fold in folds(train, n_folds, seed)]


def draw_groups(pool: Sequence[SampleRow], n: int, seed: int) -> tuple[SampleRow, ...]:
    """The samples of `n` groups; with a larger `n`, of these groups and others."""
    groups = sorted({sample.group for sample in pool})
    order = torch.randperm(len(groups), generator=named_generator(seed, "labelled groups")).tolist()
    drawn = {groups[i] for i in order[:n]}
    return tuple(sample for sample in pool if sample.group in drawn)


@dataclass(frozen=True)
class Identity:
    """Everything that a cell's result depends on."""

    method: str
    n: int
    seed: int
    fold: int
    n_folds: int
    """1 where the validation split is scored."""
    protocol: Protocol
    cache: Mapping[str, str]
    """Digests of the features, labels, texts and samples."""
    settings: Mapping[str, Any]
    """The method's."""


class Finished:
    """Results of finished cells by their identity, a line of JSON each.

    Args:
        path: of the file; need not exist yet. A line that a crash cut short is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                cell = json.loads(line)
            except ValueError:
                continue
            self._results[_key(cell["identity"])] = cell["result"]
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = ({"identity": json.loads(key), "result": result} for key, result in self._results.items())
        path.write_text("".join(json.dumps(cell) + "\n" for cell in cells), encoding="utf-8")

    def result(self, identity: Identity) -> dict[str, Any] | None:
        """The result of a cell; `None`: it is not finished."""
        return self._results.get(_key(asdict(identity)))

    def record(self, identity: Identity, result: dict[str, Any]) -> None:
        """Keep a cell's result."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"identity": asdict(identity), "result": result}) + "\n")
        self._results[_key(asdict(identity))] = result


def _key(identity: Mapping[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True)
