"""The head that a session begins with: a run's, or one with initial weights; and heads that get another class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ....cache.reader import FeatureReader
from ....errors import ConfigError
from ....stages.heads.base import Head
from ....stages.heads.pixel import PixelHead
from ...data.classes import Classes
from ...head_inputs.inputs import CachedFeatures
from ...runs.compatibility import check_same_features, open_as_trained
from ...runs.heads import load_head
from ...runs.run_config import RunConfig


@dataclass(frozen=True, eq=False)
class InitialRun:
    """A run to begin with."""

    run: Path
    config: RunConfig
    head: Head

    @classmethod
    def load(cls, run: Path, device: str) -> InitialRun:
        """A finished run.

        Raises:
            RunError: if it is absent, unfinished or damaged.
        """
        config = RunConfig.read(run)
        return cls(run, config, load_head(run, config, device))

    @property
    def warms(self) -> bool:
        """Whether training goes on with the run's head: a single pixel head."""
        return isinstance(self.head, PixelHead)

    @property
    def reads_texts(self) -> bool:
        """Whether the head was trained with texts."""
        return self.config.texts is not None and self.config.text != "none"

    @property
    def line(self) -> str:
        """Line of the page before anything was learnt."""
        if self.warms:
            return f"beginning with the head of {self.run.name}"
        kind = self.config.train["head"]
        return f"predicting by {self.run.name} ({kind} head) until the first lesson, which begins a new pixel head"

    def open(self, reader: FeatureReader, device: str) -> CachedFeatures:
        """The features that the run's head sees.

        Raises:
            CacheMismatchError: if the cache holds other ones.
        """
        check_same_features(self.config, reader)
        return open_as_trained(self.config, reader, self.config.text, device)

    def check_classes(self, names: Sequence[str]) -> None:
        """Refuse classes that do not begin with those of the head.

        Raises:
            ConfigError: with both.
        """
        own = Classes.from_dict(self.config.classes).names
        if tuple(names[: len(own)]) != own:
            raise ConfigError(
                f"--run {self.run}: its head tells {', '.join(own)} apart, and the session has {', '.join(names)}; "
                "begin with a run of these classes, or without --run"
            )

    def warm_head(self, n_classes: int) -> PixelHead | None:
        """A copy of the head to go on training, for as many classes; `None`: it is of another kind."""
        if not isinstance(self.head, PixelHead):
            return None
        return with_classes(self.head, n_classes)


def with_classes(head: PixelHead, n_classes: int) -> PixelHead:
    """A copy of a head for as many classes: new ones begin with small weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        copied = PixelHead(replace(head.spec, n_classes=n_classes)).to(head.attention.null_token.device)
    own, known = copied.state_dict(), head.state_dict()
    for name, tensor in known.items():
        if own[name].shape == tensor.shape:
            own[name].copy_(tensor)
        else:
            own[name][: len(tensor)].copy_(tensor)
    copied.precision = head.precision
    return copied.eval()
