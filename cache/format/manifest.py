"""What a cache holds: its manifest, which makes it whole.

A *row* is a place along the first axis of every array but the texts'; a *group* is the rows of one shard; a *unit*
is the activations of one group at some timesteps and blocks, made by one forward, written and recorded together.
While units are made, each is recorded in the journal (`journal.py`); publishing moves them into the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import CacheCorruptError, CacheError
from ..storage.atomic import parse_json, write_durably
from ..storage.location import Location
from ..storage.paths import Place
from .layout import FILTERS_ARRAY, TEXTS_PER_SHARD
from .sealed_json import CHECKSUM, seal_holds, sealed_json
from .shard import ShardRecord
from .spec import FORMAT, FeatureSpec, TextSpec
from .zarr_metadata import METADATA

MANIFEST = "manifest.json"
COPY = "manifest.copy.json"
"""The same bytes again: a damaged manifest is restored from it."""
PLAN = Path("journal") / "plan.json"
_METADATA_PATH = re.compile(rf"([a-z]+/)?(\w+/){{0,2}}{re.escape(METADATA)}", re.ASCII)


_FIRST_SEALED = 4
"""The first format whose manifests have a checksum of themselves."""
_ADVICE: dict[str | Path, str] = {
    MANIFEST: f"repeat the `textdiff extract-features` command with --resume, which restores it from {COPY}",
    COPY: "repeat the `textdiff extract-features` command with --resume, which writes it again",
    PLAN: f"remove {PLAN.parent} to go on from what was published before",
}


@dataclass(frozen=True)
class RowKey:
    """What a row's activations were made from."""

    id: str
    """The sample's id."""
    image_digest: str
    """SHA-256 of the image file."""
    text_digest: str | None = None
    """SHA-256 of the sample's text where that text is the UNet's condition; `None`: it is not."""


@dataclass(frozen=True)
class Unit:
    """A finished piece of work."""

    rows: tuple[int, ...]
    timesteps: tuple[int, ...]
    blocks: tuple[int, ...]
    conditions: Mapping[str, Any]
    """Device, threads and library versions: they change last bits, not identity."""
    shards: tuple[ShardRecord, ...]
    """One for each block and timestep, and for int8 one of its scales."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Unit:
        """The inverse of `dataclasses.asdict`, from JSON."""
        return cls(
            rows=tuple(values["rows"]),
            timesteps=tuple(values["timesteps"]),
            blocks=tuple(values["blocks"]),
            conditions=dict(values["conditions"]),
            shards=tuple(ShardRecord.from_dict(shard) for shard in values["shards"]),
        )


@dataclass(frozen=True)
class ProjectionRecord:
    """The principal components that a block's channels at one timestep were projected on."""

    block: int
    timestep: int
    shape: tuple[int, int]
    """(1 + components, channels of the UNet): the mean comes first."""
    digest: str
    """SHA-256 of the numbers, float32 and little-endian: the same components, the same features."""
    shard: ShardRecord

    @property
    def pair(self) -> tuple[int, int]:
        """(block, timestep)."""
        return self.block, self.timestep

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProjectionRecord:
        """The inverse of `dataclasses.asdict`, from JSON."""
        n_rows, n_channels = values["shape"]
        return cls(**{**values, "shape": (n_rows, n_channels), "shard": ShardRecord.from_dict(values["shard"])})


@dataclass(frozen=True)
class LightShard:
    """A shard of images, filters, labels or texts, which is written again when what it is made from changes."""

    shard: ShardRecord
    made_from: str
    """Digest of the rows with their files' digests (and the classes), or of the encoder and the texts."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LightShard:
        """The inverse of `dataclasses.asdict`, from JSON."""
        return cls(ShardRecord.from_dict(values["shard"]), values["made_from"])


@dataclass(frozen=True)
class Manifest:
    """Everything that a cache says of itself."""

    features: FeatureSpec
    rows: tuple[RowKey | None, ...]
    """For each row what it was made from; `None` where the row was skipped to begin a new shard."""
    block_shapes: Mapping[int, tuple[int, int, int]]
    """Block → (y, x, channel) as stored."""
    units: tuple[Unit, ...] = ()
    texts: TextSpec | None = None
    """`None`: no sample has a text."""
    classes: Mapping[str, Any] = field(default_factory=dict)
    light_shards: tuple[LightShard, ...] = ()
    """Shards of images, filters, labels and texts."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of `features`, `texts`, `labels` and the file of `samples`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Each `zarr.json` → SHA-256 of the file; none in what formats before 4 wrote."""
    projections: tuple[ProjectionRecord, ...] = ()
    """By block and timestep; a pair without one has the UNet's own channels."""
    complete: bool = False
    """Whether everything that the sample table names is there."""

    def coverage(self) -> dict[tuple[int, int], frozenset[int]]:
        """(block, timestep) → the rows whose activations are there."""
        covered: dict[tuple[int, int], set[int]] = {}
        for unit in self.units:
            for pair in ((block, timestep) for block in unit.blocks for timestep in unit.timesteps):
                covered.setdefault(pair, set()).update(unit.rows)
        return {pair: frozenset(rows) for pair, rows in covered.items()}

    @property
    def has_filters(self) -> bool:
        """Whether filters of every sample's image are there: they are written for all samples or for none."""
        return any(light.shard.path.startswith(f"{FILTERS_ARRAY}/") for light in self.light_shards)

    def has_texts(self, n_texts: int, made_from: str) -> bool:
        """Whether the shards of texts hold `n_texts` and were made from what has this digest."""
        wanted = 2 * -(-n_texts // TEXTS_PER_SHARD)  # tokens and mask
        there = [light for light in self.light_shards if light.shard.path.startswith("texts/")]
        return self.texts is not None and sum(light.made_from == made_from for light in there) == wanted

    def shards(self) -> Iterable[ShardRecord]:
        """Every shard of the cache."""
        yield from (projection.shard for projection in self.projections)
        for unit in self.units:
            yield from unit.shards
        yield from (light.shard for light in self.light_shards)


def write_manifest(root: Location, manifest: Manifest, name: str | Path = MANIFEST) -> None:
    """Write the manifest durably, with a checksum of itself; equal manifests give equal bytes."""
    units = sorted(manifest.units, key=lambda unit: (unit.rows, unit.timesteps, unit.blocks))
    values = {**vars(manifest), "format": FORMAT, "units": units}
    values["block_shapes"] = {str(block): shape for block, shape in manifest.block_shapes.items()}
    write_durably(root / name, [sealed_json(values)])


def read_manifest(root: Place, name: str | Path = MANIFEST) -> Manifest | None:
    """Read the manifest, or `None` where there is none.

    Raises:
        CacheError: if a newer version of textdiff wrote it.
        CacheCorruptError: if it is not a manifest, was changed, or is gone while its copy is there.
    """
    path = root / name
    if not path.exists():
        if name == MANIFEST and (root / COPY).exists():
            raise CacheCorruptError(f"{path}: gone; {_ADVICE[name]}")
        return None
    try:
        content = path.read_bytes()
        values = parse_json(content)
        if values["format"] > FORMAT:
            raise CacheError(f"{path}: format {values['format']}; this textdiff reads up to {FORMAT}: upgrade textdiff")
        if (values["format"] >= _FIRST_SEALED or CHECKSUM in values) and not seal_holds(content, values):
            raise CacheCorruptError(f"{path}: changed since it was written: its checksum differs; {_ADVICE[name]}")
        return _manifest(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CacheError):
            raise
        raise CacheCorruptError(f"{path}: not a manifest of a feature cache ({error}); {_ADVICE[name]}") from error


def recover_manifest(root: Place) -> Manifest | None:
    """The manifest, or its copy where the manifest is damaged or gone; `None` where there is neither.

    Raises:
        CacheError: if a newer version of textdiff wrote them.
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


def _metadata(digests: Mapping[str, str]) -> Mapping[str, str]:
    """As they are, if all are files of groups and arrays below the cache's folder."""
    strange = [name for name in digests if not _METADATA_PATH.fullmatch(name)]
    if strange:
        raise ValueError(f"{strange[0]!r} is no {METADATA} of a cache")
    return digests


def _manifest(values: Mapping[str, Any]) -> Manifest:
    return Manifest(
        features=FeatureSpec.from_dict(values["features"]),
        rows=tuple(None if row is None else RowKey(**row) for row in values["rows"]),
        block_shapes={int(block): (y, x, c) for block, (y, x, c) in values["block_shapes"].items()},
        units=tuple(Unit.from_dict(unit) for unit in values["units"]),
        texts=None if values["texts"] is None else TextSpec(**values["texts"]),
        classes=values["classes"],
        light_shards=tuple(LightShard.from_dict(light) for light in values["light_shards"]),
        digests=values["digests"],
        metadata=_metadata(values.get("metadata", {})),
        complete=values["complete"],
        projections=tuple(ProjectionRecord.from_dict(record) for record in values.get("projections", ())),
    )
