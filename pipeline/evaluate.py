"""How well a trained head segments the samples of a cache: at the model's size, or at the images' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..cache.reader import FeatureReader
from ..cache.table import IGNORE, SampleRow
from ..errors import CacheMismatchError, ConfigError, DataError
from ..stages.head import PixelHead
from ..stages.metrics import confusion
from .classes import Classes
from .device import resolve_device
from .fit import score_samples
from .head_config import EvaluateConfig, TextMode
from .head_data import HeadData, open_head_data
from .images import file_digest, read_mask
from .runs import RunConfig, load_head
from .splits import has_labels
from .train import scores


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
    samples = _labelled(reader, config.split)
    head = load_head(config.run, run, device)
    score = score_samples if config.at == "model" else _native_counts
    found = scores(score(head, data, samples), samples)
    return Evaluation(str(config.run), str(config.cache), config.split, config.at, text, found)


def check_same_features(config: RunConfig, reader: FeatureReader) -> None:
    """Refuse a cache whose features or tokens the head was not trained on.

    Raises:
        CacheMismatchError: with every field that differs.
    """
    manifest = reader.manifest
    # How many images shared a forward changes last bits only.
    needed = replace(config.features, rows_per_shard=manifest.features.rows_per_shard)
    problems = manifest.features.differences(needed)
    if config.texts and manifest.texts and config.texts.encoder_digest != manifest.texts.encoder_digest:
        problems.append(f"text encoder: {config.texts.encoder} and {manifest.texts.encoder} differ")
    if config.texts is None and manifest.texts is not None:
        problems.append("texts: the head was trained without any, the cache has some")
    if config.classes != manifest.classes:
        problems.append(f"classes: the head has {config.classes}, the cache has {manifest.classes}")
    if problems:
        raise CacheMismatchError(
            f"{reader.root}: not the kind of cache that the head was trained on:\n"
            + "\n".join(f"  - {problem}" for problem in problems)
            + "\nextract these samples with the settings of the run's config.json"
        )


def native_probabilities(
    logits: Float[Tensor, "n_classes y x"], size: tuple[int, int]
) -> Float[Tensor, "n_classes y2 x2"]:
    """Probabilities at the image's own size: softmax at the model's, then bilinear interpolation."""
    return F.interpolate(logits.softmax(0)[None], size=size, mode="bilinear", align_corners=False)[0]


def _labelled(reader: FeatureReader, split: str) -> tuple[SampleRow, ...]:
    samples = tuple(sample for sample in reader.split(split) if has_labels(reader, sample))
    if not samples:
        names = sorted({sample.split for sample in reader.samples if has_labels(reader, sample)})
        raise DataError(
            f"--split {split}: {reader.root} has no labelled samples there; it has some in {', '.join(names) or 'none'}"
        )
    return samples


def _native_counts(
    head: PixelHead, data: HeadData, samples: Sequence[SampleRow]
) -> Int[Tensor, "sample label predicted"]:
    masks = _mask_files(data.reader, samples)
    classes = Classes.from_dict(data.reader.manifest.classes)
    counts = []
    for sample, path in zip(samples, masks, strict=True):
        tokens, mask = data.texts([sample])
        logits = head.segment(data.maps(sample), data.size, tokens[0], mask[0])
        predicted = native_probabilities(logits, sample.size).argmax(0).cpu()
        labels: UInt8[Tensor, "y x"] = torch.from_numpy(np.asarray(classes.labels(read_mask(path))))
        counts.append(confusion(predicted, labels, data.n_classes, IGNORE))
    return torch.stack(counts)


def _mask_files(reader: FeatureReader, samples: Sequence[SampleRow]) -> list[Path]:
    paths = [Path(reader.table.root) / (sample.mask or "") for sample in samples]
    problems = []
    for sample, path in zip(samples, paths, strict=True):
        if not path.is_file():
            problems.append(f"{sample.id}: {path} is gone")
        elif file_digest(path) != sample.mask_digest:
            problems.append(f"{sample.id}: {path} changed since the cache was made; run extract-features again")
    if problems:
        raise DataError("--at native compares with the mask files, and not all of them are as they were:", problems)
    return paths
