"""The parts of a session at work: features, learner, writer and server, started in turn and ended the other way."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ...cache.storage.atomic import write_durably
from ..config.labelling import LabelConfig
from ..runtime.progress import Progress
from .data_set.export import Exporter
from .data_set.features import Features
from .data_set.images import ImageList
from .data_set.writing import DataSetWriter
from .pictures.pictures import Pictures
from .routes.app import create_app
from .routes.hub import Hub
from .routes.serve import listen, serve
from .security.access import Access, is_loopback
from .session.session import Session


def serve_session(
    config: LabelConfig, listing: ImageList, session: Session, announce: Callable[[str], None], progress: Progress
) -> None:
    """Serve a session until Ctrl-C or a SIGTERM; what was drawn is on the disk, and files that lag behind are written.

    Args:
        config: settings.
        listing: the images.
        session: open.
        announce: is given the page's address once it is served.
        progress: where to warn.

    Raises:
        ConfigError: if the port is taken.
        CacheError: if the cache does not fit the run.
    """
    hub = Hub()
    features = Features(listing, config, hub.publish)
    writer = DataSetWriter(session, config.out)
    exporter = Exporter(writer, features, hub.publish)
    listening = listen(config.host, config.port)
    access = Access(config.host, listening.getsockname()[1])
    app = create_app(
        session,
        access=access,
        hub=hub,
        pictures=Pictures(session.images, config.window),
        features=features,
        export=exporter.start,
        title=config.data.name,
        out=config.out,
    )
    if not is_loopback(config.host):
        progress.say(
            f"warning: --host {config.host} lets other machines reach the images, texts and labels, without encryption"
        )
    with ExitStack() as running, TemporaryDirectory(prefix="textdiff-") as private:
        for part in (writer, features):
            part.start()
            running.callback(part.stop)
        running.callback(exporter.stop)

        def ready() -> None:
            link = access.link()
            announce(link)
            if config.browser:
                _open_browser(link, Path(private))

        with suppress(KeyboardInterrupt):
            serve(app, listening, hub, ready=ready)


def _open_browser(link: str, private: Path) -> None:
    """Open the page by a file that only this user can read: an address with its token would be in a process list."""
    page = private / "textdiff.html"
    content = f'<!doctype html><meta http-equiv="refresh" content="0; url={link}"><title>textdiff</title>'
    write_durably(page, [content.encode()], private=True)
    threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
