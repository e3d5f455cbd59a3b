"""`label`: images, a head that learns while one draws, and the page, put together and served."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import ConfigError
from ..config.labelling import LabelConfig
from ..data.classes import Classes
from ..runtime.folders import locked_folder, no_empty_folder
from ..runtime.progress import Progress
from ..runtime.results import Result
from .data_set.images import ImageList, list_images
from .session.history import LabelClass
from .session.session import Session

STROKES = "strokes"
_SERVER = ("starlette", "uvicorn")
COLOURS = ("#8a8f98", "#e6550d", "#3182bd", "#31a354", "#c51b8a", "#e6ab02", "#1b9e9e", "#7570b3", "#a6761d", "#d6604d")
"""Of classes before anybody chose one, the background first; told apart in light and dark, and by pattern beside."""


@dataclass(frozen=True)
class LabelSummary(Result):
    """Result of a session."""

    out: str
    n_images: int
    n_labelled: int
    """Images with a stroke or a mask."""
    n_strokes: int

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        return [
            f"{self.out}: {self.n_labelled} of {self.n_images} images are labelled; strokes: {self.n_strokes}",
            f"next: textdiff extract-features {self.out} CACHE, or textdiff label with the same --out to go on",
        ]


def label(config: LabelConfig, progress: Progress | None = None) -> LabelSummary:
    """Serve the labelling page until the process is interrupted.

    Args:
        config: settings.
        progress: where to report, `None`: nowhere; announces the page's address, with a token that lets one browser in,
            once.

    Raises:
        ConfigError: if the port is taken, or the folder holds strokes of another annotator.
        DataError: if there are no images, or some cannot be read, or the log of strokes is damaged.
        CacheError: if the cache cannot be read, or does not fit the run.
        RunError: if another process uses the folder.
    """
    if absent := [name for name in _SERVER if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"`textdiff label` needs {', '.join(absent)}: pip install 'textdiff[label]'")
    from .security.access import is_loopback
    from .serving import Service

    progress = progress or Progress()
    if not is_loopback(config.host):
        progress.warn(
            f"--host {config.host} lets other machines reach the images, texts and labels, without encryption"
        )
    with locked_folder(config.out), no_empty_folder(config.out):
        _refuse_other_annotators(config)
        listing = list_images(config, progress)
        with closing(_open_session(config, listing)) as session:
            if session.cut:
                progress.warn(session.cut)
            Service(config, listing, session).serve(progress.announce)
            return _summary(config, session)


def _refuse_other_annotators(config: LabelConfig) -> None:
    """One annotator a folder, since its label images are one's own."""
    others = sorted(path.stem for path in (config.out / STROKES).glob("*.log") if path.stem != config.annotator)
    if others:
        raise ConfigError(
            f"--out {config.out} holds the strokes of {', '.join(others)}; go on with --annotator {others[0]}, or give "
            f"{config.annotator} another --out and put both together with `textdiff merge-labels`"
        )


def _open_session(config: LabelConfig, listing: ImageList) -> Session:
    log = config.out / STROKES / f"{config.annotator}.log"
    classes = _first_classes(listing.classes)
    return Session(listing.images, classes, log, annotator=config.annotator, mask_classes=listing.classes)


def _first_classes(classes: Classes) -> list[LabelClass]:
    return [LabelClass(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(classes.names)]


def _summary(config: LabelConfig, session: Session) -> LabelSummary:
    labels = [session.labels(image) for image in range(len(session.images))]
    n_labelled, n_strokes = sum(one.box is not None for one in labels), sum(one.n_strokes for one in labels)
    return LabelSummary(str(config.out), len(labels), n_labelled, n_strokes)
