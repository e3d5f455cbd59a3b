"""A cache in another form: every shard is checked as it is copied, so that what comes out is what was extracted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...cache.archives.opening import files_of
from ...cache.export import Sink, tables_of, writing
from ...cache.format.manifest import MANIFEST
from ...cache.format.shard import ShardDamage, read_shard
from ...cache.storage.location import free_bytes
from ...cache.storage.locks import refuse_if_locked
from ...cache.storage.paths import Place, repair_of
from ...cache.storage.remote import Remote
from ...cache.verify import Damage, ShardPlace, check_tables, shard_places
from ...errors import CacheBusyError, CacheCorruptError, CacheError
from ..config.cache import CacheExportConfig
from ..runtime.prefetch import prefetch
from ..runtime.progress import Progress
from .verify import whole_manifest

SHARDS_READ_AHEAD = 3
"""Bounds memory."""
MARGIN = 1.01
"""What a file holds beside the shards, at most: places of rows, names, padding."""


@dataclass(frozen=True)
class ExportSummary:
    """What an export came to."""

    cache: str
    out: str
    to: str
    n_shards: int
    size_bytes: int
    """Of the shards."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        speed = self.size_bytes / 1e6 / max(self.seconds, 1e-9)
        return [
            f"{self.out} ({self.to}) holds {self.cache}: {self.n_shards} shards, {self.size_bytes / 1e9:.3f} GB, every "
            f"byte checked; {self.seconds:.1f} s, {speed:.0f} MB/s"
        ]


def export_cache(config: CacheExportConfig, progress: Progress | None = None) -> ExportSummary:
    """Write a whole cache in another form.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        CacheNotFoundError: if there is no cache.
        CacheIncompleteError: if its extraction did not finish.
        CacheBusyError: if another process writes to it.
        CacheCorruptError: if bytes of it are not those that were written; all files concerned are named.
        CacheError: if something is in the way, or does not fit the disk.
    """
    started = time.monotonic()
    refuse_if_locked(config.cache, beside_parts=True)
    files = files_of(config.cache)
    before = _content(files / MANIFEST)
    manifest = whole_manifest(files)
    places = list(shard_places(manifest))
    n_bytes = sum(place.record.size_bytes for place in places)
    _refuse_out(config, n_bytes)
    if damages := check_tables(files, manifest):
        raise _damaged(config, files, damages)
    with writing(config.out, config.to) as sink:
        first, last = tables_of(files, manifest)
        for name in first:
            sink.add(name, (files / name).read_bytes())
        if damages := list(_copy_shards(files, places, sink, progress or Progress())):
            raise _damaged(config, files, damages)
        sink.flush()
        for name in last:
            sink.add(name, (files / name).read_bytes())
        if _content(files / MANIFEST) != before:
            raise CacheBusyError(
                f"{config.cache}: changed while it was exported; nothing was written: repeat the command"
            )
    return ExportSummary(
        str(config.cache), str(config.out), config.to, len(places), n_bytes, time.monotonic() - started
    )


def _content(file: Place) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _refuse_out(config: CacheExportConfig, n_bytes: int) -> None:
    """Refuse to write where something is, where it does not fit, or what cannot be written there."""
    out, free = config.out, free_bytes(config.out)
    if isinstance(out, Remote) and config.to != "zarr":
        raise CacheError(
            f"{out}: one file is written to a disk; export it there and copy it, or write the objects themselves: --to "
            "zarr"
        )
    if out.exists():
        raise CacheError(f"{out}: exists; give a new name, or remove it")
    if isinstance(out, Path) and isinstance(config.cache, Path) and config.cache.resolve() in out.resolve().parents:
        raise CacheError(f"{out}: lies in the cache, where it would be a foreign file; give another folder")
    if free is not None and n_bytes * MARGIN > free:
        raise CacheError(
            f"{out}: needs {n_bytes * MARGIN / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; choose another disk. Nothing "
            "was written"
        )


def _copy_shards(files: Place, places: list[ShardPlace], sink: Sink, progress: Progress) -> Iterator[Damage]:
    """Copy the shards; after the first damaged one the others are only looked at, to name all of them."""
    read = partial(_read, files)
    started, n_bytes, sound = time.monotonic(), 0, True
    with progress.task("export", len(places), "shards") as task:
        for place, content in zip(places, prefetch(read, places, SHARDS_READ_AHEAD), strict=True):
            if isinstance(content, ShardDamage):
                sound = False
                yield Damage(place.record.path, content.problem, place)
            elif sound:
                sink.add(place.record.path, content)
            n_bytes += place.record.size_bytes
            task.advance(1, **{"MB/s": n_bytes / 1e6 / max(time.monotonic() - started, 1e-9)})


def _read(files: Place, place: ShardPlace) -> bytes | ShardDamage:
    return read_shard(files, place.record, place.rows_per_shard)


def _damaged(config: CacheExportConfig, files: Place, damages: list[Damage]) -> CacheCorruptError:
    lines = [f"  - {damage.path}: {damage.problem}" for damage in damages]
    return CacheCorruptError(
        "\n".join([f"{config.cache}: not as it was written, and so not exported:", *lines, repair_of(files)])
    )
