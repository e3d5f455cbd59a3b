"""`train-head`: from a cache to a run folder, without the frozen models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...cache.format.blocks import encoder_of
from ...cache.format.samples import parents
from ...cache.reader import FeatureReader
from ...cache.storage.atomic import canonical_json
from ...errors import RunError
from ..config.command_line import write_command
from ..config.training import TextSetting, TrainConfig
from ..config.values import to_dict
from ..data.classes import Classes
from ..head_inputs.lost import older_labels
from ..head_inputs.scoring import score_samples
from ..reports.page import REPORT
from ..runs.folder import RunSummary, finish_run, prepare_folder, read_summary
from ..runs.projections import projection_digests, save_projections
from ..runs.run_config import CONFIG, NOT_SETTINGS, SUMMARY, RunConfig
from ..runtime.folders import locked_folder
from ..runtime.interrupts import interrupts_held
from ..runtime.progress import Progress
from ..scoring.summary import scores
from .auto import train_auto
from .log import TrainingLog, open_log, require_log
from .report import write_train_report
from .result import TrainSummary
from .state import load_state, save_state
from .trainer import Trainer

SAVE_EVERY_S = 5.0


def train_head(config: TrainConfig, progress: Progress | None = None) -> TrainSummary:
    """Train a head from the cache, or several and keep the best; neither UNet nor encoders are loaded.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        CacheError: if the cache cannot be read or lacks a block or timestep.
        ConfigError: if the head cannot be made for these blocks, or the loss is not finite.
        DataError: if there are too few labelled samples.
        RunError: if the run's folder holds something else, was begun with other settings, or is being written to.
    """
    progress = progress or Progress()
    return train_auto(config, _train, progress) if config.head == "auto" else _train(config, progress)


def _train(config: TrainConfig, progress: Progress) -> TrainSummary:
    started = time.monotonic()
    resumes = prepare_folder(config.run, resume=config.resume)
    require_log(config.log)
    if resumes and config.precision == "auto":
        config = replace(config, precision=RunConfig.read(config.run).train["precision"])
    trainer, asked = Trainer.from_config(config, FeatureReader(config.cache)), config.text
    config = trainer.config  # the report's command repeats it on any processor
    resolved = _resolve(config, trainer)
    if resumes:
        _refuse_other_settings(config.run, resolved)
    if (config.run / SUMMARY).exists():
        progress.say(f"{config.run}: is already finished")
        return TrainSummary(str(config.run), read_summary(config.run), time.monotonic() - started)
    _announce(config, asked, trainer, progress)
    with locked_folder(config.run):
        resolved.write(config.run)
        save_projections(config.run, trainer.data.reader.projections(resolved.pairs))
        if other := load_state(config.run, trainer):
            progress.warn(f"{config.run} was begun under other conditions, so that last bits may differ: {other}")
        write_command(config.run, "train-head", config)
        with open_log(config.log, config.run, resolved, trainer.epoch) as log:
            _run_epochs(trainer, config.run, progress, log)
            summary = _summarise(trainer)
            # Before the summary, which marks the run as finished: a finished run has its report.
            write_train_report(config, trainer, summary)
            log.finish(summary, config.run / REPORT)
        if summary.text:
            replace(resolved, uses_texts=summary.text.used).write(config.run)
        finish_run(config.run, trainer.head, trainer.history, summary)
    return TrainSummary(str(config.run), summary, time.monotonic() - started)


def _announce(config: TrainConfig, asked: TextSetting, trainer: Trainer, progress: Progress) -> None:
    if warning := older_labels(trainer.data.reader):
        progress.warn(warning)
    if config.uses_filters is None and not trainer.data.filters:
        progress.say(
            f"{config.cache} has no filters, which serve this head; `extract-features` adds them without the UNet"
        )
    if asked != config.text:
        known = {"none": "has no texts", "true": "was made with --condition own, so that its features know the texts"}
        progress.say(f"--text auto: {config.text}, since {config.cache} {known[config.text]}")
    n_train, n_val = len(parents(trainer.split.train)), len(parents(trainer.split.val))
    progress.say(f"{n_train} samples to train on; the epoch is chosen on {n_val} of {trainer.split.val_is}")


def _run_epochs(trainer: Trainer, run: Path, progress: Progress, log: TrainingLog) -> None:
    """Train to the last epoch, with the state on disk so that an interrupted training can be resumed."""
    saved = time.monotonic()
    if trainer.epoch:
        progress.say(f"resuming after epoch {trainer.epoch} of {trainer.n_epochs}")
    with interrupts_held() as interrupted, progress.task("train", trainer.n_epochs - trainer.epoch, "epochs") as task:
        while trainer.epoch < trainer.n_epochs:
            row = trainer.run_epoch()
            log.add_epoch(row)
            task.advance(1, loss=row["loss"], val_dice=row[trainer.objective.check_name])
            if interrupted.is_set() or time.monotonic() - saved > SAVE_EVERY_S:
                save_state(run, trainer)
                saved = time.monotonic()
            if interrupted.is_set():
                progress.say(f"{trainer.epoch} of {trainer.n_epochs} epochs are kept in {run}; add --resume to go on")
                interrupted.stop()


def _summarise(trainer: Trainer) -> RunSummary:
    """Choose the epoch, and score the test split once."""
    best, val_dice = trainer.finish()
    head, data, split = trainer.head, trainer.data, trainer.split
    groups = {row.parent: row.group for row in split.val}
    return RunSummary(
        best_epoch=best.epoch,
        epochs=trainer.epoch,
        ensemble=len(head.members),
        n_parameters=sum(parameter.numel() for parameter in head.parameters()),
        n_train=len(parents(split.train)),
        n_val=len(groups),
        val_is=split.val_is,
        val_dice=float(val_dice.mean()),
        classes=Classes.from_dict(data.reader.manifest.classes).names[1:],
        val_class_dice=tuple(val_dice.mean(0).tolist()),
        val_per_sample=tuple(
            {"id": name, "group": group, "dice": sum(dice) / len(dice), "class_dice": dice}
            for (name, group), dice in zip(groups.items(), val_dice.tolist(), strict=True)
        ),
        text=trainer.text_decision,
        test=scores(score_samples(head, data, split.test), split.test) if split.test else None,
    )


def _resolve(config: TrainConfig, trainer: Trainer) -> RunConfig:
    data, split = trainer.data, trainer.split
    manifest = data.reader.manifest
    settings = replace(
        config,
        **asdict(config.settings),
        cache=config.cache.resolve(),
        blocks=data.blocks or None,
        timesteps=data.timesteps or None,
        sources=data.sources,
        filters=data.filters,
        device=data.device,
    )
    used = {encoder_of(layer) for layer in data.layers}
    return RunConfig(
        train={name: value for name, value in to_dict(settings).items() if name not in NOT_SETTINGS},
        head=trainer.head.spec,
        blocks=data.blocks,
        timesteps=data.timesteps,
        features=manifest.features if data.blocks else manifest.features.without_unet(),
        texts=manifest.texts,
        classes=manifest.classes,
        digests=manifest.digests,
        samples={"train": parents(split.train), "val": parents(split.val)},
        projections=projection_digests(manifest, data.pairs),
        layers=data.layers,
        encoders={name: one for name, one in manifest.encoders.items() if name in used},
    )


def _refuse_other_settings(run: Path, wanted: RunConfig) -> None:
    begun, given = _flat(RunConfig.read(run).to_dict()), _flat(wanted.to_dict())
    differing = [
        f"  - {name}: the run has {begun.get(name)}, this command says {given.get(name)}"
        for name in sorted(begun.keys() | given.keys())
        if name not in ("train.cache", "uses_texts") and begun.get(name) != given.get(name)
    ]
    if differing:
        raise RunError(
            f"{run / CONFIG}: the run was begun with other settings:\n"
            + "\n".join(differing)
            + "\nrepeat the command that began it with --resume, or give a new name"
        )


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """`part.field` → the value as JSON."""
    parts = {part: value if isinstance(value, dict) else {"": value} for part, value in values.items()}
    return {
        f"{part}.{name}".rstrip("."): canonical_json(value).decode()
        for part, named in parts.items()
        for name, value in named.items()
    }
