"""Explanation of an image's segmentation: the `explain` command and its Python API."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ...cache.format.samples import IGNORE
from ...cache.storage.atomic import TEMPORARY_SUFFIX, canonical_json, write_durably
from ...errors import ConfigError, DataError
from ...stages.metrics.overlap import confusion, dice
from ..config.command_line import write_command
from ..config.prediction import ExplainConfig
from ..data.classes import Classes, guess_binary
from ..image_files.listing import list_images
from ..image_files.paths import stem_of
from ..image_files.reading import read_mask
from ..image_files.source import ImageReader, Offset
from ..images.blending import blend
from ..images.resizing import resize_image, resize_labels
from ..prediction.request import PredictionRequest
from ..prediction.segmenter import BandSegmenter
from ..runtime.interrupts import interrupts_held
from ..runtime.progress import Progress
from ..runtime.results import Result
from .measure import Question, ask, assemble, measure, refuse_own_condition
from .result import Explanation

PLOT, FIGURES, ARRAYS = "explanation.png", "explanation.json", "effects.npz"
MAX_BYTES = 4 * 10**9
"""Of all maps of one image together: 1000×1000 pixels and 25 words take 1 with 8 attention heads."""


@dataclass(frozen=True)
class ExplainSummary(Result):
    """Result of `explain`."""

    run: str
    image: str
    explanation: Explanation
    dice: Mapping[str, float]
    """Of each pair of masks: `text_truth`, `versus_truth`, `text_versus`."""
    out: str | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and `explanation.json`."""
        return {
            "run": self.run,
            "image": self.image,
            **self.explanation.to_dict(),
            "dice": dict(self.dice),
            "out": self.out,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each word, the largest change inside the mask first."""
        return self.explanation.to_rows()

    def lines(self) -> list[str]:
        """For the terminal."""
        first, *rest = self.explanation.lines()
        files = [f"{self.out}: {PLOT}, {FIGURES}"] if self.out else []
        return [f"{self.image}: {first}", *rest, *self._dices(), *files]

    def _dices(self) -> Iterator[str]:
        names = {
            "text_versus": "between the two masks",
            "text_truth": "with the true mask",
            "versus_truth": "of the other text with it",
        }
        yield from (f"Dice {names[pair]}: {value:.4f}" for pair, value in self.dice.items())


def explain(config: ExplainConfig, progress: Progress | None = None) -> ExplainSummary:
    """Explain the segmentation of an image, and write the explanation on request.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        RunError: if the run is absent, unfinished or damaged.
        SourceError: if the UNet or the text encoder cannot be loaded, or are not those of the training.
        DataError: if the image, its mask, a text or the folder cannot be used.
        ConfigError: if the head was trained without texts, or there is no such class.
    """
    progress, segmenter = progress or Progress(), BandSegmenter.load(config.run, config)
    if config.out is not None:
        _refuse_others(config.out)
    path = _only_image(config.image)
    size, classes = segmenter.size_of(path), Classes.from_dict(segmenter.config.classes)
    if remark := segmenter.beside_window(path):
        progress.warn(f"{path.name}: {remark}")
    labels = None if config.mask is None else _read_labels(config.mask, classes, size)
    explanation = explain_image(
        segmenter,
        segmenter.open(path),
        config.text,
        versus=config.versus,
        target=config.target,
        sample_id=stem_of(path),
        progress=progress,
    )
    truth = None if labels is None else _truth(labels, explanation, classes)
    out = None if config.out is None else str(config.out)
    summary = ExplainSummary(str(config.run), str(config.image), explanation, _dices(explanation, truth), out)
    if config.out is not None:
        _write(config.out, _files(summary, truth, arrays=config.arrays))
        write_command(config.out, "explain", config)
    return summary


def explain_image(
    segmenter: BandSegmenter,
    image: ImageReader,
    text: str,
    *,
    versus: str | None = None,
    target: str | None = None,
    sample_id: str = "",
    progress: Progress | None = None,
) -> Explanation:
    """Explain the segmentation of an image; the UNet runs once for it, or once for each of its tiles.

    Args:
        segmenter: the head with its frozen models.
        image: as `BandSegmenter.open` gives it.
        text: to explain.
        versus: another text for the same image.
        target: name of the class to explain; `None`: all but the background together.
        sample_id: names the noise, where the head was trained with one noise for each sample.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        SourceError: if a frozen model cannot be loaded, or is not that of the training.
        DataError: if the image or a text cannot be used, or the maps would not fit in memory.
        ConfigError: if the head was trained without texts, or there is no such class.
    """
    head, live = segmenter.head, segmenter.live
    question = _ask(segmenter, text, versus, target, progress)
    size = live.size if live.tile is None else image.size
    _refuse_too_large(size, sum(question.sizes(head)))
    offsets, request = live.offsets(image.size), PredictionRequest(image, text, sample_id)
    with (progress or Progress()).task("explain", len(offsets) * len(question.tokens), "texts") as task:
        of_rows = (measure(head, x, question, advance=task.advance) for x in live.inputs(live.rows(request)))
        maps = next(of_rows) if live.tile is None else _blended(of_rows, live.tile, offsets, image.size)
    return assemble(question, head, maps, resize_image(image.read(0, 0, *image.size), size))


def _ask(
    segmenter: BandSegmenter, text: str, versus: str | None, target: str | None, progress: Progress | None
) -> Question:
    config = segmenter.config
    refuse_own_condition(config.features.condition)
    if not segmenter.texts.are_read:
        raise ConfigError(
            "the head was trained without texts, so that no word changes its masks; explain a run that was trained "
            "with texts"
        )
    segmenter.texts.check([text] if versus is None else [text, versus], progress=progress)
    names = Classes.from_dict(config.classes).names
    return ask(segmenter.texts.encoder, text, names, segmenter.device, versus=versus, target=target)


def _blended(
    measured: Iterator[Float[Tensor, "map y x"]], tile: int, offsets: Sequence[Offset], size: tuple[int, int]
) -> Float[Tensor, "map y x"]:
    """Maps of tiles as maps of the whole image, at its own size."""
    native = (F.interpolate(maps[None], (tile, tile), mode="bilinear", align_corners=False) for maps in measured)
    return torch.cat([band[0] for _, band in blend(native, offsets, size)], 1)


def _refuse_too_large(size: tuple[int, int], n_maps: int) -> None:
    n_bytes = 4 * n_maps * size[0] * size[1]
    if n_bytes > MAX_BYTES:
        raise DataError(
            f"the image has {size[0]}×{size[1]} pixels and {n_maps} maps of it take {n_bytes / 1e9:.0f} GB; expected "
            f"at most {MAX_BYTES / 1e9:.0f}: cut out the part that matters, or shorten the text"
        )


def _only_image(path: Path) -> Path:
    images = list_images(path)
    if len(images) > 1:
        raise DataError(f"{path} holds {len(images)} images, and one is explained at a time; name one of them")
    return images[0]


def _read_labels(path: Path, classes: Classes, size: tuple[int, int]) -> UInt8[np.ndarray, "y x"]:
    """Class indices of a mask file; a binary one may say 1 where the training masks said 255."""
    mask = read_mask(path, classes.content)
    if mask.shape != size:
        raise DataError(f"{path} has {mask.shape[0]}×{mask.shape[1]} pixels; expected the image's {size[0]}×{size[1]}")
    if classes.names == ("background", "foreground") and classes.ignore is None and classes.reading == "values":
        classes = guess_binary([np.unique(mask).tolist()])
    try:
        return classes.labels(mask)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _truth(labels: UInt8[np.ndarray, "y x"], explanation: Explanation, classes: Classes) -> UInt8[np.ndarray, "y x"]:
    """1 where the target is, at the size of the explanation; IGNORE where not labelled."""
    resized = resize_labels(labels, explanation.mask.shape)
    target = [i for i, name in enumerate(classes.names) if name in explanation.target_names]
    return np.where(resized == IGNORE, IGNORE, np.isin(resized, target)).astype(np.uint8)


def _dices(explanation: Explanation, truth: UInt8[np.ndarray, "y x"] | None) -> dict[str, float]:
    masks = {"text": explanation.mask} | ({} if explanation.versus is None else {"versus": explanation.versus.mask})
    dices = {} if truth is None else {f"{name}_truth": _dice(mask, truth) for name, mask in masks.items()}
    return (
        dices
        if explanation.versus is None
        else {"text_versus": _dice(explanation.mask, explanation.versus.mask)} | dices
    )


def _dice(predicted: Bool[np.ndarray, "y x"], truth: np.ndarray) -> float:
    counts = confusion(torch.from_numpy(predicted).long(), torch.from_numpy(truth).long(), 2, IGNORE)
    return float(dice(counts)[0])


def _files(summary: ExplainSummary, truth: UInt8[np.ndarray, "y x"] | None, *, arrays: bool) -> dict[str, bytes]:
    files = {PLOT: summary.explanation.plot(None if truth is None else truth == 1).to_png()}
    if arrays:
        files[ARRAYS] = _arrays(summary.explanation)
    return files | {FIGURES: canonical_json(summary.to_dict(), indent=1)}


def _arrays(explanation: Explanation) -> bytes:
    arrays: dict[str, Any] = {
        "words": np.array([word.text for word in explanation.words]),
        "attention_names": np.array(explanation.attention_names),
        "effects": explanation.effects,
        "attention": explanation.attention,
        "attention_elsewhere": explanation.attention_elsewhere,
        "probability": explanation.probability,
        "mask": explanation.mask,
    }
    if explanation.versus:
        arrays |= {"versus_probability": explanation.versus.probability, "versus_mask": explanation.versus.mask}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _refuse_others(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file; give a folder")
    others = [out / name for name in (PLOT, ARRAYS) if (out / name).exists()]
    if others and not (out / FIGURES).exists():
        raise DataError(f"--out {out} holds {others[0].name} of something else; give another folder")


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files or none; those of an earlier explanation are replaced or removed."""
    is_new = not out.exists()
    temporaries = {out / name: out / (name + TEMPORARY_SUFFIX) for name in files}
    try:
        for path, temporary in temporaries.items():
            write_durably(temporary, [files[path.name]])
        with interrupts_held():
            for path, temporary in temporaries.items():
                temporary.replace(path)
            if ARRAYS not in files:
                (out / ARRAYS).unlink(missing_ok=True)
    except BaseException:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        if is_new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
