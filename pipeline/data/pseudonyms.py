"""Ids that name no patient: keyed hashes in place of ids, groups and names of files, in all that a cache tells.

A hash is HMAC-SHA256 under a key that only the data's keeper has, cut to 64 bits: whoever lacks the key can neither
undo it nor, as with a plain hash, try all patient numbers. Each begins with the key's mark, so that a cache whose ids
are hashed is known by them, and one key is told from another. Which hash stands for whom is kept in a table beside the
cache, never inside.
"""

from __future__ import annotations

import csv
import hmac
import io
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.building.plan import read_state
from ...cache.format.samples import HASHED_NAME
from ...cache.storage.atomic import TEMPORARY_SUFFIX, write_durably
from ...errors import CacheMismatchError, DataError
from ..config.extraction import ExtractConfig
from ..images.paths import read_bytes
from .dataset import Dataset, Sample

KEY_SUFFIX, TABLE_SUFFIX = ".key", ".ids.csv"
COLUMNS = ("hashed_id", "id", "hashed_group", "group", "image", "mask")
_KEY_BYTES = (16, 4096)
"""The fewest and the most that a key file holds."""


@dataclass(frozen=True)
class Pseudonyms:
    """Names under one key, and the table of what they stand for."""

    key: bytes
    table: Path
    """`CACHE.ids.csv`, which only its owner can read."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of the table, as `COLUMNS` says."""

    @property
    def mark(self) -> str:
        """What every name under this key begins with."""
        return "h" + self._hash("mark", "")[:8]

    def name(self, kind: str, name: str) -> str:
        """The name that stands for `name`; a sample and a group that are called alike have different ones."""
        return f"{self.mark}-{self._hash(kind, name)[:16]}"

    def applied(self, dataset: Dataset) -> tuple[Dataset, Pseudonyms]:
        """The data under these names, and these names with what they stand for."""
        named = [
            replace(one, id=self.name("id", one.id), group=self.name("group", one.group)) for one in dataset.samples
        ]
        rows = tuple(_row(after, before) for after, before in zip(named, dataset.samples, strict=True))
        warnings = tuple(
            replace(warning, ids=tuple(self.name("id", name) for name in warning.ids)) for warning in dataset.warnings
        )
        return replace(dataset, samples=tuple(named), warnings=warnings), replace(self, rows=rows)

    def keep(self) -> None:
        """Bring the table up to date, durably; what it knows of samples that are no longer in the data stays."""
        known = {row[0]: row for row in _read_rows(self.table)} | {row[0]: row for row in self.rows}
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows([COLUMNS, *(known[name] for name in sorted(known))])
        write_durably(self.table, [content.getvalue().encode()], private=True)

    def _hash(self, kind: str, name: str) -> str:
        return hmac.digest(self.key, f"textdiff {kind}\0{name}".encode(), "sha256").hex()


def pseudonymised(dataset: Dataset, config: ExtractConfig) -> tuple[Dataset, Pseudonyms | None]:
    """The data as a cache is to name it: as it is, or under hashed names, with these.

    Makes the key if hashed names are asked for and there is none, but not where nothing is to be done (`dry_run`).

    Raises:
        CacheMismatchError: if the cache has names of the other kind, or under another key.
        DataError: if the key cannot be used, or is gone while the cache has names under it.
    """
    marks = _marks(config)
    if not config.hash_ids:
        if marks - {""}:
            raise CacheMismatchError(
                f"{config.cache}: its ids are hashed; add --hash-ids (and --hash-key) as it was made with, or extract "
                "into a new cache: ids as they are would stand beside the hashed ones"
            )
        return dataset, None
    if "" in marks:
        raise CacheMismatchError(
            f"{config.cache}: ids in it are not hashed; leave --hash-ids out, or extract into a new cache"
        )
    path = config.hash_key or _beside(config, KEY_SUFFIX)
    if config.hash_key and not path.parent.is_dir():
        raise DataError(f"--hash-key {path}: there is no folder {path.parent}; make it, or give another place")
    key = _key(path, needed=bool(marks), make=not config.dry_run)
    names = Pseudonyms(key, _beside(config, TABLE_SUFFIX))
    if marks - {names.mark}:
        raise CacheMismatchError(
            f"{config.cache}: its ids were hashed with another key than {path}; say with --hash-key where that lies, "
            "or extract into a new cache"
        )
    return names.applied(dataset)


def _beside(config: ExtractConfig, suffix: str) -> Path:
    """A file beside the cache; of one in an object store, in the working directory, since others read the store."""
    name = config.cache.name + suffix
    return config.cache.with_name(name) if isinstance(config.cache, Path) else Path(name)


def _marks(config: ExtractConfig) -> set[str]:
    """The marks of the keys that the cache's ids were hashed with; "" of ids as they are."""
    state = read_state(config.cache, resume=True)
    found = (HASHED_NAME.match(key.id) for key in state.rows if key) if state else ()
    return {one[1] if one else "" for one in found}


def _key(path: Path, *, needed: bool, make: bool) -> bytes:
    if not path.exists():
        if needed:
            raise DataError(
                f"{path}: the key of the cache's ids is gone; restore it, or say where it is with --hash-key"
            )
        if not make:
            return secrets.token_bytes()
        _make_key(path)
    key = read_bytes(path, _KEY_BYTES[1]).strip()
    if len(key) < _KEY_BYTES[0]:
        raise DataError(f"{path}: a key of {len(key)} bytes; expected at least {_KEY_BYTES[0]}, drawn at random")
    return key


def _make_key(path: Path) -> None:
    """A random key that only its owner can read; where several processes make it at once, all take the first."""
    own = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    write_durably(own, [secrets.token_hex().encode()], private=True)
    try:
        path.hardlink_to(own)
    except FileExistsError:
        pass
    finally:
        own.unlink()


def _row(after: Sample, before: Sample) -> tuple[str, ...]:
    mask = "" if before.mask is None else str(before.mask)
    return after.id, before.id, after.group, before.group, str(before.image), mask


def _read_rows(table: Path) -> Iterator[tuple[str, ...]]:
    if table.exists():
        rows = csv.reader(io.StringIO(read_bytes(table).decode()))
        next(rows, None)
        yield from map(tuple, rows)
