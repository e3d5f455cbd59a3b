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
from .learner_inputs import LearnerInputs
from .live_trainer import LiveTrainer
from .prediction_schedule import PredictionSchedule
from .row_labels import row_labels
from .work_queue import Superseded, WorkQueue

LESSON_S, LEAST_TRAINING_S = 2.2, 0.4
"""From the start of a lesson to the fine mask, and what of it the head has in any case."""
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
        inputs: the features and texts that are there.
        schedule: shows answers.
        queue: requests of other threads.
        notify: is given events for the page.
        tell: called when the state changed.
    """

    def __init__(
        self,
        session: Session,
        inputs: LearnerInputs,
        schedule: PredictionSchedule,
        queue: WorkQueue,
        *,
        notify: Callable[[dict[str, Any]], None],
        tell: Callable[[], None],
    ) -> None:
        self._session, self._inputs, self._schedule = session, inputs, schedule
        self._queue, self._notify, self._tell = queue, notify, tell
        self.answer: Answer | None = None
        """The newest."""
        self.trainer: LiveTrainer | None = None
        self.line, self.busy, self.text_used = "nothing is labelled yet", False, False
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the work, after the step in progress; one that takes longer than `STOP_S` ends with the process."""
        self._queue.stop()
        if self._thread.ident:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        give_way()
        torch.set_num_threads(max(1, min(MOST_THREADS, _n_processors() - 1)))
        HeadTraining.warm_up()
        while self._queue.wait():
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
        self.trainer = trainer = self._inputs.trainer()
        if trainer is None:
            return
        if self._queue.take_due():
            self._learn(trainer)
        elif self.answer is None and trainer.is_known:
            self.answer = trainer.solve()
        if self.answer:
            self._schedule.fine_view(self.answer, self._queue.view, self._queue.check_lesson)
        self._hold_rest(trainer)
        if self.answer:
            self._schedule.rest(self.answer, self._queue.check_rest)

    def _learn(self, trainer: LiveTrainer) -> None:
        """A lesson."""
        started, queue, schedule = time.monotonic(), self._queue, self._schedule
        for _ in range(MOST_AT_ONCE):
            if (image := queue.take_changed()) is None:
                break
            self._hold(trainer, image)
        self.answer = trainer.solve() if trainer.is_known else None
        if self.answer is None or not trainer.can_learn:
            self._say(ONE_CLASS if trainer.held.n_pixels else self.line)
            return
        schedule.coarse_view(self.answer, queue.view, queue.check_lesson)
        left = LESSON_S - schedule.seconds - (time.monotonic() - started)
        seconds = max(LEAST_TRAINING_S, left)
        self.answer = trainer.train(self._inputs.rows(), seconds=seconds, check=queue.check_lesson)
        schedule.fine_view(self.answer, queue.view, queue.check_lesson)
        self._report(trainer, time.monotonic() - started)

    def _report(self, trainer: LiveTrainer, seconds: float) -> None:
        n_pixels, n_images = trainer.held.n_pixels, trainer.held.n_images
        self.text_used = trainer.reads_any_text
        images = "1 image" if n_images == 1 else f"{n_images} images"
        texts = (" and its text" if n_images == 1 else " and their texts") if self.text_used else ""
        if trainer.text_gain > LEAST_GAIN:
            texts += f", without which {trainer.text_gain:.0%} more would be wrong,"
        line = f"learnt from {n_pixels:,} pixels of {images}{texts} in {seconds:.1f} s"
        self._notify({"type": "learnt", "line": line, "seconds": seconds, "n_pixels": n_pixels, "n_images": n_images})
        self._say(line)

    def _say(self, line: str) -> None:
        self.line = line
        self._tell()

    def _hold(self, trainer: LiveTrainer, image: int) -> bool:
        """Bring the held pixels of an image up to date; says whether they changed."""
        raster, changed = self._session.labels(image), False
        version = raster.version
        for row in self._inputs.rows_to_learn(image):
            try:
                self._queue.check_lesson()
            except Superseded:
                self._queue.put_back(image)
                raise
            changed |= trainer.hold(row, row_labels(raster, row, trainer.data.reader.manifest.features))
        self._schedule.learnt_of[image] = version
        return changed

    def _hold_rest(self, trainer: LiveTrainer) -> None:
        """Hold the labels that a lesson did not wait for, and have a lesson of them."""
        changed = False
        while self._queue.continuous and (image := self._queue.take_changed()) is not None:
            changed |= self._hold(trainer, image)
        if changed:
            self._queue.learn([])


def _n_processors() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
