"""BMP, GIF, WebP and JPEG 2000, as images and as masks (CASES.md, case 26)."""

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.image_files.paths import is_image, kind_of
from textdiff.pipeline.image_files.reading import read_image, read_mask

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
DISC = (np.add.outer(np.arange(12) ** 2, np.arange(17) ** 2) < 90).astype(np.uint8)


def written(path, pixels, **how):
    if path.suffix in (".jp2", ".j2k"):
        path.write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat=path.suffix[1:]))
    else:
        how |= {"lossless": True} if path.suffix == ".webp" else {}
        (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **how)
    return path


@pytest.mark.parametrize("suffix", ["bmp", "webp", "jp2", "j2k"])
def test_images_without_loss_are_what_was_written(tmp_path, suffix):
    path = written(tmp_path / f"a.{suffix}", RGB)
    assert is_image(path)
    np.testing.assert_array_equal(read_image(path), RGB)
    path.rename(tmp_path / "b.png")  # the content tells
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), RGB)


def test_a_gif_is_its_palette_looked_up(tmp_path):
    quantised = Image.fromarray(RGB).quantize(16)
    written(tmp_path / "a.gif", quantised)
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), np.asarray(quantised.convert("RGB")))


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "jp2", "j2k"])
def test_grey_masks_keep_their_values(tmp_path, suffix):
    np.testing.assert_array_equal(read_mask(written(tmp_path / f"a.{suffix}", DISC * 255)), DISC * 255)
    np.testing.assert_array_equal(read_mask(written(tmp_path / f"b.{suffix}", DISC * 3)), DISC * 3)


@pytest.mark.parametrize("suffix", ["bmp", "gif"])
def test_palettes_of_greys_are_greys(tmp_path, suffix):
    mask = Image.fromarray(1 - DISC)
    mask.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(read_mask(written(tmp_path / f"a.{suffix}", mask)), DISC * 255)


def test_bitmaps_of_one_bit(tmp_path):
    np.testing.assert_array_equal(read_mask(written(tmp_path / "a.bmp", DISC > 0)), DISC)
    assert read_image(tmp_path / "a.bmp").max() == 255


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(one) for one in (RGB, 255 - RGB)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"is an animation; export the one frame that is meant"):
            read(tmp_path / f"a.{suffix}")


def test_a_webp_that_is_stored_turned_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    written(tmp_path / "a.webp", RGB, exif=exif)
    with pytest.raises(DataError, match="is stored turned"):
        read_image(tmp_path / "a.webp")


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "jp2", "j2k"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_cut_files_are_refused(tmp_path, suffix, share):
    path = written(tmp_path / f"a.{suffix}", Image.fromarray(RGB) if suffix == "gif" else RGB)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"is truncated|is broken"):
        read_image(path)


def test_transparency_of_webp_and_gif_is_known(tmp_path):
    see_through = np.dstack([np.full((12, 17, 3), 255, np.uint8), DISC * 255])
    with pytest.raises(DataError, match="its shape stands in the alpha channel"):
        read_mask(written(tmp_path / "a.webp", see_through, exact=True))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.webp", "alpha"), DISC * 255)


def test_jpeg_2000_of_12_and_16_bits_needs_a_window(tmp_path):
    deep = RGB[..., 0].astype(np.uint16) * 16
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(deep, level=0, reversible=True, bitspersample=12))
    with pytest.raises(DataError, match="holds 12 bit values"):
        read_image(tmp_path / "a.jp2")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jp2", (0, 4080))[..., 0], RGB[..., 0])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.jp2"), deep)


def test_ycc_jpeg_2000_is_refused(tmp_path):
    data = imagecodecs.jpeg2k_encode(RGB, level=0, reversible=True, codecformat="jp2")
    at = data.index(b"colr") + 7
    (tmp_path / "a.jp2").write_bytes(data[:at] + (18).to_bytes(4, "big") + data[at + 4 :])
    with pytest.raises(DataError, match="holds YCC colours; save it as RGB"):
        read_image(tmp_path / "a.jp2")


def test_texts_that_begin_like_a_bitmap_are_none():
    assert kind_of(b"BMI and age of the patients, by study") is None
    assert kind_of(b"RIFF\0\0\0\0WAVE") is None
