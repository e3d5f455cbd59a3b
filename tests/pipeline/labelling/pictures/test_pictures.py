"""Tiles and thumbnails, against the mean of the pixels that each of theirs stands for."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from label_server import image_entries
from PIL import Image

from textdiff.errors import DataError, LabelError
from textdiff.pipeline.labelling.data_set.images import ImageEntry
from textdiff.pipeline.labelling.pictures import survey
from textdiff.pipeline.labelling.pictures.levels import open_copies
from textdiff.pipeline.labelling.pictures.pictures import Pictures
from textdiff.pipeline.labelling.pictures.pyramid import Pyramid
from textdiff.pipeline.labelling.strokes.tiles import level_size, n_levels_of

SIZE = (2100, 3000)


@pytest.fixture(scope="module")
def pixels():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    noise = np.random.default_rng(0).integers(0, 60, (*SIZE, 3))
    waves = np.stack([np.sin(x / 90), np.cos(y / 70), np.sin((x + y) / 150)], axis=-1)
    return (97 + 97 * waves + noise).astype(np.uint8)


def means(pixels, level):
    """The mean of each block; at the border of those pixels that there are."""
    height, width = level_size(pixels.shape[:2], level)
    side = 2**level
    sums, counts = np.zeros((2, height * side, width * side, 3), np.float64)
    sums[: pixels.shape[0], : pixels.shape[1]], counts[: pixels.shape[0], : pixels.shape[1]] = pixels, 1
    of_blocks = (one.reshape(height, side, width, side, 3).sum(axis=(1, 3)) for one in (sums, counts))
    return np.divide(*of_blocks)


def level_of(pyramid, level):
    height, width = level_size(pyramid.size, level)
    rows = [
        np.concatenate([pyramid.tile((level, column, row)) for column in range(-(-width // 256))], axis=1)
        for row in range(-(-height // 256))
    ]
    return np.concatenate(rows)


def write_tiled(path, pixels, **options):
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **options)
    return path


FILES = {
    "png": lambda path, pixels: Image.fromarray(pixels).save(path / "a.png") or path / "a.png",
    "tiles": lambda path, pixels: write_tiled(path / "a.tif", pixels),
    "tiles of 80": lambda path, pixels: tifffile.imwrite(path / "a.tif", pixels, tile=(80, 96)) or path / "a.tif",
    "strips": lambda path, pixels: tifffile.imwrite(path / "a.tif", pixels, rowsperstrip=7) or path / "a.tif",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_every_level_shows_the_means_of_its_pixels(tmp_path, pixels, kind):
    pyramid = Pyramid(open_copies(FILES[kind](tmp_path, pixels), None), threading.Event())
    assert (pyramid.survey is None) == (kind == "png")
    if pyramid.survey is not None:
        pyramid.survey.wait(2)
    for level in range(n_levels_of(SIZE)):
        shown = level_of(pyramid, level)
        # A block at the border counts as one of the survey's, however few pixels it has.
        inner = tuple(slice(0, n - 1) for n in shown.shape[:2])
        difference = np.abs(shown.astype(float) - means(pixels, level))
        assert difference[inner].max() <= (1.01 if level > 3 else 0.51)
        assert difference.max() <= (20 if level > 3 else 0.51)


def test_smaller_copies_in_the_file_are_taken(tmp_path, pixels):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        options = {"tile": (256, 256), "photometric": "rgb"}
        file.write(pixels, subifds=2, **options)
        file.write(np.full((SIZE[0] // 4, SIZE[1] // 4, 3), 40, np.uint8), subfiletype=1, **options)
        file.write(np.full((SIZE[0] // 16, SIZE[1] // 16, 3), 80, np.uint8), subfiletype=1, **options)
    pyramid = Pyramid(open_copies(tmp_path / "a.tif", None), threading.Event())
    assert pyramid.survey is None
    assert [set(np.unique(level_of(pyramid, level))) for level in (2, 3, 4)] == [{40}, {40}, {80}]
    assert level_of(pyramid, 4).shape == (132, 188, 3)
    assert np.abs(level_of(pyramid, 1) - means(pixels, 1)).max() <= 0.51


def test_a_survey_is_blurred_first_and_told_while_it_gets_sharper(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(survey, "_FIRST_PARTS", 30)
    entry = ImageEntry("a", "a", "train", write_tiled(tmp_path / "a.tif", pixels), SIZE, "", None)
    pictures, told = Pictures([entry]), []
    pictures.listen(told.append)
    blurred = pictures.tile(0, (4, 0, 0))
    pictures.thumbnail(0)  # which waits for the end
    sharp = pictures.tile(0, (4, 0, 0))
    assert pictures.tile(0, (4, 0, 0)) is sharp
    exact = means(pixels, 4)
    errors = [np.abs(np.asarray(Image.open(io.BytesIO(one))).astype(float) - exact).mean() for one in (blurred, sharp)]
    assert errors[1] < 4 < errors[0] < 70
    assert {*told} == {0}


def test_a_broken_file_is_told_to_everybody_who_waits(tmp_path, pixels):
    path = write_tiled(tmp_path / "a.tif", pixels, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].dataoffsets[50]
    content = bytearray(path.read_bytes())
    content[place : place + 200] = bytes(200)
    path.write_bytes(content)
    pictures = Pictures([ImageEntry("a", "a", "train", path, SIZE, "", None)])
    for _ in range(3):
        with pytest.raises(DataError, match=r"a\.tif is truncated or broken"):
            pictures.thumbnail(0)
    assert pictures.tile(0, (0, 0, 0))


def test_images_of_more_than_8_bits_are_seen_through_the_window(tmp_path):
    values = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)
    tifffile.imwrite(tmp_path / "a.tif", values)
    entry = ImageEntry("a", "a", "train", tmp_path / "a.tif", (64, 80), "", None)
    with pytest.raises(DataError, match="--window"):
        Pictures([entry]).tile(0, (0, 0, 0))
    shown = np.asarray(Image.open(io.BytesIO(Pictures([entry], (1000, 2000)).tile(0, (0, 0, 0)))))
    expected = np.clip((values.astype(float) - 1000) / 1000 * 255, 0, 255)
    assert np.abs(shown[..., 0] - expected).mean() < 4


def test_thumbnails_are_not_larger_than_the_image(tmp_path):
    entries = image_entries(tmp_path, ((300, 400), (30, 20), (1, 900)), ("train",) * 3)
    sizes = [Image.open(io.BytesIO(Pictures(entries).thumbnail(place))).size for place in range(3)]
    assert sizes == [(160, 120), (20, 30), (160, 1)]


def test_tiles_outside_and_missing_files_are_refused(tmp_path):
    (entry, *_) = image_entries(tmp_path)
    with pytest.raises(LabelError, match="the tile does not exist"):
        Pictures([entry]).tile(0, (0, 2, 0))
    with pytest.raises(DataError, match=r"gone\.png"):
        Pictures([replace(entry, path=Path(tmp_path / "gone.png"))]).tile(0, (0, 0, 0))


def test_nobody_waits_for_a_survey_that_is_stopped(tmp_path, pixels):
    entry = ImageEntry("a", "a", "train", write_tiled(tmp_path / "a.tif", pixels), SIZE, "", None)
    pictures = Pictures([entry])
    pictures.stop()
    with pytest.raises(LabelError, match="the picture is not there: got the end of the server"):
        pictures.thumbnail(0)
    assert pictures.tile(0, (0, 0, 0))
