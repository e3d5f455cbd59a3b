"""Arrays of Zarr that other programs wrote, read in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_ZSTD = b"\x28\xb5\x2f\xfd"


def open_array(path: Path, chunk_bytes: int) -> Any:  # noqa: ANN401
    """An array of Zarr 2 or 3, which decodes on indexing the chunks that the index touches, and keeps none.

    Its metadata are believed: shape, chunks and codecs have been looked at before.

    Args:
        path: of the array's folder.
        chunk_bytes: size of a chunk; one in zstd that says it is larger is refused before it is decoded.

    Raises:
        Exception: of nearly any kind, here and on indexing, if the array is broken.
    """
    import zarr  # is slow to import
    from zarr.storage import LocalStore

    def checked(content: Any) -> Any:  # noqa: ANN401
        if content is not None and zstd_size(content.as_numpy_array()[:18].tobytes()) > 2 * chunk_bytes + 1024:
            raise ValueError("a chunk is larger than its array says")
        return content

    class CheckedStore(LocalStore):
        """Files of which no chunk is larger than declared."""

        async def get(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            return checked(await super().get(*args, **options))

        def get_sync(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            return checked(super().get_sync(*args, **options))

    return zarr.open_array(CheckedStore(path, read_only=True), mode="r")


def zstd_size(head: bytes) -> int:
    """Bytes that a frame of zstd says it holds (RFC 8878, 3.1.1.1); 0: it does not say, or is no such frame."""
    if head[:4] != _ZSTD or len(head) < 18:
        return 0
    flags = head[4]
    is_single = bool(flags & 0x20)
    start = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    n = (int(is_single), 2, 4, 8)[flags >> 6]
    return int.from_bytes(head[start : start + n], "little") + (256 if n == 2 else 0)
