"""Masks for images and volumes, in the formats that are asked for, band by band."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt

from ...errors import DataError
from ..config.command_line import write_command
from ..config.prediction import PredictConfig
from ..data.text_tables import texts_by_image
from ..exchange.outputs import MaskBand, OutputTarget
from ..image_files.listing import left_out
from ..image_files.paths import stem_of
from ..image_files.volumes import Volume, list_volumes
from ..runtime.progress import Progress, Task
from ..runtime.results import Result
from ..views.text_rewriting import safe_views
from .formats import files_for, formats_for, masks_for, opened, refuse_unfit
from .record import PredictionRecord, refuse_file_names, refuse_same_names
from .request import PredictionRequest
from .segmenter import BandSegmenter, Segment


@dataclass(frozen=True)
class PredictSummary(Result):
    """Result of `predict`: the files written."""

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
        plural = "" if len(self.masks) == 1 else "s"
        return [f"{len(self.masks)} file{plural} of masks in {self.out}: {legend}"]


def predict(config: PredictConfig, progress: Progress | None = None) -> PredictSummary:
    """Segment an image or a volume, or those of a folder, and write their masks into the folder `out`.

    `predictions.json` there says of each mask which files it has, which run, which text and how many views it is of,
    which value in it is which class, and the measure of uncertainty that `NAME_uncertainty.png` shows.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        RunError: if the run is absent, unfinished or damaged, or another process writes to the folder `out`.
        SourceError: if a frozen model cannot be loaded, or is not that of the training.
        DataError: if images or the table of texts cannot be used, or a format cannot hold their masks.
    """
    progress = progress or Progress()
    segmenter = BandSegmenter.load(config.run, config)
    volumes = list_volumes(config.images)
    refuse_same_names(volumes)
    files = {volume.name: files_for(config, volume) for volume in volumes}
    refuse_file_names(files)
    sizes = _sizes(segmenter, volumes)
    refuse_unfit(config, volumes, sizes)
    texts = _texts(config, volumes)
    segmenter.texts.check((text for text in texts if text is not None), n_views=config.tta, progress=progress)
    _say_remarks(config, segmenter, volumes, texts, progress)
    segmenter.live.load()
    n = sum(size[0] * len(volume.slices) for size, volume in zip(sizes, volumes, strict=True))
    claimed = PredictionRecord.claimed(config, segmenter, files)
    with claimed as record, progress.task("predict", n, "rows of pixels") as task:
        requests = _requests(segmenter, volumes, texts)
        segmented = (bands for _, bands in segmenter.segment(requests, tta=config.tta))
        for volume, size, text in zip(volumes, sizes, texts, strict=True):
            target = OutputTarget(config.out, volume, size, segmenter.classes, segmenter.mask_values.dtype)
            _write(config, target, segmenter.mask_values, segmented, task)
            record.add(volume, text, files[volume.name])
        write_command(config.out, "predict", config)
    masks = (str(path) for volume in volumes for path in masks_for(config, volume))
    return PredictSummary(str(config.out), tuple(masks), segmenter.classes)


def _texts(config: PredictConfig, volumes: Sequence[Volume]) -> list[str | None]:
    """The text of each volume."""
    if config.texts is None:
        return [config.text] * len(volumes)
    text_of = texts_by_image({volume.path: volume.slices for volume in volumes}, config.texts)
    return [text_of[volume.path] for volume in volumes]


def _say_remarks(
    config: PredictConfig,
    segmenter: BandSegmenter,
    volumes: Sequence[Volume],
    texts: Sequence[str | None],
    progress: Progress,
) -> None:
    if others := left_out(config.images):
        progress.warn(others)
    names_of: dict[str, list[str]] = defaultdict(list)
    for volume in volumes:
        for remark in (volume.remark, segmenter.beside_window(volume.slices[0])):
            if remark:
                names_of[remark].append(volume.path.name)
    for remark, names in names_of.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        progress.warn(f"{', '.join(names[:3])}{more}: {remark}")
    for volume, text in zip(volumes, texts, strict=True):
        n_views = len(safe_views(text, config.tta))
        if n_views < config.tta:
            progress.warn(
                f"{volume.path.name}: {n_views} of {config.tta} views; its text cannot be rewritten for the "
                "others (docs/views.md says which can)"
            )


def _sizes(segmenter: BandSegmenter, volumes: Sequence[Volume]) -> list[tuple[int, int]]:
    """Height and width of every volume's slices: a first look at all, so that none is met as unreadable hours later."""
    sizes, problems = [], []
    for volume in volumes:
        of_slices = []
        for path in volume.slices:
            try:
                size = segmenter.size_of(path)
            except DataError as error:
                of_slices.append(str(error))
        if of_slices:
            more = f" (and {len(of_slices) - 1} more of its {len(volume.slices)} slices)" if of_slices[1:] else ""
            problems.append(of_slices[0] + more)
        else:
            sizes.append(size)
    if problems:
        raise DataError(f"{len(problems)} of {len(volumes)} images cannot be used; mend or remove them:", problems)
    return sizes


def _requests(
    segmenter: BandSegmenter, volumes: Sequence[Volume], texts: Sequence[str | None]
) -> Iterator[PredictionRequest]:
    """All slices of all volumes, opened as they are asked for."""
    for volume, text in zip(volumes, texts, strict=True):
        for path in volume.slices:
            yield PredictionRequest(segmenter.open(path), text, stem_of(path))


def _write(
    config: PredictConfig,
    target: OutputTarget,
    values: UInt[np.ndarray, "class"],
    segmented: Iterator[Iterable[Segment]],
    task: Task,
) -> None:
    """Write one volume's files as the bands of its slices, which come next, are finished."""
    formats = formats_for(config, target.volume)
    with opened([one for one in formats if not one.per_slice], target) as of_volume:
        for index in range(len(target.volume.slices)):
            of_one = replace(target, volume=target.volume.slice(index))
            with opened([one for one in formats if one.per_slice], of_one) as of_slice:
                for segment in next(segmented):
                    band = _band(segment, values)
                    for writer in of_slice:
                        writer.add(band)
                    for writer in of_volume:
                        writer.add(replace(band, index=index))
                    task.advance(len(band.mask))


def _band(segment: Segment, values: UInt[np.ndarray, "class"]) -> MaskBand:
    probabilities = segment.probabilities.cpu().numpy()
    mask = values[probabilities.argmax(0)]
    return MaskBand(0, segment.top, mask, probabilities.max(0), probabilities, segment.uncertainty.cpu().numpy())
