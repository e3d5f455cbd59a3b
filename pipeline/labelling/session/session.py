"""A session of labelling: the one object that routes and learner ask, and through which every change goes.

A change is checked, written to the log, made, and on the disk before `apply` returns. Listeners hear of it after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ....errors import DataError, LabelError
from ...data.classes import Classes
from ...image_files.source import Box
from ..data_set.images import ImageEntry
from ..strokes.base import BaseLabels
from ..strokes.events import ClassChange, Event, Record, StateChange, TextChange, Unlock
from ..strokes.log import StrokeLog
from ..strokes.raster import LabelRaster, TileCaches
from .history import Applied, History, LabelClass, State
from .rules import check_unlocked, checked


@dataclass(frozen=True)
class Change:
    """Something that an event changed."""

    kind: Literal["labels", "text", "classes", "state", "unlocked"]
    image: int | None
    """`None`: all images."""
    version: int
    """Of the image's labels."""
    box: Box | None
    """Part of the image that may have other labels now."""
    key: str
    """Of the event."""


class Session:
    """Images, classes, labels, texts and states. Safe in threads."""

    def __init__(
        self,
        images: Sequence[ImageEntry],
        classes: Sequence[LabelClass],
        log: Path,
        *,
        annotator: str = "me",
        mask_classes: Classes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open a session, as its log leaves it.

        Args:
            images: in an order that stays for the session.
            classes: before the first event, the background first.
            log: the file, which is made where it is absent.
            annotator: name of the one who draws.
            mask_classes: of masks that images have already.
            clock: seconds since 1970.

        Raises:
            RunError: Another session has the log open.
            DataError: The log is damaged, or its events are of other images.
        """
        self.annotator = annotator
        self._history = History(images, classes, _rasters(mask_classes))
        self._log, self._clock = StrokeLog(log), clock
        self._n_records = 0
        self._lock = threading.RLock()
        self._listeners: list[Callable[[Change], None]] = []
        try:
            self._replay(self._log.records)
            self._log.records = ()  # many megabytes of points
        except BaseException:
            self._log.close()
            raise

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        """All images."""
        return self._history.images

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes as they are named now."""
        return self._history.classes

    @property
    def cut(self) -> str:
        """Line on the unfinished end that opening removed from the log; "" where there was none."""
        return self._log.cut

    @property
    def tests_locked(self) -> bool:
        """Whether images of the test split may not be labelled."""
        return not self._history.unlocked

    @property
    def can_undo(self) -> bool:
        """Whether a stroke stands in any image."""
        with self._lock:
            return self._history.last(None) is not None

    @property
    def can_redo(self) -> bool:
        """Whether a stroke that was taken back could stand again."""
        with self._lock:
            return self._history.last(None, undone=True) is not None

    def labels(self, image: int) -> LabelRaster:
        """The labels of an image, which follow what is drawn."""
        with self._lock:
            return self._history.past(image).raster

    def text(self, image: int) -> str:
        """The text of an image, "" where there is none."""
        with self._lock:
            text = self._history.past(image).text
        return self.images[image].text if text is None else text

    def state(self, image: int) -> State:
        """How far an image is labelled."""
        with self._lock:
            return self._history.state(image)

    def locked(self, image: int) -> bool:
        """Whether an image may not be labelled."""
        return self.tests_locked and self.images[image].split == "test"

    def check_unlocked(self, image: int) -> None:
        """Refuse an image of the test split before somebody unlocked it.

        Raises:
            LabelError: It is locked.
        """
        with self._lock:
            check_unlocked(self._history, image)

    def knows(self, key: str) -> bool:
        """Whether an event with this key was made already."""
        with self._lock:
            return key in self._history.done

    def apply(self, event: Event) -> Applied:
        """Make a change, once for each key, and return when it is on the disk.

        Raises:
            LabelError: The event cannot follow what was said before, and nothing has changed.
            OSError: The disk did not take it.
        """
        with self._lock:
            applied = self._history.done.get(event.key)
            is_new = applied is None
            if applied is None:
                event = checked(self._history, event)
                self._end = self._log.append(Record(self._n_records + 1, round(self._clock(), 3), event))
                self._n_records += 1
                applied = self._history.fold(self._n_records, event)
            end = self._end
        self._log.sync(end)
        if is_new:
            change = Change(_kind_of(event), applied.image, applied.version, applied.box, event.key)
            for listener in self._listeners:
                listener(change)
        return applied

    def listen(self, call: Callable[[Change], None]) -> None:
        """Call it with every later change, in the thread that makes it."""
        self._listeners.append(call)

    def close(self) -> None:
        """Let another session open the log; changes that come too late are refused."""
        with self._lock:
            self._log.close()

    def _replay(self, records: Sequence[Record]) -> None:
        self._end = 0
        for record in records:
            try:
                self._history.fold(record.sequence, checked(self._history, record.event))
            except LabelError as error:
                raise DataError(
                    f"{self._log.path}: event {record.sequence} cannot follow those before it ({error}); label the "
                    "data set that the log was made with, or take another --annotator"
                ) from error
        self._n_records = len(records)


def _rasters(classes: Classes | None) -> Callable[[ImageEntry], LabelRaster]:
    """Makes the labels that an image has before the first event."""
    caches = TileCaches()

    def raster(image: ImageEntry) -> LabelRaster:
        base = BaseLabels(image.mask, classes, image.size) if image.mask and classes else None
        return LabelRaster(image.size, base, caches)

    return raster


def _kind_of(event: Event) -> Literal["labels", "text", "classes", "state", "unlocked"]:
    match event:
        case TextChange():
            return "text"
        case ClassChange():
            return "classes"
        case StateChange():
            return "state"
        case Unlock():
            return "unlocked"
    return "labels"
