"""Zarr v3 metadata of a cache's arrays and groups."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from ..storage.atomic import canonical_json, write_durably
from ..storage.location import Location
from .layout import ArrayLayout

METADATA = "zarr.json"


def layout_of_metadata(name: str, content: bytes) -> tuple[ArrayLayout, int]:
    """The inverse of `write_array_metadata`.

    Returns:
        The layout, and how many rows the array has.
    """
    values = json.loads(content)
    rows_per_shard, *row_shape = values["chunk_grid"]["configuration"]["chunk_shape"]
    axes, dtype = tuple(values["dimension_names"]), np.dtype(values["data_type"])
    return ArrayLayout(name, axes, tuple(row_shape), dtype, rows_per_shard), values["shape"][0]


def write_group_metadata(root: Location, name: str = "") -> str:
    """Make `name` a Zarr v3 group; returns the SHA-256 of its metadata."""
    content = canonical_json({"attributes": {}, "node_type": "group", "zarr_format": 3}, indent=1)
    return _write_metadata(root / name, content)


def write_array_metadata(root: Location, layout: ArrayLayout, n_rows: int) -> str:
    """Write the Zarr v3 metadata of an array of `n_rows` rows, as zarr-python makes it; touches no data.

    Returns:
        SHA-256 of the file.
    """
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    store = zarr.storage.MemoryStore()
    zarr.create_array(
        store,
        shape=(n_rows, *layout.row_shape),
        chunks=(1, *layout.row_shape),
        shards=(layout.rows_per_shard, *layout.row_shape),
        dtype=layout.dtype,
        compressors=[Crc32cCodec()],
        fill_value=0,
        dimension_names=layout.axes,
    )
    metadata = sync(store.get("zarr.json", default_buffer_prototype()))
    if metadata is None:
        raise AssertionError("zarr.create_array wrote no metadata")
    return _write_metadata(root / layout.name, metadata.to_bytes())


def _write_metadata(folder: Location, content: bytes) -> str:
    write_durably(folder / METADATA, [content])
    return hashlib.sha256(content).hexdigest()
