"""What loading a model must never do: run what its files hold, ask on the terminal, or reach a forbidden network.

The libraries are told all of it in their own words (`weights_only`, `trust_remote_code`, `local_files_only`). This is
the second line, for what they call in turn: Python tells an audit hook (PEP 578) of every unpickled name, prompt and
connection, and what is raised there stops it. The hook acts in the thread that loads, for as long as it does.
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


@contextmanager
def guarded() -> Iterator[None]:
    """No pickle is run, and nobody is asked whether to run what a model's author wrote."""
    _install()
    before = _is_loading.set(True)
    try:
        yield
    finally:
        _is_loading.reset(before)


@contextmanager
def network_forbidden(forbidden: bool) -> Iterator[None]:
    """Hub ids stand for what was fetched before, and no connection to another machine can be made.

    Args:
        forbidden: whether so; else nothing changes.
    """
    if not forbidden:
        yield
        return
    from huggingface_hub import constants

    _install()
    before, told = _is_offline.set(True), constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = told
        _is_offline.reset(before)


def is_offline() -> bool:
    """Whether the network is forbidden here."""
    return _is_offline.get()


@cache
def _install() -> None:
    """Once: an audit hook cannot be removed."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _RUNS_CODE and _is_loading.get():
        raise ForbiddenError(f"the model's files ask for more than tensors and settings ({event}: {arguments})")
    if (event in _LOOKS_UP or _connects(event, arguments)) and _is_offline.get():
        raise OfflineError(f"the network is forbidden ({event}: {arguments[1:] or arguments})")


def _connects(event: str, arguments: tuple[Any, ...]) -> bool:
    """To a host and port: paths of Unix sockets stay on this machine."""
    return event == "socket.connect" and isinstance(arguments[1], tuple)
