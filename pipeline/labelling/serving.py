"""The parts of a session at work: features, learner, writer and server, started in turn and ended the other way."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ...cache.storage.atomic import write_durably
from ..config.labelling import LabelConfig
from .data_set.export import Exporter
from .data_set.features import Features
from .data_set.images import ImageList
from .data_set.writing import DataSetWriter
from .learner.learner import Learner
from .pictures.pictures import Pictures
from .routes.app import create_app
from .routes.hub import Hub
from .routes.serve import listen, serve
from .security.access import Access
from .session.session import Session

if TYPE_CHECKING:
    from starlette.applications import Starlette


class Service:
    """All parts of a session.

    Args:
        config: settings.
        listing: the images.
        session: open.

    Raises:
        CacheError: if the cache cannot be read, or does not fit the run.
    """

    def __init__(self, config: LabelConfig, listing: ImageList, session: Session) -> None:
        self._config, self._session, self._hub = config, session, Hub()
        self._features = Features(listing, config, self._hub.publish)
        self._learner = Learner(session, self._features, config, self._hub.publish)
        self._writer = DataSetWriter(session, config.out, self._hub.publish)
        self._exporter = Exporter(self._writer, self._features, self._hub.publish)

    def serve(self, announce: Callable[[str], None]) -> None:
        """Serve until Ctrl-C or a SIGTERM; files that lag behind the strokes are written then.

        Args:
            announce: is given the page's address once it is served.

        Raises:
            ConfigError: if the port is taken.
        """
        config, listening = self._config, listen(self._config.host, self._config.port)
        access = Access(config.host, listening.getsockname()[1])
        with self._running(), TemporaryDirectory(prefix="textdiff-") as private:

            def ready() -> None:
                link = access.link()
                announce(link)
                if config.browser:
                    _open_browser(link, Path(private))

            with suppress(KeyboardInterrupt):
                serve(self._app(access), listening, self._hub, ready=ready)

    @contextmanager
    def _running(self) -> Iterator[None]:
        with ExitStack() as running:
            for part in (self._writer, self._features, self._learner):
                part.start()
                running.callback(part.stop)
            running.callback(self._exporter.stop)
            yield

    def _app(self, access: Access) -> Starlette:
        return create_app(
            self._session,
            access=access,
            hub=self._hub,
            pictures=Pictures(self._session.images, self._config.window),
            learner=self._learner,
            features=self._features,
            exporter=self._exporter,
            title=self._config.data.name,
            out=self._config.out,
        )


def _open_browser(link: str, private: Path) -> None:
    """Open the page by a file that only this user can read: an address with its token would be in a process list."""
    page = private / "textdiff.html"
    content = f'<!doctype html><meta http-equiv="refresh" content="0; url={link}"><title>textdiff</title>'
    write_durably(page, [content.encode()], private=True)
    threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
