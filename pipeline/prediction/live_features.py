"""New images as inputs of a head: cut, turned and sent through the frozen models, as many at once as at extraction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, islice, repeat, takewhile

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import Tensor

from ...cache.format.blocks import Pair, describe
from ...cache.format.maps import StoredMaps
from ...errors import DataError
from ...stages.features.sampling import Map, QuantisedMap
from ...stages.heads.input import HeadInput
from ..extraction.feature_extractor import Batch, FeatureExtractor
from ..extraction.rows import Row, read_upright, rows_of, tiles_of
from ..head_inputs.source import head_maps
from ..image_files.source import Offset
from ..images.filter_bank import image_filters
from ..runs.run_config import RunConfig
from ..runtime.transfer import ahead, to_device
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
        """As `FeatureSource`: a batch is taken ahead; beside a GPU, which keeps the activations, the next one is read.

        How rows fall together in batches changes last bits.
        """
        coming, n_rows = iter(rows), self._config.features.rows_per_shard
        batches = ahead(lambda _: list(islice(coming, n_rows)), repeat(None), self._device)
        for batch in takewhile(bool, batches):
            maps = self._maps(batch) if self._config.pairs else [{} for _ in batch]
            for (row, _), of_row, filters in zip(batch, maps, ahead(self._filters, batch, self._device), strict=True):
                features = head_maps(of_row, None if filters is None else to_device(filters, self._device))
                yield HeadInput(features, self.size, *self._texts.tokens(row.text), row.region)

    def _filters(self, row: LiveRow) -> Float16[Tensor, "y x filter"] | None:
        return torch.from_numpy(image_filters(row[1])) if self._config.filters else None

    def _maps(self, rows: Sequence[LiveRow]) -> list[dict[Pair, Map]]:
        """Activations of each row, in the form of a cache, on the device."""
        images, ids = np.stack([pixels for _, pixels in rows]), [row.id for row, _ in rows]
        batch, config = Batch(images, ids, [row.text or "" for row, _ in rows]), self._config
        recorded = self._stage_one.record_all(batch, config.timesteps, config.blocks_and_layers)
        maps = dict(self._stage_one.compressed(recorded))
        _refuse_not_finite(maps, ids)
        return [
            {
                pair: values[i] if scales is None else QuantisedMap(values[i], scales[i])
                for pair, (values, scales) in ((pair, maps[pair]) for pair in config.pairs)
            }
            for i in range(len(rows))
        ]

    def load(self) -> None:
        """Load the frozen models now, to refuse it before anything is written.

        Raises:
            SourceError: if it cannot be loaded, or is not that of the training.
        """
        _ = self._stage_one

    @cached_property
    def _stage_one(self) -> FeatureExtractor:
        return self._load_stage_one()


def _refuse_not_finite(maps: Mapping[Pair, tuple[Tensor, Tensor | None]], ids: Sequence[str]) -> None:
    numbers = [values if scales is None else scales for values, scales in maps.values()]
    if numbers[0].device.type != "cpu" and torch.stack([one.isfinite().all() for one in numbers]).all():
        return  # with one wait for all
    problems = []
    for pair, (values, scales) in maps.items():
        stored = StoredMaps(values.cpu().numpy(), None if scales is None else scales.cpu().numpy())
        for i, sample_id in enumerate(ids):
            if problem := stored.row(i).describe_not_finite():
                problems.append(f"{sample_id}: {describe(*pair)}: {problem}")
    if problems:
        raise DataError(
            "activations are NaN or infinite, so that a mask would mean nothing; leave these images out, or "
            "check the models' weights and the device:",
            problems,
        )
