"""A trained head, its run folder, as an object."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import RunError
from ..config.evaluation import EvaluateConfig
from ..evaluation.evaluate import evaluate
from ..evaluation.result import Evaluation
from ..reports.page import REPORT
from ..runs.folder import RunSummary, read_metrics, read_summary
from ..runs.run_config import SUMMARY, RunConfig
from ..runtime.results import Result
from ..training.result import TrainSummary
from .settings import takes_settings

if TYPE_CHECKING:
    from .hand_on import Extra
    from .segmenter import Segmenter

_evaluate = takes_settings(EvaluateConfig)(evaluate)
"""As `textdiff.evaluate`, whose module imports this one."""


class Run(Result):
    """A finished run; functions take it wherever they take its folder.

    Args:
        path: the folder that `train_head` wrote.
        training: what a training that has just ended did; `None`: it is read from the folder.

    Raises:
        RunError: if there is no run, or its training did not finish.
    """

    def __init__(self, path: os.PathLike[str] | str, training: TrainSummary | None = None) -> None:
        self.path = Path(path)
        self.config = RunConfig.read(self.path)
        if not (self.path / SUMMARY).exists():
            raise RunError(f"{self.path}: its training did not finish; repeat the call with resume=True")
        self.training = training or TrainSummary(str(self.path), read_summary(self.path))

    @property
    def summary(self) -> RunSummary:
        """Figures of the training."""
        return self.training.summary

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Loss and validation figures of each epoch.

        Raises:
            RunError: if the file of these figures is absent or damaged.
        """
        return read_metrics(self.path)

    @property
    def report(self) -> Path:
        """The page on the training."""
        return self.path / REPORT

    def evaluate(
        self,
        cache: os.PathLike[str] | str | None = None,
        *,
        progress: bool | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> Evaluation:
        """Score the head on labelled samples of a cache.

        Args:
            cache: `None`: that of the training.
            progress: as of `textdiff.evaluate`.
            settings: as of `textdiff.evaluate`: split, at, text, surface, instances, ...

        Raises:
            RunError: if the run was handed on without its cache and none is given; as of `textdiff.evaluate`.
            TextdiffError: as of `textdiff.evaluate`.
        """
        where = self.config.own_cache(self.path) if cache is None else cache
        return _evaluate(self, where, progress=progress, **settings)

    def segmenter(self, **overrides: Any) -> Segmenter:  # noqa: ANN401
        """The head with its frozen models, ready for new images; `overrides` as of `Segmenter.load`."""
        from .segmenter import Segmenter

        return Segmenter.load(self.path, **overrides)

    def save_pretrained(
        self, folder: os.PathLike[str] | str, *, include: Collection[Extra] | Extra = (), licence: str | None = None
    ) -> Path:
        """Write the run for others, with a model card, into a new folder: `Run.from_pretrained` takes it.

        The head, its settings and its figures are written, but nothing that names samples or places on this machine,
        and no images. A README.md that lies in the run's folder is taken in place of the card.

        Args:
            folder: must not be there, or be empty.
            include: more: `samples` (their ids, groups and scores), `places` (of the cache and of the frozen models),
                `report` (with images of samples).
            licence: of the weights, as hubs name it (`mit`, `cc-by-nc-4.0`); `None`: the card states none.

        Returns:
            The folder.

        Raises:
            ConfigError: if `include` has an unknown name.
            RunError: if the folder holds something, or the run is damaged.
        """
        from .hub import save_run

        save_run(self.path, Path(folder), _several(include), licence)
        return Path(folder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        include: Collection[Extra] | Extra = (),
        licence: str | None = None,
        private: bool = True,
        token: str | None = None,
        revision: str | None = None,
        message: str = "Hand on a head of textdiff",
    ) -> str:
        """Push what `save_pretrained` writes to a repository of the Hugging Face hub, in one commit.

        Args:
            repo_id: OWNER/NAME; made if it is not there.
            include: as of `save_pretrained`.
            licence: as of `save_pretrained`.
            private: whether a new repository is for its owner alone.
            token: of the hub; `None`: that of `hf auth login`.
            revision: the branch; `None`: main.
            message: of the commit.

        Returns:
            The commit's address.

        Raises:
            ConfigError: if `include` has an unknown name.
            RunError: if the hub refuses or is out of reach, or the run is damaged.
        """
        from .hub import push_run

        settings: dict[str, Any] = {"private": private, "token": token, "revision": revision, "message": message}
        return push_run(self.path, repo_id, _several(include), licence, **settings)

    @classmethod
    def from_pretrained(
        cls,
        run: os.PathLike[str] | str,
        *,
        token: str | None = None,
        revision: str | None = None,
        offline: bool = False,
    ) -> Run:
        """Open a run that was saved or pushed.

        Args:
            run: a folder, or OWNER/NAME of a repository of the hub, which is fetched once into the hub's cache on this
                machine.
            token: of the hub; `None`: that of `hf auth login`.
            revision: branch, tag or commit; `None`: the last commit of main.
            offline: whether only what was fetched before may be used.

        Raises:
            RunError: if there is none, or the hub refuses or is out of reach.
        """
        from .hub import fetch_run

        return cls(fetch_run(os.fspath(run), token=token, revision=revision, offline=offline))

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, val_dice={self.summary.val_dice:.4f})"

    def to_dict(self) -> dict[str, Any]:
        """The figures of the training."""
        return self.training.to_dict()

    def lines(self) -> list[str]:
        """The figures of the training in words."""
        return self.training.lines()

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each sample that chose the epoch, with its Dice."""
        return self.training.to_rows()


def _several(include: Collection[Extra] | Extra) -> Collection[Extra]:
    """A single name is a text, and so a collection of letters."""
    return [include] if isinstance(include, str) else include


def open_run(path: os.PathLike[str] | str) -> Run:
    """Open a run that is there.

    Raises:
        RunError: if there is none, or its training did not finish.
    """
    return Run(path)
