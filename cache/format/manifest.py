"""The manifest: the list of a cache's content, which makes it whole.

A *row* is an index along the first axis of every array but the texts'; a *shard* is one file of consecutive rows; a
*unit* is the activations of one shard's rows at some timesteps and blocks of the UNet, or at some layers of an encoder,
made by one forward, written and recorded together. While units are made, each is recorded in the journal
(`journal.py`); publishing moves them into the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import CacheCorruptError, CacheError, CacheIncompleteError, CacheNotFoundError
from ..storage.atomic import write_durably
from ..storage.location import Location, refuse_hdf5
from .blocks import Block, Pair, block_from_json, encoder_of, is_block, order, pairs_in_order
from .layout import (
    FILTERS_ARRAY,
    METADATA,
    TEXTS_PER_SHARD,
    ArrayLayout,
    features_layout,
    filters_layout,
    images_layout,
    labels_layout,
    projection_layout,
    scales_layout,
    texts_layouts,
)
from .maps import QUANTISED
from .sealed_json import read_sealed, sealed_json
from .shard import ShardRecord
from .spec import FORMAT, EncoderSpec, FeatureSpec, TextSpec

MANIFEST = "manifest.json"
COPY = "manifest.copy.json"
"""The same bytes again: a damaged manifest is restored from it."""
PLAN = Path("journal") / "plan.json"
_METADATA_PATH = re.compile(rf"([a-z]+/)?(\w+/){{0,2}}{re.escape(METADATA)}", re.ASCII)
_REPAIR: dict[str | Path, str] = {
    MANIFEST: f"repeat the `textdiff extract-features` command with --resume, which restores it from {COPY}",
    COPY: "repeat the `textdiff extract-features` command with --resume, which writes it again",
    PLAN: f"remove {PLAN.parent} to go on from what was published before",
}


@dataclass(frozen=True)
class RowKey:
    """Source of a row's activations."""

    id: str
    """The sample's id."""
    image_digest: str
    """SHA-256 of the image file."""
    text_digest: str | None = None
    """SHA-256 of the sample's text where that text is the UNet's condition; `None`: it is not."""


@dataclass(frozen=True)
class WorkUnit:
    """Work to do: one forward over some rows of one shard."""

    rows: tuple[int, ...]
    timesteps: tuple[int, ...]
    """Of an encoder, `NO_NOISE` alone."""
    blocks: tuple[Block, ...]
    """Of the UNet, or layers of one encoder."""

    def __post_init__(self) -> None:
        """Refuse names that are no layers': arrays are opened by them."""
        if not self.blocks or not all(map(is_block, self.blocks)) or len(set(map(encoder_of, self.blocks))) > 1:
            raise ValueError(f"{list(self.blocks)} are no blocks of one model")

    @property
    def key(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Block, ...]]:
        """Identity of the unit, finished or not, whichever process makes it."""
        return self.rows, self.timesteps, self.blocks

    @property
    def order(self) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[str, int]]]:
        """Sorts units by rows, timesteps and blocks."""
        return self.rows, self.timesteps, list(map(order, self.blocks))

    @property
    def encoder(self) -> str | None:
        """Name of the encoder that makes it; `None`: the UNet does."""
        return encoder_of(self.blocks[0])

    @property
    def pairs(self) -> list[Pair]:
        """Its (block, timestep)."""
        return [(block, timestep) for block in self.blocks for timestep in self.timesteps]


@dataclass(frozen=True)
class Unit(WorkUnit):
    """A finished unit."""

    conditions: Mapping[str, Any]
    """Device, threads and library versions: they change last bits, not identity."""
    shards: tuple[ShardRecord, ...]
    """One for each block and timestep, and for int8 one of its scales."""


@dataclass(frozen=True)
class ProjectionRecord:
    """The principal components that a block's channels at one timestep were projected on."""

    block: Block
    timestep: int
    shape: tuple[int, int]
    """(1 + components, channels of the model): the mean comes first."""
    digest: str
    """SHA-256 of the numbers, float32 and little-endian: the same components, the same features."""
    shard: ShardRecord

    @property
    def pair(self) -> Pair:
        """(block, timestep)."""
        return self.block, self.timestep


@dataclass(frozen=True)
class DerivedShardRecord:
    """A shard of images, filters, labels or texts, which is written again when what it is made from changes."""

    shard: ShardRecord
    made_from: str
    """Digest of the rows with their files' digests (and how labels are made), or of the encoder and the texts."""


@dataclass(frozen=True)
class Manifest:
    """Everything that a cache says of itself."""

    features: FeatureSpec
    rows: tuple[RowKey | None, ...]
    """For each row what it was made from; `None` where the row was skipped to begin a new shard."""
    block_shapes: Mapping[Block, tuple[int, int, int]]
    """Block, or layer of an encoder → (y, x, channel) as stored."""
    units: tuple[Unit, ...] = ()
    texts: TextSpec | None = None
    """`None`: no sample has a text."""
    classes: Mapping[str, Any] = field(default_factory=dict)
    derived_shards: tuple[DerivedShardRecord, ...] = ()
    """Shards of images, filters, labels and texts."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of `features`, `texts`, `labels` and the file of `samples`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Each `zarr.json` → SHA-256 of the file."""
    projections: tuple[ProjectionRecord, ...] = ()
    """By block and timestep; a pair without one has the model's own channels."""
    encoders: Mapping[str, EncoderSpec] = field(default_factory=dict)
    """Encoder's name → what its activations depend on."""
    complete: bool = False
    """Whether everything that the sample table names is there."""
    labels_are: str = "nearest pixel"
    """How masks become labels at the model's size; the default is the way before there was a choice."""

    def __post_init__(self) -> None:
        """Refuse metadata outside of the cache's folder: these files are read, written and exported by their paths."""
        strange = [name for name in self.metadata if not _METADATA_PATH.fullmatch(name)]
        if strange:
            raise ValueError(f"{strange[0]!r} is no {METADATA} of a cache")
        shapes = {block_from_json(block): shape for block, shape in self.block_shapes.items()}
        if not all(map(is_block, shapes)):
            raise ValueError(f"{list(shapes)} are not all blocks, or layers of encoders")
        object.__setattr__(self, "block_shapes", shapes)

    def coverage(self) -> dict[Pair, frozenset[int]]:
        """(block, timestep) → the rows whose activations are there."""
        covered: dict[Pair, set[int]] = {}
        for unit in self.units:
            for pair in unit.pairs:
                covered.setdefault(pair, set()).update(unit.rows)
        return {pair: frozenset(rows) for pair, rows in covered.items()}

    def features_layouts(self, block: Block, timestep: int) -> tuple[ArrayLayout, ...]:
        """The array of activations and, for int8, that of their scales."""
        spec, shape = self.features, self.block_shapes[block]
        values = features_layout(block, timestep, shape, spec.dtype, spec.rows_per_shard)
        if spec.dtype != QUANTISED:
            return (values,)
        return values, scales_layout(block, timestep, shape[2], spec.rows_per_shard)

    def arrays(self, n_texts: int) -> Iterator[tuple[ArrayLayout, int]]:
        """Every array of the cache, and the length of its first axis."""
        n_rows = len(self.rows)
        for pair in pairs_in_order(self.coverage()):
            yield from ((layout, n_rows) for layout in self.features_layouts(*pair))
        for record in self.projections:
            yield projection_layout(*record.pair, record.shape), record.shape[0]
        yield images_layout(self.features), n_rows
        yield labels_layout(self.features), n_rows
        if self.has_filters:
            yield filters_layout(self.features), n_rows
        if self.texts:
            yield from ((layout, n_texts) for layout in texts_layouts(self.texts.n_tokens, self.texts.dim))

    @property
    def has_filters(self) -> bool:
        """Whether filters of every sample's image are there: they are written for all samples or for none."""
        return any(one.shard.path.startswith(f"{FILTERS_ARRAY}/") for one in self.derived_shards)

    def has_texts(self, n_texts: int, made_from: str) -> bool:
        """Whether the shards of texts hold `n_texts` and were made from what has this digest."""
        wanted = 2 * -(-n_texts // TEXTS_PER_SHARD)  # tokens and mask
        current = [one for one in self.derived_shards if one.shard.path.startswith("texts/")]
        return self.texts is not None and sum(one.made_from == made_from for one in current) == wanted

    def shards(self) -> Iterable[ShardRecord]:
        """Every shard of the cache."""
        yield from (projection.shard for projection in self.projections)
        for unit in self.units:
            yield from unit.shards
        yield from (one.shard for one in self.derived_shards)


def write_manifest(root: Location, manifest: Manifest, name: str | Path = MANIFEST) -> None:
    """Write the manifest durably, with a checksum of itself; equal manifests give equal bytes."""
    units = sorted(manifest.units, key=lambda unit: unit.order)
    values = {**vars(manifest), "format": FORMAT, "units": units}
    values["block_shapes"] = {str(block): shape for block, shape in manifest.block_shapes.items()}
    write_durably(root / name, [sealed_json(values)])


def read_manifest(root: Location, name: str | Path = MANIFEST) -> Manifest | None:
    """Read the manifest, or `None` where there is none.

    Raises:
        CacheError: if another version of textdiff wrote it.
        CacheCorruptError: if it is not a manifest, was changed, or is absent while its copy exists.
    """
    path = root / name
    manifest = read_sealed(path, Manifest, what="a manifest of a feature cache", repair=_REPAIR[name])
    if manifest is None and name == MANIFEST and (root / COPY).exists():
        raise CacheCorruptError(f"{path}: absent; {_REPAIR[name]}")
    return manifest


def whole_manifest(root: Location, *, recover: bool = False) -> Manifest:
    """The manifest of a whole cache.

    Args:
        root: the cache.
        recover: whether to read the copy where the manifest is damaged.

    Raises:
        CacheNotFoundError: if there is no cache.
        CacheIncompleteError: if its extraction did not finish.
        CacheCorruptError: if the manifest, or with `recover` its copy too, cannot be read.
        CacheError: if another version of textdiff wrote it, or it is an HDF5 file.
    """
    refuse_hdf5(root)
    manifest = recover_manifest(root) if recover else read_manifest(root)
    if manifest is None and not (root / PLAN.parent).exists():
        raise CacheNotFoundError(f"{root}: no feature cache here; make one with `textdiff extract-features`")
    if manifest is None or not manifest.complete:
        raise CacheIncompleteError(
            f"{root}: its extraction did not finish; repeat the `textdiff extract-features` command with --resume, "
            "which checks what is there and goes on"
        )
    return manifest


def recover_manifest(root: Location) -> Manifest | None:
    """The manifest, or its copy where the manifest is damaged or gone; `None` where there is neither.

    Raises:
        CacheError: if another version of textdiff wrote them.
        CacheCorruptError: if neither can be read.
    """
    try:
        return read_manifest(root)
    except CacheError as error:
        try:
            copy = read_manifest(root, COPY)
        except CacheError:
            copy = None
        if copy is not None:
            return copy
        if not isinstance(error, CacheCorruptError):
            raise
        raise CacheCorruptError(
            f"{root}: {MANIFEST} is damaged or gone, and so is {COPY}; nothing else says what the cache holds: restore "
            "one of the two from a backup, or extract into a new cache"
        ) from error
