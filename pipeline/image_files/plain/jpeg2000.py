"""Bytes of a JPEG 2000 file (JP2, or a bare codestream) into a raster.

OpenJPEG shows what there is of a cut file, and gives colours as they are stored: both are looked up here before
(ISO/IEC 15444-1, annexes A and I).
"""

from __future__ import annotations

from collections.abc import Iterator

import imagecodecs

from ..raster import Raster, UnusableImageError, broken_bytes, check_size, split_alpha

CODESTREAM = b"\xff\x4f\xff\x51"
"""Start of the codestream, and marker of its size, which comes first."""
_END = b"\xff\xd9"
_SYCC = 18  # EnumCS of the colour box
_STRAIGHT, _PREMULTIPLIED = 1, 2
"""Types of channels that are opacity."""


def decode_jpeg2000(data: bytes) -> Raster:
    """Decode a whole JPEG 2000 file.

    Raises:
        UnusableImageError: It is broken, too large, signed or of colours that are not RGB.
    """
    with broken_bytes():
        boxes = {b"jp2c": data} if data.startswith(CODESTREAM) else dict(_boxes(data))
        stream = boxes[b"jp2c"]
        if not stream.startswith(CODESTREAM):
            raise UnusableImageError("is broken: its codestream does not begin with its size")
        if not stream.rstrip(b"\0").endswith(_END):
            raise UnusableImageError("is truncated: the end of its codestream is missing")
        right, bottom, left, top = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
        check_size(bottom - top, right - left)
        depth = stream[42]  # of the first component, less one; the highest bit says that it is signed
        if depth & 128:
            raise UnusableImageError("holds signed values; save it as unsigned ones")
        if _colour_space(boxes.get(b"jp2h", b"")) == _SYCC:
            raise UnusableImageError("holds YCC colours; save it as RGB")
        pixels = imagecodecs.jpeg2k_decode(data)
        opacity = _opacity(boxes.get(b"jp2h", b""), pixels.shape)
        colours, alpha = split_alpha(pixels)
        if colours.ndim == 3 and colours.shape[-1] != 3:
            raise UnusableImageError(f"has {colours.shape[-1]} channels; save it as grey, RGB or RGBA")
        return Raster(colours, depth + 1, alpha=alpha, premultiplied=opacity == _PREMULTIPLIED)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box; one of length 0 goes to the end."""
    at = 0
    while at + 8 <= len(data):
        length, kind, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        length = length or len(data) - at
        if length < header:
            raise UnusableImageError("is broken: a box is shorter than its header")
        yield kind, data[at + header : at + length]
        at += length


def _colour_space(header: bytes) -> int | None:
    """EnumCS of the colour box; `None` where it has none."""
    colour = dict(_boxes(header)).get(b"colr", b"")
    return int.from_bytes(colour[3:7], "big") if colour[:1] == b"\1" else None


def _opacity(header: bytes, shape: tuple[int, ...]) -> int:
    """Type of the last channel in the box of channel definitions (cdef), which a second or fourth channel must have."""
    n_channels = 1 if len(shape) == 2 else shape[-1]
    defined = dict(_boxes(header)).get(b"cdef", b"")[2:]
    numbers = [int.from_bytes(defined[at : at + 2], "big") for at in range(0, len(defined), 2)]
    opacity = dict(zip(numbers[::3], numbers[1::3], strict=False)).get(n_channels - 1, 0)
    if n_channels in (2, 4) and opacity not in (_STRAIGHT, _PREMULTIPLIED):
        raise UnusableImageError(
            f"has {n_channels} channels, and does not say that the last is alpha (channel definitions); save the one "
            "that is meant as grey, or three as RGB"
        )
    return opacity
