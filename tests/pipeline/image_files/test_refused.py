import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.image_files import raster as decoding
from textdiff.pipeline.image_files.reading import open_image, read_image, read_mask


@pytest.fixture
def rgb():
    """Noise: no two channels alike, and nothing that a codec could leave out unseen."""
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("keep", [0.999, 0.6, 0.1])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {}),
        ("raw.tif", {}),
        ("lzw.tif", {"compression": "tiff_lzw"}),
        ("jpeg.tif", {"compression": "jpeg"}),
    ],
)
def test_truncated_images_are_refused(tmp_path, name, options, keep):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / name, noise, **options)
    read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} is truncated"):
        read_image(path)


@pytest.mark.parametrize("bits", [2, 16])
def test_truncated_masks_are_refused(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 4, (64, 64), dtype=np.uint16)
    if bits == 16:
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    else:
        Image.fromarray(values.astype(np.uint8)).convert("P").save(tmp_path / "a.png", bits=bits)
    read_mask(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.png is truncated or broken"):
        read_mask(tmp_path / "a.png")


def test_a_flipped_byte_is_noticed(tmp_path, rgb):
    path = save(tmp_path / "a.png", rgb)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png is truncated or broken"):
        read_image(path)


def test_files_that_are_no_images_say_so(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.png is empty"):
        read_image(tmp_path / "a.png")
    with pytest.raises(
        DataError,
        match=r"b\.png is not a PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000, DICOM or NIfTI file \(begins b'<html>no'\)",
    ):
        read_image(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"c\.png cannot be read: No such file"):
        read_image(tmp_path / "c.png")


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_ink_values_are_refused(tmp_path, rgb, suffix):
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match=r"holds (CMYK ink|SEPARATED) values; save it as RGB"):
        read_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"volumetric": True}])
def test_stacks_are_refused(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 16, 16), np.uint8), photometric="minisblack", **options)
    with pytest.raises(DataError, match=r"a\.tif is a stack \(4, 16, 16\); export the one plane"):
        read_image(tmp_path / "a.tif")


def test_animations_are_refused(tmp_path, rgb):
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.png is an animation"):
        read_image(tmp_path / "a.png")


def test_floats_and_many_channels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.float32))
    with pytest.raises(DataError, match=r"holds 32 bit values .0 to 0.; say with an intensity window"):
        read_image(tmp_path / "a.tif")
    five = np.zeros((8, 8, 5), np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", five, photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match="has 5 channels; save it as grey, RGB or RGBA"):
        read_image(tmp_path / "b.tif")


def test_many_planes_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    planes = np.zeros((200, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", planarconfig="separate")
    with pytest.raises(DataError, match="has 200 channels; save it as grey, RGB or RGBA"):
        open_image(tmp_path / "a.tif")


def test_a_jpeg_strip_that_ends_within_the_picture_is_refused(tmp_path, rgb):
    options = {"photometric": "ycbcr", "compression": "jpeg"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb, **options)
    expected = read_image(path)
    with tifffile.TiffFile(path) as tiff:
        (strip,) = (segment for segment, _ in tiff.filehandle.read_segments(*_strips(tiff.pages[0])))
    for ending in (b"\0", b"\xff\0\0"):  # as some writers pad
        tifffile.imwrite(path, iter([strip + ending]), shape=rgb.shape, dtype=rgb.dtype, **options)
        np.testing.assert_array_equal(read_image(path), expected)
    tifffile.imwrite(path, iter([strip[:-40]]), shape=rgb.shape, dtype=rgb.dtype, **options)
    with pytest.raises(DataError, match=r"a\.tif is truncated: its tile or strip 0 ends within the image"):
        read_image(path)


def _strips(page):
    return page.dataoffsets, page.databytecounts


def test_more_rows_than_strips_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 8), np.uint8), rowsperstrip=16)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(128)
    with pytest.raises(DataError, match=r"a\.tif is broken: 4 tiles or strips for \(8, 1\)"):
        open_image(tmp_path / "a.tif")


def test_what_tifffile_remarks_is_not_heard(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), extratags=[(42113, "s", 0, "none", True)])
    read_image(tmp_path / "a.tif")
    assert not caplog.records


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_pictures_stored_turned_are_refused(tmp_path, rgb, suffix):
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    with pytest.raises(DataError, match=r"is stored turned \(orientation 6\); save it upright"):
        read_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_pictures_whose_orientation_is_undefined_are_upright(tmp_path, rgb, suffix, orientation):
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    assert read_image(tmp_path / f"a.{suffix}").shape == rgb.shape


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_huge_images_are_refused_before_they_are_decoded(tmp_path, rgb, suffix, monkeypatch):
    path = save(tmp_path / f"a.{suffix}", rgb)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 599)
    with pytest.raises(DataError, match="has 20 x 30 pixels, over the limit of 599; cut it into fields"):
        read_image(path)


def test_a_bomb_over_pillows_own_limit_is_an_error_of_ours(tmp_path):
    Image.new("1", (15000, 15000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has 15000 x 15000 pixels, over the limit of 200000000"):
        read_image(tmp_path / "a.png")


def test_an_index_beyond_the_palette_is_refused(tmp_path):
    image = Image.fromarray(np.array([[0, 3]], np.uint8)).convert("P")
    image.putpalette(bytes(range(12)))
    image.save(tmp_path / "a.png", bits=2)
    content = (tmp_path / "a.png").read_bytes()
    full = chunk(b"PLTE", bytes(range(12)))
    assert full in content
    (tmp_path / "a.png").write_bytes(content.replace(full, chunk(b"PLTE", bytes(range(6)))))
    with pytest.raises(DataError, match="uses palette index 3, its palette ends at 1"):
        read_image(tmp_path / "a.png")


def test_strips_and_images_without_pixels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((32, 32), np.uint8), tile=(16, 16))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags["TileWidth"].overwrite(0)
    with pytest.raises(DataError, match=r"a\.tif is (broken: its tiles or strips have 16 x 0|truncated or broken)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_file_that_asks_for_more_memory_than_there_is_is_named(tmp_path, rgb, suffix, monkeypatch):
    def greedy(*_, **__):
        raise MemoryError

    path = save(tmp_path / f"a.{suffix}", rgb)
    monkeypatch.setattr(decoding.PngImagePlugin, "PngImageFile", greedy)
    monkeypatch.setattr(decoding.JpegImagePlugin, "JpegImageFile", greedy)
    monkeypatch.setattr(tifffile, "TiffFile", greedy)
    with pytest.raises(DataError, match=rf"a\.{suffix} needs more memory than there is: it is broken, or too large"):
        read_image(path)
