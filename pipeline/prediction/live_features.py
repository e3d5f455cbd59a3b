"""New images as a head sees them: cut, turned and sent through the frozen UNet, as many at once as at extraction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice

import numpy as np
import torch
from jaxtyping import UInt8

from ...cache.format.maps import StoredMaps
from ...errors import DataError
from ...stages.features.sampling import FILTERS, Map, Maps
from ..extraction.feature_extractor import FeatureExtractor, Pair
from ..extraction.rows import Row, read_upright, rows_of, tiles_of
from ..head_inputs.inputs import to_map
from ..images.filter_bank import image_filters
from ..images.source import Box, ImageReader, Offset
from ..runs.run_config import RunConfig
from ..views.transforms import turn


@dataclass(frozen=True)
class Request:
    """An image to segment."""

    image: ImageReader
    text: str | None = None
    """What the head is to go by; `None`: nothing."""
    sample_id: str = ""
    """Names the noise, where the head was trained with one noise for each sample."""


@dataclass(frozen=True)
class Pixels:
    """An image in memory."""

    pixels: UInt8[np.ndarray, "y x 3"]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
            raise DataError(f"image is {self.pixels.dtype} {shape}; expected uint8 (y, x, 3), RGB")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def boxes(self) -> Iterator[Box]:
        """The whole of it."""
        yield 0, 0, *self.size

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
        """A rectangle of it."""
        return self.pixels[top : top + height, left : left + width]


RowPixels = tuple[Row, UInt8[np.ndarray, "side side 3"]]


class LiveFeatures:
    """Stage one for new images, as it made the cache that a head was trained on; it is loaded when first needed.

    Args:
        config: of the run.
        load_stage_one: restores the frozen UNet.
        device: where the maps are wanted.
    """

    def __init__(self, config: RunConfig, load_stage_one: Callable[[], FeatureExtractor], device: str) -> None:
        self._config, self._load_stage_one, self._device = config, load_stage_one, device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what goes through the UNet."""
        return (self._config.features.image_size,) * 2

    @property
    def tile(self) -> int | None:
        """Side of the tiles in native pixels; `None`: images are taken whole."""
        return self._config.features.tile

    def offsets(self, size: tuple[int, int]) -> Sequence[Offset]:
        """Offsets of the tiles of an image of this size; one of an image that is taken whole."""
        return [offset or (0, 0) for offset in tiles_of(size, self._config.features)]

    def rows(self, request: Request, tta: int) -> Iterator[RowPixels]:
        """The views of the image, or of its tiles one after another.

        Args:
            request: the image and its text.
            tta: as many views as its text can be rewritten for, of 1, 2, 4 or 8.
        """
        spec = self._config.features
        rows = rows_of(request.sample_id, request.image.size, request.text, spec, range(tta))
        for offset, views in groupby(rows, lambda row: row.offset):
            upright = read_upright(request.image, offset, spec)  # once for all views
            yield from ((row, turn(upright, row.view)) for row in views)

    def maps(self, rows: Iterator[RowPixels]) -> Iterator[tuple[Row, Maps]]:
        """Each row with its activations and filters; how rows fall together in batches changes last bits."""
        blocks, timesteps = self._config.blocks, self._config.timesteps
        while batch := list(islice(rows, self._config.features.rows_per_shard)):
            images, ids = np.stack([pixels for _, pixels in batch]), [row.id for row, _ in batch]
            features = self._stage_one.features(images, ids, timesteps, blocks, [row.text or "" for row, _ in batch])
            _refuse_not_finite(features, ids)
            for i, (row, pixels) in enumerate(batch):
                maps: dict[int, list[Map]] = {
                    block: [to_map(features[block, timestep].row(i), self._device) for timestep in timesteps]
                    for block in blocks
                }
                if self._config.filters:
                    maps[FILTERS] = [torch.from_numpy(image_filters(pixels)).to(self._device)]
                yield row, maps

    def load(self) -> None:
        """Load the frozen UNet now: what is wrong with it shows before anything is written.

        Raises:
            SourceError: if it cannot be loaded, or is not that of the training.
        """
        _ = self._stage_one

    @cached_property
    def _stage_one(self) -> FeatureExtractor:
        return self._load_stage_one()


def _refuse_not_finite(features: Mapping[Pair, StoredMaps], ids: Sequence[str]) -> None:
    problems = [
        f"{sample_id}: block {block}, timestep {timestep}: {problem}"
        for (block, timestep), maps in features.items()
        for place, sample_id in enumerate(ids)
        if (problem := maps.row(place).describe_not_finite())
    ]
    if problems:
        raise DataError(
            "the UNet's activations are NaN or infinite, so that a mask would mean nothing; leave these images out, or "
            "look at the UNet's weights and at the device:",
            problems,
        )
