"""Standardised colours: worked numbers, tiles, and what the settings promise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textdiff.pipeline.images.stain import NormalisedImage, in_colours, lookup_table, open_source


@dataclass
class Pixels:
    pixels: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def boxes(self) -> list[tuple[int, int, int, int]]:
        return [(0, 0, 1000, self.size[1]), (1000, 0, self.size[0] - 1000, self.size[1])][: 1 + (self.size[0] > 1000)]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.pixels[top : top + height, left : left + width]


def histogram(*channels: dict[int, int]) -> np.ndarray:
    counts = np.zeros((3, 256), np.int64)
    for channel, values in enumerate(channels):
        for value, n in values.items():
            counts[channel, value] = n
    return counts


def test_two_values_end_one_deviation_below_and_above_the_mean() -> None:
    table = lookup_table(histogram({100: 5, 120: 5}, {0: 1, 255: 1}, {7: 3, 9: 3}))
    assert table[0, [100, 120]].tolist() == table[1, [0, 255]].tolist() == table[2, [7, 9]].tolist() == [88, 168]
    assert table[0, 110] == 128  # halfway


def test_values_beyond_the_range_are_clipped() -> None:
    table = lookup_table(histogram(*[{100: 99, 101: 99, 200: 1}] * 3))
    assert table[0, 0] == 0
    assert table[0, 200] == 255


def test_a_channel_without_contrast_is_moved_and_not_blown_up() -> None:
    table = lookup_table(histogram(*[{50: 10}] * 3))
    assert table[:, [49, 50, 52]].tolist() == [[127, 128, 130]] * 3


def test_stain_and_exposure_vanish() -> None:
    image = np.random.default_rng(0).integers(60, 120, (40, 50, 3), dtype=np.uint8)
    brighter = (image * np.array([1, 2, 1]) + np.array([30, 5, 0])).astype(np.uint8)
    as_one, as_other = (NormalisedImage(Pixels(of)).read(0, 0, 40, 50) for of in (image, brighter))
    np.testing.assert_array_equal(as_one, as_other)
    assert as_one.mean((0, 1)) == pytest.approx([128] * 3, abs=0.5)
    assert as_one.std((0, 1)) == pytest.approx([40] * 3, abs=0.5)


def test_a_part_is_read_with_the_whole_images_statistics() -> None:
    image = np.random.default_rng(1).integers(0, 256, (3000, 30, 3), dtype=np.uint8)  # more than one band
    standardised = NormalisedImage(Pixels(image))
    whole = standardised.read(0, 0, *standardised.size)
    np.testing.assert_array_equal(standardised.read(1500, 4, 9, 20), whole[1500:1509, 4:24])
    assert whole.mean((0, 1)) == pytest.approx([128] * 3, abs=0.5)


def test_own_colours_are_left_alone(tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    np.testing.assert_array_equal(open_source(tmp_path / "image.png", None, "own").read(0, 0, 8, 9), image)
    pixels = Pixels(image)
    assert in_colours(pixels, "own") is pixels


def test_statistics_wait_until_pixels_are_asked_for() -> None:
    image = Pixels(np.zeros((4, 5, 3), np.uint8))
    image.boxes = lambda: pytest.fail("read for its size")  # type: ignore[method-assign]
    assert NormalisedImage(image).size == (4, 5)
