"""The learner's thread: it learns from new labels, shows what is in view, and then predicts the rest.

A lesson goes from coarse to fine: the ridge regression answers first, beside what the head said of the view before;
then the head learns for a time, and the view is shown by both. A newer lesson ends an older one between two steps.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from ....errors import TextdiffError
from ...runtime.process import give_way
from ..predictor.answer import Answer
from ..session.session import Session
from .head_training import HeadTraining
from .material import Material
from .row_labels import row_labels
from .showing import Showing
from .teacher import Teacher
from .wishes import Superseded, Wishes

LESSON_S, LEAST_TRAINING_S = 2.2, 0.4
"""From the beginning of a lesson to the fine mask, and what of it the head has in any case."""
MOST_AT_ONCE = 16
"""Images whose new labels a lesson waits for; those of more come between lessons."""
ONE_CLASS = "one class is labelled so far: draw on another one too, such as the background"
LEAST_GAIN = 0.01
"""Share of pixels that texts have to tell right to be spoken of."""
STOP_S = 5.0
"""In its first seconds the thread imports parts of torch, which nothing can interrupt."""
MOST_THREADS = 8
"""Of torch; one processor is left to the server."""


class Worker:
    """One thread and all that it alone uses.

    Args:
        session: gives labels.
        material: the features and texts that are there.
        showing: shows answers.
        wishes: of other threads.
        notify: is given events for the page.
        tell: called when the state changed.
    """

    def __init__(
        self,
        session: Session,
        material: Material,
        showing: Showing,
        wishes: Wishes,
        *,
        notify: Callable[[dict[str, Any]], None],
        tell: Callable[[], None],
    ) -> None:
        self._session, self._material, self._showing = session, material, showing
        self._wishes, self._notify, self._tell = wishes, notify, tell
        self.answer: Answer | None = None
        """The newest."""
        self.teacher: Teacher | None = None
        self.line, self.busy, self.text_used = "nothing is labelled yet", False, False
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the work, after the step in progress; one that takes longer than `STOP_S` ends with the process."""
        self._wishes.stop()
        if self._thread.ident:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        give_way()
        torch.set_num_threads(max(1, min(MOST_THREADS, _n_processors() - 1)))
        HeadTraining.warm_up()
        while self._wishes.wait():
            self._set_busy(busy=True)
            try:
                self._work()
            except Superseded:
                continue
            except (TextdiffError, OSError, RuntimeError) as error:
                self._notify({"type": "problem", "text": f"learner: {error}"})
            self._set_busy(busy=False)

    def _set_busy(self, *, busy: bool) -> None:
        if busy != self.busy:
            self.busy = busy
            self._tell()

    def _work(self) -> None:
        """Everything that is wanted, most urgent first."""
        self.teacher = teacher = self._material.teacher()
        if teacher is None:
            return
        if self._wishes.take_due():
            self._learn(teacher)
        elif self.answer is None and teacher.is_known:
            self.answer = teacher.solve()
        if self.answer:
            self._showing.fine_view(self.answer, self._wishes.view, self._wishes.check_lesson)
        self._hold_rest(teacher)
        if self.answer:
            self._showing.rest(self.answer, self._wishes.check_rest)

    def _learn(self, teacher: Teacher) -> None:
        """A lesson."""
        started, wishes, showing = time.monotonic(), self._wishes, self._showing
        for _ in range(MOST_AT_ONCE):
            if (image := wishes.take_changed()) is None:
                break
            self._hold(teacher, image)
        self.answer = teacher.solve() if teacher.is_known else None
        if self.answer is None or not teacher.can_learn:
            self._say(ONE_CLASS if teacher.held.n_pixels else self.line)
            return
        showing.coarse_view(self.answer, wishes.view, wishes.check_lesson)
        left = LESSON_S - showing.seconds - (time.monotonic() - started)
        seconds = max(LEAST_TRAINING_S, left)
        self.answer = teacher.train(self._material.rows(), seconds=seconds, check=wishes.check_lesson)
        showing.fine_view(self.answer, wishes.view, wishes.check_lesson)
        self._report(teacher, time.monotonic() - started)

    def _report(self, teacher: Teacher, seconds: float) -> None:
        n_pixels, n_images = teacher.held.n_pixels, teacher.held.n_images
        self.text_used = teacher.reads_any_text
        images = "1 image" if n_images == 1 else f"{n_images} images"
        texts = " and their texts" if self.text_used else ""
        if teacher.text_gain > LEAST_GAIN:
            texts += f", without which {teacher.text_gain:.0%} more would be wrong,"
        line = f"learnt from {n_pixels:,} pixels of {images}{texts} in {seconds:.1f} s"
        self._notify({"type": "learnt", "line": line, "seconds": seconds, "n_pixels": n_pixels, "n_images": n_images})
        self._say(line)

    def _say(self, line: str) -> None:
        self.line = line
        self._tell()

    def _hold(self, teacher: Teacher, image: int) -> bool:
        """Bring the held pixels of an image up to date; says whether they changed."""
        raster, changed = self._session.labels(image), False
        version = raster.version
        for row in self._material.rows_to_learn(image):
            try:
                self._wishes.check_lesson()
            except Superseded:
                self._wishes.put_back(image)
                raise
            changed |= teacher.hold(row, row_labels(raster, row, teacher.data.reader.manifest.features))
        self._showing.learnt_of[image] = version
        return changed

    def _hold_rest(self, teacher: Teacher) -> None:
        """Hold the labels that a lesson did not wait for, and have a lesson of them."""
        changed = False
        while self._wishes.continuous and (image := self._wishes.take_changed()) is not None:
            changed |= self._hold(teacher, image)
        if changed:
            self._wishes.learn([])


def _n_processors() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
