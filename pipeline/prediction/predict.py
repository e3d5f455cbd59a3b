"""Masks for an image, or for a folder of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt, UInt16
from PIL import Image

from ...cache.storage.atomic import TEMPORARY_SUFFIX, sync_folder, write_durably
from ...errors import DataError
from ..config.prediction import PredictConfig
from ..data.text_tables import texts_by_image
from ..image_files.paths import list_images, stem_of
from ..runtime.progress import Progress, Task
from ..views.text_rewriting import safe_views
from .record import PredictionRecord, files_of, refuse_same_names
from .request import PredictionRequest
from .segmenter import Segment, Segmenter


@dataclass(frozen=True)
class PredictSummary:
    """What was written."""

    out: str
    masks: tuple[str, ...]
    classes: Mapping[int, str]
    """Value in the masks → name of the class."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"out": self.out, "n": len(self.masks), "masks": list(self.masks), "classes": {**self.classes}}

    def lines(self) -> list[str]:
        """For the terminal."""
        legend = ", ".join(f"{value} {name}" for value, name in self.classes.items())
        return [f"{len(self.masks)} masks in {self.out}: {legend}"]


def predict(config: PredictConfig, progress: Progress | None = None) -> PredictSummary:
    """Segment an image, or every image of a folder, and write `NAME.png` into the folder `out` for each.

    `predictions.json` there says of each mask which run, which text and how many views it is of, which value in it is
    which class, and what `NAME_uncertainty.png`, written on request, is a map of.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        RunError: if the run is absent, unfinished or damaged, or another process writes to the folder `out`.
        SourceError: if the UNet or the text encoder cannot be loaded, or are not those of the training.
        DataError: if images or the table of texts cannot be used.
    """
    progress = progress or Progress()
    segmenter = Segmenter.from_overrides(config.run, config)
    paths = list_images(config.images)
    refuse_same_names(paths)
    text_of: Mapping[Path, str | None] = (
        texts_by_image(paths, config.texts) if config.texts else dict.fromkeys(paths, config.text)
    )
    n_rows = sum(size[0] for size in _sizes(segmenter, paths))
    texts = [text for text in text_of.values() if text is not None]
    segmenter.texts.check(texts, n_views=config.tta, progress=progress)
    _warn_of_fewer_views(config, text_of, progress)
    segmenter.live.load()
    requests = (PredictionRequest(segmenter.open(path), text_of[path], stem_of(path)) for path in paths)
    with (
        PredictionRecord.claimed(config, segmenter, [stem_of(path) for path in paths]) as record,
        progress.task("predict", n_rows, "rows of pixels") as task,
    ):
        for request, bands in segmenter.segment(requests, tta=config.tta):
            _write(config, segmenter, request, bands, task)
            record.add(request)
    masks = tuple(str(config.out / f"{stem_of(path)}.png") for path in paths)
    return PredictSummary(str(config.out), masks, segmenter.classes)


def _warn_of_fewer_views(config: PredictConfig, text_of: Mapping[Path, str | None], progress: Progress) -> None:
    for path, text in text_of.items():
        n_views = len(safe_views(text, config.tta))
        if n_views < config.tta:
            progress.say(
                f"warning: {path.name}: {n_views} of {config.tta} views; its text cannot be rewritten for the others "
                "(docs/views.md says which can)"
            )


def _sizes(segmenter: Segmenter, paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Height and width of every image: a first look at all, so that none is met as unreadable hours later."""
    sizes, problems = [], []
    for path in paths:
        try:
            sizes.append(segmenter.size_of(path))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"{len(problems)} of {len(paths)} images cannot be used; mend or remove them:", problems)
    return sizes


def _write(
    config: PredictConfig, segmenter: Segmenter, request: PredictionRequest, bands: Iterable[Segment], task: Task
) -> None:
    """Write one image's files as its bands are finished: in memory are mask and uncertainty, at 3 bytes a pixel."""
    files, size, values = files_of(config.out, request.sample_id), request.image.size, segmenter.mask_values
    mask, uncertainty = np.empty(size, values.dtype), np.empty(size, np.uint16)
    wanted = _array_file(files.probabilities, (len(values), *size)) if config.probabilities else nullcontext()
    with wanted as array:
        for band in bands:
            rows = slice(band.top, band.top + len(band.uncertainty))
            mask[rows] = values[band.probabilities.argmax(0).cpu().numpy()]
            uncertainty[rows] = to_grey(band.uncertainty.cpu().numpy(), len(values))
            if array is not None:
                array[:, rows] = band.probabilities.half().cpu().numpy()
            task.advance(len(band.uncertainty))
    write_mask(files.mask, mask)
    if config.uncertainty:
        write_mask(files.uncertainty, uncertainty)
    for file, is_new in ((files.probabilities, config.probabilities), (files.uncertainty, config.uncertainty)):
        if not is_new:
            file.unlink(missing_ok=True)  # of an earlier mask


def to_grey(uncertainty: Float32[np.ndarray, "*pixel"], n_classes: int) -> UInt16[np.ndarray, "*pixel"]:
    """Uncertainty as an image: 65535 × √(u / ln n_classes), so that white is as uncertain as can be.

    The root shows the small values that mutual information mostly has; of two members it is a distance between their
    predictions (Endres & Schindelin 2003, A new metric for probability distributions).

    Args:
        uncertainty: in nats, in [0, ln n_classes].
        n_classes: background included.
    """
    return (65535 * np.sqrt(uncertainty / np.log(n_classes)).clip(0, 1)).round().astype(np.uint16)


def write_mask(path: Path, mask: UInt[np.ndarray, "y x"]) -> None:
    """Write a grey PNG durably."""
    buffer = BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    write_durably(path, [buffer.getbuffer()])


@contextmanager
def _array_file(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A float16 array in a file, to be filled in parts; the file has its name once it is whole and on the disk."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    temporary.unlink(missing_ok=True)
    try:
        array = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
        _reserve(temporary)
        yield array
        array.flush()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _reserve(path: Path) -> None:
    """Take the disk space of all of a file: a mapped page that finds none kills the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
