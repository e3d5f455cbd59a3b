"""Metadata of an OME-Zarr image (NGFF 0.4 in Zarr 2, 0.5 in Zarr 3; ngff.openmicroscopy.org), believed in nothing.

It is read as JSON before the library of Zarr sees the folder. A level's path stays inside the folder, its
chunks are small enough to be decoded one at a time, and their codecs are on a list: Zarr 2 has some that run programs
which a file brings along (pickle).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from ....cache.storage.atomic import parse_json
from ..paths import read_bytes
from ..raster import UnusableImageError
from ..source import LevelGrid

MAX_CHUNK_BYTES = 2**28
_MAX_JSON_BYTES = 2**24
_MAX_CHUNKS = 2**20  # along an axis
_AXES = "tczyx"
_GROUPS = {"multiscales", "plate", "well", "bioformats2raw.layout"}
_ZARR_2_CODECS = {"blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "shuffle", "delta", "crc32c"}
_ZARR_3_CODECS = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"}
_MM = {"meter": 1e3, "centimeter": 10, "millimeter": 1, "micrometer": 1e-3, "nanometer": 1e-6}


@dataclass(frozen=True)
class NgffLevel:
    """One resolution of an image."""

    path: str
    """Of its array, inside the image's folder."""
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    """Shape of what is decoded at once."""
    dtype: np.dtype[Any]
    scale: tuple[float, ...]
    """Size of a pixel along each axis, in the axis' unit."""
    translation: tuple[float, ...]
    """Place of the first pixel's centre along each axis."""


@dataclass(frozen=True)
class NgffImage:
    """An image of several resolutions, as its metadata describe it."""

    folder: Path
    version: str
    """0.4 or 0.5."""
    axes: str
    """Some of t, c, z, y and x, in the order of the arrays' dimensions."""
    units: tuple[str | None, ...]
    """Of each axis: `micrometer`, ..."""
    levels: tuple[NgffLevel, ...]
    """The finest first."""
    channels: tuple[Mapping[str, Any], ...]
    """Entries of `omero` for each channel (label, color, window); () where there are none."""

    def grid(self, level: NgffLevel) -> LevelGrid:
        """Pixels of one of the levels."""
        y, x = (self.axes.index(axis) for axis in "yx")
        first = self.levels[0].scale
        unit_y, unit_x = (_MM.get(self.units[axis] or "") for axis in (y, x))
        return LevelGrid(
            (level.scale[y] / first[y], level.scale[x] / first[x]),
            (level.scale[y] * unit_y, level.scale[x] * unit_x) if unit_y and unit_x else None,
        )


def read_ngff(folder: Path) -> NgffImage:
    """Read and check the metadata of an image, and of all of its levels.

    Raises:
        UnusableImageError: The folder is no OME-Zarr image, holds several, or says what cannot be or is not supported.
        DataError: A file of metadata cannot be read.
    """
    attributes = _attributes(folder)
    if "plate" in attributes or "well" in attributes:
        raise UnusableImageError("is a plate of many images; name one of them, as in plate.zarr/A/1/0")
    if "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
        return read_ngff(_only_series(folder))
    try:
        return _image(folder, attributes)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UnusableImageError(f"has broken metadata ({type(error).__name__}: {error}); write it anew") from error


def _only_series(folder: Path) -> Path:
    """The image in a folder of images that are numbered from 0, as bioformats2raw writes one."""
    series = sorted((path.name for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()), key=int)
    if len(series) != 1:
        names = f" ({folder.name}/{series[0]} to {folder.name}/{series[-1]})" if series else ""
        raise UnusableImageError(f"holds {len(series)} images{names}; name one of them")
    return folder / series[0]


def _image(folder: Path, attributes: Mapping[str, Any]) -> NgffImage:
    about = attributes["multiscales"][0]
    version = str(attributes.get("version") or about.get("version") or "0.4")
    if version not in ("0.4", "0.5"):
        raise UnusableImageError(f"is OME-Zarr {version}; expected 0.4 or 0.5, write it anew")
    axes = "".join(axis["name"] for axis in about["axes"])
    if len({*axes}) < len(about["axes"]) or not {*"yx"} <= {*axes} <= {*_AXES}:
        raise UnusableImageError(f"has the axes {axes!r}; expected y and x, and at most one each of t, c and z")
    units = tuple(axis.get("unit") for axis in about["axes"])
    common = _placed(about.get("coordinateTransformations"), len(axes))
    levels = tuple(_level(folder, dataset, common) for dataset in about["datasets"])
    odd = [level.path for level in levels if len(level.shape) != len(axes)]
    if odd or not levels:
        raise UnusableImageError(f"has arrays of other dimensions than its axes {axes}: {', '.join(odd) or 'no array'}")
    channels = attributes.get("omero", {}).get("channels", [])
    return NgffImage(folder, version, axes, units, levels, tuple({**channel} for channel in channels))


_Placed = tuple[tuple[float, ...], tuple[float, ...]]  # scale and translation


def _placed(transformations: Sequence[Mapping[str, Any]] | None, n_axes: int) -> _Placed:
    """Scale and translation of each axis; by default a pixel is 1 long and the first one lies at 0."""
    found = {str(one["type"]): one for one in transformations or ()}
    scale = tuple(map(float, found["scale"]["scale"])) if "scale" in found else (1.0,) * n_axes
    shift = tuple(map(float, found["translation"]["translation"])) if "translation" in found else (0.0,) * n_axes
    if len(scale) != n_axes or not all(isfinite(length) and length > 0 for length in scale):
        raise UnusableImageError(f"has the scale {scale} for {n_axes} axes; expected lengths above 0")
    if len(shift) != n_axes or not all(map(isfinite, shift)):
        raise UnusableImageError(f"has the translation {shift} for {n_axes} axes; expected one number for each")
    return scale, shift


def _level(folder: Path, dataset: Mapping[str, Any], common: _Placed) -> NgffLevel:
    path = str(dataset["path"])
    array = (folder / path).resolve()
    if not path or not array.is_relative_to(folder.resolve()) or ".." in Path(path).parts:
        raise UnusableImageError(f"names a level outside of itself ({path!r}); it is broken")
    shape, chunks, dtype = _array(array, path)
    own = _placed(dataset.get("coordinateTransformations"), len(common[0]))
    scale = tuple(a * b for a, b in zip(own[0], common[0], strict=True))
    shift = tuple(a * b + c for a, b, c in zip(own[1], *common, strict=True))
    return NgffLevel(path, shape, chunks, dtype, scale, shift)


def _array(array: Path, name: str) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Shape, chunks and type of the values, from whichever metadata there are."""
    if (array / "zarr.json").is_file():
        about = _json(array / "zarr.json")
        codecs, chunks = _zarr_3_codecs(about["codecs"], about["chunk_grid"]["configuration"]["chunk_shape"])
        foreign, dtype = codecs - _ZARR_3_CODECS, np.dtype(about["data_type"])
    elif (array / ".zarray").is_file():
        about = _json(array / ".zarray")
        named = [about["compressor"], *(about["filters"] or ())]
        foreign, chunks = {codec["id"] for codec in named if codec} - _ZARR_2_CODECS, about["chunks"]
        dtype = np.dtype(about["dtype"])
    else:
        raise UnusableImageError(f"lacks its level {name}; is the copy complete?")
    if foreign:
        raise UnusableImageError(f"is compressed by {', '.join(sorted(foreign))}; expected zstd, blosc, gzip or none")
    shape, chunks = (tuple(map(_count, lengths)) for lengths in (about["shape"], chunks))
    _refuse_odd(name, shape, chunks, dtype)
    return shape, chunks, dtype


def _zarr_3_codecs(codecs: Sequence[Mapping[str, Any]], chunks: Sequence[int]) -> tuple[set[str], Sequence[int]]:
    """Names of all codecs, and the shape of the chunks; of shards, those inside."""
    names = {str(codec["name"]) for codec in codecs}
    for codec in codecs:
        if codec["name"] == "sharding_indexed":
            inner = codec["configuration"]
            within, chunks = _zarr_3_codecs(inner["codecs"], inner["chunk_shape"])
            names |= within | {str(one["name"]) for one in inner["index_codecs"]}
    return names, chunks


def _count(length: Any) -> int:  # noqa: ANN401
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise UnusableImageError(f"has an array of {length!r} pixels along one axis; expected a whole number above 0")
    return length


def _refuse_odd(name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf":
        raise UnusableImageError(f"holds {dtype} values; save it as integers or floats")
    size_bytes = prod(chunks) * dtype.itemsize
    if len(chunks) != len(shape) or size_bytes > MAX_CHUNK_BYTES:
        raise UnusableImageError(
            f"is stored in chunks of {size_bytes} bytes {chunks}, over the limit of {MAX_CHUNK_BYTES}; "
            "write it in chunks of 256 x 256"
        )
    if any(-(-length // chunk) > _MAX_CHUNKS for length, chunk in zip(shape, chunks, strict=True)):
        raise UnusableImageError(f"has over {_MAX_CHUNKS} chunks along an axis of level {name}; it is broken")


def _attributes(folder: Path) -> Mapping[str, Any]:
    """Attributes of the group, in either version of Zarr."""
    if (folder / "zarr.json").is_file():
        attributes = _json(folder / "zarr.json").get("attributes", {})
        attributes = attributes.get("ome", {}) if isinstance(attributes, dict) else {}
    elif (folder / ".zattrs").is_file():
        attributes = _json(folder / ".zattrs")
    else:
        raise UnusableImageError("is a folder, not an image; an OME-Zarr image has .zattrs or zarr.json")
    if not isinstance(attributes, dict) or not _GROUPS & {*attributes}:
        raise UnusableImageError("is no OME-Zarr image: its metadata name no multiscales")
    return attributes


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(read_bytes(path, _MAX_JSON_BYTES))
    except ValueError as error:
        raise UnusableImageError(f"has broken metadata ({path.name}: {error}); write it anew") from error
    if not isinstance(value, dict):
        raise UnusableImageError(f"has broken metadata ({path.name} is no object); write it anew")
    return value
