"""Tiles and objects of predicted maps, by hand."""

import numpy as np
import pytest

from textdiff.errors import LabelError
from textdiff.pipeline.labelling.predictor import layers
from textdiff.pipeline.labelling.predictor.grid import Axis, RowGrid
from textdiff.pipeline.labelling.predictor.layers import PredictionLayer, runs_of

WHOLE = RowGrid((6, 8), Axis((0,), 6, 3), Axis((0,), 8, 4))
MAP = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 2]], np.uint8)


def test_a_tile_takes_the_nearest_value_and_nothing_beyond_the_image():
    layer = PredictionLayer(WHOLE, {(0, 0): MAP}, 255, 7)
    tile = layer.tile(0, 0, 0)
    assert tile[:6, :8].tolist() == MAP.repeat(2, 0).repeat(2, 1).tolist()
    assert (tile[6:] == 255).all()
    assert (tile[:, 8:] == 255).all()
    assert layer.tile(1, 0, 0)[:3, :4].tolist() == MAP.tolist()
    assert (layer.tile(0, 1, 0) == 255).all()


def test_an_object_is_a_connected_part_in_native_pixels():
    found = PredictionLayer(WHOLE, {(0, 0): MAP}, 255, 7).object_at(4.9, 0.5)
    assert found.label == 1
    assert found.runs.tolist() == [[0, 2, 4], [1, 2, 4], [2, 2, 2], [3, 2, 2]]


def test_there_is_no_object_where_nothing_is_predicted_or_outside():
    layer = PredictionLayer(WHOLE, {}, 255, 0)
    assert layer.object_at(1, 1) is None
    assert PredictionLayer(WHOLE, {(0, 0): MAP}, 255, 7).object_at(8.0, 1) is None


def test_of_overlapping_tiles_the_one_whose_centre_is_nearest_counts():
    grid = RowGrid((4, 10), Axis((0,), 4, 4), Axis((0, 3, 6), 4, 4))
    maps = {(0, column): np.full((4, 4), column, np.uint8) for column in range(3)}
    assert PredictionLayer(grid, maps, 255, 1).tile(0, 0, 0)[0, :10].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    del maps[0, 1]
    assert PredictionLayer(grid, maps, 255, 1).tile(0, 0, 0)[0, :10].tolist() == [0, 0, 0, 255, 255, 255, 2, 2, 2, 2]


def test_large_objects_are_followed_and_too_large_ones_refused(monkeypatch):
    grid = RowGrid((2000, 2000), Axis((0,), 2000, 4), Axis((0,), 2000, 4))
    map_ = np.zeros((4, 4), np.uint8)
    map_[1, 1:] = 1
    layer = PredictionLayer(grid, {(0, 0): map_}, 255, 1)
    found = layer.object_at(600, 700)
    assert found.runs[:, 2].sum() == 500 * 1500
    assert found.runs[0].tolist() == [500, 500, 1500]
    monkeypatch.setattr(layers, "_LARGEST_WINDOW", 1024)
    with pytest.raises(LabelError, match="too large to be taken whole"):
        layer.object_at(600, 700)


def test_runs_go_row_by_row():
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    assert runs_of(mask).tolist() == [[0, 0, 2], [0, 3, 1], [2, 0, 4]]
