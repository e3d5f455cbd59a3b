"""Pseudonyms: keyed hashes in place of ids, groups and names of files in a cache.

A hash is HMAC-SHA256 under a key that only the data's keeper has, cut to 64 bits: whoever lacks the key can neither
undo it nor, as with a plain hash, try all patient numbers. Each begins with the key's mark, so that a cache whose ids
are hashed is known by them, and keys are told apart. The table of hashes and ids lies beside the cache, never inside.
"""

from __future__ import annotations

import csv
import hmac
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.format.samples import HASHED_NAME
from ...cache.storage.atomic import TEMPORARY_SUFFIX, write_durably
from ...cache.storage.location import Location
from ...errors import CacheMismatchError, DataError
from ..image_files.paths import read_bytes
from .dataset import Dataset, Sample

KEY_SUFFIX, TABLE_SUFFIX = ".key", ".ids.csv"
COLUMNS = ("hashed_id", "id", "hashed_group", "group", "image", "mask")
_KEY_BYTES = (16, 4096)
"""The fewest and the most that a key file holds."""


@dataclass(frozen=True)
class Pseudonyms:
    """Names under one key, and the table that maps them to samples."""

    key: bytes
    table: Path
    """`CACHE.ids.csv`, which only its owner can read."""

    @property
    def mark(self) -> str:
        """Beginning of every name under this key."""
        return "h" + self._hash("mark", "")[:8]

    def name(self, kind: str, name: str) -> str:
        """The name that stands for `name`; a sample and a group that are called alike have different ones."""
        return f"{self.mark}-{self._hash(kind, name)[:16]}"

    def applied(self, dataset: Dataset) -> Dataset:
        """The data under these names; tables of it name no file."""
        samples = (
            replace(one, id=self.name("id", one.id), group=self.name("group", one.group)) for one in dataset.samples
        )
        warnings = (
            replace(warning, ids=tuple(self.name("id", name) for name in warning.ids)) for warning in dataset.warnings
        )
        return replace(dataset, samples=tuple(samples), warnings=tuple(warnings), names_files=False)

    def keep(self, samples: Sequence[Sample]) -> None:
        """Bring the table up to date with samples under their own names, durably; rows of other samples stay."""
        known = {row[0]: row for row in _read_rows(self.table)} | {row[0]: row for row in map(self._row, samples)}
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows([COLUMNS, *(known[name] for name in sorted(known))])
        write_durably(self.table, [content.getvalue().encode()], private=True)

    def _row(self, sample: Sample) -> tuple[str, ...]:
        names = self.name("id", sample.id), sample.id, self.name("group", sample.group), sample.group
        return (*names, str(sample.image), "" if sample.mask is None else str(sample.mask))

    def _hash(self, kind: str, name: str) -> str:
        return hmac.digest(self.key, f"textdiff {kind}\0{name}".encode(), "sha256").hex()


def refuse_hashed(cache: Location, cached_ids: Iterable[str]) -> None:
    """Refuse ids as they are beside hashed ones.

    Raises:
        CacheMismatchError: if ids in the cache are hashed.
    """
    if _marks(cached_ids) - {""}:
        raise CacheMismatchError(
            f"{cache}: its ids are hashed; add --hash-ids (and --hash-key) as it was made with, or extract into a new "
            "cache: ids as they are would stand beside the hashed ones"
        )


def hashed_names(cache: Location, cached_ids: Iterable[str], key_file: Path | None, *, make_key: bool) -> Pseudonyms:
    """Hashed names for a cache.

    Args:
        cache: the cache.
        cached_ids: ids in it.
        key_file: holds the key; `None`: CACHE.key, beside the cache.
        make_key: whether to make the file if there is none.

    Raises:
        CacheMismatchError: if the cache has names of the other kind, or under another key.
        DataError: if the key cannot be used, or is gone while the cache has names under it.
    """
    marks = _marks(cached_ids)
    if "" in marks:
        raise CacheMismatchError(
            f"{cache}: ids in it are not hashed; leave --hash-ids out, or extract into a new cache"
        )
    if key_file and not key_file.parent.is_dir():
        raise DataError(f"--hash-key {key_file}: there is no folder {key_file.parent}; make it, or give another file")
    path = key_file or _beside(cache, KEY_SUFFIX)
    names = Pseudonyms(_key(path, needed=bool(marks), make=make_key), _beside(cache, TABLE_SUFFIX))
    if marks - {names.mark}:
        raise CacheMismatchError(
            f"{cache}: its ids were hashed with another key than {path}; give that key's file with --hash-key, or "
            "extract into a new cache"
        )
    return names


def _beside(cache: Location, suffix: str) -> Path:
    """A file beside the cache; of one in an object store, in the working directory, since others read the store."""
    name = cache.name + suffix
    return cache.with_name(name) if isinstance(cache, Path) else Path(name)


def _marks(ids: Iterable[str]) -> set[str]:
    """The marks of the keys that ids were hashed with; "" of ids as they are."""
    matches = map(HASHED_NAME.match, ids)
    return {match[1] if match else "" for match in matches}


def _key(path: Path, *, needed: bool, make: bool) -> bytes:
    if not path.exists():
        if needed:
            raise DataError(f"{path}: the key of the cache's ids is gone; restore it, or give its file with --hash-key")
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


def _read_rows(table: Path) -> Iterator[tuple[str, ...]]:
    if table.exists():
        rows = csv.reader(io.StringIO(read_bytes(table).decode()))
        next(rows, None)
        yield from map(tuple, rows)
