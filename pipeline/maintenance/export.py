"""A cache in another form: every shard is checked as it is copied, so that the copy is what was extracted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cache.export import COPIERS, REMOTE_COPIERS, copy_shards, make_folder, whole_or_absent, writing
from ...cache.format.decoding import REPAIR
from ...cache.format.manifest import COPY, MANIFEST, whole_manifest
from ...cache.format.samples import TABLE, read_samples
from ...cache.hdf5 import REPAIR as HDF5_REPAIR
from ...cache.hdf5 import HdfReader
from ...cache.storage.location import Location, free_bytes, is_hdf5, on_disk
from ...cache.storage.locks import refuse_if_locked
from ...cache.verify import Damage, ShardPlace, check_tables, shard_places
from ...errors import CacheBusyError, CacheCorruptError, CacheError
from ..config.cache import CacheExportConfig
from ..runtime.progress import Progress
from ..runtime.results import Result
from .verify import damages_among

MARGIN = 1.01
"""Of the size of the shards: an HDF5 file also holds offsets of rows, names and padding."""


@dataclass(frozen=True)
class ExportSummary(Result):
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
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

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
    arrays = manifest.arrays(len(read_samples(root).texts)) if config.to == "hdf5" else None
    workers = COPIERS if on_disk(root) and on_disk(config.out) else REMOTE_COPIERS
    with writing(config.out, arrays) as add:
        for name in (*sorted(manifest.metadata), TABLE):
            add(name, (root / name).read_bytes())
        shards = copy_shards(root, places, add, workers=workers)
        if damages := damages_among(shards, len(places), progress, "export"):
            raise _damaged(config, damages, REPAIR)
        for name in (MANIFEST, COPY):  # last: without a manifest there is no cache for readers of a store
            add(name, (root / name).read_bytes())
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
        damages += damages_among(packed.unpack_shards(folder, places), len(places), progress, "export")
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


def _damaged(config: CacheExportConfig, damages: Sequence[Damage], repair: str) -> CacheCorruptError:
    lines = [f"  - {damage.path}: {damage.problem}" for damage in damages]
    return CacheCorruptError(
        "\n".join([f"{config.cache}: not as it was written, and so not exported:", *lines, repair])
    )
