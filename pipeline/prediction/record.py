"""Names and record of predictions: which files a folder of masks holds, and how each mask came about.

`predictions.json` may know of fewer masks than are there, never of more: a mask is noted once it is on the disk. The
files that a call is about to write are listed before (`claimed`), so that those of a call that was killed are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...cache.storage.atomic import parse_json, write_json
from ...errors import DataError
from ..config.prediction import PredictConfig
from ..image_files.volumes import Volume
from ..runtime.folders import locked_folder, no_empty_folder
from .segmenter import Segmenter

RECORD = "predictions.json"
_ENDINGS_BEFORE = (".png", ".npy", "_uncertainty.png")
"""Of the files of masks whose records list none: those of earlier versions."""


class PredictionRecord:
    """Content of `predictions.json`: a folder's masks by name, and the files that are still to be written."""

    def __init__(self, folder: Path) -> None:
        """Of a folder that exists.

        Raises:
            DataError: if the record there is damaged.
        """
        self._folder = folder
        self.exists = (folder / RECORD).exists()
        self._masks, self._claimed = _read(folder / RECORD) if self.exists else ({}, set())
        self._about: dict[str, Any] = {}
        self._before: dict[str, set[str]] = {}

    @classmethod
    @contextmanager
    def claimed(
        cls, config: PredictConfig, segmenter: Segmenter, files: Mapping[str, Sequence[Path]]
    ) -> Iterator[PredictionRecord]:
        """Claim the folder, and the names of new masks in it, for as long as the block lasts.

        Masks of earlier predictions under these names stay until they are replaced, unrecorded. Notes are kept however
        the block ends.

        Args:
            config: gives the folder and what is noted of every mask.
            segmenter: of the masks.
            files: name of each image or volume → every file that may be written for it.

        Raises:
            DataError: if files of these names are not those of earlier predictions, or the record is damaged.
            RunError: if another process writes to the folder: of two records written at once one would be lost.
        """
        with locked_folder(config.out):
            with no_empty_folder(config.out):
                record = cls(config.out)
                record._claim(files)
                uncertainty = segmenter.uncertainty_is if config.uncertainty else None
                run = str(config.run.resolve())
                record._about = {
                    "run": run, "tta": config.tta, "classes": segmenter.classes, "uncertainty": uncertainty
                }  # fmt: skip
                record.write()
            try:
                yield record
            finally:
                record._claimed = {name for name in record._claimed if (config.out / name).exists()}
                record.write()

    def _claim(self, files: Mapping[str, Sequence[Path]]) -> None:
        names = {path.name: name for name, paths in files.items() for path in paths}
        others = {file: name for name in self._masks.keys() - files.keys() for file in self.files_of(name)}
        mixed = [f"{file} of {others[file]}" for file in sorted(names.keys() & others.keys())]
        if mixed:
            raise DataError(f"{self._folder}: files of other predictions have these names; give another folder:", mixed)
        ours = self._claimed.union(*map(self.files_of, self._masks))
        foreign = [str(self._folder / name) for name in sorted(names.keys() - ours) if (self._folder / name).exists()]
        if foreign:
            raise DataError(
                f"{self._folder}: masks would replace files that stand there; give another folder:", foreign
            )
        self._before = {name: self.files_of(name) for name in files if name in self._masks}
        self._masks = {name: about for name, about in self._masks.items() if name not in files}
        self._claimed |= names.keys() | set().union(*self._before.values())

    def files_of(self, name: str) -> set[str]:
        """Names of the files of a recorded mask."""
        return {*self._masks[name].get("files", [name + ending for ending in _ENDINGS_BEFORE])}

    def add(self, volume: Volume, text: str | None, files: Sequence[Path]) -> None:
        """Note a mask that is on the disk, and remove files of an earlier mask of its name that it does not have."""
        names = [path.name for path in files]
        for old in self._before.get(volume.name, set()) - {*names}:
            _remove(self._folder / old)
        self._claimed -= {*names, *self._before.get(volume.name, ())}
        slices = {"n_slices": len(volume.slices)} if len(volume.slices) > 1 else {}
        self._masks[volume.name] = self._about | {"text": text, "files": names} | slices

    def write(self) -> None:
        """Bring the file up to date."""
        claimed = {"claimed": sorted(self._claimed)} if self._claimed else {}
        write_json(self._folder / RECORD, {"masks": self._masks} | claimed)

    def files(self) -> set[str]:
        """Names of all files that the folder's masks have."""
        return self._claimed.union(*map(self.files_of, self._masks))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], set[str]]:
    """Name → settings of the masks that a record knows, and files that were claimed and never noted."""
    try:
        content = parse_json(path.read_bytes())
        masks = {str(name): dict(about) for name, about in content["masks"].items()}
        files = [*content.get("claimed", ()), *(file for about in masks.values() for file in about.get("files", ()))]
        strange = [file for file in files if Path(file).name != file]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a record of masks ({error!r}); give another folder, or remove what is in this one"
        ) from error
    if strange:
        raise DataError(f"{path}: not a record of masks (it names {strange[0]!r}); give another folder")
    return masks, {*content.get("claimed", ())}


def refuse_same_names(volumes: Sequence[Volume]) -> None:
    """Refuse images of one name, and masks of earlier predictions among the images.

    Raises:
        DataError: with all of them.
    """
    images = [volume.path for volume in volumes]
    ours = {folder / name for folder in {image.parent for image in images} for name in _files_in(folder)}
    own = [str(image) for image in images if image in ours]
    if own:
        raise DataError(
            f"masks of an earlier prediction are in the way, among the images ({RECORD} there lists them); move them "
            "to a folder of their own, and give a folder for masks that is not the images':",
            own,
        )
    names = [volume.name for volume in volumes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError("masks are named after images, and these names stand for several images; rename them:", twice)


def refuse_same_files(files: Mapping[str, Sequence[Path]]) -> None:
    """Refuse images of which one's mask would have the name of another's map of uncertainty, or the like.

    Args:
        files: name of each image or volume → every file that may be written for it.

    Raises:
        DataError: with all of them.
    """
    owners: dict[Path, str] = {}
    mixed = [
        f"{path.name} of {name} and of {owners[path]}"
        for name, paths in files.items()
        for path in paths
        if owners.setdefault(path, name) != name
    ]
    if mixed:
        raise DataError("files of several images would have one name; rename the images:", sorted(mixed))


def _files_in(folder: Path) -> Iterator[str]:
    """Files that a folder's record knows; none where another program's file has its name."""
    with suppress(DataError):
        yield from PredictionRecord(folder).files()
