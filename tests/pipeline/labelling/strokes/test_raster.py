"""Label images of strokes that come and go, against all strokes painted one after the other."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_server import new_key
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.data.classes import binary
from textdiff.pipeline.labelling.strokes.base import BaseLabels
from textdiff.pipeline.labelling.strokes.events import Stroke
from textdiff.pipeline.labelling.strokes.raster import LabelRaster, TileCaches
from textdiff.pipeline.labelling.strokes.shapes import Mark, paint
from textdiff.pipeline.labelling.strokes.tiles import level_size, n_levels_of

SIZE = (300, 700)


def mark(points, label=1, size=6.0, tool="brush"):
    return Mark.of(Stroke(key=new_key(), image="a", tool=tool, label=label, size=size, points=tuple(points)))


def painted(marks, size=SIZE, base=None):
    pixels = np.full(size, 255, np.uint8) if base is None else base.copy()
    for one in marks:
        paint(pixels, one, (0, 0))
    return pixels


def coarse(pixels, level):
    """The highest class among the labelled pixels of each block."""
    height, width = level_size(pixels.shape, level)
    side = 2**level
    shifted = np.zeros((height * side, width * side), np.uint8)
    shifted[: pixels.shape[0], : pixels.shape[1]] = pixels + np.uint8(1)
    return shifted.reshape(height, side, width, side).max(axis=(1, 3)) - np.uint8(1)


def shown(raster, level=0):
    """A level put together from its tiles, and whether nothing stands beyond it."""
    height, width = level_size(raster.size, level)
    whole = np.full((-(-height // 256) * 256, -(-width // 256) * 256), 7, np.uint8)
    for row in range(whole.shape[0] // 256):
        for column in range(whole.shape[1] // 256):
            whole[row * 256 :, column * 256 :][:256, :256] = raster.tile(level, column, row)
    assert (whole[height:] == 255).all()
    assert (whole[:, width:] == 255).all()
    return whole[:height, :width]


numbers = st.integers(-2000, 72000).map(lambda n: n / 100)
points = st.tuples(numbers, numbers.map(lambda n: n * 300 / 700))
strokes = st.builds(
    mark,
    st.lists(points, min_size=3, max_size=5),
    st.sampled_from([0, 1, 2, None]),
    st.integers(1, 9000).map(lambda n: n / 100),
    st.sampled_from(["brush", "polygon"]),
)
steps = st.lists(st.one_of(strokes, st.sampled_from(["undo", "look", "look closely"])), max_size=25)


@given(steps, st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_order_of_strokes_undos_and_looks_gives_what_painting_the_rest_gives(steps, tiny):
    raster, standing = LabelRaster(SIZE, caches=TileCaches(2**16 if tiny else 2**28)), []
    for step in steps:
        if step == "undo" and standing:
            raster.pop()
            standing.pop()
        elif step == "look":
            raster.tile(1, 0, 0)
        elif step == "look closely":
            raster.read(100, 200, 150, 300)
        elif isinstance(step, Mark):
            raster.push(step)
            standing.append(step)
    expected = painted(standing)
    assert (raster.read(0, 0, *SIZE) == expected).all()
    assert (raster.read(10, 250, 280, 13) == expected[10:290, 250:263]).all()
    assert (shown(raster) == expected).all()
    for level in range(1, n_levels_of(SIZE)):
        assert (shown(raster, level) == coarse(expected, level)).all()
    labelled = np.argwhere(expected != 255)
    if len(labelled):
        top, left, height, width = raster.box
        assert (labelled >= (top, left)).all()
        assert (labelled < (top + height, left + width)).all()


@pytest.mark.slow
def test_strokes_in_one_place_are_undone_one_by_one():
    raster, standing = LabelRaster(SIZE), []
    random = np.random.default_rng(0)
    for n in range(70):
        one = mark(random.uniform(0, 250, (4, 2)).tolist(), n % 3)
        raster.push(one)
        standing.append(one)
        raster.read(0, 0, 256, 256)
    while standing:
        assert (raster.read(0, 0, *SIZE) == painted(standing)).all()
        raster.pop()
        standing.pop()
    assert raster.box is None
    assert (raster.tile(0, 0, 0) == 255).all()


@pytest.mark.slow
def test_the_last_of_5000_strokes_is_undone_in_milliseconds():
    raster, random = LabelRaster((256, 256)), np.random.default_rng(0)
    for n in range(5000):
        start = random.uniform(0, 256, 2)
        raster.push(mark((start + random.normal(0, 3, (100, 2)).cumsum(0)).tolist(), n % 3, 12.0))
    raster.read(0, 0, 256, 256)
    took = []
    for _ in range(100):
        start = time.perf_counter()
        raster.pop()
        raster.read(0, 0, 256, 256)
        took.append(time.perf_counter() - start)
    assert sorted(took)[50] < 0.05


def test_a_filled_image_has_background_wherever_nothing_else_is():
    raster = LabelRaster((10, 12))
    raster.push(mark([(3, 3)], 2, 4))
    raster.filled = True
    expected = painted([mark([(3, 3)], 2, 4)], (10, 12))
    expected[expected == 255] = 0
    assert (raster.read(0, 0, 10, 12) == expected).all()
    assert (shown(raster) == expected).all()
    assert raster.box == (0, 0, 10, 12)


@pytest.fixture
def mask(tmp_path):
    pixels = np.random.default_rng(0).choice([0, 255], SIZE, p=[0.9, 0.1]).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png", (pixels == 255).astype(np.uint8)


def test_strokes_lie_over_the_mask_that_an_image_has_and_an_eraser_takes_its_labels(mask):
    path, base = mask
    raster = LabelRaster(SIZE, BaseLabels(path, binary(255), SIZE))
    assert (shown(raster, 1) == coarse(base, 1)).all()
    marks = [mark([(20, 30), (500, 200)], 1, 20), mark([(100, 0), (90, 299)], None, 30)]
    for one in marks:
        raster.push(one)
    expected = painted(marks, base=base)
    assert (expected == 255).any()
    assert (raster.read(0, 0, *SIZE) == expected).all()
    for level in range(n_levels_of(SIZE)):
        assert (shown(raster, level) == coarse(expected, level)).all()
    raster.pop()
    raster.pop()
    assert (shown(raster) == base).all()


def test_a_mask_of_undeclared_values_is_told_when_it_is_looked_at(tmp_path):
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="undeclared values 77"):
        LabelRaster(SIZE, BaseLabels(tmp_path / "mask.png", binary(255), SIZE)).tile(0, 0, 0)
