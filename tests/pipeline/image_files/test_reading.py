import struct
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.image_files.intensities import as_rgb
from textdiff.pipeline.image_files.raster import Raster
from textdiff.pipeline.image_files.reading import read_image, read_mask

MONUSEG = Path(__file__).resolve().parents[4] / "shared" / "data" / "monuseg"


@pytest.fixture
def rgb():
    """Noise: no two channels alike, and nothing that a codec could leave out unseen."""
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def rgb16():
    return np.random.default_rng(1).integers(0, 65536, (20, 30, 3), dtype=np.uint16)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def through_window(values, lo, hi):
    return np.floor(np.clip((values.astype(np.float64) - lo) / (hi - lo), 0, 1) * 255 + 0.5).astype(np.uint8)


# Images of 8 bits


def test_png_keeps_rgb_order(tmp_path):
    red, blue = (250, 10, 20), (30, 40, 240)
    path = save(tmp_path / "a.png", np.array([[red, blue]], np.uint8))
    assert read_image(path).tolist() == [[list(red), list(blue)]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("A.PNG", {"optimize": True}),
        ("a.tif", {}),
        ("lzw.tiff", {"compression": "tiff_lzw"}),
        ("deflate.tif", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_files_are_exact_and_writable(tmp_path, rgb, name, options):
    image = read_image(save(tmp_path / name, rgb, **options))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, rgb)


def test_jpeg_equals_pillow_and_keeps_rgb_order(tmp_path):
    path = save(tmp_path / "a.jpg", np.full((16, 16, 3), (200, 30, 90), np.uint8), quality=95)
    image = read_image(path)
    np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
    assert np.abs(image.astype(int) - (200, 30, 90)).max() <= 3


def test_jpeg_strips_in_a_tiff_are_rgb(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((16, 16, 3), (200, 30, 90), np.uint8), photometric="rgb", compression="jpeg")
    assert np.abs(read_image(path).astype(int) - (200, 30, 90)).max() <= 4


def test_grey_is_repeated(tmp_path, rgb):
    image = read_image(save(tmp_path / "a.png", rgb[..., 0]))
    np.testing.assert_array_equal(image, np.stack([rgb[..., 0]] * 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_palette_is_looked_up_for_images_and_kept_for_masks(tmp_path, suffix):
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 7]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colours.tobytes())
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    np.testing.assert_array_equal(read_image(path), colours[indices])
    np.testing.assert_array_equal(read_mask(path), indices)


def test_planar_tiff_equals_interleaved(tmp_path, rgb):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(path), rgb)


def test_white_is_zero_is_inverted_for_images_and_stored_for_masks(tmp_path):
    grey = np.array([[0, 100, 255]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    assert read_image(tmp_path / "a.tif")[..., 0].tolist() == [[255, 155, 0]]
    assert read_mask(tmp_path / "a.tif").tolist() == grey.tolist()


def test_the_content_decides_the_format(tmp_path, rgb):
    path = tmp_path / "really_png.tif"
    Image.fromarray(rgb).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), rgb)


# 16 bits


def test_16_bit_png_keeps_all_bits_until_the_window(tmp_path, rgb16):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(rgb16))
    # A window this narrow tells neighbours apart, which 8 bits could not.
    narrow = (30000, 30255)
    np.testing.assert_array_equal(read_image(path, narrow), np.clip(rgb16.astype(int) - 30000, 0, 255))
    np.testing.assert_array_equal(read_image(path, (1000, 60000)), through_window(rgb16, 1000, 60000))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_16_bit_tiff_through_a_window(tmp_path, rgb16, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb16, photometric="rgb", compression=compression)
    np.testing.assert_array_equal(read_image(path, (500, 4595)), through_window(rgb16, 500, 4595))


def test_window_rounds_to_nearest_and_clips(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 100, 101, 102, 103, 610, 65535]], np.uint16))
    # 255 / 510 = 1/2 a level each: 100 -> 0, 101 -> 0.5 -> 1, 102 -> 1, 103 -> 1.5 -> 2
    assert read_image(tmp_path / "a.tif", (100, 610))[0, :, 1].tolist() == [0, 0, 1, 1, 2, 255, 255]


def test_signed_16_bits_go_through_a_window_below_zero(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-2000, -160, 240, 3000]], np.int16))
    assert read_image(tmp_path / "a.tif", (-160, 240))[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int16, np.dtype(">i2")])
def test_every_value_goes_through_the_window_as_exact_arithmetic_takes_it(dtype):
    info = np.iinfo(dtype)
    values = np.arange(info.min, info.max + 1).reshape(2, -1)
    lo, hi = info.min + 5, info.max - 90
    expected = (2 * 255 * (np.clip(values, lo, hi) - lo) + (hi - lo)) // (2 * (hi - lo))
    shown = as_rgb(Raster(values.astype(dtype), 16), (lo, hi))
    np.testing.assert_array_equal(shown[..., 1], expected)


def test_16_bits_become_8_in_little_memory():
    raster = Raster(np.zeros((1000, 1000), np.uint16), 16)
    tracemalloc.start()
    as_rgb(raster, (0, 1000))
    assert tracemalloc.get_traced_memory()[1] < 10 * raster.pixels.size
    tracemalloc.stop()


def test_whole_numbers_of_64_bits_go_through_the_window_unwrapped():
    values = np.array([[0, 255, 2**63 + 5, 2**64 - 1]], np.uint64)
    assert as_rgb(Raster(values, 64), (0, 255))[0, :, 0].tolist() == [0, 255, 255, 255]


def test_16_bit_without_a_window_is_refused_with_its_range(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[7, 4095]], np.uint16))
    with pytest.raises(DataError, match=r"a\.tif holds 16 bit values \(7 to 4095\); say with an intensity window"):
        read_image(tmp_path / "a.tif")


def test_8_bit_ignores_the_window(tmp_path, rgb):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", rgb), (10, 20)), rgb)


def test_an_empty_window_is_a_config_error(tmp_path, rgb):
    with pytest.raises(ConfigError, match=r"window \(20, 20\) is empty"):
        read_image(save(tmp_path / "a.png", rgb), (20, 20))


# Masks


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_keep_their_values(tmp_path, bits):
    values = np.arange(2**bits, dtype=np.uint8)[None]
    path = tmp_path / "a.png"
    path.write_bytes(grey_png(values, bits))
    assert read_mask(path).tolist() == values.tolist()
    assert read_image(path)[0, -1].tolist() == [255, 255, 255]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def grey_png(values, bits):
    """A grey PNG of 1, 2 or 4 bits, written by hand: no library here writes 2 and 4."""
    spread = (values[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(spread.reshape(len(values), -1), axis=1)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_boolean_tiff_mask_keeps_true_as_one(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[True, False, True]]))
    assert read_mask(tmp_path / "a.tif").tolist() == [[1, 0, 1]]


def test_16_bit_masks_keep_their_values(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.array([[0, 1000]], np.uint16)))
    assert read_mask(path).tolist() == [[0, 1000]]


def test_an_rgb_mask_counts_as_grey_only_where_channels_agree(tmp_path):
    grey = np.array([[0, 255]], np.uint8)
    assert read_mask(save(tmp_path / "a.png", np.dstack([grey] * 3))).tolist() == [[0, 255]]
    with pytest.raises(DataError, match=r"b\.png is in colour; save the mask as grey"):
        read_mask(save(tmp_path / "b.png", np.array([[[0, 0, 1]]], np.uint8)))


@pytest.mark.real_data
def test_a_real_image_equals_what_pillow_reads():
    if not MONUSEG.exists():
        pytest.skip("the MoNuSeg images are not beside this checkout")
    path = MONUSEG / "Train_Folder" / "img" / "TCGA-21-5784-01Z-00-DX1.png"
    image = read_image(path)
    assert image[500, 500].tolist() == [117, 68, 121]
    np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
