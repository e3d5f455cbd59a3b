"""Outlines: exact, valid polygons, the same from bands; shapely is the independent reader."""

import numpy as np
import pytest

from textdiff.pipeline.exchange.outlines import OutlineTracer, trace
from textdiff.pipeline.exchange.readers.polygons import Polygons

shapely = pytest.importorskip("shapely")


def drawn(outlines, size):
    """Labels from outlines, by our own drawing; no pixel is in two."""
    labels = np.zeros(size, int)
    for outline in outlines:
        top, left, pixels = Polygons((tuple(ring.astype(float) for ring in outline.rings),)).draw(size)
        part = labels[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        assert not part[pixels].any()
        part[pixels] = outline.label
    return labels


def polygon_of(outline):
    outer, *holes = outline.rings
    return shapely.Polygon(outer, holes)


def noise(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, rng.integers(2, 5), rng.integers(1, 14, 2))


@pytest.mark.parametrize("seed", range(40))
def test_outlines_drawn_again_are_the_labels(seed):
    labels = noise(seed)
    outlines = [*trace(labels)]
    np.testing.assert_array_equal(drawn(outlines, labels.shape), labels)
    for outline in outlines:
        polygon = polygon_of(outline)
        assert polygon.is_valid, shapely.is_valid_reason(polygon)
        centres = shapely.points([(x + 0.5, y + 0.5) for y, x in np.argwhere(labels >= 0)])
        inside = polygon.contains(centres).reshape(labels.shape)
        assert polygon.area == inside.sum()
        assert (labels[inside] == outline.label).all()


@pytest.mark.parametrize("seed", range(20))
def test_bands_give_the_outlines_of_the_whole(seed):
    labels, rng = noise(seed), np.random.default_rng(seed)
    tracer, outlines, top = OutlineTracer(labels.shape[1]), [], 0
    while top < len(labels):
        n_rows = int(rng.integers(1, 4))
        outlines += tracer.add(labels[top : top + n_rows])
        top += n_rows
    outlines += tracer.finish()

    def normal(outlines):
        return sorted((outline.label, polygon_of(outline).normalize().wkt) for outline in outlines)

    assert normal(outlines) == normal(trace(labels))


def test_an_area_is_given_out_as_soon_as_no_row_can_add_to_it():
    tracer = OutlineTracer(4)
    assert tracer.add(np.array([[1, 0, 2, 2]])) == []
    assert [outline.label for outline in tracer.add(np.array([[0, 0, 2, 2]]))] == [1]
    assert [outline.label for outline in tracer.finish()] == [2]


def test_straight_sides_have_no_corners_between_and_the_outer_ring_comes_first():
    labels = np.ones((4, 5), int)
    labels[2, 2] = 0
    (outline,) = trace(labels)
    outer, hole = ({*map(tuple, ring.tolist())} for ring in outline.rings)
    assert outer == {(0, 0), (5, 0), (5, 4), (0, 4)}
    assert hole == {(2, 2), (3, 2), (3, 3), (2, 3)}


def test_pixels_that_touch_at_corners_are_polygons_of_their_own_and_holes_may_touch():
    assert len([*trace(np.eye(3, dtype=int))]) == 3
    holes = 1 - np.pad(np.eye(2, dtype=int), 1)
    (outline,) = trace(holes)
    assert len(outline.rings) == 3
    assert polygon_of(outline).is_valid


def test_nothing_has_no_outline():
    assert [*trace(np.zeros((3, 3), np.uint8))] == []
