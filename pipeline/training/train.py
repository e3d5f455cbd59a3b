"""Stage two from cache to run: choose samples, train, choose the epoch, score the test split once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cache.format.samples import parents
from ...cache.reader import FeatureReader
from ...cache.storage.atomic import canonical_json
from ...cache.storage.location import absolute
from ...errors import RunError
from ..config.serialising import to_dict
from ..config.training import TrainConfig
from ..data.classes import Classes
from ..head_inputs.inputs import CachedFeatures, open_head_data
from ..head_inputs.scoring import score_samples
from ..head_inputs.splits import Split, choose_split
from ..reports.gallery import Gallery
from ..reports.page import REPORT
from ..runs.folder import finish_run, prepare_folder, read_summary
from ..runs.projections import projection_digests, save_projections
from ..runs.run_config import CONFIG, SUMMARY, RunConfig
from ..runtime.device import resolve_device
from ..runtime.folders import locked_folder
from ..runtime.interrupts import interrupts_held
from ..runtime.progress import Progress
from ..scoring.summary import scores
from .report import TrainOutcome, write_train_report
from .state import load_state, save_state
from .tensorboard import Log, open_log, require_log
from .trainer import Trainer

SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class TrainSummary:
    """What a training came to."""

    run: str
    summary: Mapping[str, Any]
    """The content of `summary.json`."""
    seconds: float
    """Wall time of this call."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"run": self.run, **self.summary, "seconds": self.seconds}

    def lines(self) -> list[str]:
        """For the terminal."""
        found, n_members = self.summary, self.summary.get("ensemble", 1)
        of_heads = f"{n_members} heads, together " if n_members > 1 else ""
        lines = [
            f"{self.run}: {of_heads}{found['n_parameters']:,} parameters trained on {found['n_train']} samples "
            f"in {self.seconds:.1f} s; epoch {found['best_epoch']} of {found['epochs']} is the best",
            f"Dice {found['val_dice']:.4f} on {found['n_val']} samples of {found['val_is']}, which chose the epoch",
        ]
        if "test" in found:
            lines.append(f"Dice {found['test']['dice']:.4f} on {found['test']['n']} test samples")
        report = Path(self.run) / REPORT
        return [*lines, f"look at {report}"] if report.exists() else lines  # older runs have none


def train_head(config: TrainConfig, progress: Progress | None = None) -> TrainSummary:
    """Train a head from the cache; neither the UNet nor the text encoder is loaded.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        CacheError: if the cache cannot be read or lacks a block or timestep.
        DataError: if there are too few labelled samples.
        RunError: if the run's folder holds something else, was begun with other settings, or is being written to.
    """
    progress, started = progress or Progress(), time.monotonic()
    device = resolve_device(config.device)
    reader = FeatureReader(config.cache)
    data = open_head_data(
        reader,
        blocks=config.blocks,
        timesteps=config.timesteps,
        text=config.text,
        seed=config.seed,
        device=device,
        filters=config.uses_filters,
    )
    if config.uses_filters is None and not data.filters:
        progress.say(
            f"{config.cache} has no filters, which serve this head; `extract-features` adds them without the UNet"
        )
    split = choose_split(reader, config)
    goes_on = prepare_folder(config.run, resume=config.resume)
    resolved = _resolve(config, data, split)
    if goes_on:
        _refuse_other_settings(config.run, resolved)
        if (config.run / SUMMARY).exists():
            progress.say(f"{config.run}: is already finished")
            return TrainSummary(str(config.run), read_summary(config.run), time.monotonic() - started)
    if config.log:
        require_log(config.log)
    fit = Trainer(data, split.train, split.val, config)  # refuses what cannot be trained, before anything is written
    with locked_folder(config.run):
        resolved.write(config.run)
        save_projections(config.run, reader.projections(data.blocks, data.timesteps))
        n_train, n_val = len(parents(split.train)), len(parents(split.val))
        progress.say(f"{n_train} samples to train on; the epoch is chosen on {n_val} of {split.val_is}")
        load_state(config.run, fit)
        with open_log(config.log, config.run, fit.epoch) as log:
            run_epochs(fit, config.run, progress, log)
        summary = _finish(config, fit, data, split)
    return TrainSummary(str(config.run), summary, time.monotonic() - started)


def run_epochs(fit: Trainer, run: Path, progress: Progress, log: Log) -> None:
    """Train to the last epoch, keeping the state on disk so that an interrupted training can go on."""
    saved = time.monotonic()
    if fit.epoch:
        progress.say(f"going on after epoch {fit.epoch} of {fit.n_epochs}")
    with interrupts_held() as interrupted, progress.task("train", fit.n_epochs - fit.epoch, "epochs") as task:
        while fit.epoch < fit.n_epochs:
            row = fit.run_epoch()
            log(row)
            task.advance(1, loss=row["loss"], val_dice=row[fit.learner.check_name])
            if interrupted.is_set() or time.monotonic() - saved > SAVE_EVERY_S:
                save_state(run, fit)
                saved = time.monotonic()
            if interrupted.is_set():
                progress.say(f"{fit.epoch} of {fit.n_epochs} epochs are kept in {run}; add --resume to go on")
                interrupted.stop()


def _finish(config: TrainConfig, fit: Trainer, data: CachedFeatures, split: Split) -> dict[str, Any]:
    galleries = {finalist.epoch: Gallery(data) for finalist in fit.finalists}
    best, val_dice = fit.finish({epoch: gallery.add for epoch, gallery in galleries.items()})
    summary = {
        "best_epoch": best.epoch,
        "epochs": fit.epoch,
        "ensemble": len(fit.head.members),
        "n_train": len(parents(split.train)),
        "n_val": len(parents(split.val)),
        "val_is": split.val_is,
        "val_dice": float(val_dice.mean()),
        "classes": Classes.from_dict(data.reader.manifest.classes).names[1:],
        "val_class_dice": val_dice.mean(0).tolist(),
        "n_parameters": sum(parameter.numel() for parameter in fit.head.parameters()),
    }
    if split.test:
        summary["test"] = scores(score_samples(fit.head, data, split.test), split.test)
    # Before the summary, which makes the run whole: a run that is finished has its report.
    write_train_report(TrainOutcome(config, data, split, fit.history, summary, val_dice, galleries[best.epoch]))
    finish_run(config.run, fit.head, fit.history, summary)
    return summary


def _resolve(config: TrainConfig, data: CachedFeatures, split: Split) -> RunConfig:
    manifest = data.reader.manifest
    settings = {**to_dict(config), **asdict(config.settings), "device": data.device}
    settings |= {"blocks": data.blocks, "timesteps": data.timesteps, "cache": str(absolute(config.cache))}
    settings["filters"] = data.filters
    for name in ("run", "resume", "log"):
        del settings[name]
    return RunConfig(
        train=settings,
        head=data.head_spec(config.settings.width, config.n_heads, place=config.place),
        blocks=data.blocks,
        timesteps=data.timesteps,
        features=manifest.features,
        texts=manifest.texts,
        classes=manifest.classes,
        digests=manifest.digests,
        samples={
            "train": parents(split.train),
            "val": parents(split.val),
        },
        projections=projection_digests(manifest, data.blocks, data.timesteps),
    )


def _refuse_other_settings(run: Path, wanted: RunConfig) -> None:
    there, here = _flat(asdict(RunConfig.read(run))), _flat(asdict(wanted))
    differing = [
        f"  - {name}: the run has {there.get(name)}, this command says {here.get(name)}"
        for name in sorted(there.keys() | here.keys())
        if name != "train.cache" and there.get(name) != here.get(name)
    ]
    if differing:
        raise RunError(
            f"{run / CONFIG}: the run was begun with other settings:\n"
            + "\n".join(differing)
            + "\nrepeat the command that began it with --resume, or give a new name"
        )


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Part and field → the value as JSON."""
    parts = {part: value if isinstance(value, dict) else {"": value} for part, value in values.items()}
    return {
        f"{part}.{name}".rstrip("."): canonical_json(value).decode()
        for part, fields in parts.items()
        for name, value in fields.items()
    }
