"""Writes that are whole or absent.

On a disk: a temporary name, fsync, rename, fsync of the folder. In an object store: one request (large objects go up in
parts that appear together), after which the store keeps what it promises to keep.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, Any

from .location import Location, on_disk

TEMPORARY_SUFFIX = ".tmp"


def write_durably(path: Location, pieces: Iterable[bytes | memoryview], *, private: bool = False) -> int:
    """Replace `path` by the concatenated `pieces`; after a crash it holds the old content or all of the new.

    Args:
        path: the file.
        pieces: of its content.
        private: whether only the owner may read it.

    Returns:
        How many bytes the file has.
    """
    if (target := on_disk(path)) is None:
        return path.write_bytes(b"".join(pieces))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + TEMPORARY_SUFFIX)
    temporary.unlink(missing_ok=True)  # a crash's; or a link, in a folder that somebody else made
    permissions = 0o600 if private else 0o666  # less the process's umask
    try:
        with open(temporary, "xb", buffering=0, opener=partial(os.open, mode=permissions)) as file:
            for piece in pieces:
                _write_all(file, memoryview(piece).cast("B"))
            size_bytes = file.tell()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    return size_bytes


def write_json(path: Location, value: object) -> None:
    """Write `value` durably as JSON that is the same bytes for equal values."""
    write_durably(path, [canonical_json(value, indent=1)])


def canonical_json(value: object, indent: int | None = None) -> bytes:
    """The same bytes for equal values: sorted keys, UTF-8, no insignificant spaces unless indented.

    Dataclasses become objects of their fields; without `dataclasses.asdict`, whose copies take longer than the rest.
    """
    text = json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        indent=indent,
        separators=(",", ": ") if indent else (",", ":"),
        allow_nan=False,
        default=vars,
    )
    return (text + "\n").encode() if indent else text.encode()


def parse_json(content: bytes | str) -> Any:  # noqa: ANN401
    """The value that a JSON text holds.

    Raises:
        ValueError: if it is none, or is nested too deeply to be read.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def reserve(file: IO[bytes], size_bytes: int) -> None:
    """Make a file of that size, and take all its space on the disk; to be called before it is mapped into memory.

    A mapped page that finds no space kills the process without a word.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size_bytes)
    else:
        file.truncate(size_bytes)


def append_line(path: Path, value: object) -> None:
    """Append one JSON line to an existing file and wait until it is on the disk."""
    with path.open("ab", buffering=0) as file:
        file.write(canonical_json(value) + b"\n")
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what `append_line` wrote; a last line that a crash cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [parse_json(line) for line in lines[:-1]]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut; Windows has no way to ask for that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(file: FileIO, piece: memoryview) -> None:
    while piece:
        piece = piece[file.write(piece) :]
