"""A cache in another form: every shard is checked as it is copied, so that the copy is what was extracted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...cache.export import Sink, make_folder, whole_or_absent, writing
from ...cache.format.decoding import REPAIR
from ...cache.format.manifest import COPY, MANIFEST, whole_manifest
from ...cache.format.samples import TABLE
from ...cache.format.shard import ShardDamage, check_shard, unreadable
from ...cache.hdf5 import REPAIR as HDF5_REPAIR
from ...cache.hdf5 import HdfReader
from ...cache.storage.location import Location, free_bytes, is_hdf5, on_disk
from ...cache.storage.locks import refuse_if_locked
from ...cache.verify import Damage, ShardPlace, check_tables, shard_places
from ...errors import CacheBusyError, CacheCorruptError, CacheError
from ..config.cache import CacheExportConfig
from ..runtime.prefetch import prefetch
from ..runtime.progress import Progress

SHARDS_READ_AHEAD = 3
"""Bounds memory."""
MARGIN = 1.01
"""Of the size of the shards: an HDF5 file also holds offsets of rows, names and padding."""


@dataclass(frozen=True)
class ExportSummary:
    """Result of an export."""

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
    started, progress = time.monotonic(), progress or Progress()
    source = on_disk(config.cache)
    places = _unpack(config, source, progress) if source and is_hdf5(source) else _copy(config, progress)
    n_bytes = sum(place.record.size_bytes for place in places)
    return ExportSummary(
        str(config.cache), str(config.out), config.to, len(places), n_bytes, time.monotonic() - started
    )


def _copy(config: CacheExportConfig, progress: Progress) -> Sequence[ShardPlace]:
    """From a folder or an object store."""
    root = config.cache
    refuse_if_locked(root, beside_parts=True)
    before = _content(root / MANIFEST)
    manifest = whole_manifest(root, recover=True)
    places = list(shard_places(manifest))
    _refuse_out(config, sum(place.record.size_bytes for place in places))
    if damages := check_tables(root, manifest):
        raise _damaged(config, damages, REPAIR)
    with writing(config.out, hdf5=config.to == "hdf5") as sink:
        for name in (*sorted(manifest.metadata), TABLE):
            sink.add(name, (root / name).read_bytes())
        if damages := list(_copy_shards(root, places, sink, progress)):
            raise _damaged(config, damages, REPAIR)
        sink.flush()
        for name in (MANIFEST, COPY):
            sink.add(name, (root / name).read_bytes())
        if _content(root / MANIFEST) != before:
            raise CacheBusyError(f"{root}: changed while it was exported; nothing was written: repeat the command")
    return places


def _unpack(config: CacheExportConfig, file: Path, progress: Progress) -> Sequence[ShardPlace]:
    """From an HDF5 file to a folder."""
    out = on_disk(config.out)
    if out is None or config.to == "hdf5":
        raise CacheError(f"{file}: an HDF5 file is brought back to a folder on a disk; give a folder's name for OUT")
    _refuse_out(config, file.stat().st_size)
    with whole_or_absent(out) as folder, HdfReader(file) as packed:
        make_folder(folder)
        manifest = packed.unpack_tables(folder)
        places = list(shard_places(manifest))
        damages = check_tables(folder, manifest)
        with _task(progress, len(places)) as advance:
            for place, damage in packed.unpack_shards(folder, places):
                damages += [damage] if damage else []
                advance(place)
        if damages:
            raise _damaged(config, damages, HDF5_REPAIR)
    return places


def _content(file: Location) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _refuse_out(config: CacheExportConfig, n_bytes: int) -> None:
    """Refuse to write where something is, where it does not fit, or what cannot be written there."""
    out, free = config.out, free_bytes(config.out)
    path, cache = on_disk(out), on_disk(config.cache)
    if path is None and config.to == "hdf5":
        raise CacheError(f"{out}: an HDF5 file is written to a disk; export it there and copy it")
    if out.exists():
        raise CacheError(f"{out}: exists; give a new name, or remove it")
    if path and cache and cache.resolve() in path.resolve().parents:
        raise CacheError(f"{out}: lies in the cache, where it would be a foreign file; give another folder")
    if free is not None and n_bytes * MARGIN > free:
        raise CacheError(
            f"{out}: needs {n_bytes * MARGIN / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; choose another disk. Nothing "
            "was written"
        )


def _copy_shards(root: Location, places: Sequence[ShardPlace], sink: Sink, progress: Progress) -> Iterator[Damage]:
    """Copy the shards; after the first damaged one the others are only checked, to name all of them."""
    sound = True
    with _task(progress, len(places)) as advance:
        for place, content in zip(places, prefetch(partial(_read, root), places, SHARDS_READ_AHEAD), strict=True):
            if isinstance(content, ShardDamage):
                sound = False
                yield Damage(place.record.path, content.problem, place)
            elif sound:
                sink.add(place.record.path, content)
            advance(place)


@contextmanager
def _task(progress: Progress, n_shards: int) -> Iterator[Callable[[ShardPlace], None]]:
    """Gives a function that is to be told of each shard."""
    started, n_bytes = time.monotonic(), 0
    with progress.task("export", n_shards, "shards") as task:

        def advance(place: ShardPlace) -> None:
            nonlocal n_bytes
            n_bytes += place.record.size_bytes
            task.advance(1, **{"MB/s": n_bytes / 1e6 / max(time.monotonic() - started, 1e-9)})

        yield advance


def _read(root: Location, place: ShardPlace) -> bytes | ShardDamage:
    try:
        content = (root / place.record.path).read_bytes()
    except OSError as error:
        return ShardDamage(unreadable(error))
    return check_shard(root, place.record, place.rows_per_shard, content) or content


def _damaged(config: CacheExportConfig, damages: Sequence[Damage], repair: str) -> CacheCorruptError:
    lines = [f"  - {damage.path}: {damage.problem}" for damage in damages]
    return CacheCorruptError(
        "\n".join([f"{config.cache}: not as it was written, and so not exported:", *lines, repair])
    )
