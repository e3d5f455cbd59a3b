"""Writes a cache's files to one HDF5 file; `hdf5.py` says what lies in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..format.layout import ArrayLayout
from ..format.shard import ABSENT
from ..format.zarr_metadata import METADATA, layout_of_metadata
from ..storage.byte_ranges import CRC_BYTES, number_of
from .hdf5 import CHECKSUMS, FILES, SHARDS, is_array

ALIGNMENT = 64
"""Bytes; of where a row begins."""


class HdfWriter:
    """Writes a cache's files to an HDF5 file; an array's metadata comes before its shards.

    Args:
        file: that does not exist yet.
    """

    def __init__(self, file: Path) -> None:
        import h5py

        # Fixed arrays index the chunks, which older readers than HDF5 1.10 (2016) do not know.
        self._content = h5py.File(
            file, "w", libver=("v110", "v110"), alignment_threshold=ALIGNMENT, alignment_interval=ALIGNMENT
        )
        self._layouts: dict[str, ArrayLayout] = {}
        self._checksums: dict[str, npt.NDArray[np.uint32]] = {}

    def add(self, path: str, content: bytes) -> None:
        """Add a file."""
        array, is_shard, place = path.partition(SHARDS)
        if is_shard:
            self._add_shard(array, int(place.partition("/")[0]), content)
            return
        self._content[f"{FILES}/{path}"] = np.frombuffer(content, np.uint8)
        if is_array(path, content):
            self._begin_array(*layout_of_metadata(path.removesuffix(f"/{METADATA}"), content))

    def flush(self) -> None:
        """Write the rows' checksums."""
        for name, checksums in self._checksums.items():
            self._content[f"{CHECKSUMS}/{name}"] = checksums
        self._checksums = {}

    def close(self) -> None:
        """Close the file."""
        self._content.close()

    def _begin_array(self, layout: ArrayLayout, n_rows: int) -> None:
        shape, chunks = (n_rows, *layout.row_shape), (1, *layout.row_shape)
        dataset = self._content.create_dataset(layout.name, shape, layout.dtype, chunks=chunks)
        for axis, name in enumerate(layout.axes):
            dataset.dims[axis].label = name
        self._layouts[layout.name], self._checksums[layout.name] = layout, np.zeros(n_rows, np.uint32)

    def _add_shard(self, array: str, group: int, content: bytes) -> None:
        layout, dataset = self._layouts[array], self._content[array].id
        index = np.frombuffer(content[-CRC_BYTES - 16 * layout.rows_per_shard : -CRC_BYTES], "<u8").reshape(-1, 2)
        for position in np.flatnonzero(index[:, 0] != ABSENT).tolist():
            row, start = group * layout.rows_per_shard + position, int(index[position, 0])
            end = start + int(index[position, 1]) - CRC_BYTES
            dataset.write_direct_chunk((row, *(0 for _ in layout.row_shape)), content[start:end])
            self._checksums[array][row] = number_of(content[end : end + CRC_BYTES])
