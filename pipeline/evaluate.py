"""How well a trained head segments the samples of a cache: at the model's size, or at the images' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..cache.reader import FeatureReader
from ..cache.table import IGNORE, SampleRow
from ..errors import CacheMismatchError, ConfigError, DataError
from ..stages.head import PixelHead
from ..stages.metrics import confusion
from .classes import Classes
from .device import resolve_device
from .files import file_digest, split_slice
from .fit import score_samples
from .head_config import EvaluateConfig, TextMode
from .head_data import HeadData, open_head_data
from .images import resize_labels
from .regions import open_mask
from .runs import RunConfig, load_head, projection_differences
from .scoring import scores
from .splits import has_labels
from .tiles import whole_image

COLUMNS_AT_ONCE = 8192
"""Of a mask file: slides are wider than may be read in one piece."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one run on one split."""

    run: str
    cache: str
    split: str
    at: str
    text: TextMode
    scores: Mapping[str, Any]
    """`dice`, `iou` (per-sample means), `micro_dice`, `micro_iou`, `class_dice`, `class_iou`, `n`, `per_sample`."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        about = {"run": self.run, "cache": self.cache, "split": self.split, "at": self.at, "text": self.text}
        return {**about, **self.scores}

    def lines(self) -> list[str]:
        """For the terminal."""
        found = self.scores
        worst = min(found["per_sample"], key=lambda sample: sample["dice"])
        return [
            f"{found['n']} samples of {self.split}, at {self.at} size, text: {self.text}",
            f"Dice {found['dice']:.4f}, IoU {found['iou']:.4f} (means over samples)",
            f"Dice {found['micro_dice']:.4f}, IoU {found['micro_iou']:.4f} (all pixels together)",
            f"lowest: {worst['id']} with Dice {worst['dice']:.4f}",
        ]


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Score a run's head on the labelled samples of one split.

    Args:
        config: settings.

    Raises:
        RunError: if the run is absent or unfinished.
        CacheMismatchError: if the cache's features or texts are not what the head was trained on.
        ConfigError: if texts are asked for and the head was trained without any.
        DataError: if the split has no labelled samples, or mask files are gone or changed (`native`).
    """
    run, reader = RunConfig.read(config.run), FeatureReader(config.cache)
    device = resolve_device(config.device)
    check_same_features(run, reader)
    text: TextMode = config.text or run.train["text"]
    if run.train["text"] == "none" and text != "none":
        raise ConfigError(f"--text {text}: {config.run} was trained without texts; leave --text out")
    data = open_head_data(
        reader,
        blocks=run.blocks,
        timesteps=run.timesteps,
        text=text,
        seed=run.train["seed"],
        device=device,
        text_dim=run.head.text_dim,
    )
    wholes = _labelled(reader, config.split)
    firsts = [rows[0] for rows in wholes]
    labels_of = _labels_of_files(reader, firsts) if config.at == "native" else partial(_cached_labels, reader)
    head = load_head(config.run, run, device)
    if config.at == "model" and reader.manifest.features.tile is None:
        counts = score_samples(head, data, firsts)
    else:
        counts = torch.stack([_count_whole(head, data, rows, labels_of) for rows in wholes])
    found = scores(counts, firsts)
    return Evaluation(str(config.run), str(config.cache), config.split, config.at, text, found)


def check_same_features(config: RunConfig, reader: FeatureReader) -> None:
    """Refuse a cache whose features or tokens the head was not trained on.

    Raises:
        CacheMismatchError: with every field that differs.
    """
    manifest = reader.manifest
    # How many images shared a forward changes last bits only.
    needed = replace(config.features, rows_per_shard=manifest.features.rows_per_shard)
    problems = [*manifest.features.differences(needed), *projection_differences(config, manifest)]
    if config.texts and manifest.texts and config.texts.encoder_digest != manifest.texts.encoder_digest:
        problems.append(f"text encoder: {config.texts.encoder} and {manifest.texts.encoder} differ")
    if config.texts is None and manifest.texts is not None:
        problems.append("texts: the head was trained without any, the cache has some")
    ours, theirs = (Classes.from_dict(declared).names for declared in (config.classes, manifest.classes))
    if ours != theirs:  # which mask value stands for a class is each data set's own affair
        problems.append(f"classes: the head has {', '.join(ours)}; the cache has {', '.join(theirs)}")
    if problems:
        raise CacheMismatchError(
            f"{reader.root}: not the kind of cache that the head was trained on:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
            + "\nextract these samples with the settings of the run's config.json"
        )


def _labelled(reader: FeatureReader, split: str) -> list[tuple[SampleRow, ...]]:
    """The rows of each sample of which at least one is labelled, in the order of `cut_tiles`."""
    wholes: dict[str, list[SampleRow]] = {}
    for row in reader.samples:
        wholes.setdefault(row.parent, []).append(row)
    labelled = [rows for rows in wholes.values() if any(has_labels(reader, row) for row in rows)]
    chosen = [tuple(sorted(rows, key=lambda row: row.tile)) for rows in labelled if rows[0].split == split]
    if not chosen:
        names = ", ".join(sorted({rows[0].split for rows in labelled})) or "none"
        raise DataError(f"--split {split}: {reader.root} has no labelled samples there; it has some in {names}")
    return chosen


def _count_whole(
    head: PixelHead, data: HeadData, rows: Sequence[SampleRow], labels_of: LabelsOf
) -> Int[Tensor, "label predicted"]:
    """Confusion counts of a whole image at its own size, a band at a time."""
    tile, offsets = data.reader.manifest.features.tile, [row.tile for row in rows]
    counts = torch.zeros(data.n_classes, data.n_classes, dtype=torch.long)
    for top, probabilities in whole_image(_logits(head, data, rows), rows[0].size, tile, offsets):
        predicted = probabilities.argmax(0).cpu()
        labels = torch.from_numpy(labels_of(rows, top, len(predicted)))
        counts += confusion(predicted, labels, data.n_classes, IGNORE)
    return counts


def _logits(head: PixelHead, data: HeadData, rows: Sequence[SampleRow]) -> Iterator[Float[Tensor, "n_classes y x"]]:
    tokens, mask = data.texts(rows[:1])  # one text an image
    return (head.segment(data.maps(row), data.size, tokens[0], mask[0]) for row in rows)


LabelsOf = Callable[[Sequence[SampleRow], int, int], UInt8[np.ndarray, "y x"]]
"""Rows of one image, first row of pixels, number of rows → class indices over the image's whole width."""


def _cached_labels(reader: FeatureReader, rows: Sequence[SampleRow], top: int, height: int) -> UInt8[np.ndarray, "y x"]:
    """Labels of a band, from the tiles that begin where it begins: they reach down to its end."""
    tile, width = reader.manifest.features.tile or 0, rows[0].size[1]
    labels = np.full((height, width), IGNORE, np.uint8)
    for row in rows:
        if row.tile[0] == top:
            left = row.tile[1]
            native = resize_labels(reader.labels(row.row), (tile, tile))
            labels[:, left : left + tile] = native[:height, : width - left]
    return labels


def _labels_of_files(reader: FeatureReader, samples: Sequence[SampleRow]) -> LabelsOf:
    """Labels from the mask files.

    Raises:
        DataError: if some are gone or changed.
    """
    paths = dict(zip((sample.parent for sample in samples), _mask_files(reader, samples), strict=True))
    classes = Classes.from_dict(reader.manifest.classes)
    opened = lru_cache(1)(open_mask)

    def read(rows: Sequence[SampleRow], top: int, height: int) -> UInt8[np.ndarray, "y x"]:
        width = rows[0].size[1]
        source = opened(paths[rows[0].parent])
        parts = [(left, min(COLUMNS_AT_ONCE, width - left)) for left in range(0, width, COLUMNS_AT_ONCE)]
        return np.concatenate([classes.labels(source.read(top, left, height, n)) for left, n in parts], 1)

    return read


def _mask_files(reader: FeatureReader, samples: Sequence[SampleRow]) -> list[Path]:
    paths = [Path(reader.table.root) / (sample.mask or "") for sample in samples]
    problems = []
    for sample, path in zip(samples, paths, strict=True):
        if not split_slice(path)[0].is_file():
            problems.append(f"{sample.parent}: {path} is gone")
        elif file_digest(path) != sample.mask_digest:
            problems.append(f"{sample.parent}: {path} changed since the cache was made; run extract-features again")
    if problems:
        raise DataError("--at native compares with the mask files, and not all of them are as they were:", problems)
    return paths
