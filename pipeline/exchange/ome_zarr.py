"""Masks as labels of an OME-Zarr image: `NAME.ome.zarr/labels/prediction`, written by the `ome_zarr` library.

The user's image is not changed. The new folder has the axes, scale and translation of the level that was segmented, so
that a viewer lays both over each other, and its `labels/prediction` can be moved into the image's own `labels`. Viewers
open a folder only if it is an image, so the new one is: of the same arrays as its labels, which stand there once.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from jaxtyping import UInt

from ...cache.storage.atomic import TEMPORARY_SUFFIX, canonical_json, parse_json, sync_folder, write_durably
from ..image_files.ngff.metadata import read_ngff
from ..image_files.paths import split_place
from ..image_files.volumes import Volume
from .geojson import COLOURS
from .outputs import MaskBand, OutputTarget

SUFFIX = ".ome.zarr"
LABELS = "labels/prediction"
_CHUNK = 512
_SMALLEST = 1024
"""A level is halved for the next while it is longer."""
_METADATA = {"0.4": ".zattrs", "0.5": "zarr.json"}


def without_library(volume: Volume) -> str | None:
    """Reason why no OME-Zarr can be written."""
    if find_spec("ome_zarr"):
        return None
    return f"{volume.path}: install textdiff[ngff] to write OME-Zarr, or leave ome-zarr out of --formats"


class NgffLabels:
    """A volume's mask, which grows in an unnamed file and is then cut into chunks of several levels."""

    def __init__(self, target: OutputTarget) -> None:
        self._target = target
        self._path = target.file(SUFFIX)
        self._temporary = self._path.with_name(self._path.name + TEMPORARY_SUFFIX)
        self._file = TemporaryFile(dir=target.folder)  # noqa: SIM115 - `discard` closes it

    def add(self, band: MaskBand) -> None:
        """Write the rows, which come one after the other."""
        self._file.write(np.ascontiguousarray(band.mask).data)

    def finish(self) -> None:
        """Write the folder, and give it its name."""
        self._file.flush()
        shutil.rmtree(self._temporary, ignore_errors=True)
        n_slices = len(self._target.volume.slices)
        shape = (*((n_slices,) if n_slices > 1 else ()), *self._target.size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's, on its own old ways
            version = _write_labels(self._temporary, _StoredMask(self._file, shape, self._target.dtype), self._target)
        _make_image(self._temporary, version, self._target.volume.name)
        shutil.rmtree(self._path, ignore_errors=True)  # an earlier mask
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        self._file.close()

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


@dataclass(frozen=True)
class _StoredMask:
    """A mask in a file of its own, of which dask asks for parts."""

    file: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> UInt[np.ndarray, "*z y x"]:
        *z, rows, columns = (one.indices(length) for one, length in zip(key, self.shape, strict=True))
        height, width = self.shape[-2:]
        planes = []
        for index in range(*z[0]) if z else (0,):
            self.file.seek((index * height + rows[0]) * width * self.dtype.itemsize)
            plane = np.fromfile(self.file, self.dtype, (rows[1] - rows[0]) * width).reshape(-1, width)
            planes.append(plane[:, columns[0] : columns[1]])
        return np.stack(planes) if z else planes[0]


@dataclass(frozen=True)
class _Geometry:
    """Of the labels' axes z (where there are slices), y and x."""

    version: str
    """Of NGFF."""
    scale: dict[str, float]
    translation: dict[str, float]
    units: dict[str, str | None]


def _geometry_of(volume: Volume) -> _Geometry:
    """As the segmented level has it; of other files from their pixels in mm, or else in pixels of full resolution."""
    axes = "zyx" if len(volume.slices) > 1 else "yx"
    if volume.kind == "OME-Zarr":
        folder, place = split_place(volume.path)
        image = read_ngff(folder)
        level = image.levels[place.get("level", (0,))[0]]
        at = {axis: image.axes.index(axis) for axis in axes}
        return _Geometry(
            image.version,
            {axis: level.scale[i] for axis, i in at.items()},
            {axis: level.translation[i] for axis, i in at.items()},
            {axis: image.units[i] for axis, i in at.items()},
        )
    z = float(np.linalg.norm(volume.affine[:3, 2])) if volume.affine is not None else 1.0
    y, x = (1000 * mm for mm in volume.pixel_mm) if volume.pixel_mm else volume.downsampling
    unit = "micrometer" if volume.pixel_mm else None
    lengths = {"z": 1000 * z if unit else z, "y": y, "x": x}
    return _Geometry("0.4", {axis: lengths[axis] for axis in axes}, dict.fromkeys(axes, 0.0), dict.fromkeys(axes, unit))


def _write_labels(root: Path, mask: _StoredMask, target: OutputTarget) -> str:
    """Write the labels' arrays and metadata; the version of NGFF."""
    import dask
    import dask.array
    from ome_zarr.classes import OMEZarrImage, OMEZarrLabels

    geometry = _geometry_of(target.volume)
    bands = (*(1,) * (mask.ndim - 2), _CHUNK, mask.shape[-1])
    array = dask.array.from_array(mask, bands, name=False, asarray=False)
    image = OMEZarrImage(array, [*geometry.scale], geometry.scale, geometry.units, name=LABELS.rpartition("/")[2])
    labels = OMEZarrLabels(image, _factors(target.size), auto_parse_labels=False)
    labels.image_label = _about(target)
    chunks = (*(1,) * (mask.ndim - 2), _CHUNK, _CHUNK)
    with dask.config.set(scheduler="synchronous"):  # one band in memory at a time
        labels.to_ome_zarr(str(root / LABELS), {"chunks": chunks}, version=geometry.version)
    _shift(root / LABELS / _METADATA[geometry.version], [*geometry.translation.values()])
    return geometry.version


def _factors(size: tuple[int, int]) -> list[int]:
    """2, 4, 8, ...: how much smaller each level is than the first."""
    return [2**i for i in range(1, 16) if max(size) // 2 ** (i - 1) > _SMALLEST]


def _about(target: OutputTarget) -> dict[str, Any]:
    """Colour and name of each class; the background is transparent."""
    background, *others = target.classes
    colours = {background: (0, 0, 0, 0)} | {value: (*COLOURS[i % len(COLOURS)], 255) for i, value in enumerate(others)}
    return {
        "colors": [{"label-value": value, "rgba": [*colour]} for value, colour in colours.items()],
        "properties": [{"label-value": value, "class": name} for value, name in target.classes.items()],
        "source": {"image": "../../"},
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file of metadata, and of it what NGFF defines."""
    content = parse_json(path.read_bytes())
    return content, content["attributes"]["ome"] if path.name == "zarr.json" else content


def _shift(path: Path, by: list[float]) -> None:
    """Move all levels to where the segmented one lies, of which the library knows nothing."""
    content, ngff = _read(path)
    for dataset in ngff["multiscales"][0]["datasets"]:
        for one in dataset["coordinateTransformations"]:
            if one["type"] == "translation":
                one["translation"] = [a + b for a, b in zip(one["translation"], by, strict=True)]
    write_durably(path, [canonical_json(content, indent=1)])


def _make_image(root: Path, version: str, name: str) -> None:
    """Metadata of the root, an image of the labels' arrays, and of `labels`, the list of them."""
    _, ngff = _read(root / LABELS / _METADATA[version])
    multiscale = ngff["multiscales"][0] | {"name": name}
    multiscale["datasets"] = [{**one, "path": f"{LABELS}/{one['path']}"} for one in multiscale["datasets"]]
    folder, _, label = LABELS.partition("/")
    for path, attributes in ((root, {"multiscales": [multiscale]}), (root / folder, {"labels": [label]})):
        if version == "0.4":
            write_durably(path / ".zgroup", [canonical_json({"zarr_format": 2})])
            write_durably(path / ".zattrs", [canonical_json(attributes, indent=1)])
        else:
            group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": version, **attributes}}}
            write_durably(path / "zarr.json", [canonical_json(group, indent=1)])
