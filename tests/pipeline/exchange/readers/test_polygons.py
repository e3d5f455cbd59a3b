"""Drawing of polygons: pixels whose centres are inside."""

import numpy as np
import pytest

from textdiff.errors import DataError
from textdiff.pipeline.exchange.readers.polygons import Polygons, ellipse, rectangle, ring_of

shapely = pytest.importorskip("shapely")


def drawn(polygons, size):
    mask = np.zeros(size, bool)
    top, left, pixels = polygons.draw(size)
    mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return mask


def centres_in(geometry, size):
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return shapely.contains_xy(geometry, x, y)


@pytest.mark.parametrize("seed", range(30))
def test_pixels_are_those_whose_centres_shapely_finds_inside(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    outer = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(5, 14, (12, 1)) + rng.uniform(8, 14, 2)
    hole = np.stack([np.cos(angles), np.sin(angles)], 1) * 2.3 + outer.mean(0)
    geometry = shapely.Polygon(outer).difference(shapely.Polygon(hole))
    if geometry.geom_type != "Polygon" or not geometry.interiors:
        geometry = shapely.Polygon(outer)
    rings = tuple(ring_of([*ring.coords]) for ring in (geometry.exterior, *geometry.interiors))
    np.testing.assert_array_equal(drawn(Polygons((rings,)), (20, 24)), centres_in(geometry, (20, 24)))


def test_an_outline_beyond_the_image_is_cut():
    whole = Polygons(((rectangle(-5, -5, 100, 100),),))
    assert drawn(whole, (7, 9)).all()
    assert not drawn(Polygons(((rectangle(50, 50, 5, 5),),)), (7, 9)).any()
    assert not drawn(Polygons(((rectangle(-50, -50, 5, 5),),)), (7, 9)).any()


def test_parts_are_united_and_holes_stay_open():
    polygons = Polygons(((rectangle(0, 0, 6, 6), rectangle(1, 1, 3, 3)), (rectangle(4, 4, 4, 4),)))
    mask = drawn(polygons, (8, 8))
    assert mask.sum() == 36 - 9 + 16 - 4
    assert not mask[2, 2]


def test_a_rectangle_turns_clockwise_about_its_corner():
    np.testing.assert_allclose(rectangle(5, 5, 3, 1, 90), [(5, 5), (5, 8), (4, 8), (4, 5)], atol=1e-12)


def test_an_ellipse_has_its_area():
    assert Polygons(((ellipse(50, 40, 30, 12, 33),),)).area() == pytest.approx(np.pi * 30 * 12, rel=2e-3)
    assert drawn(Polygons(((ellipse(50, 40, 30, 12, 33),),)), (80, 100)).sum() == pytest.approx(np.pi * 360, rel=0.01)


@pytest.mark.parametrize(
    "coordinates", [[], [[1, 2], [3, 4]], [[1, "a"]] * 3, [[1e300, 0]] * 3, [[float("nan"), 0]] * 3, None, [1, 2, 3]]
)
def test_what_is_no_ring_is_refused(coordinates):
    with pytest.raises(DataError, match="corners"):
        ring_of(coordinates)


def test_outlines_beyond_measure_are_refused():
    zigzag = np.array([(0, 0), (9, 20000)] * 4000, float)
    with pytest.raises(DataError, match="over the limit"):
        Polygons(((zigzag,),)).draw((20000, 10))
