"""OME-Zarr images, written by the library that defines them: planes by name, lazily, and refusals."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from textdiff.cache.storage.foreign import zstd_size
from textdiff.errors import DataError
from textdiff.pipeline.data.layouts import list_entries
from textdiff.pipeline.image_files import paths
from textdiff.pipeline.image_files.listing import list_images
from textdiff.pipeline.image_files.paths import file_digest, split_place, split_slice, stem_of
from textdiff.pipeline.image_files.reading import open_image, open_mask, read_image, read_mask
from textdiff.pipeline.image_files.volumes import list_volumes

pytest.importorskip("ome_zarr")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses a class of its own that it deprecates
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_image, write_labels

FORMATS = {"0.4": FormatV04(), "0.5": FormatV05()}
RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (3, 2, 70, 90), dtype=np.uint8)


@pytest.fixture(params=FORMATS)
def version(request):
    return request.param


def write(path, array, axes, version="0.5", *, chunk=32, factors=(2,), **options):
    """An OME-Zarr image at the path."""
    chunks = tuple(chunk if axis in "yx" else 1 for axis in axes)
    scale = {axis: {"z": 2.0, "y": 0.5, "x": 0.25}.get(axis, 1.0) for axis in axes}
    units = dict.fromkeys(set(axes) & set("zyx"), "micrometer")
    options = {"storage_options": {"chunks": chunks}, "scale_factors": list(factors), **options}
    write_image(array, str(path), axes=axes, fmt=FORMATS[version], scale=scale, axes_units=units, **options)
    return path


def change(folder, edit, array=None):
    """Edit the metadata of an image's group, or of one of its arrays."""
    names = (".zattrs", "zarr.json") if array is None else (".zarray", "zarr.json")
    path = next(file for name in names if (file := folder / (array or "") / name).exists())
    value = json.loads(path.read_text())
    edit(value["attributes"]["ome"] if "attributes" in value and array is None else value)
    path.write_text(json.dumps(value))
    return folder


def at(folder, place):
    return folder.with_name(f"{folder.name}#{place}")


# Planes


def test_planes_and_channels_are_chosen_by_name(tmp_path, version):
    path = write(tmp_path / "a.ome.zarr", COLOURS, "czyx", version)
    for place, expected in {
        "z=1": COLOURS[:, 1].transpose(1, 2, 0),
        "1": COLOURS[:, 1].transpose(1, 2, 0),
        "c=2+0+1,z=0": COLOURS[[2, 0, 1], 0].transpose(1, 2, 0),
        "z=0,c=1": np.repeat(COLOURS[1, 0, :, :, None], 3, 2),
    }.items():
        assert (read_image(at(path, place)) == expected).all(), place
    assert open_image(at(path, "level=1,z=0")).size == (35, 45)


@pytest.mark.parametrize("axes", ["yx", "zyx", "tyx", "cyx", "tczyx", "czyx", "tzyx", "tcyx"])
def test_every_set_of_axes_is_read(tmp_path, version, axes):
    sizes = {"t": 2, "c": 2, "z": 3, "y": 20, "x": 30}
    array = RANDOM.integers(0, 60_000, [sizes[axis] for axis in axes]).astype(np.uint16)
    path = write(tmp_path / "a.zarr", array, axes, version)
    last = {axis: sizes[axis] - 1 for axis in axes if axis in "tcz"}
    name = at(path, ",".join(f"{axis}={n}" for axis, n in last.items())) if last else path
    assert (read_mask(name) == array[tuple(last.get(axis, slice(None)) for axis in axes)]).all()


@pytest.mark.parametrize("dtype", ["bool", "int8", ">u2", "int16", "uint32", "float32", "float64"])
def test_values_are_as_stored_and_go_through_the_window(tmp_path, dtype):
    array = RANDOM.integers(0, 2 if dtype == "bool" else 100, (20, 30)).astype(dtype)
    path = write(tmp_path / "a.zarr", array, "yx", "0.4", factors=())
    assert (read_mask(path) == array).all()
    assert read_image(path, (0, 51)).max() == (255 if dtype != "bool" else 1)


def test_16_bits_need_a_window_and_the_files_own_is_named(tmp_path, version):
    path = write(tmp_path / "a.zarr", np.full((20, 30), 300, np.uint16), "yx", version)
    with pytest.raises(DataError, match=r"holds 16 bit values \(300 to 300\); say with an intensity window"):
        read_image(path)
    write(tmp_path / "b.zarr", np.full((1, 20, 30), 300, np.uint16), "cyx", version)
    change(tmp_path / "b.zarr", lambda ome: ome.update(omero={"channels": [{"window": {"start": 10, "end": 90}}]}))
    with pytest.raises(DataError, match=r"suggests --window 10,90"):
        read_image(tmp_path / "b.zarr")


def test_regions_are_the_parts_of_the_whole_and_boxes_cover_it(tmp_path, version):
    array = RANDOM.integers(0, 256, (3, 700, 900), dtype=np.uint8)
    image = open_image(write(tmp_path / "a.zarr", array, "cyx", version, chunk=96, factors=()))
    whole = array.transpose(1, 2, 0)
    for top, left, height, width in [(0, 0, 700, 900), (5, 7, 600, 60), (699, 899, 1, 1), (570, 0, 20, 900)]:
        part = image.read(top, left, height, width)
        assert (part == whole[top : top + height, left : left + width]).all()
    covered = np.zeros((700, 900), int)
    for top, left, height, width in image.boxes():
        covered[top : top + height, left : left + width] += 1
    assert (covered == 1).all()


def test_only_the_chunks_that_a_region_needs_are_read(tmp_path, version):
    array = RANDOM.integers(0, 256, (2, 1100, 1100), dtype=np.uint8)
    path = write(tmp_path / "a.zarr", array, "zyx", version, chunk=512, factors=())
    for chunk in [*path.rglob("1/*/*"), *path.rglob("0/2/*"), *path.rglob("0/*/2")]:
        if chunk.is_file():
            chunk.write_bytes(b"broken")
    image = open_mask(at(path, "z=0"))
    assert (image.read(400, 400, 500, 500) == array[0, 400:900, 400:900]).all()
    with pytest.raises(DataError, match="is truncated or broken"):
        image.read(600, 600, 500, 500)
    with pytest.raises(DataError, match="is truncated or broken"):
        read_mask(at(path, "z=1"))


def test_shards_are_read(tmp_path):
    array = RANDOM.integers(0, 256, (200, 300), dtype=np.uint8)
    options = {"storage_options": {"chunks": (20, 30), "shards": (100, 150)}, "scale_factors": []}
    path = write(tmp_path / "a.zarr", array, "yx", **options)
    assert (read_mask(path) == array).all()


# Choices that are left open


def test_open_choices_are_refused_with_what_there_is(tmp_path, version):
    path = write(tmp_path / "a.zarr", np.zeros((2, 5, 4, 20, 30), np.uint8), "tczyx", version)
    names = ("DAPI", "GFP", "", "CD3", "CD8")
    change(path, lambda ome: ome.update(omero={"channels": [{"label": name, "color": "FF0000"} for name in names]}))
    with pytest.raises(DataError) as refused:
        read_image(path)
    assert str(refused.value) == (
        f"{path} needs a plane by name: t=0 to t=1; c=0 to c=4 (0 'DAPI', 1 'GFP', 3 'CD3', 4 'CD8'), or three as red, "
        "green and blue (c=0+1+2); z=0 to z=3; as in a.zarr#t=0,c=0,z=0"
    )
    assert read_image(at(path, "t=1,c=3,z=0")).shape == read_image(at(path, "t=1,c=4+1+0,z=0")).shape == (20, 30, 3)


@pytest.mark.parametrize(("n_channels", "dtype"), [(2, "uint8"), (4, "uint8"), (3, "uint16")])
def test_channels_that_are_not_rgb_are_never_guessed(tmp_path, n_channels, dtype):
    path = write(tmp_path / "a.zarr", np.zeros((n_channels, 20, 30), dtype), "cyx")
    with pytest.raises(DataError, match=rf"needs a plane by name: c=0 to c={n_channels - 1}"):
        read_image(path, (0, 9))


@pytest.mark.parametrize(
    ("colours", "is_rgb"),
    [("FF0000 00FF00 0000FF", True), ("ff0000 00ff00 0000ff", True), ("0000FF 00FF00 FF0000", False)],
)
def test_three_channels_are_rgb_unless_their_colours_say_otherwise(tmp_path, version, colours, is_rgb):
    path = write(tmp_path / "a.zarr", COLOURS[:, 0], "cyx", version)
    change(path, lambda ome: ome.update(omero={"channels": [{"color": colour} for colour in colours.split()]}))
    if is_rgb:
        assert (read_image(path) == COLOURS[:, 0].transpose(1, 2, 0)).all()
    else:
        with pytest.raises(DataError, match="needs a plane by name"):
            read_image(path)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("q=1", "has no axis q to choose from; expected level, c, z"),
        ("t=0,z=0", "has no axis t"),
        ("level=2,z=0", "has level=0 to level=1"),
        ("level=0+1,z=0", "has level=0 to level=1"),
        ("z=2", "needs a plane by name: z=0 to z=1; as in a.zarr#z=0"),
        ("z=0+1", "needs a plane by name: z=0 to z=1"),
        ("z=0,c=3", "needs a plane by name: c=0 to c=2"),
        ("z=0,c=0+1", "needs a plane by name: c=0 to c=2"),
    ],
)
def test_places_that_are_not_there_are_refused(tmp_path, place, message):
    with pytest.raises(DataError) as refused:
        read_image(at(write(tmp_path / "a.zarr", COLOURS, "czyx"), place))
    assert message in str(refused.value)


def test_files_of_other_kinds_have_no_named_axes(tmp_path):
    from PIL import Image

    Image.fromarray(COLOURS[0, 0]).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="is a PNG file without slices; leave out #c=0,z=1"):
        read_image(tmp_path / "a.png#z=1,c=0")


# A folder that stands for an image


def test_a_folder_of_images_lists_an_ome_zarr_as_one(tmp_path, version):
    write(tmp_path / "b.ome.zarr", COLOURS[:, 0], "cyx", version)
    write(tmp_path / "c.zarr", COLOURS[:, 0], "cyx", version)
    (tmp_path / "a.png").touch()
    (tmp_path / "cache.zarr").mkdir()
    (tmp_path / "cache.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "other.zarr").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.ome.zarr", "c.zarr"]
    one = at(tmp_path / "b.ome.zarr", "level=1")
    assert list_images(one) == [one]
    assert list_images(tmp_path / "b.ome.zarr") == [tmp_path / "b.ome.zarr"]
    assert stem_of(tmp_path / "b.ome.zarr") == "b"
    assert stem_of(at(tmp_path / "b.ome.zarr", "level=1,z=12,c=2+1+0")) == "b_level1_z12_c2-1-0"


def test_a_manifest_names_planes_and_labels_and_groups_them_by_image(tmp_path, version):
    path = write(tmp_path / "a.ome.zarr", COLOURS, "czyx", version)
    labels = RANDOM.integers(0, 3, (2, 70, 90), dtype=np.uint8)
    write_labels(labels, str(path), "nuclei", scaler=None, scale_factors=[], axes="zyx", fmt=FORMATS[version])
    rows = [f"s{z},a.ome.zarr#z={z},a.ome.zarr/labels/nuclei#z={z},round,train" for z in (0, 1)]
    (tmp_path / "data.csv").write_text("\n".join(["id,image,mask,text,split", *rows]))
    listing = list_entries(tmp_path / "data.csv")
    assert listing.problems == []
    assert [entry.group for entry in listing.entries] == ["a.ome.zarr"] * 2
    assert (read_mask(listing.entries[1].mask) == labels[1]).all()


def test_a_digest_covers_every_file_but_labels_and_is_cheap_to_repeat(tmp_path, version, monkeypatch):
    path = write(tmp_path / "a.ome.zarr", COLOURS, "czyx", version)
    digest, of_plane = file_digest(path), file_digest(at(path, "z=1,c=0"))
    assert file_digest(shutil.copytree(path, tmp_path / "copy.zarr")) == digest
    assert file_digest(at(path, "c=0,z=1")) == of_plane != file_digest(at(path, "z=0,c=0"))
    write_labels(np.ones((70, 90), np.uint8), str(path / "labels"), "n", axes="yx", scaler=None, fmt=FORMATS[version])
    (path / ".DS_Store").touch()
    assert file_digest(path) == digest
    with monkeypatch.context() as patch:
        patch.setattr(paths, "_hash", None)
        assert file_digest(at(path, "z=1,c=0")) == of_plane
    chunk = next(file for file in (path / "s0").rglob("[0-9]") if file.is_file())
    chunk.write_bytes(chunk.read_bytes() + b"0")
    assert file_digest(path) != digest


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [
        ("a.zarr#level=1,z=12,c=2+1+0", "a.zarr", {"level": (1,), "z": (12,), "c": (2, 1, 0)}),
        ("a.svs#level=2", "a.svs", {"level": (2,)}),
        ("scan.nii.gz#7", "scan.nii.gz", {"index": (7,)}),
        ("a#x=.png", "a#x=.png", {}),
        ("a#level=1.png", "a#level=1.png", {}),
        ("a=1.png", "a=1.png", {}),
    ],
)
def test_names_are_taken_apart_in_one_scheme(name, file, place):
    assert split_place(Path("d") / name) == (Path("d") / file, place)
    assert split_slice(Path("d") / name) == (Path("d") / file, place.get("index", (None,))[0])


def test_a_conversion_of_one_image_is_that_image(tmp_path):
    root = tmp_path / "a.zarr"
    root.mkdir()
    write(root / "0", COLOURS[:, 0], "cyx", "0.4")
    (root / ".zgroup").write_text('{"zarr_format": 2}')
    (root / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    (root / "OME").mkdir()
    assert (read_image(root) == COLOURS[:, 0].transpose(1, 2, 0)).all()
    assert list_images(tmp_path) == [root]
    write(root / "1", COLOURS[:, 0], "cyx", "0.4")
    with pytest.raises(DataError, match=r"holds 2 images \(a\.zarr/0 to a\.zarr/1\); name one of them"):
        read_image(root)
    assert read_image(root / "1").shape == (70, 90, 3)


# What is broken, and what is meant to harm


def no_type(ome):
    del ome["multiscales"][0]["axes"][0]["name"]


BROKEN = {
    "no axes": (lambda ome: ome["multiscales"][0].pop("axes"), r"has broken metadata \(KeyError: 'axes'\)"),
    "no name": (no_type, r"has broken metadata \(KeyError: 'name'\)"),
    "no levels": (lambda ome: ome["multiscales"][0].update(datasets=[]), "no array"),
    "no images": (lambda ome: ome.update(multiscales=[]), "has broken metadata"),
    "a list": (lambda ome: ome.update(multiscales=3), "has broken metadata"),
    "axes": (lambda ome: ome["multiscales"][0].update(axes=[{"name": "y"}, {"name": "q"}]), "has the axes 'yq'"),
    "twice": (lambda ome: ome["multiscales"][0].update(axes=[{"name": "y"}] * 3), "has the axes 'yyy'"),
    "fewer": (lambda ome: ome["multiscales"][0].update(axes=[{"name": "y"}, {"name": "x"}]), "for 2 axes"),
    "outside": (lambda ome: ome["multiscales"][0]["datasets"][0].update(path="../b.zarr/s0"), "outside of itself"),
    "absolute": (lambda ome: ome["multiscales"][0]["datasets"][0].update(path="/etc"), "outside of itself"),
    "absent": (lambda ome: ome["multiscales"][0]["datasets"][0].update(path="s7"), "lacks its level s7"),
    "scale": (
        lambda ome: ome["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=[{"type": "scale", "scale": [1, 0, 1]}]
        ),
        r"has the scale \(1\.0, 0\.0, 1\.0\) for 3 axes",
    ),
    "old": (lambda ome: (ome.update(version="0.2"), ome["multiscales"][0].update(version="0.2")), "is OME-Zarr 0.2"),
    "plate": (lambda ome: ome.update(plate={}), "is a plate of many images"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_metadata_are_refused(tmp_path, version, name):
    edit, message = BROKEN[name]
    write(tmp_path / "b.zarr", COLOURS[:, 0], "cyx", version)
    with pytest.raises(DataError, match=message):
        read_image(change(write(tmp_path / "a.zarr", COLOURS[:, 0], "cyx", version), edit))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"attributes": 3}', b"\xff" * 9, b"[" * 99_999, b"{}"])
def test_files_that_are_no_metadata_are_refused(tmp_path, version, content):
    path = write(tmp_path / "a.zarr", COLOURS[:, 0], "cyx", version)
    next(file for name in (".zattrs", "zarr.json") if (file := path / name).exists()).write_bytes(content)
    with pytest.raises(DataError, match=r"broken metadata|is no OME-Zarr image"):
        read_image(path)


def test_a_link_out_of_the_image_is_not_followed_to_a_level(tmp_path):
    path, other = (write(tmp_path / name, COLOURS[:, 0], "cyx") for name in ("a.zarr", "b.zarr"))
    shutil.rmtree(path / "s0")
    (path / "s0").symlink_to(other / "s0")
    with pytest.raises(DataError, match="names a level outside of itself"):
        read_image(path)


def set_codec(codec):
    return lambda array: array.update(compressor=codec) if "compressor" in array else array.update(codecs=[codec])


@pytest.mark.parametrize("codec", [{"id": "pickle", "name": "pickle"}, {"id": "json2", "name": "numcodecs.pickle"}])
def test_codecs_that_run_programs_are_refused_before_a_chunk_is_read(tmp_path, version, codec):
    path = write(tmp_path / "a.zarr", COLOURS[:, 0], "cyx", version)
    change(path, set_codec(codec), "s0")
    with pytest.raises(DataError, match=r"is compressed by (pickle|json2|numcodecs\.pickle); expected zstd"):
        read_image(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"shape": [3, 2**40, 2**40]}, r"chunks along an axis"),
        ({"shape": [3, 0, 90]}, r"has an array of 0 pixels along one axis"),
        ({"shape": [3, True, 90]}, r"has an array of True pixels"),
        ({"shape": [3, "9", 90]}, r"has an array of '9' pixels"),
        ({"chunks": [3, 2**15, 2**15]}, r"is stored in chunks of 3221225472 bytes .* write it in chunks of 256 x 256"),
        ({"chunks": [3, 2]}, r"is stored in chunks"),
        ({"dtype": "|O"}, r"holds object values"),
        ({"dtype": "complex64"}, r"holds complex64 values"),
        ({"dtype": "no type"}, r"has broken metadata"),
    ],
)
def test_arrays_that_cannot_be_are_refused_before_memory_is_taken(tmp_path, edit, message):
    path = write(tmp_path / "a.zarr", COLOURS[:, 0], "cyx", "0.4")
    with pytest.raises(DataError, match=message):
        read_image(change(path, lambda array: array.update(edit), "s0"))


def test_a_large_image_is_opened_and_read_in_part_at_once(tmp_path):
    path = write(tmp_path / "a.zarr", np.ones((64, 64), np.uint8), "yx", "0.4")
    change(path, lambda array: array.update(shape=[400_000, 400_000]), "s0")
    image = open_mask(path)
    assert image.size == (400_000, 400_000)
    assert image.read(60, 60, 8, 8).sum() == 16
    with pytest.raises(DataError, match="over the limit of 200000000"):
        image.read_whole()


def test_a_pipe_in_the_folder_is_not_waited_for(tmp_path):
    path = write(tmp_path / "a.zarr", COLOURS[:, 0], "cyx")
    os.mkfifo(path / "pipe")
    assert len(file_digest(path)) == 64


# Volumes


def test_an_image_with_z_is_a_volume_of_its_slices_unless_one_is_named(tmp_path, version):
    path = write(tmp_path / "a.ome.zarr", np.zeros((2, 3, 40, 60), np.uint8), "czyx", version)
    (whole,) = list_volumes(at(path, "level=1,c=1"))
    assert [image.name for image in whole.slices] == [f"a.ome.zarr#c=1,level=1,z={z}" for z in range(3)]
    assert (whole.kind, whole.downsampling, whole.pixel_mm) == ("OME-Zarr", (2, 2), (1e-3, 5e-4))
    assert whole.slice(1).name == "a_c1_level1_z1"
    assert open_image(whole.slices[2]).size == (20, 30)
    (plane,) = list_volumes(at(path, "c=1,z=2"))
    assert plane.slices == (plane.path,)
    (refused,) = list_volumes(path)  # which channel?
    assert refused.slices == (path,)
    with pytest.raises(DataError, match=r"needs a plane by name: c=0 to c=1.*; z=0 to z=2"):
        open_image(path)


def test_planes_of_one_slice_are_no_volume(tmp_path, version):
    path = write(tmp_path / "a.zarr", COLOURS[:, :1], "czyx", version)
    (volume,) = list_volumes(path)
    assert (volume.slices, volume.name, volume.pixel_mm) == ((path,), "a", (5e-4, 2.5e-4))


def test_a_chunk_that_would_be_inflated_beyond_its_size_is_not(tmp_path, version):
    from numcodecs import Zstd

    path = write(tmp_path / "a.zarr", np.full((64, 64), 7, np.uint8), "yx", version, factors=())
    image = open_image(path)
    assert (image.read(0, 0, 64, 64) == 7).all()
    for chunk in (file for file in (path / "s0").rglob("[01]") if file.is_file()):
        chunk.write_bytes(Zstd().encode(np.zeros(1 << 24, np.uint8)))
    with pytest.raises(DataError, match="larger than its array says"):
        open_image(path).read(0, 0, 64, 64)


def test_frames_of_zstd_say_their_size():
    from numcodecs import Zstd

    for n in (300, 65791, 65792, 1 << 20):
        assert zstd_size(Zstd().encode(np.zeros(n, np.uint8))[:18]) == n
    assert zstd_size(b"other bytes that are long enough") == 0
