"""The whole way on the phantom: draw, pretrain, extract, train, ablate, predict, in one folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...cache.storage.atomic import write_durably, write_json
from ...errors import DataError, TextdiffError
from ..ablation.ablate import ablate_timesteps
from ..ablation.result import AblationSummary
from ..config.ablation import AblateConfig
from ..config.data import DemoConfig
from ..config.evaluation import EvaluateConfig
from ..config.extraction import ExtractConfig
from ..config.prediction import ModelOverrides
from ..config.presets import preset_settings
from ..config.training import TextMode, TrainConfig
from ..config.unets import PretrainConfig
from ..data.dataset import Sample, read_dataset
from ..evaluation.evaluate import evaluate
from ..evaluation.result import Evaluation
from ..extraction.extract import extract_features
from ..image_files.reading import read_image, read_mask
from ..maintenance.info import cache_info
from ..prediction.arrays import write_mask
from ..prediction.segmenter import BandSegmenter
from ..reports.cases import case
from ..reports.figures import plot_overlays
from ..reports.gallery import Thumbnail
from ..reports.page import Case
from ..runtime.progress import Progress
from ..runtime.results import Result
from ..training.train import train_head
from ..unets.pretrain import pretrain_unet
from .phantom import write_phantom
from .report import write_demo_report

N_SHOWN = 3
RUNS: dict[str, TextMode] = {"run": "true", "run-without-text": "none"}
EXTRACTION = preset_settings("demo", ExtractConfig)
SUBSETS = ((5,), EXTRACTION["timesteps"])
EPOCHS = 64
"""More than the default: by the validation split, the meaning of words takes longer to learn than the looks of nuclei.
80 are no better there (three seeds: 0.821, and 0.832 with 64)."""


@dataclass(frozen=True)
class DemoSummary(Result):
    """Result of the demo."""

    out: str
    dice: Mapping[str, float]
    """On the test split: with the true texts, with none, and with the other kind's texts against the other masks."""
    ablation: AblationSummary
    cache_bytes: int
    seconds: Mapping[str, float]
    """Wall time of each step."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and `summary.json`."""
        return {
            "out": self.out,
            "dice": dict(self.dice),
            "ablation": self.ablation.to_dict(),
            "cache_bytes": self.cache_bytes,
            "seconds": {**self.seconds, "total": sum(self.seconds.values())},
        }

    def lines(self) -> list[str]:
        """For the terminal and `summary.txt`."""
        steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        return [
            "Dice on test images that neither the UNet nor the head has seen, with wordings new to the head:",
            f"  {self.dice['true']:.3f}  with each image's own text",
            f"  {self.dice['none']:.3f}  by a head that was never shown a text",
            f"  {self.dice['other']:.3f}  against the other kind's masks, when the texts name the other kind",
            "",
            *self.ablation.lines(),
            "",
            f"cache {self.cache_bytes / 1e6:.0f} MB; {steps}; {sum(self.seconds.values()):.0f} s in all",
            f"look at {self.out}/report.html, which leads to all the rest",
        ]


@dataclass
class _Clock:
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        self.progress.say(f"\n== {title}")
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def run_demo(config: DemoConfig, progress: Progress | None = None) -> DemoSummary:
    """Go the whole way; an interrupted demo continues where it stopped when it is run again.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        DataError: the folder holds something else.
        SourceError: the demo's text encoder is not installed.
    """
    out, clock = config.out, _Clock(progress or Progress())
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / "data" / "phantom.json").exists())):
        raise DataError(f"{out}: holds other files than a demo; give another folder with --out")
    with clock.step("phantom", "1/6 draw images of two kinds of nuclei, with texts that say which kind is meant"):
        manifest = write_phantom(out / "data", n_val=16, progress=clock.progress)
    with clock.step("pretrain", "2/6 pretrain a small diffusion UNet on the training images, without labels"):
        _pretrain(manifest, out, clock.progress)
    with clock.step("extract", "3/6 extract features once"):
        for data, cache in ((manifest, "cache"), (manifest.with_name("counterfactual.csv"), "counterfactual-cache")):
            extract_features(_extraction(data, out / cache, out), clock.progress)
    with clock.step("train", "4/6 train heads from the cache: one with the texts, one without"):
        for name, text in RUNS.items():
            train_head(_training(out, name, text), clock.progress)
    with clock.step("ablate", "5/6 compare timesteps, from the same cache (short trainings)"):
        ablation = ablate_timesteps(
            AblateConfig(out / "cache", out / "ablation", subsets=SUBSETS, seeds=(0, 1), epochs=6), clock.progress
        )
    with clock.step("predict", "6/6 segment test images, with their own text and with the other kind's"):
        evaluations = _score(out)
        dice = {name: float(evaluation.scores["dice"]) for name, evaluation in evaluations.items()}
        cases = _show_masks(out, manifest, clock.progress)
    summary = DemoSummary(str(out), dice, ablation, cache_info(out / "cache").size_bytes, clock.seconds)
    write_json(out / "summary.json", summary.to_dict())
    write_demo_report(config, evaluations, cases)
    write_durably(out / "summary.txt", ["\n".join([*summary.lines(), ""]).encode()])
    return summary


def _pretrain(manifest: Path, out: Path, progress: Progress) -> None:
    unet = out / "unet"
    if not (unet / "model_index.json").exists():
        settings = preset_settings("demo", PretrainConfig)
        pretrain_unet(PretrainConfig(manifest, unet, steps=400, resume=True, **settings), progress)


def _extraction(data: Path, cache: Path, out: Path) -> ExtractConfig:
    return ExtractConfig(data, cache, f"diffusers:{out / 'unet'}", resume=True, **EXTRACTION)


def _training(out: Path, name: str, text: TextMode) -> TrainConfig:
    return TrainConfig(
        out / "cache", out / name, head="pixel", text=text, epochs=EPOCHS, pixels_per_image=256, resume=True
    )


def _score(out: Path) -> dict[str, Evaluation]:
    configs = {
        "true": EvaluateConfig(out / "run", out / "cache", words=True),
        "none": EvaluateConfig(out / "run-without-text", out / "cache"),
        "other": EvaluateConfig(out / "run", out / "counterfactual-cache"),
    }
    return {name: evaluate(config) for name, config in configs.items()}


def _show_masks(out: Path, manifest: Path, progress: Progress) -> list[Case]:
    """Masks of the test images, and the first few, each with both texts, as a figure and for the report."""
    own, other = (
        [sample for sample in read_dataset(path).samples if sample.split == "test"]
        for path in (manifest, manifest.with_name("counterfactual.csv"))
    )
    segmenter = BandSegmenter.load(out / "run", ModelOverrides())
    rows: list[dict[str, Any]] = []
    cases: list[Case] = []
    with progress.task("predict", 2 * len(own), "masks") as task:
        for i, samples in enumerate(zip(own, other, strict=True)):
            for name, sample in zip(("own", "other"), samples, strict=True):
                prediction = segmenter.predict(segmenter.request(sample.image, sample.text))
                write_mask(out / "masks" / f"{sample.id}-{name}.png", prediction.mask)
                if i < N_SHOWN:
                    row = _overlay(sample, prediction.mask, name)
                    rows.append(row)
                    cases.append(_case(sample.id, row, prediction.uncertainty))
                task.advance()
    write_durably(out / "overlays.png", [plot_overlays(rows)])
    return cases


def _case(sample_id: str, row: Mapping[str, Any], uncertainty: np.ndarray) -> Case:
    truth, predicted = (row[name].astype(np.uint8) for name in ("truth", "predicted"))
    grey = np.sqrt(np.clip(uncertainty / np.log(2), 0, 1))
    small = Thumbnail(row["image"], truth, predicted, grey, row["text"] or "")
    return case(row["title"], sample_id, small, ("foreground",), "predictive_entropy")


def _overlay(sample: Sample, mask: np.ndarray, name: str) -> dict[str, Any]:
    if sample.mask is None:
        raise TextdiffError(f"{sample.id}: the phantom has no mask for it; remove the demo's folder and run it again")
    truth, predicted = read_mask(sample.mask) > 0, mask > 0
    overlap = 2 * (truth & predicted).sum() / max(truth.sum() + predicted.sum(), 1)
    text = "its own text" if name == "own" else "the other kind's text"
    title = f"{sample.id}, {text}: Dice {overlap:.3f}"
    return {
        "image": read_image(sample.image),
        "truth": truth,
        "predicted": predicted,
        "title": title,
        "text": sample.text,
    }
