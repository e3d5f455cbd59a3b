"""Who may speak to the server: whoever came by the link that the command showed, once, and has its cookie since.

The link's token and the cookie's value are 256 random bits each. The cookie is named by the port, so that two sessions
on one machine do not take each other's; scripts of the page cannot read it, and no other site's request carries it.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import threading

from ....errors import LabelError

_BYTES = 32
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Access:
    """The secrets of one server, and the names by which it may be called."""

    def __init__(self, host: str, port: int) -> None:
        """Of a server that listens at a host (an address, or a name) and a port."""
        self.host, self.port = host, port
        self.hosts = _names(host, port)
        """The `Host` headers that are served."""
        self.cookie_name = f"textdiff-{port}"
        self._cookie = secrets.token_urlsafe(_BYTES)
        self._token: str | None = secrets.token_urlsafe(_BYTES)
        self._lock = threading.Lock()

    @property
    def origin(self) -> str:
        """The address to show."""
        return f"http://{_written(_shown(self.host))}:{self.port}"

    def link(self) -> str:
        """The address that lets one browser in, once; a link that was not used yet is void then."""
        with self._lock:
            self._token = secrets.token_urlsafe(_BYTES)
            return f"{self.origin}/?token={self._token}"

    def enter(self, token: str) -> str:
        """Use the link's token up, and return the `Set-Cookie` header for it.

        Raises:
            LabelError: It is another token, or was used before.
        """
        with self._lock:
            if self._token is None or not hmac.compare_digest(token.encode(), self._token.encode()):
                raise LabelError(
                    "the link does not let you in",
                    "a token that is wrong or was used before",
                    "the link that `textdiff label` showed last, which works once",
                    "start `textdiff label` again for a new link",
                    "unknown visitor",
                )
            self._token = None
        return f"{self.cookie_name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"

    def knows(self, cookies: str) -> bool:
        """Whether a `Cookie` header holds the value that `enter` set."""
        for one in cookies.split(";"):
            name, _, value = one.strip().partition("=")
            if name == self.cookie_name and hmac.compare_digest(value.encode(), self._cookie.encode()):
                return True
        return False


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach a server there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names(host: str, port: int) -> frozenset[str]:
    """With the port, and without where browsers leave it out."""
    names = [*_LOOPBACK, _written(host)]
    if host in ("0.0.0.0", "::", ""):
        own = socket.gethostname()
        names += [own, socket.getfqdn()]
        names += map(_written, _addresses(own))
    lowered = {name.lower() for name in names}
    return frozenset({f"{name}:{port}" for name in lowered} | (lowered if port == 80 else set()))


def _addresses(name: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, None)]
    except OSError:
        return []


def _shown(host: str) -> str:
    return {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)


def _written(host: str) -> str:
    """An address as URLs and `Host` headers have it."""
    return f"[{host}]" if ":" in host else host
