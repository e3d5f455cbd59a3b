"""Zarr v3 metadata of a cache's arrays and groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..storage.atomic import canonical_json, write_durably
from ..storage.location import Location
from .layout import METADATA, ArrayLayout

GROUP = canonical_json({"attributes": {}, "node_type": "group", "zarr_format": 3}, indent=1)


def write_metadata(root: Location, arrays: Iterable[tuple[ArrayLayout, int]]) -> dict[str, str]:
    """Write the metadata of arrays, each with its number of rows, and of the groups that they lie in.

    Returns:
        Path of each file → its SHA-256.
    """
    files = {f"{layout.name}/{METADATA}": array_metadata(layout, n_rows) for layout, n_rows in arrays}
    for name in [*files]:
        folders = name.split("/")[:-2]
        files |= {"/".join([*folders[:depth], METADATA]): GROUP for depth in range(len(folders) + 1)}
    for name, content in files.items():
        write_durably(root / name, [content])
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def array_metadata(layout: ArrayLayout, n_rows: int) -> bytes:
    """The metadata of an array of `n_rows` rows, as zarr-python makes it."""
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
    return metadata.to_bytes()
