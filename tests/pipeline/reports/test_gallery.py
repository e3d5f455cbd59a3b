"""Thumbnails: predictions in small, every pixel from its own position."""

import math

import numpy as np
import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.reports.gallery import Gallery, thumbnail_size


def open_data(cache, text="true"):
    return open_head_data(FeatureReader(cache), blocks=None, timesteps=None, text=text, seed=0, device="cpu")


def members_of(classes, n_members=1, sure=0.9):
    """Probabilities of two classes that make these the likeliest, alike for all members."""
    right = torch.as_tensor(classes, dtype=torch.float32)
    foreground = right * sure + (1 - right) * (1 - sure)
    return torch.stack([1 - foreground, foreground]).expand(n_members, 2, *right.shape)


def test_sizes_keep_proportions_and_have_a_bound():
    assert thumbnail_size((1000, 500), 320) == (320, 160)
    assert thumbnail_size((20, 24), 16) == (13, 16)
    assert thumbnail_size((20, 24), 320) == (20, 24)
    assert thumbnail_size((100_000, 10), 320) == (320, 1)


def test_a_whole_image_keeps_labels_prediction_uncertainty_image_and_text(tiny_cache):
    data = open_data(tiny_cache)
    gallery, row = Gallery(data), data.reader.split("test")[0]
    labels = data.labels(row)
    gallery.add(row, members_of(labels > 0), labels)
    small = gallery.show("test0")
    assert small.truth.shape == (13, 16)  # 20×24 in 16 pixels
    ys = ((np.arange(13) + 0.5) * 20 / 13 * 16 / 20).astype(int)
    assert (small.truth == labels.numpy()[ys]).all()
    assert (small.predicted == small.truth).all()
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert small.uncertainty == pytest.approx(math.sqrt(entropy / math.log(2)), abs=1 / 255)
    assert small.image[small.truth == 1].mean() > small.image[small.truth == 0].mean() + 60
    assert small.text == data.reader.table.texts[row.text]


def test_members_that_agree_are_certain_and_no_text_is_none(tiny_cache):
    data = open_data(tiny_cache, text="none")
    gallery, row = Gallery(data), data.reader.split("test")[0]
    gallery.add(row, members_of(data.labels(row) > 0, n_members=3), data.labels(row))
    assert gallery.show("test0").uncertainty.max() == 0
    assert gallery.show("test0").text == ""


def test_tiles_and_bands_of_a_slide_come_together(extraction, tmp_path):
    from dataclasses import replace

    settings = replace(extraction, cache=tmp_path / "tiles", tile=16, tile_overlap=6)
    extract_features(settings)
    data = open_data(settings.cache)
    rows = [row for row in data.reader.samples if row.parent == "test0"]
    whole = np.zeros((20, 24), np.uint8)
    whole[3:17, 5:20] = 1
    by_tile, by_band = Gallery(data), Gallery(data)
    for row in rows:
        part = np.full((16, 16), 255, np.uint8)
        y, x = row.tile
        piece = whole[y : y + 16, x : x + 16]
        part[: piece.shape[0], : piece.shape[1]] = piece
        by_tile.add(row, members_of(part == 1), torch.from_numpy(part))
    bands = [(members_of(whole[a:b]), torch.from_numpy(whole[a:b])) for a, b in ((0, 4), (4, 20))]
    assert len(list(by_band.watch(rows[0], bands))) == 2
    for small in (by_tile.show("test0"), by_band.show("test0")):
        assert (small.truth == whole).all()
        assert (small.predicted == whole).all()
        assert small.image.shape == (20, 24, 3)
        assert small.image.min() > 10  # no part of the image is left blank
