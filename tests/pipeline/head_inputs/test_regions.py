"""What a tile, flipped or turned, is of the whole image that its text describes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.regions import region_of
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.views.transforms import turn
from textdiff.stages.features.position import FULL_IMAGE, Region, positional_encoding


def test_regions_by_hand():
    assert [region_of((40, 20), 20, offset, 0) for offset in ((0, 0), (20, 0))] == [(0, 0, 0.5, 1), (0.5, 0, 0.5, 1)]
    upper_left = [region_of((32, 32), 16, (0, 0), view)[:2] for view in range(8)]
    assert upper_left == [(0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5), (0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)]
    assert region_of((16, 64), 16, (0, 48), 5) == Region(0, 0, 0.25, 1)  # turned left, the right end is at the top


def test_an_image_that_was_not_cut_is_whole_in_every_view():
    assert {region_of((40, 20), None, (0, 0), view) for view in range(8)} == {FULL_IMAGE}


def test_a_tile_reaches_beyond_a_smaller_image():
    assert region_of((10, 40), 20, (0, 20), 0) == Region(0, 0.5, 2, 0.5)
    assert region_of((10, 40), 20, (0, 20), 2) == Region(-1, 0.5, 2, 0.5)


@pytest.mark.parametrize("view", range(8))
def test_a_pixel_of_a_turned_tile_has_the_place_that_it_has_in_the_turned_image(view):
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    whole, tile = turn(pixels, view), turn(pixels[1:5, 4:8], view)
    in_whole = torch.from_numpy(np.argsort(whole.ravel())[tile.ravel()])
    expected = positional_encoding(in_whole[None], whole.shape, [FULL_IMAGE])
    found = positional_encoding(torch.arange(16)[None], (4, 4), [region_of((6, 8), 4, (1, 4), view)])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.fixture
def halves(extraction):
    """A cache of grey images in 4 tiles that all look alike, whose upper half is the target."""
    folder = extraction.data.parent
    mask = np.repeat(np.array([255, 0], np.uint8), 16)[:, None].repeat(32, 1)
    for grey, path in enumerate(sorted(folder.glob("*.png")), start=120):
        shown = mask if path.stem.endswith("_mask") else np.full((32, 32, 3), grey, np.uint8)
        Image.fromarray(shown).save(path)
    extract_features(replace(extraction, tile=16, tile_overlap=0))
    return extraction.cache


@pytest.fixture
def training(halves, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 8}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    return TrainConfig(halves, tmp_path / "run", head="pixel", text="none", epochs=20, device="cpu", **sizes, **rates)


@pytest.mark.slow
def test_a_head_learns_a_half_of_the_image_from_tiles_that_look_alike(training):
    assert train_head(training).summary.val_dice > 0.95  # without the place 2/3 at best


def test_rows_of_a_tiled_cache_have_their_regions(halves):
    data = open_head_data(FeatureReader(halves), blocks=None, timesteps=None, text="none", seed=0, device="cpu")
    found = {data.region(row) for row in data.reader.samples}
    assert found == {Region(top, left, 0.5, 0.5) for top in (0, 0.5) for left in (0, 0.5)}
