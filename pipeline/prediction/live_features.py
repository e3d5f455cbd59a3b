"""New images as a head sees them: cut, turned and sent through the frozen UNet, as many at once as at extraction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from jaxtyping import UInt8

from ...cache.format.maps import StoredMaps
from ...errors import DataError
from ...stages.features.position import Region
from ...stages.features.sampling import FILTERS, Map, Maps
from ..extraction.feature_extractor import FeatureExtractor, Pair
from ..extraction.rows import row_id
from ..head_inputs.inputs import to_map
from ..head_inputs.windows import window_of
from ..images.filter_bank import image_filters
from ..images.resizing import resize_image
from ..images.source import Box, ImageReader, Offset
from ..images.tiling import cut_tiles, tile_offsets
from ..runs.run_config import RunConfig
from ..views.text_rewriting import rewrite_sides, safe_views
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


@dataclass(frozen=True)
class Part:
    """What goes through the UNet as one: a view of an image or a tile, at the model's size."""

    pixels: UInt8[np.ndarray, "y x 3"]
    id: str
    text: str | None
    window: Region
    """What it shows of the image that the text describes."""


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
        """Where the tiles of an image of this size lie; of an image that is taken whole there is one."""
        spec = self._config.features
        return ((0, 0),) if spec.tile is None else tile_offsets(size, spec.tile, spec.tile_overlap)

    def parts(self, request: Request, tta: int) -> Iterator[Part]:
        """The views of the image, or of its tiles one after another.

        Args:
            request: the image and its text.
            tta: as many views as its text can be rewritten for, of 1, 2, 4 or 8.
        """
        image, tile = request.image, self._config.features.tile
        if tile is None:
            yield from self._views(request, None, image.read(0, 0, *image.size), tta)
            return
        offsets = self.offsets(image.size)
        for offset, pixels in zip(offsets, cut_tiles(image, offsets, tile), strict=True):
            yield from self._views(request, offset, pixels, tta)

    def _views(
        self, request: Request, offset: Offset | None, pixels: UInt8[np.ndarray, "y x 3"], tta: int
    ) -> Iterator[Part]:
        picture = resize_image(pixels, self.size)
        for view in safe_views(request.text, tta):
            text = None if request.text is None else rewrite_sides(request.text, view)
            window = window_of(request.image.size, self._config.features.tile, offset or (0, 0), view)
            yield Part(turn(picture, view), row_id(request.sample_id, offset, view), text, window)

    def maps(self, parts: Iterator[Part]) -> Iterator[tuple[Part, Maps]]:
        """Each part with its activations and filters; how parts fall together in batches changes last bits."""
        blocks, timesteps = self._config.blocks, self._config.timesteps
        while batch := list(islice(parts, self._config.features.rows_per_shard)):
            images, ids = np.stack([part.pixels for part in batch]), [part.id for part in batch]
            features = self._stage_one.features(images, ids, timesteps, blocks, [part.text or "" for part in batch])
            _refuse_not_finite(features, ids)
            for place, part in enumerate(batch):
                maps: dict[int, list[Map]] = {
                    block: [to_map(features[block, timestep].row(place), self._device) for timestep in timesteps]
                    for block in blocks
                }
                if self._config.filters:
                    maps[FILTERS] = [torch.from_numpy(image_filters(part.pixels)).to(self._device)]
                yield part, maps

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
