"""JSON → dataclasses: the content of a file of ours, or one error that names the file and the field."""

from __future__ import annotations

from pathlib import PurePath
from typing import TypeVar

import msgspec

from ...errors import CacheCorruptError, TextdiffError

Content = TypeVar("Content")

REPAIR = (
    "`textdiff cache verify` lists all that is damaged; the `extract-features` command that made the cache repairs it "
    "with --resume"
)
"""Next action where bytes of a cache are not those that were written."""


def decode_json(
    content: bytes,
    kind: type[Content],
    file: PurePath | str,
    *,
    what: str,
    repair: str,
    error: type[TextdiffError] = CacheCorruptError,
) -> Content:
    """Decode JSON that may come from anybody; every field has the type that `kind` declares.

    Args:
        content: of the file.
        kind: a dataclass, whose `__post_init__` may refuse values with a `ValueError`. Fields of the file that it lacks
            are ignored.
        file: for the message.
        what: kind of file, for the message: "a sample table".
        repair: next action, for the message.
        error: class of the error.

    Raises:
        TextdiffError: of the class `error`, if the content is no JSON or has other fields than `kind`.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise error(f"{file}: not {what} ({problem}); {repair}") from problem
