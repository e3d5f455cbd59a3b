import math

import pytest
import torch

from textdiff.stages.features.position import FULL_IMAGE, Region, positional_encoding

SIZE = (8, 8)


def test_place_by_hand():
    (signal,) = positional_encoding(torch.tensor([[0, 3]]), (2, 2), [FULL_IMAGE])
    assert signal.shape == (2, 12)
    quarter = math.pi * 0.25
    assert float(signal[0, 0]) == pytest.approx(math.sin(quarter))
    assert float(signal[1, 0]) == pytest.approx(math.sin(3 * quarter))
    (every,) = positional_encoding(torch.arange(64)[None], SIZE, [FULL_IMAGE])
    assert len({tuple(row) for row in every.tolist()}) == 64


def test_the_whole_image_is_told_to_the_last_bit_as_without_a_window():
    pixels = torch.arange(48 * 80)
    y, x = (pixels // 80 + 0.5) / 48, (pixels % 80 + 0.5) / 80
    phase = (torch.stack([y, x], -1)[..., None] * (math.pi * torch.tensor([1.0, 2.0, 4.0]))).flatten(-2)
    expected = torch.cat([phase.sin(), phase.cos()], -1)
    torch.testing.assert_close(
        positional_encoding(pixels[None], (48, 80), [FULL_IMAGE])[0], expected, rtol=0, atol=1e-6
    )


def test_four_tiles_are_told_the_places_of_the_image_that_they_make_up():
    (whole,) = positional_encoding(torch.arange(64)[None], SIZE, [FULL_IMAGE])
    regions = [Region(top, left, 0.5, 0.5) for top in (0, 0.5) for left in (0, 0.5)]
    tiles = positional_encoding(torch.arange(16).expand(4, 16), (4, 4), regions).view(2, 2, 4, 4, 12)
    joined = tiles.transpose(1, 2).reshape(64, 12)  # tile row, row in it, tile column, column in it
    torch.testing.assert_close(joined, whole, atol=1e-6, rtol=0)


def test_a_pixel_lies_where_its_centre_lies_in_the_window():
    # Pixel 6 of 4×4 has its centre at (3/8, 5/8) of the tile.
    (signal,) = positional_encoding(torch.tensor([[6]]), (4, 4), [Region(-0.5, 0.25, 2.0, 0.5)])
    y, x = -0.5 + 3 / 8 * 2.0, 0.25 + 5 / 8 * 0.5
    assert signal[0, [0, 3]].tolist() == pytest.approx([math.sin(math.pi * y), math.sin(math.pi * x)], abs=1e-6)
