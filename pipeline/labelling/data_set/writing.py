"""Label images and manifest of a session, written behind the strokes: a data set at any moment, whole.

The log of strokes is what is kept; these files follow it within seconds, and are made again from it where they lack.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import Image

from ....cache.format.samples import IGNORE
from ....cache.storage.atomic import TEMPORARY_SUFFIX, sync_folder, write_durably, write_json
from ....errors import TextdiffError
from ...config.data import MANIFESTS
from ...data.classes import CLASSES_FILE, Classes
from .manifest import write_manifest

if TYPE_CHECKING:
    from ..session.session import Change, Session
    from ..strokes.raster import LabelRaster

MASKS = "masks"
DELAY_S = 1.0
"""From a stroke to its files: strokes that follow one another are written once."""
LARGE_PIXELS = 2**25
"""Images of more pixels get a tiled TIFF, which is never in memory whole; others a PNG."""
TILE = 256


class DataSetWriter:
    """Writer of a session's data set, in a thread of its own.

    Args:
        session: what is labelled.
        out: the session's folder.
        notify: is given an event of type `problem` where files cannot be written.
    """

    def __init__(
        self, session: Session, out: Path, notify: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> None:
        self.session, self._out, self._notify = session, out, notify
        self._waiting: set[int] = set(range(len(session.images)))
        self._due, self._stopped = threading.Event(), threading.Event()
        self._writing, self._waiting_lock = threading.Lock(), threading.Lock()
        self._masks: dict[str, Path] = {}
        self._thread = threading.Thread(target=self._run, name="data set", daemon=True)
        session.listen(self._changed)

    def start(self) -> None:
        """Begin to write what is not there yet."""
        self._due.set()
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._stopped.set()
        self._due.set()
        self._thread.join()
        self.flush()

    def flush(self) -> Path:
        """Write everything now; gives the manifest.

        Raises:
            OSError: The disk did not take it; what is missing is written by the next call.
        """
        with self._writing:
            while (image := self._next()) is not None:
                try:
                    self._write_mask(image)
                except BaseException:
                    self._wait_for(image)
                    raise
            session = self.session
            write_json(self._out / CLASSES_FILE, self.classes().to_dict())
            texts = {one.id: session.text(image) for image, one in enumerate(session.images)}
            path = self._out / MANIFESTS[0]
            write_manifest(path, session.images, texts, self._masks)
            return path

    def classes(self) -> Classes:
        """Meaning of the masks' values: the classes' numbers, and IGNORE."""
        names = tuple(one.name for one in self.session.classes)
        return Classes(tuple(range(len(names))), names, IGNORE)

    def _changed(self, change: Change) -> None:
        if change.image is not None:
            self._wait_for(change.image)
        self._due.set()

    def _wait_for(self, image: int) -> None:
        with self._waiting_lock:
            self._waiting.add(image)

    def _next(self) -> int | None:
        """An image whose mask is older than its labels; `None`: no more of them."""
        with self._waiting_lock:
            return self._waiting.pop() if self._waiting else None

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._due.wait()
            self._stopped.wait(DELAY_S)
            self._due.clear()
            try:
                self.flush()
            except (OSError, TextdiffError) as error:
                text = (
                    f"masks and manifest are behind the strokes, which are kept: {error}; the next stroke tries again"
                )
                self._notify({"type": "problem", "text": text})

    def _write_mask(self, image: int) -> None:
        one, labels = self.session.images[image], self.session.labels(image)
        suffix = ".png" if one.size[0] * one.size[1] <= LARGE_PIXELS else ".tif"
        path = self._out / MASKS / f"{one.id}{suffix}"
        if labels.box is None:
            self._masks.pop(one.id, None)
            return
        if suffix == ".png":
            write_png(path, labels.read(0, 0, *one.size))
        else:
            _write_tiff(path, labels)
        self._masks[one.id] = path


def write_png(path: Path, labels: UInt8[np.ndarray, "y x"]) -> Path:
    """Write a label image whole; gives its path."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, "PNG", compress_level=1)
    write_durably(path, [buffer.getvalue()])
    return path


def _write_tiff(path: Path, labels: LabelRaster) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with tifffile.TiffWriter(temporary, bigtiff=True) as file:
        shape, tile = labels.size, (TILE, TILE)
        file.write(_tiles(labels), shape=shape, dtype=np.uint8, tile=tile, compression="zlib", photometric="minisblack")
    temporary.replace(path)
    sync_folder(path.parent)


def _tiles(labels: LabelRaster) -> Iterator[UInt8[np.ndarray, "256 256"]]:
    """Row by row, as a TIFF has them."""
    nothing = np.full((TILE, TILE), IGNORE, np.uint8)
    for row in range(-(-labels.size[0] // TILE)):
        for column in range(-(-labels.size[1] // TILE)):
            tile = labels.tile(0, column, row)
            yield nothing if tile is None else tile
