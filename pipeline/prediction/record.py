"""Names and record of predictions: which files a folder of masks holds, and how each mask came about.

`predictions.json` may know of fewer masks than are there, never of more: a mask is noted once it is on the disk. The
files that a call is about to write are listed before (`claimed`), so that those of a call that was killed are known.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...cache.storage.atomic import TEMPORARY_SUFFIX, parse_json, write_json
from ...errors import DataError
from ..config.prediction import PredictConfig
from ..image_files.volumes import Volume
from ..runtime.folders import locked_folder, no_empty_folder
from .segmenter import BandSegmenter

RECORD = "predictions.json"
_ENDINGS_BEFORE = (".png", ".npy", "_uncertainty.png")
"""Of the files of masks whose records list none: those of earlier versions."""
_LONGEST_NAME = 255
"""Bytes of a file's name on Linux, macOS and Windows."""
_NO_FILES = ("", "..", RECORD)


class PredictionRecord:
    """Content of `predictions.json`: a folder's masks by name, and the files that are still to be written."""

    def __init__(self, folder: Path) -> None:
        """Of a folder that exists.

        Raises:
            DataError: if the record there is damaged.
        """
        self._folder = folder
        self.exists = (folder / RECORD).exists()
        self._masks, self._claimed = _read(folder / RECORD) if self.exists else ({}, {})
        self._about: dict[str, Any] = {}

    @classmethod
    @contextmanager
    def claimed(
        cls, config: PredictConfig, segmenter: BandSegmenter, files: Mapping[str, Sequence[Path]]
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
                record.write(only_existing=True)

    def _claim(self, files: Mapping[str, Sequence[Path]]) -> None:
        names = {path.name: name for name, paths in files.items() for path in paths}
        others = {file: name for name in self._masks.keys() - files.keys() for file in self.files_of(name)}
        mixed = [f"{file} of {others[file]}" for file in sorted(names.keys() & others.keys())]
        if mixed:
            raise DataError(f"{self._folder}: files of other predictions have these names; give another folder:", mixed)
        strange = sorted(names.keys() - self.files())
        foreign = [str(self._folder / name) for name in strange if (self._folder / name).exists()]
        if foreign:
            raise DataError(
                f"{self._folder}: masks would replace files that stand there; give another folder:", foreign
            )
        for name, paths in files.items():
            self._claimed[name] = self.files_of(name) | {path.name for path in paths}
            self._masks.pop(name, None)

    def files_of(self, name: str) -> set[str]:
        """Names of the files of a mask, and of those that were left when a call of this name was stopped."""
        before = [name + ending for ending in _ENDINGS_BEFORE] if name in self._masks else []
        return {*self._masks.get(name, {}).get("files", before), *self._claimed.get(name, ())}

    def add(self, volume: Volume, text: str | None, files: Sequence[Path]) -> None:
        """Note a mask that is on the disk, and remove files of an earlier mask of its name that it does not have."""
        names = [path.name for path in files]
        for old in self._claimed.pop(volume.name, set()) - {*names}:
            _remove(self._folder / old)
            _remove(self._folder / (old + TEMPORARY_SUFFIX))
        slices = {"n_slices": len(volume.slices)} if len(volume.slices) > 1 else {}
        self._masks[volume.name] = self._about | {"text": text, "files": names} | slices

    def write(self, *, only_existing: bool = False) -> None:
        """Bring the file up to date, with all the claimed files or those alone that exist."""
        listed = {
            name: sorted(file for file in files if not only_existing or (self._folder / file).exists())
            for name, files in self._claimed.items()
        }
        claimed = {name: files for name, files in listed.items() if files}
        write_json(self._folder / RECORD, {"masks": self._masks} | ({"claimed": claimed} if claimed else {}))

    def files(self) -> set[str]:
        """Names of all files that the folder's masks have."""
        return set().union(*map(self.files_of, {*self._masks, *self._claimed}))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        if path.suffix == ".zarr":  # no other folder is a mask
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """Name → settings of the masks that a record knows, and name → files that were claimed and never noted."""
    try:
        content = parse_json(path.read_bytes())
        masks = {str(name): dict(about) for name, about in content["masks"].items()}
        claimed = {str(name): {*files} for name, files in content.get("claimed", {}).items()}
        lists = [*claimed.values(), *(about.get("files", ()) for about in masks.values())]
        strange = [file for files in lists for file in files if Path(file).name != file or file in _NO_FILES]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a record of masks ({error!r}); give another folder, or remove what is in this one"
        ) from error
    if strange:
        raise DataError(f"{path}: not a record of masks (it names {strange[0]!r}); give another folder")
    return masks, claimed


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


def refuse_file_names(files: Mapping[str, Sequence[Path]]) -> None:
    """Refuse images of which one's mask would have the name of another's map of uncertainty, or one no disk takes.

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
    over = {name: max(map(_excess, paths)) for name, paths in files.items()}
    if long := [f"{name[:40]}...: {n} bytes too long" for name, n in over.items() if n > 0]:
        raise DataError("the names of masks would be too long for files; shorten those of the images:", long)


def _excess(path: Path) -> int:
    return len(os.fsencode(path.name + TEMPORARY_SUFFIX)) - _LONGEST_NAME


def _files_in(folder: Path) -> Iterator[str]:
    """Files that a folder's record knows; none where another program's file has its name."""
    with suppress(DataError):
        yield from PredictionRecord(folder).files()
