"""Sessions of labelling for tests, and a server of one in a process of its own: `python label_server.py FOLDER`.

The process has no learner; what needs one answers 409. Its first line is the link that lets one in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

SIZES = ((300, 400), (300, 400), (64, 80))
SPLITS = ("train", "val", "test")
NAMES = ("background", "lesion", "vessel")
COLOURS = ("#000000", "#e6194b", "#3cb44b")


def new_key() -> str:
    return str(uuid.uuid4())


def brush(image: Any = 0, points=((10, 10), (60, 40)), label=1, size=8.0, **changed) -> dict[str, Any]:
    """The body of a stroke."""
    stroke = {"key": new_key(), "image": image, "tool": "brush", "class": label, "size": size, "points": [*points]}
    return stroke | changed


def image_entries(folder: Path, sizes=SIZES, splits=SPLITS):
    """Images of noise in a folder, each with a text."""
    from textdiff.pipeline.labelling.data_set.images import ImageEntry

    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for place, (size, split) in enumerate(zip(sizes, splits, strict=True)):
        path = folder / f"im{place}.png"
        if not path.exists():
            pixels = np.random.default_rng(place).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        entries.append(ImageEntry(path.stem, path.stem, split, path, size, f"text {place}", None))
    return entries


def open_session(folder: Path, entries=None, **options):
    from textdiff.pipeline.labelling.session.history import LabelClass
    from textdiff.pipeline.labelling.session.session import Session

    classes = [LabelClass(name, colour) for name, colour in zip(NAMES, COLOURS, strict=True)]
    entries = image_entries(folder) if entries is None else entries
    return Session(entries, classes, folder / "strokes" / "me.log", **options)


@pytest.fixture
def session(tmp_path):
    opened = open_session(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(session, tmp_path):
    """Of an application in this process; it has its cookie."""
    from starlette.testclient import TestClient

    from textdiff.pipeline.labelling.routes.app import create_app
    from textdiff.pipeline.labelling.security.access import Access

    access = Access("127.0.0.1", 8765)
    app = create_app(session, access=access, title="Tests", out=tmp_path)
    with TestClient(app, base_url=access.origin, headers={"Origin": access.origin}) as client:
        client.access = access
        client.get(access.link())
        yield client


class Served:
    """A server in a process of its own, which is started again when it was killed."""

    def __init__(self, folder: Path) -> None:
        self.errors = folder / "errors.txt"
        self.clients: list[httpx.Client] = []
        with self.errors.open("w") as file:
            arguments = [sys.executable, __file__, str(folder), "again"]
            self.parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=file, text=True)
        self.wait()

    def wait(self) -> None:
        """Until a server is ready: the first, or the one after a kill."""
        pid, self.link = self.parent.stdout.readline().split()
        self.pid = int(pid)

    def client(self) -> httpx.Client:
        """One that has the cookie."""
        origin = self.link.partition("/?")[0]
        client = httpx.Client(base_url=origin, headers={"Origin": origin}, timeout=30)
        self.clients.append(client)
        assert client.get(self.link).status_code == 303
        return client

    def end(self) -> None:
        self.parent.terminate()
        self.parent.wait()
        self.parent.stdout.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def served(tmp_path):
    image_entries(tmp_path)
    server = Served(tmp_path)
    yield server
    server.end()


def main(folder: Path, tell: Callable[[str], object]) -> None:
    from textdiff.pipeline.labelling.routes.app import create_app
    from textdiff.pipeline.labelling.routes.hub import Hub
    from textdiff.pipeline.labelling.routes.serve import listen, serve
    from textdiff.pipeline.labelling.security.access import Access

    session, hub, listening = open_session(folder), Hub(), listen("127.0.0.1", 0)
    access = Access("127.0.0.1", listening.getsockname()[1])
    app = create_app(session, access=access, hub=hub, title=folder.name, out=folder)
    serve(app, listening, hub, ready=lambda: tell(access.link()))
    session.close()


def again(folder: Path) -> None:
    """Serve in a child, which has nothing to import, and in the next one when it has ended."""
    import textdiff.pipeline.labelling.routes.app

    def end(*_: object) -> None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os._exit(0)

    assert textdiff
    signal.signal(signal.SIGTERM, end)
    while True:
        if (child := os.fork()) == 0:
            main(folder, lambda link: os.write(1, f"{os.getpid()} {link}\n".encode()))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    if sys.argv[2:] == ["again"]:
        again(Path(sys.argv[1]))
    main(Path(sys.argv[1]), lambda link: os.write(1, f"{link}\n".encode()))
