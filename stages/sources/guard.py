"""The second line against models whose files run code, and against connections that are forbidden.

The first line stands without it: the libraries are called so that they read tensors alone (`weights_only`), run no code
of a model's author (`trust_remote_code`) and fetch nothing (`HF_HUB_OFFLINE`). The second stops the libraries' own
carelessness: Python reports every unpickled name, prompt and connection to an audit hook (PEP 578), and an error raised
there prevents it. The hook acts in the thread that loads a model, while it loads. It can never be removed from a
process, so only the program that owns the process installs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

_is_loading = ContextVar("is_loading", default=False)
_is_offline = ContextVar("is_offline", default=False)
_RUNS_CODE = ("pickle.find_class", "builtins.input")
_LOOKS_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


class ForbiddenError(Exception):
    """A library was about to do what loading a model never needs."""


class OfflineError(ConnectionError):
    """A library was about to use the network, which `offline` forbids."""


@cache
def install_guard() -> None:
    """Install the audit hook, once and for the rest of the process."""
    sys.addaudithook(_hook)


@contextmanager
def guarded() -> Iterator[None]:
    """A block in which the hook, where it is installed, prevents unpickling and questions on the terminal."""
    before = _is_loading.set(True)
    try:
        yield
    finally:
        _is_loading.reset(before)


@contextmanager
def network_forbidden(forbidden: bool) -> Iterator[None]:
    """A block in which hub ids stand for what was fetched before, and the hook prevents connections to other machines.

    Args:
        forbidden: whether so; else nothing changes.
    """
    if not forbidden:
        yield
        return
    from huggingface_hub import constants

    before, previous = _is_offline.set(True), constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = previous
        _is_offline.reset(before)


def is_offline() -> bool:
    """Whether the network is forbidden here."""
    return _is_offline.get()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _RUNS_CODE and _is_loading.get():
        raise ForbiddenError(f"the model's files ask for more than tensors and settings ({event}: {arguments})")
    if (event in _LOOKS_UP or _connects(event, arguments)) and _is_offline.get():
        raise OfflineError(f"the network is forbidden ({event}: {arguments[1:] or arguments})")


def _connects(event: str, arguments: tuple[Any, ...]) -> bool:
    """To a host and port: paths of Unix sockets stay on this machine."""
    return event == "socket.connect" and isinstance(arguments[1], tuple)
