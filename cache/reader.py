"""Reads a cache: opens only the shards that are asked for, and gives rows as views of the mapped files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CacheIncompleteError, CacheMismatchError, CacheNotFoundError
from .layout import ArrayLayout, features_layout, images_layout, labels_layout, texts_layouts
from .manifest import Manifest, read_manifest
from .shards import ShardFile
from .table import SampleRow, SampleTable, read_table

MAX_OPEN_SHARDS = 128


class FeatureReader:
    """A whole cache, open for reading.

    Args:
        root: the cache's folder.

    Raises:
        CacheNotFoundError: if there is no cache.
        CacheIncompleteError: if its extraction did not finish.
        CacheCorruptError: if its tables cannot be read.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.manifest: Manifest = self._whole_manifest()
        self.table: SampleTable = read_table(self.root)
        rows = {sample.row for sample in self.table.samples}
        self.pairs = frozenset(pair for pair, covered in self.manifest.coverage().items() if rows <= covered)
        self._checked: dict[str, set[int]] = {}
        # Each open shard holds a file descriptor; a shard that is dropped stays mapped while rows of it are in use.
        self._shard = lru_cache(maxsize=MAX_OPEN_SHARDS)(self._open_shard)

    @property
    def samples(self) -> tuple[SampleRow, ...]:
        """All samples."""
        return self.table.samples

    @property
    def blocks(self) -> tuple[int, ...]:
        """The cached blocks, ascending."""
        return tuple(sorted({block for block, _ in self.pairs}))

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The cached timesteps, ascending."""
        return tuple(sorted({timestep for _, timestep in self.pairs}))

    def require(self, blocks: Sequence[int], timesteps: Sequence[int]) -> None:
        """Refuse what the cache does not hold for every sample.

        Raises:
            CacheMismatchError: with what is missing, what is there, and the flags that would add it.
        """
        missing = [(b, t) for b in blocks for t in timesteps if (b, t) not in self.pairs]
        if missing:
            lacking_blocks = sorted({b for b, _ in missing})
            lacking_timesteps = sorted({t for _, t in missing})
            raise CacheMismatchError(
                f"{self.root}: lacks blocks {_list(lacking_blocks)} at timesteps {_list(lacking_timesteps)}; "
                f"it has blocks {_list(self.blocks)} at timesteps {_list(self.timesteps)}. "
                "Add them: repeat the `textdiff extract-features` command that made this cache, with "
                f"--blocks {_list(lacking_blocks)} --timesteps {_list(lacking_timesteps)}"
            )

    def features(self, block: int, timestep: int, row: int) -> npt.NDArray[Any]:
        """Activations of one row, [y, x, channel] in the cache's dtype: a view of the file, checked on first use."""
        spec = self.manifest.features
        shape = self.manifest.block_shapes[block]
        return self._row(features_layout(block, timestep, shape, spec.dtype, spec.rows_per_shard), row)

    def labels(self, row: int) -> npt.NDArray[np.uint8]:
        """Class indices of one row, uint8 [y, x]; the table's `ignore` where not labelled."""
        spec = self.manifest.features
        return self._row(labels_layout(spec.image_size, spec.rows_per_shard), row)

    def image(self, row: int) -> npt.NDArray[np.uint8]:
        """What the model saw, uint8 [y, x, 3], RGB."""
        spec = self.manifest.features
        return self._row(images_layout(spec.image_size, spec.rows_per_shard), row)

    def texts(self) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
        """Tokens [text, token, dim] and their mask [text, token] of all distinct texts; none: 0 texts of 0 tokens."""
        spec = self.manifest.texts
        if spec is None:
            return np.zeros((0, 0, 0), np.float16), np.zeros((0, 0), np.bool_)
        tokens, mask = texts_layouts(spec.n_tokens, spec.dim)
        rows = range(len(self.table.texts))
        return np.stack([self._row(tokens, row) for row in rows]), np.stack([self._row(mask, row) for row in rows])

    def split(self, name: str) -> tuple[SampleRow, ...]:
        """The samples of one split, in the table's order."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def _row(self, layout: ArrayLayout, row: int) -> npt.NDArray[Any]:
        group, position = layout.locate(row)
        return self._shard(layout, group).row(position)

    def _open_shard(self, layout: ArrayLayout, group: int) -> ShardFile:
        path = layout.shard_path(group)
        checked = self._checked.setdefault(path, set())
        return ShardFile(self.root / path, layout.row_shape, layout.dtype, layout.rows_per_shard, checked)

    def _whole_manifest(self) -> Manifest:
        manifest = read_manifest(self.root)
        if manifest is not None and manifest.complete:
            return manifest
        if manifest is None and not (self.root / "journal").exists():
            raise CacheNotFoundError(f"{self.root}: no feature cache here; make one with `textdiff extract-features`")
        raise CacheIncompleteError(
            f"{self.root}: its extraction did not finish; repeat the `textdiff extract-features` command with --resume"
        )


def _list(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
