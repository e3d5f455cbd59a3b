"""Labels as `predict` writes them, read back by the library that defines OME-Zarr, and by our own reader."""

import warnings

import numpy as np
import pytest

from textdiff.pipeline.exchange.ome_zarr import NgffLabels, without_library
from textdiff.pipeline.exchange.outputs import MaskBand, OutputTarget
from textdiff.pipeline.image_files.paths import file_digest
from textdiff.pipeline.image_files.reading import open_mask, read_mask
from textdiff.pipeline.image_files.volumes import Volume, list_volumes

pytest.importorskip("ome_zarr")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses a class of its own that it deprecates
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr.writer import write_image

FORMATS = {"0.4": FormatV04(), "0.5": FormatV05()}
CLASSES = {0: "background", 1: "tumour", 200: "stroma"}


@pytest.fixture(params=FORMATS)
def version(request):
    return request.param


def mask_of(*shape, dtype=np.uint8):
    return np.random.default_rng(1).choice(np.array([0, 1, 200], dtype), shape)


def write(folder, volume, mask, classes=CLASSES, rows=37):
    """The labels of a volume's mask, [z, y, x], in bands."""
    target = OutputTarget(folder, volume, mask.shape[1:], classes, mask.dtype)
    writer = NgffLabels(target)
    for index, plane in enumerate(mask):
        for top in range(0, len(plane), rows):
            part = plane[top : top + rows]
            likely = np.ones(part.shape, np.float32)
            writer.add(MaskBand(index, top, part, likely, likely[None], likely))
    writer.finish()
    return target.file(".ome.zarr")


def image(path, version, axes="czyx", sizes=(1, 3, 80, 120), *, units=True):
    """An OME-Zarr image of two levels."""
    scale = {axis: {"z": 2.0, "y": 0.5, "x": 0.25}.get(axis, 1.0) for axis in axes}
    unit = dict.fromkeys(set("zyx") & set(axes), "micrometer") if units else None
    array = np.zeros(sizes, np.uint8)
    write_image(array, str(path), axes=axes, scale=scale, axes_units=unit, scale_factors=[2], fmt=FORMATS[version])
    return path


def nodes(path):
    """What the library finds in a folder: image, labels, ..."""
    return list(Reader(parse_url(path))())


def test_a_plain_image_has_labels_that_the_library_reads(tmp_path):
    mask = mask_of(1, 90, 70, dtype=np.uint16)
    path = write(tmp_path, Volume(tmp_path / "a.png", "a", (tmp_path / "a.png",)), mask)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ome.zarr"]
    shown, _, label = nodes(path)
    assert (np.asarray(shown.data[0]) == mask[0]).all()
    assert (np.asarray(label.data[0]) == mask[0]).all()
    assert label.data[0].dtype == np.uint16
    assert label.metadata["name"] == "prediction"
    assert label.metadata["color"].keys() == CLASSES.keys()
    assert label.metadata["color"][0] == [0, 0, 0, 0]
    assert {value: about["class"] for value, about in label.metadata["properties"].items()} == CLASSES
    assert (read_mask(path) == read_mask(path / "labels" / "prediction")).all()
    assert (read_mask(path) == mask[0]).all()


def test_labels_lie_on_the_level_that_was_segmented(tmp_path, version):
    source = image(tmp_path / "a.ome.zarr", version)
    (volume,) = list_volumes(source.with_name("a.ome.zarr#level=1"))
    mask = mask_of(3, 40, 60)
    path = write(tmp_path, volume, mask)
    assert path.name == "a_level1.ome.zarr"
    of_source, of_label = nodes(source)[0].metadata, nodes(path)[-1].metadata
    assert [axis["name"] for axis in of_label["axes"]] == ["z", "y", "x"]
    assert of_label["axes"] == [axis for axis in of_source["axes"] if axis["name"] != "c"]
    (scale, shift), (scale_of_label, shift_of_label) = (
        [one[kind] for one, kind in zip(transformations, ("scale", "translation"), strict=True)]
        for transformations in (of_source["coordinateTransformations"][1], of_label["coordinateTransformations"][0])
    )
    assert (scale[1:], shift[1:]) == (scale_of_label, shift_of_label) == ([2, 1, 0.5], [0, 0.25, 0.125])
    assert (np.asarray(nodes(path)[-1].data[0]) == mask).all()
    assert [(read_mask(path.with_name(f"{path.name}#z={z}")) == mask[z]).all() for z in range(3)] == [True] * 3


def test_labels_can_be_moved_into_the_image(tmp_path, version):
    source = image(tmp_path / "a.ome.zarr", version)
    (volume,) = list_volumes(source)
    (tmp_path / "out").mkdir()
    path, mask = tmp_path / "out", mask_of(3, 80, 120)
    written = write(path, volume, mask)
    digest = file_digest(source)
    (written / "labels").rename(source / "labels")
    *_, label = nodes(source)
    assert (np.asarray(label.data[0]) == mask).all()
    assert file_digest(source) == digest
    assert (read_mask((source / "labels" / "prediction").with_name("prediction#z=2")) == mask[2]).all()


def test_large_masks_have_smaller_levels_of_the_same_values(tmp_path):
    mask = np.kron(mask_of(1, 300, 260), np.ones((8, 8), np.uint8))
    path = write(
        tmp_path, Volume(tmp_path / "a.tif", "a", (tmp_path / "a.tif",), pixel_mm=(5e-4, 5e-4)), mask, rows=700
    )
    sizes = [open_mask(path.with_name(f"{path.name}#level={level}")).size for level in range(3)]
    assert sizes == [(2400, 2080), (1200, 1040), (600, 520)]
    assert (read_mask(path) == mask[0]).all()
    assert (read_mask(path.with_name(f"{path.name}#level=2")) == mask[0, ::4, ::4]).all()
    grid = open_mask(path.with_name(f"{path.name}#level=1")).grid
    assert (grid.downsampling, grid.pixel_mm) == ((2, 2), (1e-3, 1e-3))


def test_a_digest_of_labels_that_are_an_image_follows_them(tmp_path):
    volume = Volume(tmp_path / "a.png", "a", (tmp_path / "a.png",))
    digests = [file_digest(write(tmp_path, volume, mask)) for mask in (mask_of(1, 90, 70), mask_of(1, 90, 70) * 0)]
    assert digests[0] != digests[1]


def test_nothing_is_left_of_what_is_discarded_and_an_earlier_mask_is_replaced(tmp_path, monkeypatch):
    volume, mask = Volume(tmp_path / "a.png", "a", (tmp_path / "a.png",)), mask_of(1, 90, 70)
    write(tmp_path, volume, mask * 0)
    writer = NgffLabels(OutputTarget(tmp_path, volume, (90, 70), CLASSES, mask.dtype))
    writer.discard()
    assert not read_mask(tmp_path / "a.ome.zarr").any()
    write(tmp_path, volume, mask)
    assert (read_mask(tmp_path / "a.ome.zarr") == mask[0]).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    volume = Volume(tmp_path / "a.png", "a", (tmp_path / "a.png",))
    assert without_library(volume) is None
    monkeypatch.setattr("textdiff.pipeline.exchange.ome_zarr.find_spec", lambda name: None)
    assert without_library(volume).startswith(f"{tmp_path / 'a.png'}: install textdiff[ngff] to write OME-Zarr")
