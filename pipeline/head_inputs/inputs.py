"""A cache as stage two sees it: each row's maps, labels and text, on the chosen blocks and timesteps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...cache.format.blocks import Block, Pair, arrays_of, encoder_of
from ...cache.format.layout import N_FILTERS
from ...cache.format.maps import StoredMaps
from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...errors import CacheMismatchError, ConfigError
from ...stages.features.position import Region
from ...stages.features.sampling import FILTERS, Map, Maps, QuantisedMap, gather
from ...stages.heads.base import HeadSpec
from ...stages.heads.input import HeadInput
from ..config.training import FILTERS_SOURCE, UNET, TextMode, TextSetting
from ..runtime.transfer import ahead, memory_bytes, to_device
from .regions import region_of
from .source import head_maps
from .texts import assign_texts

KEPT_SHARE = 1 / 8
"""Of a GPU's whole memory: rows that fit in it are copied to it once. Not of the free memory, since what is gathered on
a GPU has other last bits than what is gathered on the CPU, and these should not depend on other programs."""


class RowTexts(NamedTuple):
    """Texts of some rows, by their places among all."""

    places: Int[Tensor, "row"]
    """Index of each row's text; any where none is shown."""
    shown: Bool[Tensor, "row"]
    """Whether the row has a text that is shown."""


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
    layers: tuple[str, ...] = ()
    """Layers of encoders."""
    kept: Mapping[int, Maps] = field(default_factory=dict)
    """Row → all of its maps, on the device."""

    @property
    def blocks_and_layers(self) -> tuple[Block, ...]:
        """Blocks of the UNet, then layers of encoders."""
        return (*self.blocks, *self.layers)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Blocks at each timestep, then layers: the arrays of the cache that the head sees."""
        return arrays_of(self.blocks, self.timesteps, self.layers)

    @property
    def map_keys(self) -> tuple[Block, ...]:
        """Keys of `maps`: the blocks, the layers, then `FILTERS` if the head sees them."""
        return (*self.blocks_and_layers, FILTERS) if self.filters else self.blocks_and_layers

    @property
    def sources(self) -> tuple[str, ...]:
        """The models as `--sources` names them; of encoders each layer."""
        return (*([UNET] if self.blocks else []), *self.layers) or (FILTERS_SOURCE,)

    def only(self, block: Block) -> CachedFeatures:
        """The same with one of `map_keys` alone."""
        blocks = (block,) if isinstance(block, int) and block != FILTERS else ()
        layers = (block,) if isinstance(block, str) else ()
        return replace(self, blocks=blocks, layers=layers, filters=block == FILTERS)

    def without_texts(self) -> CachedFeatures:
        """The same with no text of any row."""
        return replace(self, text_of=dict.fromkeys(self.text_of))

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
        channels: dict[Block, int] = {block: shapes[block][2] * len(self.timesteps) for block in self.blocks}
        channels |= {layer: shapes[layer][2] for layer in self.layers}
        fine: list[Block] = [block for block in channels if shapes[block][:2] == self.size]
        if self.filters:
            channels[FILTERS] = N_FILTERS
            fine.append(FILTERS)
        return HeadSpec(
            channels, self.n_classes, self.tokens.shape[-1], width, n_attention_heads, tuple(fine), position
        )

    def inputs(self, rows: Iterable[SampleRow]) -> Iterator[HeadInput]:
        """As `FeatureSource`: rows are read as they are taken, or one ahead of a GPU."""

        def read(row: SampleRow) -> HeadInput:
            (tokens,), (token_mask,) = self.texts([row])
            return HeadInput(to_device(self.maps(row), self.device), self.size, tokens, token_mask, self.region(row))

        yield from ahead(read, rows, self.device)

    def keep(self, rows: Sequence[SampleRow]) -> CachedFeatures:
        """The same with the maps of these rows on the device, if all of them fit in `KEPT_SHARE` of its memory."""
        if self.device == "cpu" or len(rows) * self._row_bytes(rows[0]) > KEPT_SHARE * memory_bytes(self.device):
            return self
        return replace(self, kept={row.row: to_device(self.maps(row), self.device) for row in rows})

    def _row_bytes(self, row: SampleRow) -> int:
        return sum(map_.nbytes for of in self.maps(row).values() for map_ in of)

    def maps(self, row: SampleRow) -> Maps:
        """The row's activations and filters: on the device if they are kept there, else views of the cache's files.

        Files are read when they are touched.
        """
        if kept := self.kept.get(row.row):
            return {key: kept[key] for key in self.map_keys}
        self.reader.fetch(self.pairs, row.row, filters=self.filters)
        maps = {pair: _to_map(self.reader.stored(*pair, row.row)) for pair in self.pairs}
        return head_maps(maps, torch.from_numpy(self.reader.filters(row.row)) if self.filters else None)

    def gather(self, row: SampleRow, pixels: Int[Tensor, "pixel"]) -> dict[Block, Float[Tensor, "pixel channel"]]:
        """The row's activations and filters at pixels of its label map, as `sampling.gather` gives them.

        Where the row's maps are kept, they are gathered on the device, else on the CPU.
        """
        return gather(self.maps(row), to_device(pixels, self.device) if row.row in self.kept else pixels, self.size)

    def labels(self, row: SampleRow) -> UInt8[Tensor, "y x"]:
        """The row's class indices, on the CPU."""
        return torch.from_numpy(self.reader.labels(row.row))

    def region(self, row: SampleRow) -> Region:
        """Part of the image that the row's maps show; the text describes the whole image."""
        return region_of(row.size, self.reader.manifest.features.tile, row.tile, row.view)

    def texts(self, rows: Sequence[SampleRow]) -> tuple[Float[Tensor, "row token dim"], Bool[Tensor, "row token"]]:
        """The rows' tokens; a row without text has a token mask that is false throughout."""
        return self.read_texts(to_device(self.choose_texts(rows), self.device))

    def choose_texts(self, rows: Sequence[SampleRow]) -> RowTexts:
        """The rows' texts, on the CPU."""
        texts = [self.text_of[row.id] for row in rows]
        return RowTexts(
            torch.tensor([0 if text is None else text for text in texts]),
            torch.tensor([text is not None for text in texts]),
        )

    def read_texts(self, texts: RowTexts) -> tuple[Float[Tensor, "row token dim"], Bool[Tensor, "row token"]]:
        """As `texts`, of chosen ones on the device."""
        return self.tokens[texts.places], self.token_mask[texts.places] & texts.shown[:, None]


def _to_map(stored: StoredMaps) -> Map:
    values = torch.from_numpy(stored.values)
    return values if stored.scales is None else QuantisedMap(values, torch.from_numpy(stored.scales))


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
    sources: Sequence[str] | None = None,
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
        sources: models that the head sees: `UNET`, names of encoders or of their layers; `FILTERS_SOURCE` stands for
            the filters. `None`: all that are cached.

    Raises:
        CacheMismatchError: if the cache lacks a block, a timestep, a layer or the filters.
        ConfigError: if there are no texts to shuffle, or nothing for the head to see.
    """
    layers = reader.layers if sources is None else chosen_layers(reader, sources)
    blocks, timesteps = _of_unet(reader, blocks, timesteps, sources)
    reader.require(blocks, timesteps, layers)
    seen = _sees_filters(reader, True if FILTERS_SOURCE in (sources or ()) else filters)
    _refuse_nothing(reader, blocks or layers or seen)
    _refuse_known_texts(reader, text)
    tokens, token_mask = (one.to(device) for one in _tokens(reader, text_dim))
    text_of = assign_texts(reader.table, text, seed)
    return CachedFeatures(reader, blocks, timesteps, text_of, tokens, token_mask, device, seen, layers)


def settle_text(reader: FeatureReader, text: TextSetting) -> TextSetting:
    """`auto` where a cache leaves no choice: `none` where it has no texts, `true` where its features know them.

    Args:
        reader: the open cache.
        text: the setting; any other is given back.
    """
    if text != "auto":
        return text
    if not reader.table.texts:
        return "none"
    return "true" if reader.manifest.features.condition == "own" else "auto"


def _of_unet(
    reader: FeatureReader, blocks: Sequence[int] | None, timesteps: Sequence[int] | None, sources: Sequence[str] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and timesteps that a head sees; none where the sources leave the UNet out."""
    if sources is not None and UNET not in sources:
        return (), ()
    return (
        reader.blocks if blocks is None else tuple(blocks),
        reader.timesteps if timesteps is None else tuple(timesteps),
    )


def _sees_filters(reader: FeatureReader, asked: bool | None) -> bool:
    """Whether a head sees the filters; where that is not said, as the cache has them."""
    if asked:
        reader.require_filters()
    return reader.manifest.has_filters if asked is None else asked


def _tokens(reader: FeatureReader, text_dim: int) -> tuple[Float[Tensor, "text token dim"], Bool[Tensor, "text token"]]:
    """All texts' tokens and their mask; one text of one token, which is not there, for a cache without texts."""
    tokens, mask = map(torch.from_numpy, reader.texts())
    if len(tokens) == 0:
        return torch.zeros(1, 1, text_dim), torch.zeros(1, 1, dtype=torch.bool)
    return tokens.float(), mask


def chosen_layers(reader: FeatureReader, sources: Sequence[str]) -> tuple[str, ...]:
    """The layers that sources stand for: an encoder's name for all of its cached layers.

    Raises:
        CacheMismatchError: if the cache has no such model.
    """
    known = {UNET, FILTERS_SOURCE, *reader.encoders, *reader.layers}
    unknown = [name for name in sources if name not in known]
    if unknown or (UNET in sources and not reader.blocks):
        names = [*([UNET] if reader.blocks else []), *reader.encoders, FILTERS_SOURCE]
        raise CacheMismatchError(
            f"{reader.root}: has no {', '.join(unknown or [UNET])}; it has {', '.join(names)}"
            + (f" (layers {', '.join(reader.layers)})" if reader.layers else "")
            + "; name these with --sources, or add a model with `textdiff extract-features --unet` or --encoder"
        )
    return tuple(layer for layer in reader.layers if layer in sources or encoder_of(layer) in sources)


def _refuse_nothing(reader: FeatureReader, seen: object) -> None:
    if not seen:
        raise ConfigError(f"{reader.root}: nothing is left for a head to see; name a model with --sources")


def _refuse_known_texts(reader: FeatureReader, text: TextMode) -> None:
    if text != "true" and reader.manifest.features.condition == "own":
        raise ConfigError(
            f"--text {text}: {reader.root} was made with --condition own, so that its features know the texts; "
            "extract into a new cache with --condition empty to go without"
        )
