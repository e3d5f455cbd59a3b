"""A decoding plugin for pydicom: lossless JPEG, JPEG-LS and 12 bit JPEG frames through imagecodecs.

These are what scanners and archives compress with, and what pydicom cannot decode with numpy and Pillow alone. The
names `DECODER_DEPENDENCIES` and `is_available` are pydicom's protocol for plugins.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import imagecodecs

_JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (51, 57, 70))  # extended, lossless, lossless of first order
_JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))  # lossless, near-lossless
DECODER_DEPENDENCIES = dict.fromkeys((*_JPEG, *_JPEG_LS), ("imagecodecs",))
_STARTS_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_NAME = "textdiff"
_registering = Lock()


def is_available(syntax: str) -> bool:
    """Whether frames of the transfer syntax can be decoded."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: Any) -> bytes:  # noqa: ANN401
    """The pixels of an encoded frame, channels last, in the fewest bytes a value that hold them."""
    if _frame_size(frame) != (runner.rows, runner.columns):  # before memory is taken for whatever the frame promises
        raise ValueError("the frame is of another size than the file says")
    decode = imagecodecs.jpegls_decode if runner.transfer_syntax in _JPEG_LS else imagecodecs.jpeg_decode
    pixels = decode(frame)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())


def _frame_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width as the header of a JPEG or JPEG-LS stream has them (ITU-T T.81 annex B); `None`: it has none."""
    offset = 2
    while offset + 9 <= len(frame) and frame[offset] == 0xFF:
        marker = frame[offset + 1]
        if marker in _STARTS_OF_FRAME:
            height, width = (int.from_bytes(frame[offset + skip : offset + skip + 2], "big") for skip in (5, 7))
            return height, width
        offset += 1 if marker == 0xFF else 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    return None


def register() -> None:
    """Make pydicom know this plugin; once is enough, and again does nothing."""
    from pydicom.pixels import get_decoder

    with _registering:
        for syntax in DECODER_DEPENDENCIES:
            decoder = get_decoder(syntax)
            if _NAME not in decoder.available_plugins:
                decoder.add_plugin(_NAME, (__name__, decode_frame.__name__))
