"""Exports: a run like `train-head`'s, and masks of all images in the formats of `predict`.

Each step is a command that the user could give, in a process of its own; its line is shown.
"""

from __future__ import annotations

import csv
import io
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....cache.format.manifest import MANIFEST
from ....cache.reader import FeatureReader
from ....cache.storage.atomic import parse_json, write_durably
from ....errors import RunError, TextdiffError
from ...config.cache import CacheExportConfig
from ...config.command_line import command_line
from ...config.extraction import ExtractConfig
from ...config.labelling import ExportKind
from ...config.prediction import MaskFormat, PredictConfig
from ...config.training import TrainConfig
from ...image_files.paths import split_place, split_suffix
from ...maintenance.recipe import extraction_of
from ...runs.run_config import SUMMARY, RunConfig
from .children import Child
from .features import CACHE, Features, extraction, text_encoder_of
from .writing import DataSetWriter

RUNS, PREDICTIONS = "runs", "predictions"
IMAGES_FOLDER, TEXTS = "images", "texts.csv"


class Exporter:
    """Exports of a session, one at a time.

    Args:
        writer: of the session's data set.
        features: of its images.
        notify: is given events of type `export`.
    """

    def __init__(self, writer: DataSetWriter, features: Features, notify: Callable[[Mapping[str, Any]], None]) -> None:
        self._session, self._writer, self._features, self._notify = writer.session, writer, features, notify
        self._listing, self._config = features.listing, features.config
        self._child, self._thread, self._starting = Child(), threading.Thread(), threading.Lock()

    def start(self, kind: ExportKind, formats: tuple[MaskFormat, ...] | None = None) -> None:
        """Begin an export.

        Args:
            kind: a run, or predicted masks of all images by the newest run.
            formats: of the masks; `None`: as `predict` has them.

        Raises:
            RunError: if one is in progress.
        """
        with self._starting:
            if self._thread.is_alive():
                raise RunError("an export is in progress; wait until it ends")
            steps = self._run if kind == "run" else lambda: self._masks(formats)
            self._thread = threading.Thread(target=self._explained, args=(steps,), name="export", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop an export; its folder remains as an unfinished run does."""
        self._child.stop()
        if self._thread.ident:
            self._thread.join()

    def _explained(self, steps: Callable[[], str]) -> None:
        try:
            result = steps()
        except (TextdiffError, OSError) as error:
            self._tell("", done=True, problem=str(error))
        else:
            self._tell(result, done=True, result=result)

    def _run(self) -> str:
        """Train a head as `train-head` does, from the data set as it is written."""
        data = self._writer.flush()
        cache = self._up_to_date(data)
        run = _next(self._config.out / RUNS, "run")
        self._do(command_line("train-head", TrainConfig(cache, run, device=self._config.device)))
        summary = parse_json((run / SUMMARY).read_bytes())
        return f"{run}: Dice {summary['val_dice']:.3f} on the labelled pixels of {summary['n_val']} held-out images"

    def _up_to_date(self, data: Path) -> Path:
        """The cache with the labels and texts as they are now; a cache that was given is copied, not changed."""
        cache = self._config.out / CACHE
        if self._listing.cache is None:
            settings = extraction(self._listing, self._config, data, cache, has_texts=self._has_texts())
        else:
            if not (cache / MANIFEST).is_file():
                self._do(command_line("cache export", CacheExportConfig(self._listing.cache, cache)))
            settings = self._recipe(data, cache)
        self._do(command_line("extract-features", settings))
        if self._listing.cache is None:
            self._features.reload()
        return cache

    def _recipe(self, data: Path, cache: Path) -> ExtractConfig:
        """The settings that made the cache that was given, for the session's data set."""
        reader = FeatureReader(cache)
        made = extraction_of(reader, reader.blocks, reader.timesteps)
        encoder = made.text_encoder or text_encoder_of(self._config, has_texts=self._has_texts())
        made = replace(made, data=data, cache=cache, text_encoder=encoder, texts=encoder is not None, resume=True)
        return replace(made, **self._where())

    def _where(self) -> dict[str, Any]:
        """The fields of a config that say where models run and come from."""
        return {"device": self._config.device, "offline": self._config.offline}

    def _has_texts(self) -> bool:
        return any(self._session.text(image) for image in range(len(self._listing.images)))

    def _masks(self, formats: tuple[MaskFormat, ...] | None) -> str:
        """Predict masks of all images by the newest run; the run of this session or the one that it began with."""
        runs = sorted((self._config.out / RUNS).glob(f"run-*/{SUMMARY}"), key=lambda path: path.stat().st_mtime)
        run = runs[-1].parent if runs else self._config.run
        if run is None:
            raise RunError("there is no trained run to predict masks with; export a run first")
        out = _next(self._config.out / PREDICTIONS, "masks")
        reads, every = RunConfig.read(run).text != "none", range(len(self._listing.images))
        with_text = [image for image in every if reads and self._session.text(image)]
        without = [image for image in every if image not in with_text]
        for images in filter(None, (with_text, without)):  # `predict` wants a text of every image, or none
            try:
                self._gather(out / IMAGES_FOLDER, images)
                texts = self._write_texts(out / TEXTS, images) if images is with_text else None
                settings = PredictConfig(run, out / IMAGES_FOLDER, out, formats, texts=texts)
                self._do(command_line("predict", replace(settings, **self._where())))
            finally:
                shutil.rmtree(out / IMAGES_FOLDER, ignore_errors=True)
        return f"{out}: masks of {len(self._listing.images)} images by {run}"

    def _gather(self, folder: Path, images: Sequence[int]) -> None:
        """Bring images into one folder, under their ids, by links or copies."""
        folder.mkdir(parents=True)
        for image in images:
            one = self._listing.images[image]
            file, place = split_place(one.path)
            if place:
                raise RunError(f"{one.id} is a slice of {file}; predict its volume: textdiff predict RUN {file} OUT")
            link = folder / f"{one.id}{split_suffix(file.name)[1]}"
            try:
                link.symlink_to(file, target_is_directory=file.is_dir())
            except OSError:  # Windows, without the right to make links
                shutil.copytree(file, link) if file.is_dir() else shutil.copy(file, link)

    def _write_texts(self, path: Path, images: Sequence[int]) -> Path:
        """Write the table of images' texts; gives its path."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["Image", "Description"])
        writer.writerows((self._listing.images[image].id, self._session.text(image)) for image in images)
        write_durably(path, [table.getvalue().encode()])
        return path

    def _do(self, line: str) -> None:
        self._tell(line)
        self._child.run(line, self._tell)

    def _tell(self, line: str, *, done: bool = False, problem: str | None = None, result: str | None = None) -> None:
        self._notify({"type": "export", "line": line, "done": done, "problem": problem, "result": result})


def _next(folder: Path, name: str) -> Path:
    """A folder NAME-N that is not there yet."""
    n = 1
    while (path := folder / f"{name}-{n}").exists():
        n += 1
    return path
