"""Messages and exit codes for exceptions that stop a command: the problem, the state left behind, the next step."""

from __future__ import annotations

import errno
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

from ...errors import TextdiffError
from .interrupts import Terminated
from .terminal import REMEDY

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

EXPLAINED, INTERRUPTED, TERMINATED = 1, 130, 143
"""Exit codes; those of signals are 128 + the signal's number, as shells have them."""

_ADVICE = {
    errno.ENOSPC: "free some space, or take another disk",
    errno.EDQUOT: "free some of your disk quota, or take another disk",
    errno.EFBIG: "raise the limit on the size of files, or take another disk",
    errno.EROFS: "take a folder that can be written to",
    errno.EACCES: "ask for permission, or take another folder",
    errno.EIO: "the disk fails: look at the system's log",
}
_SMALLER = ("batch_size", "images_per_step", "pixels_per_image", "crop", "tta")


def describe(error: BaseException, config_class: type[DataclassInstance]) -> tuple[str, int] | None:
    """The message for stderr and the exit code; `None` for an unforeseen error.

    Args:
        error: the exception.
        config_class: the command's config.
    """
    if isinstance(error, TextdiffError):
        return f"error: {error}", EXPLAINED
    if isinstance(error, KeyboardInterrupt):
        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        return f"interrupted; {_left_behind(config_class)}", code
    if isinstance(error, UnicodeEncodeError) and error.encoding.lower() != "utf-8":
        letters = error.object[error.start : error.end]
        return f"error: this environment writes names as {error.encoding}, without {letters!a}; {REMEDY}", EXPLAINED
    if isinstance(error, OSError):
        return f"error: {_of_the_system(error)}; {_left_behind(config_class)}", EXPLAINED
    if _is_out_of_memory(error):
        return f"error: {_too_large(config_class)}; {_left_behind(config_class)}", EXPLAINED
    return None


def _left_behind(config_class: type[DataclassInstance]) -> str:
    if state := getattr(config_class, "unfinished", None):
        return str(state)
    if any(field.name == "resume" for field in fields(config_class)):
        return "finished work is kept: repeat the command with --resume to go on"
    return "nothing is half-written: repeat the command"


def _of_the_system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "correct this first")
    return f"{where}{error.strerror or error} ({advice})"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it comes from Python or from torch's allocators; torch is not imported for this."""
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return on_device or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def _too_large(config_class: type[DataclassInstance]) -> str:
    names = {field.name for field in fields(config_class)}
    smaller = " or ".join(f"--{name.replace('_', '-')}" for name in _SMALLER if name in names)
    advice = [*([f"a smaller {smaller}"] if smaller else []), *(["another --device"] if "device" in names else [])]
    return f"out of memory (give {', or '.join(advice)})" if advice else "out of memory (close other programs)"
