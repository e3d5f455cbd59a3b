"""A cache as stage two sees it: samples' maps, labels and texts, on the chosen blocks and timesteps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...cache.format.layout import N_FILTERS
from ...cache.format.maps import StoredMaps
from ...cache.format.samples import SampleRow, SampleTable
from ...cache.reader import FeatureReader
from ...errors import ConfigError
from ...stages.features.position import Region
from ...stages.features.sampling import FILTERS, Map, Maps, QuantisedMap, gather, sample_pixels
from ...stages.heads.base import HeadSpec
from ...stages.heads.input import HeadInput
from ...stages.seeds import named_generator
from ..config.training import TextMode
from ..views.text_rewriting import index_in_view
from .splits import originals
from .windows import window_of


@dataclass(frozen=True)
class CachedFeatures:
    """Samples of a cache, ready for a head."""

    reader: FeatureReader
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    text_of: dict[str, int | None]
    """Sample id → place of its text in `tokens`; `None`: no text is shown."""
    tokens: Float[Tensor, "text token dim"]
    mask: Bool[Tensor, "text token"]
    device: str
    filters: bool = False
    """Whether the head sees the images' filters beside the blocks."""

    @property
    def map_keys(self) -> tuple[int, ...]:
        """The keys of `maps`: the blocks, then `FILTERS` if they are seen."""
        return (*self.blocks, FILTERS) if self.filters else self.blocks

    def only(self, block: int) -> CachedFeatures:
        """The same with one of the inputs alone."""
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

    def head_spec(self, width: int, n_heads: int, *, place: bool) -> HeadSpec:
        """The sizes of a head for this data."""
        shapes = self.reader.manifest.block_shapes
        channels = {block: shapes[block][2] * len(self.timesteps) for block in self.blocks}
        fine = [block for block in self.blocks if shapes[block][:2] == self.size]
        if self.filters:
            channels[FILTERS] = N_FILTERS
            fine.append(FILTERS)
        return HeadSpec(channels, self.n_classes, self.tokens.shape[-1], width, n_heads, tuple(fine), place)

    def inputs(self, rows: Iterable[SampleRow]) -> Iterator[HeadInput]:
        """What a head sees of each row."""
        for row in rows:
            (tokens,), (token_mask,) = self.texts([row])
            yield HeadInput(self.maps(row), self.size, tokens, token_mask, self.window(row))

    def maps(self, sample: SampleRow) -> Maps:
        """The sample's activations and filters: views of the cache's files, read when they are touched."""
        self.reader.fetch(self.blocks, self.timesteps, sample.row, filters=self.filters)
        maps: dict[int, list[Map]] = {
            block: [to_map(self.reader.stored(block, timestep, sample.row), self.device) for timestep in self.timesteps]
            for block in self.blocks
        }
        if self.filters:
            maps[FILTERS] = [torch.from_numpy(self.reader.filters(sample.row)).to(self.device)]
        return maps

    def gather(self, sample: SampleRow, pixels: Int[Tensor, "pixel"]) -> dict[int, Float[Tensor, "pixel channel"]]:
        """The sample's activations and filters at pixels of its label map, as `stages.pixels.gather` gives them."""
        return gather(self.maps(sample), pixels, self.size)

    def labels(self, sample: SampleRow) -> UInt8[Tensor, "y x"]:
        """The sample's class indices."""
        return torch.from_numpy(self.reader.labels(sample.row)).to(self.device)

    def window(self, sample: SampleRow) -> Region:
        """What the sample's maps show of the image that its text describes."""
        return window_of(sample.size, self.reader.manifest.features.tile, sample.tile, sample.view)

    def texts(
        self, samples: Sequence[SampleRow]
    ) -> tuple[Float[Tensor, "image token dim"], Bool[Tensor, "image token"]]:
        """The samples' tokens; a sample without text has a mask that is false throughout."""
        places = [self.text_of[sample.id] for sample in samples]
        index = torch.tensor([0 if place is None else place for place in places], device=self.device)
        shown = torch.tensor([place is not None for place in places], device=self.device)
        return self.tokens[index], self.mask[index] & shown[:, None]


@dataclass(frozen=True)
class PixelBatch:
    """Sampled pixels of a few images."""

    features: dict[int, Float[Tensor, "image pixel channel"]]
    pixels: Int[Tensor, "image pixel"]
    labels: Int[Tensor, "image pixel"]


def sample_batch(
    data: CachedFeatures, samples: Sequence[SampleRow], n_pixels: int, generator: torch.Generator
) -> PixelBatch:
    """Draw labelled pixels of each sample and gather their activations and labels."""
    features: dict[int, list[Tensor]] = {block: [] for block in data.map_keys}
    pixels, labels = [], []
    for sample in samples:
        truth = data.labels(sample)
        drawn = sample_pixels(truth.cpu(), n_pixels, data.ignore, generator).to(data.device)
        for block, gathered in data.gather(sample, drawn).items():
            features[block].append(gathered)
        pixels.append(drawn)
        labels.append(truth.reshape(-1)[drawn])
    stacked = {block: torch.stack(gathered) for block, gathered in features.items()}
    return PixelBatch(stacked, torch.stack(pixels), torch.stack(labels))


def sample_everywhere(
    data: CachedFeatures, samples: Sequence[SampleRow], n_pixels: int, generator: torch.Generator
) -> dict[int, Float[Tensor, "pixel channel"]]:
    """Each block's activations at pixels of each sample, labelled or not: where labels are few, these are not few."""
    nothing_ignored = torch.zeros(data.size, dtype=torch.uint8)
    drawn = [sample_pixels(nothing_ignored, n_pixels, data.ignore, generator).to(data.device) for _ in samples]
    gathered = [data.gather(sample, pixels) for sample, pixels in zip(samples, drawn, strict=True)]
    return {block: torch.cat([one[block] for one in gathered]) for block in data.map_keys}


def to_map(stored: StoredMaps, device: str) -> Map:
    """One row of a cache as a head takes it, without a copy where the device is the CPU."""
    values = torch.from_numpy(stored.values).to(device)
    return values if stored.scales is None else QuantisedMap(values, torch.from_numpy(stored.scales).to(device))


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
    """Choose what a head is to see.

    Args:
        reader: the open cache.
        blocks: `None`: all that are cached.
        timesteps: `None`: all that are cached.
        text: each sample's own, none, or another sample's.
        seed: of the shuffling.
        device: where the head runs.
        text_dim: channels of a token, for a cache without texts.
        filters: whether the head sees the images' filters; `None`: where the cache has them.

    Raises:
        CacheMismatchError: if the cache lacks a block, a timestep or the filters.
        ConfigError: if there are no texts to shuffle.
    """
    chosen_blocks, chosen_timesteps = tuple(blocks or reader.blocks), tuple(timesteps or reader.timesteps)
    reader.require(chosen_blocks, chosen_timesteps)
    if filters:
        reader.require_filters()
    if text != "true" and reader.manifest.features.condition == "own":
        raise ConfigError(
            f"--text {text}: {reader.root} was made with --condition own, so that its features know the texts; "
            "extract into a new cache with --condition empty to go without"
        )
    tokens, mask = (torch.from_numpy(array) for array in reader.texts())
    if len(tokens) == 0:
        tokens, mask = torch.zeros(1, 1, text_dim), torch.zeros(1, 1, dtype=torch.bool)
    text_of = _assign_texts(reader.table, text, seed)
    return CachedFeatures(
        reader,
        chosen_blocks,
        chosen_timesteps,
        text_of,
        tokens.float().to(device),
        mask.to(device),
        device,
        filters=reader.manifest.has_filters if filters is None else filters,
    )


def _assign_texts(table: SampleTable, text: TextMode, seed: int) -> dict[str, int | None]:
    """Row id → its text; of a turned picture, the text as it reads in that view."""
    if text == "none":
        return {row.id: None for row in table.samples}
    if text == "true":
        return {row.id: row.text for row in table.samples}
    shuffled = _shuffle_texts(originals(table.samples), seed)
    return {row.id: index_in_view(table.texts, shuffled[row.parent], row.view) for row in table.samples}


def _shuffle_texts(samples: Sequence[SampleRow], seed: int) -> dict[str, int | None]:
    """Each image of a split gets another's text, and all tiles of an image the same."""
    own = {sample.parent: sample.text for sample in samples}
    if len({place for place in own.values() if place is not None}) < 2:
        raise ConfigError("--text shuffled needs at least two different texts in the cache; use --text true or none")
    shuffled: dict[str, int | None] = {}
    for split in sorted({sample.split for sample in samples}):
        ids = sorted({sample.parent for sample in samples if sample.split == split})
        order = torch.randperm(len(ids), generator=named_generator(seed, "shuffled texts", split)).tolist()
        # Along a random cycle each sample gets the text of the next, so that none keeps its own
        # (its words may be the same where texts repeat).
        for place, taker in enumerate(order):
            shuffled[ids[taker]] = own[ids[order[(place + 1) % len(order)]]]
    return shuffled
