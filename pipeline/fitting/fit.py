"""`fit`: check, features, head, evaluation and report; each step is a command that the user could have given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...cache.format.manifest import MANIFEST
from ...cache.reader import FeatureReader
from ...errors import DataError
from ..checking.check import check
from ..checking.result import DataReport
from ..config.command_line import command_line, write_command
from ..config.data import CheckConfig
from ..config.evaluation import EvaluateConfig
from ..config.extraction import ExtractConfig
from ..config.fitting import FitConfig
from ..config.training import TrainConfig
from ..config.unets import PretrainConfig
from ..evaluation.evaluate import evaluate
from ..evaluation.result import Evaluation, kept_path, read_evaluation
from ..extraction.extract import extract_features
from ..runs.folder import read_summary
from ..runs.run_config import SUMMARY, RunConfig
from ..runtime.folders import locked_folder, no_empty_folder
from ..runtime.progress import Progress
from ..training.train import train_head
from ..unets.record import INDEX
from . import choices
from .choices import GIVEN, LEFT_OUT, PRETRAIN, of_preset
from .defaults import TEXT_ENCODER, choose_arrays, installed
from .record import CHECK, RECORD, Decision, FitRecord, open_record
from .report import write_fit_report
from .result import FitSummary

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Result = TypeVar("Result", bound="Summary")
IMAGE_SIZE, FEATURES, TEXTS = "image size", "features", "text encoder"
STEPS, ARRAYS, MINUTES, SPLIT = "pretraining steps", "blocks and timesteps", "training minutes", "evaluated on"
"""Names of decisions."""


class Summary(Protocol):
    """Result of a step."""

    def lines(self) -> list[str]:
        """For the terminal."""


def fit(config: FitConfig, progress: Progress | None = None) -> FitSummary:
    """Go the whole way from data to a scored head; the same call goes on with a fit that was interrupted.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        DataError: with everything that is wrong with the data; then nothing is made.
        RunError: if the folder holds something else, or a fit with other settings.
        SourceError: if a model cannot be loaded.
        ConfigError: if settings do not fit the models or the data.
    """
    record = open_record(config)
    with locked_folder(config.out), no_empty_folder(config.out):
        steps = _Fit(config, record, progress or Progress())
        steps.check()
        steps.extract()
        steps.train()
        evaluation = steps.evaluate()
        summary = FitSummary(str(config.out), record, read_summary(steps.run), evaluation)
        write_fit_report(config, summary)
        write_command(config.out, "fit", config)
    return summary


class _Fit:
    """A fit in progress."""

    def __init__(self, config: FitConfig, record: FitRecord, progress: Progress) -> None:
        self.config, self.record, self.progress = config, record, progress
        self.unet, self.cache, self.run = (config.out / name for name in ("unet", "cache", "run"))

    def check(self) -> None:
        """Check the data, and decide on them."""
        config = self.config
        size = config.image_size or of_preset(config, ExtractConfig).get("image_size", CheckConfig.image_size)
        encoder = config.text_encoder or (TEXT_ENCODER if installed(TEXT_ENCODER) else None)
        # It would fetch a model that is not here; extraction reads the texts with it in any case.
        encoder = None if config.offline else encoder
        settings = CheckConfig(config.data, config.window, size, encoder, config.out / CHECK)
        self.do("Check the data", "check-data", settings, self._check, done=self.record.has_decided(TEXTS))

    def _check(self, settings: CheckConfig) -> DataReport:
        config, report = self.config, check(settings)
        if report.problems:
            (config.out / CHECK).unlink()
            n = f"{len(report.problems)} problem{'s' * (len(report.problems) > 1)}"
            raise DataError(f"{config.data} has {n}; correct the data and repeat the command:", report.problems)
        self.decide(IMAGE_SIZE, lambda: choices.choose_image_size(config, report))
        self.decide(FEATURES, lambda: choices.choose_source(config))
        self.decide(TEXTS, lambda: choices.choose_text_encoder(config, report))
        return report

    def extract(self) -> None:
        """Extract the features, of a UNet that is pretrained for it where there is no other model."""
        config, source = self.config, self.record.decided(FEATURES)
        unet, encoder = config.unet, config.encoder
        if source == PRETRAIN:
            self.pretrain()
            unet = f"diffusers:{self.unet}"
        elif source != GIVEN:
            encoder = (source,)
        chosen = of_preset(config, ExtractConfig) | {"image_size": self.record.decided(IMAGE_SIZE)}
        if unet:
            arrays = self.decide(ARRAYS, lambda: choose_arrays(unet, offline=config.offline))
            chosen |= {name: tuple(numbers) for name, numbers in arrays.items()}
        text_encoder = self.record.decided(TEXTS)
        settings = ExtractConfig(
            config.data,
            self.cache,
            unet,
            None if text_encoder == LEFT_OUT else text_encoder,
            encoder=encoder,
            texts=text_encoder != LEFT_OUT,
            window=config.window,
            device=config.device,
            offline=config.offline,
            resume=True,
            **chosen,
        )
        function = partial(extract_features, progress=self.progress)
        self.do("Extract features", "extract-features", settings, function, done=(self.cache / MANIFEST).exists())

    def pretrain(self) -> None:
        """Pretrain a UNet on the training images."""
        from ..unets.pretrain import pretrain_unet

        config, size = self.config, self.record.decided(IMAGE_SIZE)
        settings = PretrainConfig(
            config.data,
            self.unet,
            window=config.window,
            seed=config.seed,
            device=config.device,
            resume=True,
            crop=min(PretrainConfig.crop, size),
            **of_preset(config, PretrainConfig) | {"image_size": size},
        )
        settings = replace(settings, steps=self.decide(STEPS, lambda: choices.choose_steps(config, settings)))
        function = partial(pretrain_unet, progress=self.progress)
        self.do("Pretrain a UNet", "pretrain-unet", settings, function, done=(self.unet / INDEX).exists())

    def train(self) -> None:
        """Train a head."""
        config = self.config
        settings = TrainConfig(
            self.cache,
            self.run,
            minutes=self.decide(MINUTES, lambda: choices.choose_minutes(config, self.record.seconds)),
            seed=config.seed,
            device=config.device,
            resume=True,
            **of_preset(config, TrainConfig),
        )
        function = partial(train_head, progress=self.progress)
        self.do("Train a head", "train-head", settings, function, done=(self.run / SUMMARY).exists())

    def evaluate(self) -> Evaluation | None:
        """Score the head on labelled samples that it did not learn from; `None` where there are none."""
        split = self.decide(SPLIT, lambda: choices.choose_split(FeatureReader(self.cache)))
        if split is None:
            return None
        settings = EvaluateConfig(self.run, self.cache, split=split, device=self.config.device)
        text = RunConfig.read(self.run).text
        pattern = kept_path(self.run, "*", split=split, at=settings.at, text=text, tta=settings.tta)
        kept = next(pattern.parent.glob(pattern.name), pattern)
        function = partial(evaluate, progress=self.progress)
        evaluation = self.do("Evaluate the head", "evaluate", settings, function, done=kept.exists())
        return evaluation or read_evaluation(kept)

    def decide(self, name: str, choose: Callable[[], tuple[Any, str]]) -> Any:  # noqa: ANN401
        """The value of a decision, made now if it was not before."""
        if not self.record.has_decided(name):
            value, reason = choose()
            self.record.decisions.append(Decision(name, value, reason))
            self.record.keep(self.config.out)
            self.progress.say(str(self.record.decisions[-1]))
        return self.record.decided(name)

    def do(
        self, title: str, name: str, config: Config, function: Callable[[Config], Result], *, done: bool
    ) -> Result | None:
        """Run a step, its command shown before.

        Args:
            title: for the terminal.
            name: of the command.
            config: of the command.
            function: that carries it out.
            done: whether an earlier call finished it.

        Returns:
            Its result; `None` if it was done.
        """
        step = self.record.step(name, command_line(name, config))
        if done:
            self.progress.say(f"{title}: finished before")
            return None
        self.progress.say(f"\n== {title}\n{step.line}")
        started = time.monotonic()
        try:
            result = function(config)
        finally:
            step.seconds += time.monotonic() - started
            if (self.config.out / RECORD).exists():  # nothing is kept of data with problems
                self.record.keep(self.config.out)
        self.progress.say("\n".join(result.lines()))
        return result
