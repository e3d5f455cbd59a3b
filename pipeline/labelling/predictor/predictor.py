"""Masks and uncertainty of images by the newest answer, under each image's own text, none, or another.

A row is predicted by one thread, the learner's; what was predicted is read by any.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from ....cache.format.samples import IGNORE, SampleRow
from ....errors import TextdiffError
from ....stages.heads.input import HeadInput
from ....stages.metrics.overlap import likeliest
from ....stages.metrics.uncertainty import predictive_entropy
from ...config.labelling import TextVariant
from ...head_inputs.inputs import CachedFeatures
from ...image_files.source import Box
from ..byte_cache import ByteCache
from ..session.session import Session
from .answer import Answer
from .grid import GridCell, RowGrid, overlap
from .layers import PredictionLayer
from .texts import ShownTexts

Stage = Literal["coarse", "fine"]
Notify = Callable[[dict[str, Any]], None]
MOST_BYTES = 2**29
"""Of masks and uncertainties that are kept: those of rows that nobody looked at for longest go first."""


@dataclass(frozen=True)
class ViewedPart:
    """The part of an image that somebody looks at."""

    image: int
    box: Box
    """In native pixels."""
    variant: TextVariant


@dataclass(frozen=True, eq=False)
class PredictedRow:
    """Prediction of a row, at the model's size."""

    classes: UInt8[np.ndarray, "side side"]
    uncertainty: UInt8[np.ndarray, "side side"]
    """Entropy as a share of its maximum, 255 being all of it."""
    entropy: float
    """Mean over the pixels, in nats."""


@dataclass
class _Predicted:
    """State of an image under a variant of its text."""

    version: int = 0
    done: dict[GridCell, tuple[int, Stage]] = field(default_factory=dict)
    """Number of the answer, and stage, of each row that is predicted."""
    entropies: dict[GridCell, float] = field(default_factory=dict)


class Predictor:
    """Predictions of a session's images.

    Args:
        session: gives texts and versions of labels.
        notify: is given an event for each mask.
    """

    def __init__(self, session: Session, notify: Notify) -> None:
        self._session, self._notify = session, notify
        self._versions = itertools.count(1)
        self._images: dict[tuple[int, TextVariant], _Predicted] = {}
        self._grids: dict[int, RowGrid] = {}
        self._maps: ByteCache[PredictedRow] = ByteCache(MOST_BYTES)
        self._other: dict[int, str] = {}
        self._lock = threading.Lock()
        self._opened: tuple[CachedFeatures, ShownTexts] | None = None

    def open(self, data: CachedFeatures, texts: ShownTexts) -> None:
        """Predict from these features and texts from now on."""
        with self._lock:
            self._opened = data, texts

    def preview(self, image: int, text: str | None) -> int:
        """Show an image with another text from now on; gives the version that its mask has at least."""
        with self._lock:
            self._other[image] = text or ""
            self._images.pop((image, "other"), None)
            return next(self._versions)

    def forget(self, image: int, variant: TextVariant) -> None:
        """Have an image predicted again, since its text changed."""
        with self._lock:
            if predicted := self._images.get((image, variant)):
                predicted.done.clear()

    def text(self, image: int, variant: TextVariant) -> str:
        """The text that an image is shown with; "": none."""
        with self._lock:
            other = self._other.get(image, "")
        return {"own": self._session.text(image), "none": "", "other": other}[variant]

    def any_text(self) -> bool:
        """Whether any image has a text, its own or another."""
        with self._lock:
            others = [*self._other.values()]
        return any(others) or any(self._session.text(image) for image in range(len(self._session.images)))

    def variants(self, image: int) -> tuple[TextVariant, ...]:
        """Those that an image was asked for, its own first."""
        with self._lock:
            return tuple(variant for variant in ("own", "none", "other") if (image, variant) in self._images)

    def input(self, row: SampleRow, text: str) -> HeadInput:
        """A row with a text, for heads."""
        data, texts = self._current()
        (x,) = data.inputs([row])
        tokens, token_mask = texts.tokens(text)
        return replace(x, tokens=tokens, token_mask=token_mask)

    def missing(self, view: ViewedPart, rows: Sequence[SampleRow], answer: Answer, stage: Stage) -> list[SampleRow]:
        """Rows in view that the answer has not predicted at this stage or a finer one."""
        grid = self._grid(view.image, rows)
        with self._lock:
            done = {**self._images.setdefault((view.image, view.variant), _Predicted()).done}
        good = {(answer.number, stage), (answer.number, "fine")}
        return [row for row in rows if overlap(view.box, grid.box(row)) and done.get(grid.cell(row)) not in good]

    def publish(
        self,
        view: ViewedPart,
        row: SampleRow,
        probabilities: Float[Tensor, "n_classes y x"],
        *,
        answer: Answer,
        stage: Stage,
        labels_version: int,
    ) -> None:
        """Show what an answer says of a row of an image, from now on.

        Args:
            view: names the image and the variant of its text.
            row: for which `missing` was asked.
            probabilities: of its pixels.
            answer: that gave them.
            stage: `coarse` where a finer one follows.
            labels_version: of the image's labels that the answer knows.
        """
        image, variant = view.image, view.variant
        grid, predicted = self._grids[image], _predicted(probabilities)
        cell, n_bytes = grid.cell(row), predicted.classes.nbytes + predicted.uncertainty.nbytes
        self._maps.put((image, variant, cell), predicted, n_bytes)
        with self._lock:
            state = self._images.setdefault((image, variant), _Predicted())
            state.done[cell], state.entropies[cell] = (answer.number, stage), predicted.entropy
            state.version = version = next(self._versions)
        self._notify({
            "type": "mask",
            "image": image,
            "variant": variant,
            "version": version,
            "labels_version": labels_version,
            "stage": stage,
            "box": grid.box(row),
            "uncertainty": self.uncertainty(image),
        })  # fmt: skip

    def layer(self, image: int, kind: str, variant: TextVariant) -> PredictionLayer | None:
        """The `mask` or the `uncertainty` of an image; `None`: nothing is predicted yet."""
        with self._lock:
            state, grid = self._images.get((image, variant)), self._grids.get(image)
            if state is None or grid is None or not state.version:
                return None
            cells, version = [*state.entropies], state.version
        found = {cell: self._maps.get((image, variant, cell)) for cell in cells}
        kept = {cell: row for cell, row in found.items() if row is not None}
        if kind == "mask":
            return PredictionLayer(grid, {cell: row.classes for cell, row in kept.items()}, IGNORE, version)
        return PredictionLayer(grid, {cell: row.uncertainty for cell, row in kept.items()}, 0, version)

    def uncertainty(self, image: int) -> float | None:
        """Mean entropy of an image with its own text, in nats; `None`: not predicted yet."""
        with self._lock:
            state = self._images.get((image, "own"))
            entropies = [*state.entropies.values()] if state else []
        return sum(entropies) / len(entropies) if entropies else None

    def _grid(self, image: int, rows: Sequence[SampleRow]) -> RowGrid:
        data, _ = self._current()
        with self._lock:
            return self._grids.setdefault(image, RowGrid.of(rows, data.reader.manifest.features))

    def _current(self) -> tuple[CachedFeatures, ShownTexts]:
        if self._opened is None:
            raise TextdiffError("nothing can be predicted before the first image has features; wait for it")
        return self._opened


def _predicted(probabilities: Float[Tensor, "n_classes y x"]) -> PredictedRow:
    entropy = predictive_entropy(probabilities)
    share = (entropy / math.log(len(probabilities)) * 255).round().clamp(0, 255)
    classes = likeliest(probabilities).to(share.device)
    return PredictedRow(
        classes.cpu().numpy().astype(np.uint8), share.cpu().numpy().astype(np.uint8), float(entropy.mean())
    )
