"""The phantom: a small synthetic histology-like data set whose masks depend on its reports.

Every image holds two kinds of nuclei in similar amounts, spindle-shaped and round ones, and its report says which of
them is the target: the mask cannot be known from the image alone. `tissue` paints, `sentences` words.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import ConfigError, DataError
from ..config.evaluation import SplitName
from ..runtime.progress import Progress, Task
from .sentences import SPLITS, Report, write_reports
from .tissue import Tissue, paint_tissue

MANIFEST = "manifest.csv"
COUNTERFACTUAL = "counterfactual.csv"
SETTINGS = "phantom.json"
"""Settings of the phantom; a folder that has this file may be written again."""

MIN_IMAGE_SIZE = 64


@dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest; paths are relative to it."""

    id: str
    image: str
    mask: str
    text: str
    split: SplitName
    group: str


def write_phantom(
    out: Path,
    *,
    n_train: int = 96,
    n_val: int = 24,
    n_test: int = 24,
    image_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write the phantom as a data set; equal arguments give equal bytes.

    Beside the manifest stands `counterfactual.csv`: the test images with the report and the mask of the other kind.
    Both are written last, so a phantom that was interrupted has no manifest.

    Args:
        out: a folder that does not exist, is empty, or holds a phantom, which is replaced.
        n_train: training images, at least 1.
        n_val: validation images, at least 1.
        n_test: test images, at least 1; their reports have sentences of their own.
        image_size: height and width in pixels, at least 64.
        seed: 0 or more; image k of a split is drawn from the seed (seed, number of the split, k).
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Returns:
        The path of the manifest, a CSV with the columns id, image (RGB), mask ({0, 255}), text, split and group.

    Raises:
        ConfigError: a number is out of range.
        DataError: `out` holds something that is not a phantom.
    """
    settings = {"n_train": n_train, "n_val": n_val, "n_test": n_test, "image_size": image_size, "seed": seed}
    _check(settings)
    _claim(out, settings)
    with (progress or Progress()).task("phantom", n_train + n_val + n_test, "images") as task:
        samples = _draw({"train": n_train, "val": n_val, "test": n_test}, image_size, seed)
        rows, counterfactual = _save_all(out, samples, task)
    _write_table(out / COUNTERFACTUAL, counterfactual)
    return _write_table(out / MANIFEST, rows)


def _check(settings: dict[str, int]) -> None:
    least = {"n_train": 1, "n_val": 1, "n_test": 1, "image_size": MIN_IMAGE_SIZE, "seed": 0}
    problems = [
        f"{name} is {value}, expected at least {least[name]}" for name, value in settings.items() if value < least[name]
    ]
    if problems:
        raise ConfigError("The phantom cannot be made: " + "; ".join(problems) + ".")


def _claim(out: Path, settings: dict[str, int]) -> None:
    """Make the folder ours: refuse a foreign one, and remove an earlier phantom, manifests first."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, expected a folder for the phantom. Choose another path.")
    if out.is_dir() and any(out.iterdir()) and not (out / SETTINGS).is_file():
        raise DataError(
            f"{out} is not empty and holds no phantom ({SETTINGS} is missing), so nothing was written. "
            "Choose another folder, or empty this one."
        )
    for name in (MANIFEST, COUNTERFACTUAL):
        (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / SETTINGS, json.dumps(settings, indent=2) + "\n")
    for folder in ("images", "masks"):
        (out / folder).mkdir(exist_ok=True)
    for split in SPLITS:
        for old in (*out.glob(f"images/{split}-*.png"), *out.glob(f"masks/{split}-*.png")):
            old.unlink()


@dataclass(frozen=True)
class _Sample:
    id: str
    split: SplitName
    tissue: Tissue
    report: Report

    def save_image(self, out: Path) -> None:
        Image.fromarray(self.tissue.image).save(out / "images" / f"{self.id}.png")

    def save_mask(self, out: Path, report: Report, suffix: str = "") -> ManifestRow:
        """Write the mask that the report describes; returns the sample's line with both."""
        name = f"masks/{self.id}{suffix}.png"
        mask = self.tissue.mask(report.target, report.side)
        Image.fromarray(mask.astype(np.uint8) * 255).save(out / name)
        return ManifestRow(self.id, f"images/{self.id}.png", name, report.text, self.split, group=self.id)


def _draw(counts: dict[SplitName, int], image_size: int, seed: int) -> Iterator[_Sample]:
    for split, n in counts.items():
        for index, report in enumerate(write_reports(split, n, seed)):
            tissue = paint_tissue(np.random.default_rng([seed, SPLITS.index(split), index]), image_size)
            yield _Sample(f"{split}-{index:03d}", split, tissue, report)


def _save_all(out: Path, samples: Iterator[_Sample], task: Task) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Write images and masks; returns the lines of all samples, and of the test samples as counterfactuals."""
    rows, counterfactual = [], []
    for sample in samples:
        sample.save_image(out)
        rows.append(sample.save_mask(out, sample.report))
        if sample.split == "test":
            counterfactual.append(sample.save_mask(out, sample.report.counterfactual(), suffix="-other"))
        task.advance()
    return rows, counterfactual


def _write_table(path: Path, rows: Sequence[ManifestRow]) -> Path:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(ManifestRow))
    table.writerows(astuple(row) for row in rows)
    return _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    return unfinished.replace(path)
