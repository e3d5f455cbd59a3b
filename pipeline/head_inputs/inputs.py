"""A cache as stage two sees it: each row's maps, labels and text, on the chosen blocks and timesteps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...cache.format.layout import N_FILTERS
from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...errors import ConfigError
from ...stages.features.position import Region
from ...stages.features.sampling import FILTERS, Maps, gather
from ...stages.heads.base import HeadSpec
from ...stages.heads.input import HeadInput
from ..config.training import TextMode
from .regions import region_of
from .source import head_maps
from .texts import assign_texts


@dataclass(frozen=True)
class CachedFeatures:
    """Rows of a cache as inputs of a head: a `FeatureSource`."""

    reader: FeatureReader
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    text_of: dict[str, int | None]
    """Id of a row → index of its text in `tokens`; `None`: no text is shown."""
    tokens: Float[Tensor, "text token dim"]
    token_mask: Bool[Tensor, "text token"]
    device: str
    filters: bool = False
    """Whether the head sees the images' filters beside the blocks."""

    @property
    def map_keys(self) -> tuple[int, ...]:
        """Keys of `maps`: the blocks, then `FILTERS` if the head sees them."""
        return (*self.blocks, FILTERS) if self.filters else self.blocks

    def only(self, block: int) -> CachedFeatures:
        """The same with one of `map_keys` alone."""
        alone = block == FILTERS
        return replace(self, blocks=() if alone else (block,), filters=alone)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the label maps."""
        return (self.reader.manifest.features.image_size,) * 2

    @property
    def ignore(self) -> int:
        """The label that means "not labelled"."""
        return self.reader.table.ignore

    @property
    def n_classes(self) -> int:
        """Classes, background included."""
        return len(self.reader.manifest.classes["classes"])

    def head_spec(self, width: int, n_attention_heads: int, *, position: bool) -> HeadSpec:
        """The sizes of a head for this data."""
        shapes = self.reader.manifest.block_shapes
        channels = {block: shapes[block][2] * len(self.timesteps) for block in self.blocks}
        fine = [block for block in self.blocks if shapes[block][:2] == self.size]
        if self.filters:
            channels[FILTERS] = N_FILTERS
            fine.append(FILTERS)
        return HeadSpec(
            channels, self.n_classes, self.tokens.shape[-1], width, n_attention_heads, tuple(fine), position
        )

    def inputs(self, rows: Iterable[SampleRow]) -> Iterator[HeadInput]:
        """As `FeatureSource`: rows are read as they are taken."""
        for row in rows:
            (tokens,), (token_mask,) = self.texts([row])
            yield HeadInput(self.maps(row), self.size, tokens, token_mask, self.region(row))

    def maps(self, row: SampleRow) -> Maps:
        """The row's activations and filters: views of the cache's files, read when they are touched."""
        self.reader.fetch(self.blocks, self.timesteps, row.row, filters=self.filters)
        stored = {
            (block, timestep): self.reader.stored(block, timestep, row.row)
            for block in self.blocks
            for timestep in self.timesteps
        }
        return head_maps(stored, self.reader.filters(row.row) if self.filters else None, self.device)

    def gather(self, row: SampleRow, pixels: Int[Tensor, "pixel"]) -> dict[int, Float[Tensor, "pixel channel"]]:
        """The row's activations and filters at pixels of its label map, as `sampling.gather` gives them."""
        return gather(self.maps(row), pixels, self.size)

    def labels(self, row: SampleRow) -> UInt8[Tensor, "y x"]:
        """The row's class indices."""
        return torch.from_numpy(self.reader.labels(row.row)).to(self.device)

    def region(self, row: SampleRow) -> Region:
        """Part of the image that the row's maps show; the text describes the whole image."""
        return region_of(row.size, self.reader.manifest.features.tile, row.tile, row.view)

    def texts(self, rows: Sequence[SampleRow]) -> tuple[Float[Tensor, "row token dim"], Bool[Tensor, "row token"]]:
        """The rows' tokens; a row without text has a token mask that is false throughout."""
        texts = [self.text_of[row.id] for row in rows]
        index = torch.tensor([0 if text is None else text for text in texts], device=self.device)
        shown = torch.tensor([text is not None for text in texts], device=self.device)
        return self.tokens[index], self.token_mask[index] & shown[:, None]


def open_head_data(
    reader: FeatureReader,
    *,
    blocks: Sequence[int] | None,
    timesteps: Sequence[int] | None,
    text: TextMode,
    seed: int,
    device: str,
    text_dim: int = 1,
    filters: bool | None = None,
) -> CachedFeatures:
    """Open a cache for a head.

    Args:
        reader: the open cache.
        blocks: that the head sees; `None`: all that are cached.
        timesteps: likewise.
        text: each sample's own, none, or another sample's.
        seed: of the shuffling.
        device: where the head runs.
        text_dim: channels of a token, for a cache without texts.
        filters: whether the head sees the images' filters; `None`: where the cache has them.

    Raises:
        CacheMismatchError: if the cache lacks a block, a timestep or the filters.
        ConfigError: if there are no texts to shuffle.
    """
    blocks, timesteps = tuple(blocks or reader.blocks), tuple(timesteps or reader.timesteps)
    reader.require(blocks, timesteps)
    if filters:
        reader.require_filters()
    if filters is None:
        filters = reader.manifest.has_filters
    _refuse_known_texts(reader, text)
    tokens, token_mask = map(torch.from_numpy, reader.texts())
    if len(tokens) == 0:
        tokens, token_mask = torch.zeros(1, 1, text_dim), torch.zeros(1, 1, dtype=torch.bool)
    tokens, token_mask = tokens.float().to(device), token_mask.to(device)
    text_of = assign_texts(reader.table, text, seed)
    return CachedFeatures(reader, blocks, timesteps, text_of, tokens, token_mask, device, filters)


def _refuse_known_texts(reader: FeatureReader, text: TextMode) -> None:
    if text != "true" and reader.manifest.features.condition == "own":
        raise ConfigError(
            f"--text {text}: {reader.root} was made with --condition own, so that its features know the texts; "
            "extract into a new cache with --condition empty to go without"
        )
