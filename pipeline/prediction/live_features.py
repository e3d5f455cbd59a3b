"""New images as inputs of a head: cut, turned and sent through the frozen models, as many at once as at extraction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, islice

import numpy as np
from jaxtyping import UInt8

from ...cache.format.blocks import Pair, describe
from ...cache.format.maps import StoredMaps
from ...errors import DataError
from ...stages.heads.input import HeadInput
from ..extraction.feature_extractor import Batch, FeatureExtractor
from ..extraction.rows import Row, read_upright, rows_of, tiles_of
from ..head_inputs.source import head_maps
from ..image_files.source import Offset
from ..images.filter_bank import image_filters
from ..runs.run_config import RunConfig
from ..runtime.transfer import to_device
from ..views.transforms import turn
from .live_texts import LiveTexts
from .request import PredictionRequest

LiveRow = tuple[Row, UInt8[np.ndarray, "side side 3"]]
"""A row of a new image, and its pixels."""


class LiveFeatures:
    """Stage one for new images, as it made the cache that a head was trained on: a `FeatureSource`.

    Args:
        config: of the run.
        load_stage_one: restores the frozen models; called when it is first needed.
        texts: gives the tokens of texts.
        device: of the head.
    """

    def __init__(
        self, config: RunConfig, load_stage_one: Callable[[], FeatureExtractor], texts: LiveTexts, device: str
    ) -> None:
        self._config, self._load_stage_one, self._texts, self._device = config, load_stage_one, texts, device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a row in pixels."""
        return (self._config.features.image_size,) * 2

    @property
    def tile(self) -> int | None:
        """Side of the tiles in native pixels; `None`: images are not cut."""
        return self._config.features.tile

    def offsets(self, size: tuple[int, int]) -> Sequence[Offset]:
        """Offsets of the tiles of an image of this size; one of an image that is not cut."""
        return [offset or (0, 0) for offset in tiles_of(size, self._config.features)]

    def rows(self, request: PredictionRequest, n_views: int = 1) -> Iterator[LiveRow]:
        """The views of each tile in turn, or of the image that is not cut.

        Args:
            request: the image and its text.
            n_views: 1, 2, 4 or 8; those are left out for which the text cannot be rewritten.
        """
        spec = self._config.features
        rows = rows_of(request.sample_id, request.image.size, request.text, spec, range(n_views))
        for offset, views in groupby(rows, lambda row: row.offset):
            upright = read_upright(request.image, offset, spec)  # once for all views
            yield from ((row, turn(upright, row.view)) for row in views)

    def inputs(self, rows: Iterable[LiveRow]) -> Iterator[HeadInput]:
        """As `FeatureSource`: a batch is taken ahead. How rows fall together in batches changes last bits."""
        coming, pairs = iter(rows), self._config.pairs
        while batch := list(islice(coming, self._config.features.rows_per_shard)):
            images, ids = np.stack([pixels for _, pixels in batch]), [row.id for row, _ in batch]
            texts = [row.text or "" for row, _ in batch]
            features = self._features(Batch(images, ids, texts)) if pairs else {}
            _refuse_not_finite(features, ids)
            for i, (row, pixels) in enumerate(batch):
                stored = {pair: features[pair].row(i) for pair in pairs}
                filters = image_filters(pixels) if self._config.filters else None
                maps = to_device(head_maps(stored, filters), self._device)
                yield HeadInput(maps, self.size, *self._texts.tokens(row.text), row.region)

    def _features(self, batch: Batch) -> Mapping[Pair, StoredMaps]:
        config, stage_one = self._config, self._stage_one
        return stage_one.store(stage_one.record_all(batch, config.timesteps, config.blocks_and_layers))()

    def load(self) -> None:
        """Load the frozen models now, to refuse it before anything is written.

        Raises:
            SourceError: if it cannot be loaded, or is not that of the training.
        """
        _ = self._stage_one

    @cached_property
    def _stage_one(self) -> FeatureExtractor:
        return self._load_stage_one()


def _refuse_not_finite(features: Mapping[Pair, StoredMaps], ids: Sequence[str]) -> None:
    problems = [
        f"{sample_id}: {describe(*pair)}: {problem}"
        for pair, maps in features.items()
        for i, sample_id in enumerate(ids)
        if (problem := maps.row(i).describe_not_finite())
    ]
    if problems:
        raise DataError(
            "activations are NaN or infinite, so that a mask would mean nothing; leave these images out, or "
            "check the models' weights and the device:",
            problems,
        )
