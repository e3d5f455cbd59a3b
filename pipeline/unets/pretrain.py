"""`pretrain-unet`: unlabelled images in, a diffusers folder with a small UNet and its scheduler out.

While it is being made, the folder holds `checkpoint/` and no `model_index.json`; that file comes last, so a folder that
has it is whole. A training that was stopped, by whatever, goes on from its checkpoint to the same bytes.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import DDPMPipeline
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...cache.storage.atomic import parse_json, write_durably, write_json
from ...errors import ConfigError, DataError, RunError
from ...stages.precision import Precision
from ...stages.unet.ddpm import Pretraining, build_unet
from ..config.data import MANIFESTS
from ..config.unets import PretrainConfig
from ..config.validation import TrainingPrecision
from ..config.values import to_dict
from ..data.dataset import read_dataset
from ..image_files.listing import left_out, list_images
from ..image_files.paths import file_digest
from ..images.resizing import resize_image
from ..images.stain import open_source
from ..runtime.device import resolve_device, resolve_precision
from ..runtime.folders import locked_folder
from ..runtime.interrupts import interrupts_held
from ..runtime.progress import Progress
from ..runtime.results import Result
from .record import INDEX, RECORD

CHECKPOINT = "checkpoint"
BEGUN = f"{CHECKPOINT}/begun.json"
STATE = f"{CHECKPOINT}/state.safetensors"
RUNTIME_SETTINGS = ("images", "out", "save_every", "device", "resume")
"""Settings that do not say what is learnt; the images themselves are compared by their digests."""
NOTHING_LEARNT = (
    "warning: it learnt next to nothing (always answering 0 has loss 1): lower --learning-rate or raise --steps"
)
N_SMOOTHED = 50
"""The loss shown is a running mean over about this many steps."""


@dataclass(frozen=True)
class PretrainSummary(Result):
    """Result of `pretrain-unet`."""

    out: str
    """The diffusers folder."""
    n_images: int
    """Images learnt from."""
    n_parameters: int
    """Weights of the UNet."""
    n_blocks: int
    """Decoder blocks, numbered from 0, that features can be taken from."""
    steps: int
    """Optimiser steps in all, those before a resume included."""
    final_loss: float
    """Mean squared error of the predicted noise, a running mean at the last step."""
    seconds: float
    """Time that this call took, reading included."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        size = f"{self.n_parameters / 1e6:.2f} M parameters, decoder blocks 0 to {self.n_blocks - 1}"
        return [
            f"{self.out}: a UNet of {size}, {self.steps} steps on {self.n_images} images, "
            f"loss {self.final_loss:.4f}, {self.seconds:.0f} s",
            f"use it as --unet diffusers:{self.out}",
            *([NOTHING_LEARNT] if self.final_loss > 0.9 else []),
        ]


def pretrain_unet(config: PretrainConfig, progress: Progress | None = None) -> PretrainSummary:
    """Train a DDPM on the images at `config.images` and save it at `config.out` for diffusers and `load_unet`.

    On one machine, with the same number of threads, equal settings give equal bytes, however often it was interrupted.

    Raises:
        ConfigError: the device does not exist, the loss diverges, or a resume has other settings or images.
        DataError: images are missing, unreadable or smaller than a crop; all of them in one error.
        RunError: something that cannot be resumed stands at `config.out`, or another process writes there.
        KeyboardInterrupt: on Ctrl-C, once the running step is finished and saved.
    """
    started, progress = time.monotonic(), progress or Progress()
    device = resolve_device(config.device)
    _refuse_what_stands(config.out, config.resume)
    images, files = _read_images(_find_images(config, progress), config, progress)
    with locked_folder(config.out):
        config = replace(config, precision=_precision(config, device))
        begun = _begin(config, files)
        training = _build(config, device)
        loss = _restore(training, config, progress)
        loss = _train(training, images, loss, config, progress)
        _publish(training, begun | {"final_loss": loss}, config.out)
    return PretrainSummary(
        out=str(config.out),
        n_images=len(files),
        n_parameters=training.n_parameters,
        n_blocks=len(config.channels) * (config.layers + 1),
        steps=config.steps,
        final_loss=loss,
        seconds=time.monotonic() - started,
    )


def seconds_per_step(config: PretrainConfig, n_timed: int = 5) -> float:
    """Time of an optimiser step on this machine, measured on a few steps of a blank image."""
    device = resolve_device(config.device)
    training = _build(replace(config, precision=resolve_precision(config.precision, device)), device)
    blank = torch.zeros(1, config.crop, config.crop, 3, dtype=torch.uint8)
    training.advance(blank)  # the first is slower
    started = time.monotonic()
    for _ in range(n_timed):
        training.advance(blank)
    return (time.monotonic() - started) / n_timed


def _refuse_what_stands(out: Path, resume: bool) -> None:
    if (out / INDEX).exists():
        raise RunError(f"{out} holds a finished UNet; give another folder, or delete this one to train it anew")
    if (out / CHECKPOINT).exists():
        if not resume:
            raise RunError(f"{out} holds a training that did not finish; go on with --resume, or delete the folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} holds something else already; give a folder that is empty or does not exist")


def _find_images(config: PretrainConfig, progress: Progress) -> list[Path]:
    """The images of a folder, or the training images of a data set: the others must stay unseen."""
    images = config.images
    train = images / "Train_Folder" / "img"
    if train.is_dir():
        progress.say(f"{images} is in LViT's layout: only {train.relative_to(images)} is learnt from")
        return _listed(train, progress)
    if images.is_dir() and not any((images / name).exists() for name in MANIFESTS):
        return _listed(images, progress)
    samples = read_dataset(images, config.window).samples
    seen = dict.fromkeys(sample.image for sample in samples if sample.split == "train")
    if not seen:
        raise DataError(f"{images} has no sample in the split train; expected at least one to learn from")
    progress.say(f"{images} is a manifest: only the {len(seen)} images of its split train are learnt from")
    return list(seen)


def _listed(folder: Path, progress: Progress) -> list[Path]:
    if others := left_out(folder):
        progress.warn(others)
    return list_images(folder)


def _read_images(
    paths: list[Path], config: PretrainConfig, progress: Progress
) -> tuple[UInt8[Tensor, "image y x 3"], list[dict[str, str]]]:
    """All images at the model's size, with their names and digests."""
    images = np.empty((len(paths), config.image_size, config.image_size, 3), np.uint8)
    files, problems = [], []
    with progress.task("read", len(paths), "images") as task:
        for index, path in enumerate(paths):
            try:
                images[index] = _read(path, config)
                files.append({"name": path.name, "sha256": file_digest(path)})
            except DataError as error:
                problems.append(str(error))
            task.advance()
    if problems:
        raise DataError(f"{len(problems)} of {len(paths)} images cannot be learnt from", problems)
    return torch.from_numpy(images), files


def _read(path: Path, config: PretrainConfig) -> UInt8[np.ndarray, "size size 3"]:
    image = open_source(path, config.window, config.colours)
    height, width = image.size
    if min(height, width) < config.crop:
        raise DataError(f"{path} is {width}x{height} pixels; expected at least the crop's {config.crop} on each side")
    return resize_image(image.read(0, 0, height, width), (config.image_size, config.image_size))


def _begin(config: PretrainConfig, files: list[dict[str, str]]) -> dict[str, Any]:
    """Settings and images of the training, as JSON values: written before the first step, compared by a resume."""
    settings = {name: value for name, value in to_dict(config).items() if name not in RUNTIME_SETTINGS}
    wanted: dict[str, Any] = json.loads(json.dumps({"settings": settings, "images": files}))
    path = config.out / BEGUN
    if path.exists():
        _refuse_other(_begun_before(path), wanted, config.out)
    else:
        write_json(path, wanted)
    return wanted


def _precision(config: PretrainConfig, device: str) -> TrainingPrecision:
    """The precision asked for; of `auto` that with which the training was begun."""
    path = config.out / BEGUN
    if config.precision == "auto" and path.exists():
        return cast("TrainingPrecision", _begun_before(path)["settings"].get("precision", "float32"))
    return resolve_precision(config.precision, device)


def _begun_before(path: Path) -> dict[str, Any]:
    try:
        begun = parse_json(path.read_bytes())
        images = [{"name": file["name"], "sha256": file["sha256"]} for file in begun["images"]]
        return {"settings": dict(begun["settings"]), "images": images}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: damaged ({error}); delete {path.parents[1]} to train anew"


def _refuse_other(begun: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    problems = [
        f"--{name.replace('_', '-')} got {value}; it was begun with {begun['settings'].get(name)}"
        for name, value in wanted["settings"].items()
        if value != begun["settings"].get(name)
    ]
    before, now = ({(f["name"], f["sha256"]) for f in side["images"]} for side in (begun, wanted))
    if before != now:
        problems.append(f"the images differ: {len(now - before)} are new or changed, {len(before - now)} are gone")
    elif begun["images"] != wanted["images"]:
        problems.append("the images are the same in another order")
    if problems:
        hint = "give what it was begun with, or another folder"
        raise ConfigError("\n  - ".join([f"{out} cannot be resumed ({hint}):", *problems]))


def _build(config: PretrainConfig, device: str) -> Pretraining:
    return Pretraining(
        build_unet(config.crop, config.channels, config.layers, config.seed),
        crop=config.crop,
        batch_size=config.batch_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
        ema_decay=config.ema_decay,
        seed=config.seed,
        device=device,
        precision=cast("Precision", config.precision),
    )


def _restore(training: Pretraining, config: PretrainConfig, progress: Progress) -> float:
    """Put the training where its checkpoint stands, if it has one; returns the smoothed loss there."""
    path = config.out / STATE
    if not path.exists():
        return 0.0
    try:
        with safe_open(path, "pt") as file:
            reached = parse_json(file.metadata()["reached"])
            training.restore({name: file.get_tensor(name) for name in file.keys()}, reached["step"])  # noqa: SIM118
    except torch.OutOfMemoryError:
        raise
    # Whole, but of something else, a file makes torch raise nearly anything.
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(_damaged(path, error)) from error
    progress.say(f"going on after {reached['step']} of {config.steps} steps")
    return float(reached["loss"])


def _save(training: Pretraining, loss: float, out: Path) -> None:
    reached = json.dumps({"step": training.step, "loss": loss})
    write_durably(out / STATE, [save(training.state(), {"reached": reached})])


def _train(training: Pretraining, images: Tensor, loss: float, config: PretrainConfig, progress: Progress) -> float:
    """Do the steps that are left, saving as it goes; returns the smoothed loss."""
    left = config.steps - training.step
    with interrupts_held() as interrupted, progress.task("pretrain", left, "steps") as task:
        while training.step < config.steps:
            loss = _smooth(loss, training.advance(images), training.step)
            task.advance(loss=loss)
            due = training.step % config.save_every == 0 or training.step == config.steps
            if due or interrupted.is_set():
                _save(training, loss, config.out)
            if interrupted.is_set():
                reached = f"{training.step} of {config.steps} steps"
                progress.say(f"stopped and saved after {reached}; give the same command with --resume to go on")
                interrupted.stop()
    return loss


def _smooth(mean: float, loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise ConfigError(f"the loss is {loss} at step {step}: the training diverges; lower --learning-rate")
    return mean + (loss - mean) / min(step, N_SMOOTHED)


def _publish(training: Pretraining, record: dict[str, Any], out: Path) -> None:
    """Put the diffusers folder in place, its index last, and remove the checkpoint."""
    staging = out / CHECKPOINT / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    DDPMPipeline(training.averaged_unet(), training.scheduler).save_pretrained(staging)
    write_json(staging / RECORD, record)
    files = [path.relative_to(staging) for path in staging.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: (file == Path(INDEX), file)):
        write_durably(out / file, [(staging / file).read_bytes()])
    shutil.rmtree(out / CHECKPOINT)
