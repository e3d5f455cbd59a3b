"""Transparent parts of images, and channels that are no alpha."""

import numpy as np
import pytest
import tifffile
from imagecodecs import jpeg2k_encode, png_encode
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.image_files.reading import open_image, read_image, read_mask


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def alpha():
    """Every opacity, with parts that are wholly transparent and wholly opaque."""
    opacity = np.random.default_rng(1).integers(0, 256, (40, 50), dtype=np.uint8)
    opacity[:10], opacity[30:] = 0, 255
    return opacity


def over_white(rgb, alpha, top=255):
    share = alpha[..., None] / top
    return np.floor(rgb * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def write_tiff(path, pixels, extra, **options):
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[extra], **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_transparent_parts_are_blended_over_white(tmp_path, rgb, alpha, suffix):
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), over_white(rgb, alpha))


def test_transparent_black_outside_of_a_slide_region_is_white(tmp_path, rgb, alpha):
    rgb[alpha == 0] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png")[:10] == 255).all()


def test_an_opaque_alpha_changes_nothing(tmp_path, rgb):
    Image.fromarray(np.dstack([rgb, np.full((40, 50), 255, np.uint8)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


def test_grey_with_alpha(tmp_path, rgb, alpha):
    Image.merge("LA", (Image.fromarray(rgb[..., 0]), Image.fromarray(alpha))).save(tmp_path / "a.png")
    expected = over_white(np.repeat(rgb[..., :1], 3, axis=2), alpha)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_is_white(tmp_path, rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)))
    shown = read_image(tmp_path / "a.png")
    assert shown[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(shown[20, 20], np.asarray(image.convert("RGB"))[20, 20])


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [
        (1, [[10, 20, 30], [255, 255, 255], [200, 0, 7]]),
        (bytes([255, 51]), [[10, 20, 30], [222, 225, 227], [200, 0, 7]]),  # 90 · 0.2 + 255 · 0.8, ...
    ],
)
@pytest.mark.parametrize("bits", [2, 8])
def test_a_palette_with_transparent_colours(tmp_path, transparency, expected, bits):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 90, 105, 115, 200, 0, 7])
    image.save(tmp_path / "a.png", transparency=transparency, bits=bits)
    assert read_image(tmp_path / "a.png")[0].tolist() == expected
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1, 2]]


def test_16_bits_are_blended_after_the_window(tmp_path, rgb, alpha):
    stored, opacity = rgb.astype(np.uint16) * 257, alpha.astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(png_encode(np.dstack([stored, opacity])))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (0, 65535)), over_white(rgb, alpha))


def test_premultiplied_colours_are_not_multiplied_twice(tmp_path, rgb, alpha):
    multiplied = np.floor(rgb * (alpha[..., None] / 255) + 0.5).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", np.dstack([multiplied, alpha]), "assocalpha")
    np.testing.assert_array_equal(read_image(path), multiplied + (255 - alpha[..., None]))
    write_tiff(path, np.dstack([multiplied, alpha]).astype(np.uint16) * 257, "assocalpha")
    shown = read_image(path, (0, 65535)).astype(int)
    assert np.abs(shown - (multiplied + (255 - alpha[..., None]).astype(int))).max() <= 1


@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 7}, {"planarconfig": "separate"}])
def test_regions_of_transparent_images_equal_the_whole(tmp_path, rgb, alpha, extra, layout):
    pixels = np.dstack([np.minimum(rgb, alpha[..., None]), alpha])
    if "planarconfig" in layout:
        pixels = np.moveaxis(pixels, -1, 0)
    regions = open_image(write_tiff(tmp_path / "a.tif", pixels, extra, **layout))
    whole = regions.read_whole()
    for top, left, height, width in [(0, 0, 11, 13), (9, 20, 20, 30), (33, 1, 7, 40)]:
        part = regions.read(top, left, height, width)
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_masks_are_read_without_their_alpha(tmp_path):
    values = np.array([[0, 1, 2, 2]], np.uint8)
    Image.merge("LA", (Image.fromarray(values), Image.fromarray(values * 0 + 255))).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == values.tolist()


# Channels that are no alpha


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_two_channels_of_fluorescence_are_refused(tmp_path, rgb, planar, dtype):
    pixels = rgb[..., :2].astype(dtype)
    options = {"planarconfig": "separate"} if planar else {"planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(pixels, -1, 0) if planar else pixels, photometric="minisblack",
                     **options)  # fmt: skip
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"a\.tif has 2 channels, and does not say that the last is alpha"):
            read(tmp_path / "a.tif")


def test_a_fourth_channel_that_is_unspecified_is_refused(tmp_path, rgb, alpha):
    path = write_tiff(tmp_path / "a.tif", np.dstack([rgb, alpha]), "unspecified", tile=(16, 16))
    with pytest.raises(DataError, match=r"has 4 channels, and does not say that the last is alpha .*three as RGB"):
        open_image(path)


def test_a_fourth_channel_without_the_tag_is_refused(tmp_path, rgb, alpha):
    path = write_tiff(tmp_path / "a.tif", np.dstack([rgb, alpha]), "unassalpha")
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].tags["ExtraSamples"].offset
    content = bytearray(path.read_bytes())
    content[at : at + 2] = (50000).to_bytes(2, "little")  # a private tag in its stead
    path.write_bytes(content)
    with pytest.raises(DataError, match="has 4 channels"):
        open_image(path)


@pytest.mark.parametrize("n_channels", [5, 6])
def test_more_channels_are_refused(tmp_path, rgb, n_channels):
    pixels = np.dstack([rgb, rgb])[..., :n_channels]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"] * (n_channels - 3))
    with pytest.raises(DataError, match=f"has {n_channels} channels; save it as grey, RGB or RGBA"):
        read_image(tmp_path / "a.tif")


def test_channels_of_jpeg_2000_are_alpha_where_the_file_says_so(tmp_path, rgb, alpha):
    rgba = np.dstack([rgb, alpha])
    Image.fromarray(rgba).save(tmp_path / "a.jp2")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jp2"), over_white(rgb, alpha))
    for name, pixels in {"b.jp2": rgba, "c.j2k": rgba, "d.jp2": rgba[..., 2:].copy()}.items():
        (tmp_path / name).write_bytes(jpeg2k_encode(pixels, level=0, reversible=True, codecformat=name[-3:]))
        with pytest.raises(DataError, match=r"has [24] channels, and does not say that the last is alpha"):
            read_image(tmp_path / name)
