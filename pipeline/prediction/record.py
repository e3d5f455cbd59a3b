"""Names and record of predictions: which files a folder of masks holds, and how each mask came about.

`predictions.json` may know of fewer masks than are there, never of more: a mask is noted once it is on the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...cache.storage.atomic import parse_json, write_json
from ...errors import DataError
from ..config.prediction import PredictConfig
from ..image_files.paths import stem_of
from ..runtime.folders import locked_folder, no_empty_folder
from .request import PredictionRequest
from .segmenter import Segmenter

RECORD = "predictions.json"


class PredictionFiles(NamedTuple):
    """What there may be of one image."""

    mask: Path
    probabilities: Path
    uncertainty: Path


def files_of(out: Path, name: str) -> PredictionFiles:
    """The files of the image `name` in the folder `out`."""
    return PredictionFiles(out / f"{name}.png", out / f"{name}.npy", out / f"{name}_uncertainty.png")


class PredictionRecord:
    """Content of `predictions.json`."""

    def __init__(self, config: PredictConfig, segmenter: Segmenter, masks: dict[str, Any]) -> None:
        """Of a folder that has `masks` already."""
        self._path, self._masks = config.out / RECORD, masks
        uncertainty = segmenter.uncertainty_is if config.uncertainty else None
        run = str(config.run.resolve())
        self._about = {"run": run, "tta": config.tta, "classes": segmenter.classes, "uncertainty": uncertainty}

    @classmethod
    @contextmanager
    def claimed(cls, config: PredictConfig, segmenter: Segmenter, names: Sequence[str]) -> Iterator[PredictionRecord]:
        """Claim the folder, and the names of new masks in it, for as long as the block lasts.

        Masks of earlier predictions under these names stay until they are replaced, unrecorded. Notes are kept however
        the block ends.

        Raises:
            DataError: if files of these names are not masks of earlier predictions, or the record is damaged.
            RunError: if another process writes to the folder: of two records written at once one would be lost.
        """
        with locked_folder(config.out):
            with no_empty_folder(config.out):
                known = _known_masks(config.out)
                _refuse_foreign(config.out, known, names)
                others = {name: about for name, about in (known or {}).items() if name not in names}
                record = cls(config, segmenter, others)
                record.write()
            try:
                yield record
            finally:
                record.write()

    def add(self, request: PredictionRequest) -> None:
        """Note a mask that is on the disk."""
        self._masks[request.sample_id] = self._about | {"text": request.text}

    def write(self) -> None:
        """Bring the file up to date."""
        write_json(self._path, {"masks": self._masks})


def _known_masks(folder: Path) -> dict[str, Any] | None:
    """Name → settings of the masks that a folder's record knows; `None` where there is no record."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return dict(parse_json(path.read_bytes())["masks"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a record of masks ({error!r}); give another folder, or remove what is in this one"
        ) from error


def _masks_in(folder: Path) -> Iterator[Path]:
    """Files that a folder's record knows; none where another program's file has its name."""
    with suppress(DataError):
        for name in _known_masks(folder) or ():
            yield from files_of(folder, name)


def _refuse_foreign(out: Path, known: Mapping[str, Any] | None, names: Iterable[str]) -> None:
    there = [str(file) for name in names for file in files_of(out, name) if file.exists()]
    if there and known is None:
        raise DataError(f"{out}: masks would replace files that stand there; give another folder:", there)
    together = {*(known or ()), *names}
    maps = {files_of(out, name).uncertainty: name for name in together}
    mixed = [f"{mask} of {maps[mask]}" for name in together if (mask := files_of(out, name).mask) in maps]
    if mixed:
        raise DataError(f"{out}: masks have the names of uncertainty maps; give another folder:", sorted(mixed))


def refuse_same_names(images: Sequence[Path]) -> None:
    """Refuse images whose masks would have one name, and masks of earlier predictions among the images.

    Raises:
        DataError: with all of them.
    """
    masks = {mask for folder in {image.parent for image in images} for mask in _masks_in(folder)}
    own = [str(image) for image in images if image in masks]
    if own:
        raise DataError(
            f"masks of an earlier prediction are in the way, among the images ({RECORD} there lists them); move them "
            "to a folder of their own, and give a folder for masks that is not the images':",
            own,
        )
    n_images = Counter(map(stem_of, images))
    twice = sorted(name for name, n in n_images.items() if n > 1)
    if twice:
        raise DataError("masks are named after images, and these names stand for several images; rename them:", twice)
    maps = {files_of(Path(), name).uncertainty.stem for name in n_images} & n_images.keys()
    if maps:
        raise DataError("maps of uncertainty would have these images' names; rename them:", sorted(maps))
