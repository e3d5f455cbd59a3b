"""Images in memory are read as the files that hold the same."""

import numpy as np
import pytest
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.image_files.reading import read_image
from textdiff.pipeline.prediction.request import Pixels

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (6, 7, 4), dtype=np.uint8)


def paletted(transparency=None):
    image = Image.fromarray(COLOURS[..., :3]).quantize(16)
    return image, {} if transparency is None else {"transparency": transparency}


FILES = {
    "1": (Image.fromarray(COLOURS[..., 0] > 99), {}),
    "L": (Image.fromarray(COLOURS[..., 0]), {}),
    "RGB": (Image.fromarray(COLOURS[..., :3]), {}),
    "LA": (Image.fromarray(COLOURS[..., 2:], "LA"), {}),
    "RGBA": (Image.fromarray(COLOURS, "RGBA"), {}),
    "P": paletted(),
    "P, one value transparent": paletted(3),
    "P, alpha of values": paletted(bytes([0, 99, 255])),
    "L, one value transparent": (Image.fromarray(COLOURS[..., 0]), {"transparency": int(COLOURS[0, 0, 0])}),
    "RGB, one colour transparent": (
        Image.fromarray(COLOURS[..., :3]), {"transparency": tuple(COLOURS[0, 0, :3].tolist())}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_pillow_image_is_what_its_file_is(kind, tmp_path):
    image, settings = FILES[kind]
    image.save(path := tmp_path / "a.png", **settings)
    np.testing.assert_array_equal(from_memory(path), read_image(path))


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (2, 1), (200, 100, 0, 0))
    image.putpixel((1, 0), (200, 100, 0, 255))
    assert Pixels.of(image).pixels.tolist() == [[[255, 255, 255], [200, 100, 0]]]


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i4", "f4", "i8", "f2"])
def test_values_of_more_bits_go_through_the_window_and_are_refused_without(dtype):
    values = np.array([[0, 100, 150, 200, 999]], dtype)
    shown = [0, 0, 128, 255, 255]
    assert Pixels.of(values, (100, 200)).pixels[0].tolist() == [[one] * 3 for one in shown]
    coloured = np.repeat(values[..., None], 3, 2)
    assert Pixels.of(coloured, (100, 200)).pixels[0, :, 1].tolist() == shown
    with pytest.raises(
        DataError, match=r"image holds .. bit values \(0 to 999\); expected 8 bits: convert it to uint8"
    ):
        Pixels.of(values)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_pillow_images_of_more_bits_are_not_clipped(mode):
    image = Image.fromarray(np.array([[0, 100, 150, 200, 999]], np.uint16)).convert("I").convert(mode)
    assert Pixels.of(image, (100, 200)).pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(DataError, match=r"image holds .. bit values \(0 to 999\)"):
        Pixels.of(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image is of type NoneType; expected an array, a Pillow image or the path of a file"),
        ([[1]], "image is of type list"),
        (np.zeros((2, 3), bool), r"image is bool \(2, 3\); expected uint8 \(y, x, 3\), RGB, or \(y, x\), grey"),
        (np.zeros((2, 3, 4), np.uint8), r"image is uint8 \(2, 3, 4\); expected"),
        (np.zeros((0, 3), np.uint8), r"image is uint8 \(0, 3\); expected"),
        (np.full((2, 3), np.nan), "image holds values that are no numbers"),
        (Image.new("CMYK", (2, 3)), "image has Pillow's mode CMYK; convert it to RGB"),
        (Image.new("LAB", (2, 3)), "image has Pillow's mode LAB; convert it to RGB"),
        (Image.new("RGB", (0, 3)), "image is broken: it has 3 x 0 pixels"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(DataError, match=message):
        Pixels.of(image)


def from_memory(path):
    with Image.open(path) as image:
        return Pixels.of(image).pixels


def test_a_pillow_image_that_is_stored_turned_or_cut_off_is_refused_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOURS[..., :3]).save(path := tmp_path / "a.jpg", exif=exif)
    for read in (read_image, from_memory):
        with pytest.raises(DataError, match=r"is stored turned \(orientation 6\); save it upright"):
            read(path)
    Image.fromarray(RANDOM.integers(0, 256, (60, 70, 3), dtype=np.uint8)).save(path := tmp_path / "b.png")
    path.write_bytes(path.read_bytes()[:5000])
    for read in (read_image, from_memory):
        with pytest.raises(DataError, match="is truncated or broken"):
            read(path)
