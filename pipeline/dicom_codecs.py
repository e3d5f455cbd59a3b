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
_NAME = "textdiff"
_registering = Lock()


def is_available(syntax: str) -> bool:
    """Whether frames of the transfer syntax can be decoded."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: Any) -> bytes:  # noqa: ANN401
    """The pixels of an encoded frame, channels last, in the fewest bytes a value that hold them."""
    decode = imagecodecs.jpegls_decode if runner.transfer_syntax in _JPEG_LS else imagecodecs.jpeg_decode
    pixels = decode(frame)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())


def register() -> None:
    """Make pydicom know this plugin; once is enough, and again does nothing."""
    from pydicom.pixels import get_decoder

    with _registering:
        for syntax in DECODER_DEPENDENCIES:
            decoder = get_decoder(syntax)
            if _NAME not in decoder.available_plugins:
                decoder.add_plugin(_NAME, (__name__, decode_frame.__name__))
