"""Tiles: where they lie, what is beyond the border, and how their results become whole images again."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textdiff.errors import ConfigError
from textdiff.pipeline.images.blending import blend, blending_window, whole_image
from textdiff.pipeline.images.tiling import pad_to_tile, read_tile, tile_offsets

EVEN = {"size": (6, 8), "tile": 4, "overlap": 2}


class Recorded:
    """An image in memory that notes what was read of it."""

    def __init__(self, pixels):
        self.pixels, self.read_of = pixels, []
        self.size = pixels.shape[:2]

    def read(self, top, left, height, width):
        self.read_of.append((top, left, height, width))
        return self.pixels[top : top + height, left : left + width]


def probabilities(n, n_classes, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, n_classes, side, side, generator=generator).softmax(1)


def whole(bands):
    return torch.cat([band for _, band in bands], 1)


def test_tiles_go_row_by_row_and_the_last_ends_at_the_border():
    assert tile_offsets((6, 8), 4, 2) == ((0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4))
    assert tile_offsets((4, 10), 4, 0) == ((0, 0), (0, 4), (0, 6))
    assert tile_offsets((3, 5), 4, 1) == ((0, 0), (0, 1))
    assert tile_offsets((4, 4), 4, 3) == ((0, 0),)
    assert tile_offsets((1000, 1000), 256, 64)[-1] == (744, 744)
    assert len(tile_offsets((1000, 1000), 256, 64)) == 25


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_pixel_is_covered_and_neighbours_share_what_was_asked(data):
    tile = data.draw(st.integers(1, 12))
    overlap, length = data.draw(st.integers(0, tile - 1)), data.draw(st.integers(1, 60))
    starts = [left for _, left in tile_offsets((1, length), tile, overlap)]
    assert set().union(*(range(start, min(start + tile, length)) for start in starts)) == set(range(length))
    assert all(0 <= start <= max(length - tile, 0) for start in starts)
    steps = [after - before for before, after in pairwise(starts)]
    assert steps[:-1] == [tile - overlap] * len(steps[:-1])
    assert all(0 < step <= tile - overlap for step in steps)


@pytest.mark.parametrize("overlap", [-1, 4, 9])
def test_an_overlap_that_gets_nowhere_is_refused(overlap):
    with pytest.raises(ConfigError, match=f"--tile-overlap got {overlap}; expected a number from 0 to 3"):
        tile_offsets((8, 8), 4, overlap)


def test_what_is_beyond_the_border_is_mirrored_or_filled():
    part = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    mirrored = [[1, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [1, 2, 3, 3]]
    assert pad_to_tile(part, 4, None).tolist() == mirrored
    assert pad_to_tile(part, 4, 255).tolist() == [[1, 2, 3, 255], [4, 5, 6, 255], [255] * 4, [255] * 4]
    assert pad_to_tile(part[:1, :1], 5, None).tolist() == [[1] * 5] * 5
    rgb = np.dstack([part, part + 10, part + 20])
    assert pad_to_tile(rgb, 4, None)[..., 1].tolist() == (np.array(mirrored) + 10).tolist()
    assert pad_to_tile(mirrored_tile := np.array(mirrored, np.uint8), 4, 255).tolist() == mirrored_tile.tolist()


def test_tiles_are_read_one_by_one_and_nothing_beyond_the_image():
    pixels = np.random.default_rng(0).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    source = Recorded(pixels)
    offsets = tile_offsets((6, 7), 4, 1)
    tiles = [read_tile(source, offset, 4) for offset in offsets]
    assert source.read_of == [(0, 0, 4, 4), (0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 4, 4)]
    for (y, x), tile in zip(offsets, tiles, strict=True):
        np.testing.assert_array_equal(tile, pixels[y : y + 4, x : x + 4])
    small = Recorded(pixels[:3])
    [first, _] = [read_tile(small, offset, 4) for offset in tile_offsets((3, 7), 4, 1)]
    assert small.read_of == [(0, 0, 3, 4), (0, 3, 3, 4)]
    np.testing.assert_array_equal(first[3], pixels[2, :4])


def test_the_window_is_a_raised_cosine_without_a_zero():
    # 4 centres at 1/8, 3/8, 5/8, 7/8: sin² of 22.5° and 67.5° are (2 ∓ √2) / 4.
    low, high = (2 - 2**0.5) / 4, (2 + 2**0.5) / 4
    axis = torch.tensor([low, high, high, low])
    torch.testing.assert_close(blending_window(4), torch.outer(axis, axis))
    assert blending_window(1).tolist() == [[1.0]]
    assert float(blending_window(1024).min()) > 0
    halves = blending_window(8).sum(0)
    torch.testing.assert_close(halves[:4] + halves[4:], halves.new_full((4,), float(halves[0] + halves[4])))


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [((6, 8), 4, 2), ((13, 9), 5, 1), ((9, 13), 4, 0), ((3, 11), 5, 3), ((11, 3), 5, 2)]
)
def test_blending_in_bands_equals_the_weighted_mean_over_the_whole_canvas(size, tile, overlap):
    offsets = tile_offsets(size, tile, overlap)
    tiles = probabilities(len(offsets), 3, tile)
    weighted, weights = torch.zeros(3, 32, 32, dtype=torch.float64), torch.zeros(32, 32, dtype=torch.float64)
    for (y, x), one in zip(offsets, tiles, strict=True):
        for i in range(tile):
            for j in range(tile):
                weight = np.sin(np.pi * (i + 0.5) / tile) ** 2 * np.sin(np.pi * (j + 0.5) / tile) ** 2
                weighted[:, y + i, x + j] += weight * one[:, i, j]
                weights[y + i, x + j] += weight
    expected = (weighted / weights)[:, : size[0], : size[1]]
    torch.testing.assert_close(whole(blend(tiles, offsets, size)), expected.float(), atol=1e-5, rtol=1e-5)


def test_bands_come_as_soon_as_no_tile_can_change_them():
    offsets = tile_offsets((6, 8), 4, 2)
    taken = []

    def tiles():
        for offset, one in zip(offsets, probabilities(6, 2, 4), strict=True):
            taken.append(offset)
            yield one

    bands = blend(tiles(), offsets, (6, 8))
    assert taken == []
    top, band = next(bands)
    assert (top, tuple(band.shape), taken) == (0, (2, 2, 8), [(0, 0), (0, 2), (0, 4)])
    top, band = next(bands)
    assert (top, tuple(band.shape), len(taken)) == (2, (2, 4, 8), 6)
    assert next(bands, None) is None


def test_what_all_tiles_agree_on_stays_and_a_single_tile_stays_as_it_is():
    offsets = tile_offsets((50, 41), 16, 5)
    flat = torch.tensor([0.3, 0.7])[:, None, None].expand(2, 16, 16)
    blended = whole(blend([flat] * len(offsets), offsets, (50, 41)))
    torch.testing.assert_close(blended, torch.tensor([0.3, 0.7])[:, None, None].expand(2, 50, 41))
    [one] = probabilities(1, 2, 64)
    torch.testing.assert_close(whole(blend([one], [(0, 0)], (64, 64))), one)
    torch.testing.assert_close(whole(blend([one], [(0, 0)], (10, 30))), one[:, :10, :30])


def test_logits_become_probabilities_at_the_images_own_size():
    logits = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    [(top, band)] = whole_image([logits], (8, 6), None, ())
    assert (top, tuple(band.shape)) == (0, (3, 2, 8, 6))
    torch.testing.assert_close(band.sum(1), torch.ones(3, 8, 6))
    torch.testing.assert_close(band[..., 0, 0], logits.softmax(1)[..., 0, 0])
    [(_, doubled)] = whole_image([logits], (8, 8), 8, [(0, 0)])
    torch.testing.assert_close(doubled, next(whole_image([logits], (8, 8), None, ()))[1])
