"""The server: one process, one socket, uvicorn with nothing logged of requests."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from ....errors import ConfigError
from .hub import Hub

_PATIENCE_S = 3


def listen(host: str, port: int) -> socket.socket:
    """Open the port; port 0 means any that is free.

    Raises:
        ConfigError: It is taken, or the machine has no such address.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port} cannot be listened at ({error.strerror}); take another --port, or 0 for any"
        ) from error


def serve(app: Starlette, listening: socket.socket, hub: Hub, *, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until the process is interrupted; connections that are open then are closed.

    Args:
        app: the application.
        listening: of `listen`.
        hub: whose connections would else stay open.
        ready: called when requests are taken.
    """
    config = uvicorn.Config(
        app,
        access_log=False,  # addresses hold the token
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",  # the application has none, and it would report a Ctrl-C as an error
        timeout_graceful_shutdown=_PATIENCE_S,
    )
    _Server(config, hub, ready).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it is ready, and lets go of waiting pages before it ends."""

    def __init__(self, config: uvicorn.Config, hub: Hub, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._hub, self._ready = hub, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._hub.close()
        await super().shutdown(sockets)
