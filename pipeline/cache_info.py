"""What a cache holds, in words and numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cache.reader import FeatureReader
from ..cache.spec import FeatureSpec, TextSpec


@dataclass(frozen=True)
class CacheInfo:
    """A whole cache, described."""

    cache: str
    splits: dict[str, int]
    """Split → samples."""
    n_groups: int
    n_texts: int
    n_labelled: int
    blocks: dict[int, tuple[int, int, int]]
    """Block → (y, x, channel)."""
    timesteps: tuple[int, ...]
    classes: dict[str, str]
    features: FeatureSpec
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
        blocks = ", ".join(f"{block} ({y}×{x}×{c})" for block, (y, x, c) in self.blocks.items())
        encoder = f"{self.texts.encoder}, {self.texts.n_tokens} tokens × {self.texts.dim}" if self.texts else "none"
        return [
            f"{self.cache}: whole, {self.size_bytes / 1e9:.3f} GB in {self.n_shards} shards",
            f"samples    {splits}; {self.n_groups} groups, {self.n_labelled} labelled, {self.n_texts} distinct texts",
            f"blocks     {blocks}",
            f"timesteps  {', '.join(map(str, self.timesteps))}",
            f"images     {self.features.image_size} px, {self.features.noise} noise, seed {self.features.seed}, "
            f"{self.features.dtype}",
            f"UNet       {self.features.unet} ({self.features.unet_digest[:12]})",
            f"texts      {encoder}",
            f"classes    {', '.join(f'{value} {name}' for value, name in self.classes.items())}",
            *([f"unused     {self.n_unused_rows} rows of images no longer in the data"] if self.n_unused_rows else []),
            *(f"{name:<10} {digest[:16]}" for name, digest in sorted(self.digests.items())),
        ]


def cache_info(cache: Path) -> CacheInfo:
    """Describe the cache.

    Raises:
        CacheError: if there is none, or it is not whole.
    """
    reader = FeatureReader(cache)
    manifest, samples = reader.manifest, reader.samples
    shards = list(manifest.shards())
    return CacheInfo(
        cache=str(cache),
        splits=dict(Counter(sample.split for sample in samples)),
        n_groups=len({sample.group for sample in samples}),
        n_texts=len(reader.table.texts),
        n_labelled=sum(sample.mask is not None for sample in samples),
        blocks={block: manifest.block_shapes[block] for block in reader.blocks},
        timesteps=reader.timesteps,
        classes=dict(manifest.classes["classes"]),
        features=manifest.features,
        texts=manifest.texts,
        size_bytes=sum(shard.size_bytes for shard in shards),
        n_shards=len(shards),
        n_unused_rows=sum(key is not None for key in manifest.rows) - len({sample.row for sample in samples}),
        digests=dict(manifest.digests),
    )
