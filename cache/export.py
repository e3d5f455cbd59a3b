"""Copies a cache's files to a folder, an object store or an HDF5 file; whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import CacheError
from .format.layout import ArrayLayout
from .format.shard import ShardDamage, read_shard
from .hdf5 import HdfWriter
from .storage.atomic import TEMPORARY_SUFFIX, sync_folder, write_durably
from .storage.location import Location, on_disk, remove_folder
from .storage.locks import LOCK
from .verify import Damage, ShardPlace

COPIERS, REMOTE_COPIERS = 4, 16
"""Shards that are copied at once between disks, and from or to an object store."""

Add = Callable[[str, bytes], object]
"""Writes a file of a cache, given its path; several threads call it."""


@contextmanager
def writing(out: Location, arrays: Iterable[tuple[ArrayLayout, int]] | None = None) -> Iterator[Add]:
    """Gives a function that writes files; when the block ends, `out` is whole, or, if it ends with an error, absent.

    Args:
        out: where nothing is.
        arrays: of the cache, with their numbers of rows, to write an HDF5 file; `None`: the files are written as they
            are.
    """
    if (path := on_disk(out)) is None:
        try:
            yield partial(_write, out)
        except BaseException:
            remove_folder(out)
            raise
        return
    with whole_or_absent(path) as temporary:
        if arrays is None:
            make_folder(temporary)
            yield partial(_write, temporary)
        else:
            with HdfWriter(temporary, arrays) as writer:
                yield writer.add
            with temporary.open("rb") as written:
                os.fsync(written.fileno())


@contextmanager
def whole_or_absent(out: Path) -> Iterator[Path]:
    """Gives a new path beside `out`; what is there when the block ends without an error becomes `out`.

    Raises:
        CacheError: if something is at `out` by then.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=TEMPORARY_SUFFIX, dir=out.parent))
    try:
        yield own / out.name
        if out.exists():
            raise CacheError(
                f"{out}: exists now, which it did not when the export began; give a new name, or remove it"
            )
        (own / out.name).rename(out)
    finally:
        remove_folder(own)
    sync_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Make the folder of a cache, with its lock file."""
    folder.mkdir()
    (folder / LOCK).touch()


def copy_shards(
    root: Location, places: Sequence[ShardPlace], add: Add, *, workers: int = COPIERS
) -> Iterator[tuple[ShardPlace, Damage | None]]:
    """Copy shards whose bytes are right, `workers` at once; gives each shard, in order, with its damage."""
    with ThreadPoolExecutor(workers) as pool:
        yield from zip(places, pool.map(partial(_copy, root, add), places), strict=True)


def _copy(root: Location, add: Add, place: ShardPlace) -> Damage | None:
    content = read_shard(root, place.record, place.rows_per_shard)
    if isinstance(content, ShardDamage):
        return Damage(place.record.path, content.problem, place)
    add(place.record.path, content)
    return None


def _write(root: Location, path: str, content: bytes) -> None:
    write_durably(root / path, [content])
