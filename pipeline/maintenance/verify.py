"""Whether a cache's bytes are those that were written; what is damaged, with the samples that it concerns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...cache.format.manifest import Manifest, whole_manifest
from ...cache.format.samples import SampleRow, SampleTable, read_samples
from ...cache.reader import FeatureReader
from ...cache.storage.location import Location
from ...cache.storage.locks import refuse_if_locked
from ...cache.verify import Damage, ShardPlace, check_shards, check_tables, foreign_files, shard_places
from ...errors import CacheCorruptError, CacheError
from ..config.command_line import command_line
from ..runtime.progress import Progress
from ..runtime.results import Result
from .recipe import extraction_of

NAMED = 8
"""Samples that a line names."""


@dataclass(frozen=True)
class DamagedFile:
    """A file that is not as it was written."""

    path: str
    problem: str
    samples: tuple[str, ...]
    """Ids of the rows whose numbers, labels or texts are lost; none where the file holds none."""

    def line(self) -> str:
        """For people."""
        if not self.samples:
            return f"{self.path}: {self.problem}"
        more = f" and {len(self.samples) - NAMED} more" if len(self.samples) > NAMED else ""
        named = ", ".join(self.samples[:NAMED])
        return f"{self.path}: {self.problem}; sample{'s' * (len(self.samples) > 1)} {named}{more}"


@dataclass(frozen=True)
class VerifySummary(Result):
    """Result of a check of every byte."""

    cache: str
    n_shards: int
    size_bytes: int
    """Of the shards as the manifest has them."""
    seconds: float
    damaged: tuple[DamagedFile, ...]
    foreign: tuple[str, ...]
    """Files that textdiff did not write."""
    samples: tuple[str, ...]
    """All that are concerned."""
    repair: str
    """The command that repairs the cache; capital letters stand for arguments that the cache does not record."""

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each file that is not as it should be."""
        foreign = [f"{path}: foreign: no file of this cache; move it elsewhere" for path in self.foreign]
        return (*(damage.line() for damage in self.damaged), *foreign)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "problems": self.problems}

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each damaged file."""
        return [asdict(one) for one in self.damaged]

    def lines(self) -> list[str]:
        """For the terminal."""
        read = f"{self.n_shards} shards, {self.size_bytes / 1e9:.3f} GB, read in {self.seconds:.1f} s"
        if not self.problems:
            return [f"{self.cache}: every byte is as it was written ({read})"]
        lines = [f"{self.cache}: {len(self.problems)} files are not as they should be ({read})"]
        lines += [f"  - {problem}" for problem in self.problems]
        if self.damaged:
            lines.append(f"repair exactly these: {self.repair}")
        return lines


def verify_cache(root: Location, progress: Progress | None = None) -> VerifySummary:
    """Read every byte of a whole cache and say which are not those that were written.

    Args:
        root: the cache.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        CacheNotFoundError: if there is no cache.
        CacheIncompleteError: if its extraction did not finish.
        CacheBusyError: if another process writes to it.
        CacheCorruptError: if neither its manifest nor the copy of it can be read.
    """
    refuse_if_locked(root, beside_parts=True)
    started = time.monotonic()
    manifest = whole_manifest(root, recover=True)
    places = list(shard_places(manifest))
    damages = damages_among(check_shards(root, places), len(places), progress or Progress())
    damages += check_tables(root, manifest)
    damaged = _describe(root, manifest, damages)
    return VerifySummary(
        cache=str(root),
        n_shards=len(places),
        size_bytes=sum(place.record.size_bytes for place in places),
        seconds=time.monotonic() - started,
        damaged=damaged,
        foreign=tuple(foreign_files(root, manifest)),
        samples=tuple(sorted({sample for one in damaged for sample in one.samples})),
        repair=_repair(root),
    )


def damaged_shards(root: Location, manifest: Manifest, progress: Progress) -> tuple[str, ...]:
    """The shards that an extraction is to write again, by their paths; says what is damaged and what is foreign.

    Args:
        root: the cache.
        manifest: what is there, units of an extraction under way included.
        progress: where to say it.
    """
    places = list(shard_places(manifest))
    damages = damages_among(check_shards(root, places), len(places), progress)
    for one in _describe(root, manifest, damages):
        progress.warn(f"damaged, written again: {one.line()}")
    if manifest.complete:
        for path in foreign_files(root, manifest):
            progress.warn(f"{path}: foreign: no file of this cache; left alone")
    return tuple(damage.path for damage in damages)


def damages_among(
    shards: Iterable[tuple[ShardPlace, Damage | None]], n_shards: int, progress: Progress, task: str = "check"
) -> list[Damage]:
    """The damages of shards that are being read; shows how quickly."""
    started, n_bytes, damages = time.monotonic(), 0, []
    with progress.task(task, n_shards, "shards") as bar:
        for place, damage in shards:
            damages += [damage] if damage else []
            n_bytes += place.record.size_bytes
            bar.advance(1, **{"MB/s": n_bytes / 1e6 / max(time.monotonic() - started, 1e-9)})
    return damages


def _describe(root: Location, manifest: Manifest, damages: Iterable[Damage]) -> tuple[DamagedFile, ...]:
    table = _table(root)
    samples = table.samples if table else ()
    return tuple(DamagedFile(damage.path, damage.problem, _samples_of(damage, manifest, samples)) for damage in damages)


def _table(root: Location) -> SampleTable | None:
    """The sample table, if it can be read, to name samples by."""
    try:
        return read_samples(root)
    except CacheCorruptError:
        return None


def _samples_of(damage: Damage, manifest: Manifest, samples: Sequence[SampleRow]) -> tuple[str, ...]:
    place, rows = damage.place, set(damage.rows)
    if place is None:
        return ()
    if place.array == "texts":
        return tuple(sample.id for sample in samples if sample.text in rows)
    if place.array == "projections":
        return tuple(sample.id for sample in samples)
    return tuple(key.id for row, key in enumerate(manifest.rows) if key and row in rows)


def _repair(root: Location) -> str:
    try:
        reader = FeatureReader(root)
    except CacheError:
        return "the `textdiff extract-features` command that made the cache, with --resume"
    return command_line(
        "extract-features", replace(extraction_of(reader, reader.blocks, reader.timesteps), resume=True)
    )
