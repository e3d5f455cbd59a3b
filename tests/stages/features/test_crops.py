"""Where crops lie, what they hold of maps of any resolution, and what they show of the image, worked by hand."""

import pytest
import torch

from textdiff.stages.features.crops import Crop, cut, draw_crop
from textdiff.stages.features.position import FULL_IMAGE, Region, positional_encoding
from textdiff.stages.features.sampling import QuantisedMap
from textdiff.stages.seeds import named_generator

CROP = Crop(top=4, left=8, height=8, width=4)
SIZE = (16, 16)


def test_a_coarser_map_gives_the_points_under_the_crop():
    fine, coarse = torch.arange(256).view(16, 16, 1), torch.arange(16).view(4, 4, 1)
    assert torch.equal(CROP.of(fine, SIZE), fine[4:12, 8:12])
    assert CROP.of(coarse, SIZE).flatten().tolist() == [6, 10]
    found = cut({3: [coarse, coarse + 100], 5: [fine]}, CROP, SIZE)
    assert found[3].tolist() == [[[6, 106]], [[10, 110]]]
    assert found[5].shape == (8, 4, 1)


def test_a_quantised_map_is_cut_as_it_is_dequantised():
    values = torch.randint(-127, 128, (4, 4, 3), generator=named_generator(0, "values")).to(torch.int8)
    map_ = QuantisedMap(values, torch.tensor([0.5, 1.0, 2.0]))
    assert torch.equal(cut({3: [map_]}, CROP, SIZE)[3], CROP.of(map_.dequantise(), SIZE))


def test_a_crop_is_a_window_of_the_window():
    assert CROP.region(SIZE, FULL_IMAGE) == Region(0.25, 0.5, 0.5, 0.25)
    assert CROP.region(SIZE, Region(0.5, -0.5, 0.25, 2.0)) == Region(0.5625, 0.5, 0.125, 0.5)


def test_pixels_of_a_crop_have_the_places_that_they_have_in_the_image():
    whole = positional_encoding(torch.arange(256)[None], SIZE, [FULL_IMAGE]).view(16, 16, -1)
    pixels = torch.arange(32)[None]
    here = positional_encoding(pixels, (8, 4), [CROP.region(SIZE, FULL_IMAGE)]).view(8, 4, -1)
    torch.testing.assert_close(here, CROP.of(whole, SIZE), atol=1e-6, rtol=0)


@pytest.mark.parametrize("pixel", [(0, 0), (15, 15), (7, 3), (8, 12)])
def test_every_crop_holds_the_labelled_pixel_and_begins_at_a_multiple(pixel):
    labels = torch.full(SIZE, 9, dtype=torch.uint8)
    labels[pixel] = 1
    found = {draw_crop(labels, 8, 4, 9, named_generator(seed, "crop")) for seed in range(60)}
    assert all((crop.top % 4, crop.left % 4, crop.height, crop.width) == (0, 0, 8, 8) for crop in found)
    assert all((crop.of(labels, SIZE) == 1).sum() == 1 for crop in found)
    starts = [[start for start in (0, 4, 8) if start <= at < start + 8] for at in pixel]
    assert {(crop.top, crop.left) for crop in found} == {(top, left) for top in starts[0] for left in starts[1]}


def test_an_axis_shorter_than_the_crop_is_taken_whole():
    labels = torch.zeros(6, 16, dtype=torch.uint8)
    crop = draw_crop(labels, 8, 1, 9, named_generator(0, "crop"))
    assert (crop.top, crop.height, crop.width) == (0, 6, 8)
