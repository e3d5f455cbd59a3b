"""Seeds of `fuzz.py`: small OME-Zarr images of both versions, and pyramids as scanners write them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import tifffile

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library uses a class of its own that it deprecates
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_image

_APERIO = "Aperio Image Library v11.2.1\r\n96x80 [0,0 96x80] (32x32) JPEG/RGB Q=70|AppMag = 40|MPP = 0.25"


def write_slides(folder: Path) -> None:
    """Write `ngff/*.zarr` and `slide/*`."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 48), dtype=np.uint8)
    options = {"axes": "cyx", "scale": {"c": 1.0, "y": 0.5, "x": 0.5}, "scale_factors": [2]}
    units = {"y": "micrometer", "x": "micrometer"}
    stored = {"": {"chunks": (1, 32, 32)}, "shards": {"chunks": (1, 8, 8), "shards": (1, 32, 32)}}
    for name, chunks in stored.items():
        for fmt in (FormatV04(), FormatV05())[bool(name) :]:
            path = folder / "ngff" / f"{name}{fmt.version}.ome.zarr"
            write_image(pixels, str(path), fmt=fmt, axes_units=units, storage_options=chunks, **options)
    (folder / "slide").mkdir()
    large = np.tile(pixels.transpose(1, 2, 0), (2, 2, 1))
    for name, compression in {"jpeg.svs": "jpeg", "lzw.bif": "lzw", "raw.ndpi": None}.items():
        about = {"tile": (32, 32), "compression": compression, "photometric": "rgb", "metadata": None}
        with tifffile.TiffWriter(folder / "slide" / name) as tiff:
            tiff.write(large, description=_APERIO, **about)
            tiff.write(np.ascontiguousarray(large[::2, ::2]), subfiletype=1, **about)
