"""Description of a cache, in words and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cache.format.layout import N_FILTERS
from ...cache.format.spec import EncoderSpec, FeatureSpec, TextSpec
from ...cache.reader import FeatureReader
from ...cache.storage.location import Location
from ..config.command_line import write_command
from ..data.classes import Classes
from ..runtime.results import Result
from .recipe import extraction_of


@dataclass(frozen=True)
class CacheInfo(Result):
    """A whole cache, described."""

    cache: str
    splits: dict[str, int]
    """Split → samples."""
    n_rows: int
    """Tiles of all samples; as many as samples where images are whole."""
    n_groups: int
    n_texts: int
    n_labelled: int
    blocks: dict[int, tuple[int, int, int]]
    """Block → (y, x, channel)."""
    timesteps: tuple[int, ...]
    layers: dict[str, tuple[int, int, int]]
    """Layer of an encoder → (y, x, channel)."""
    filters: bool
    """Whether there are filters of the images."""
    classes: dict[str, str]
    """Value as `classes.json` has it → name, background first."""
    features: FeatureSpec
    encoders: dict[str, EncoderSpec]
    texts: TextSpec | None
    size_bytes: int
    n_shards: int
    n_unused_rows: int
    """Rows of images that are no longer in the data."""
    digests: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        splits = ", ".join(f"{n} {name}" for name, n in self.splits.items())
        encoder = f"{self.texts.encoder}, {self.texts.n_tokens} tokens × {self.texts.dim}" if self.texts else "none"
        return [
            f"{self.cache}: whole, {self.size_bytes / 1e9:.3f} GB in {self.n_shards} shards",
            f"samples    {splits}; {self.n_groups} groups, {self.n_labelled} labelled, {self.n_texts} distinct texts"
            + (f"; {self.n_rows} tiles" if self.features.tile else ""),
            *([f"blocks     {_sizes(self.blocks)}"] if self.blocks else []),
            *([f"timesteps  {', '.join(map(str, self.timesteps))}"] if self.blocks else []),
            *([f"layers     {_sizes(self.layers)}"] if self.layers else []),
            f"filters    {f'{N_FILTERS} of each image' if self.filters else 'none'}",
            f"images     {_images(self.features)}",
            f"features   {_stored(self.features)}",
            f"UNet       {_unet(self.features)}",
            *(f"encoder    {one.source} ({one.digest[:12]}) at {one.input_side} px" for one in self.encoders.values()),
            f"texts      {encoder}",
            f"classes    {', '.join(f'{value} {name}' for value, name in self.classes.items())}",
            *([f"unused     {self.n_unused_rows} rows of images no longer in the data"] if self.n_unused_rows else []),
            *(f"{name:<10} {digest[:16]}" for name, digest in sorted(self.digests.items())),
        ]


def _sizes(shapes: Mapping[Any, tuple[int, int, int]]) -> str:
    return ", ".join(f"{block} ({y}×{x}×{c})" for block, (y, x, c) in shapes.items())


def _unet(spec: FeatureSpec) -> str:
    return f"{spec.unet} ({spec.unet_digest[:12]}){_conditions(spec)}" if spec.unet else "none"


def _images(spec: FeatureSpec) -> str:
    tiles = f"tiles of {spec.tile} native pixels, overlapping by {spec.tile_overlap}, at " if spec.tile else ""
    colours = ", standardised colours" if spec.colours == "standardised" else ""
    noise = f"; {spec.noise} noise, {spec.noise_draws} drawn, seed {spec.seed}" if spec.unet else ""
    return f"{tiles}{spec.image_size} px{colours}{noise}"


def _stored(spec: FeatureSpec) -> str:
    components = f"{spec.pca} principal components in " if spec.pca else ""
    return f"{components}{spec.dtype}, made in {spec.precision}"


def _conditions(spec: FeatureSpec) -> str:
    label = "" if spec.class_label is None else f", given class {spec.class_label}"
    return label if spec.condition == "none" else f"{label}, given the {spec.condition} text"


def cache_info(cache: Location, out: Path | None = None) -> CacheInfo:
    """Describe the cache.

    Args:
        cache: a folder or a URL.
        out: file for `extract-features --config`, as far as the cache knows what made it (`extraction_of`); `None`:
            none.

    Raises:
        CacheError: if there is none, or it is not whole.
    """
    reader = FeatureReader(cache)
    if out is not None:
        made = extraction_of(reader, reader.blocks, reader.timesteps)
        write_command(out.parent, "extract-features", made, out.name)
    return describe(reader)


def describe(reader: FeatureReader) -> CacheInfo:
    """Describe a cache that is open."""
    manifest, rows = reader.manifest, reader.samples
    samples = {row.parent: row for row in rows}.values()
    shards = list(manifest.shards())
    return CacheInfo(
        cache=str(reader.root),
        splits=dict(Counter(sample.split for sample in samples)),
        n_rows=len(rows),
        n_groups=len({sample.group for sample in samples}),
        n_texts=len(reader.table.texts),
        n_labelled=sum(sample.mask is not None for sample in samples),
        blocks={block: manifest.block_shapes[block] for block in reader.blocks},
        timesteps=reader.timesteps,
        layers={layer: manifest.block_shapes[layer] for layer in reader.layers},
        filters=manifest.has_filters,
        classes=Classes.from_dict(manifest.classes).to_dict()["classes"],
        features=manifest.features,
        encoders=dict(manifest.encoders),
        texts=manifest.texts,
        size_bytes=sum(shard.size_bytes for shard in shards),
        n_shards=len(shards),
        n_unused_rows=sum(key is not None for key in manifest.rows) - len({row.row for row in rows}),
        digests=dict(manifest.digests),
    )
