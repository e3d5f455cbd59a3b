"""Pixels of strokes, against the definition pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_server import new_key

from textdiff.pipeline.labelling.strokes.events import Stroke
from textdiff.pipeline.labelling.strokes.shapes import Mark, box_of, covered, paint

SIZE = (24, 30)


def mark(tool="brush", points=((5.0, 5.0),), label=1, size=4.0, runs=()):
    return Mark.of(Stroke(key=new_key(), image="a", tool=tool, label=label, size=size, points=points, runs=runs))


def centres(size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x + 0.5, y + 0.5], axis=-1)


def near_path(points, radius):
    """Centres within the radius of the path, by the distance from each of its segments."""
    points, found = np.array(points), np.zeros(SIZE, bool)
    for a, b in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        length = ((b - a) ** 2).sum()
        along = np.clip(((centres() - a) @ (b - a)) / length, 0, 1) if length else np.zeros(SIZE)
        nearest = a + along[..., None] * (b - a)
        found |= ((centres() - nearest) ** 2).sum(-1) <= radius**2 + 1e-9
    return found


def pixels_under(points):
    found = np.zeros(SIZE, bool)
    for x, y in np.floor(points).astype(int):
        if 0 <= y < SIZE[0] and 0 <= x < SIZE[1]:
            found[y, x] = True
    return found


coordinates = st.integers(-400, 3400).map(lambda n: n / 100)
paths = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=7)


@given(paths, st.integers(1, 2000).map(lambda n: n / 100))
@settings(deadline=None, max_examples=300)
def test_a_brush_covers_the_centres_within_half_its_size_of_the_path(points, size):
    found = covered(mark(points=points, size=size), (0, 0, *SIZE))
    exact = near_path(points, size / 2) | pixels_under(points)
    # Where a centre is as far away as the radius, to the last digits, either is right.
    on_the_border = exact ^ (near_path(points, size / 2 - 1e-6) | pixels_under(points))
    assert not ((found ^ exact) & ~on_the_border).any()


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
@settings(deadline=None, max_examples=300)
def test_a_polygon_covers_the_centres_that_a_ray_leaves_an_odd_number_of_times(points):
    found, inside = covered(mark("polygon", points), (0, 0, *SIZE)), np.zeros(SIZE, bool)
    x, y = centres()[..., 0], centres()[..., 1]
    for a, b in zip(points, points[1:] + points[:1], strict=True):
        (ax, ay), (bx, by) = sorted((a, b), key=lambda point: point[1])
        if ay != by:
            inside ^= (ay <= y) & (y < by) & (ax + (y - ay) * (bx - ax) / (by - ay) <= x)
    assert (found == inside).all()


def test_neighbouring_polygons_share_no_pixel_and_leave_none():
    corner = (7.3, 11.7)
    parts = [
        [(0, 0), (30, 0), corner],
        [(30, 0), (30, 24), corner],
        [(30, 24), (0, 24), corner],
        [(0, 24), (0, 0), corner],
    ]
    assert (sum(covered(mark("polygon", part), (0, 0, *SIZE)).astype(int) for part in parts) == 1).all()


def test_a_polygon_that_crosses_itself_has_a_hole():
    twice_round = [(2, 2), (20, 2), (20, 20), (2, 20), (2, 2), (8, 8), (14, 8), (14, 14), (8, 14), (8, 8)]
    found = covered(mark("polygon", twice_round), (0, 0, *SIZE))
    assert found.sum() == 18 * 18 - 6 * 6


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_the_thinnest_brush_marks_a_line_without_gaps(size):
    points = [(1.0, 1.0), *((x + 0.5, 1 + x / 2) for x in range(1, 29))]
    found = covered(mark(points=points, size=size), (0, 0, *SIZE))
    assert found.any(axis=0)[1:29].all()


@given(paths, st.integers(1, 900).map(lambda n: n / 100), st.sampled_from(["brush", "polygon"]), st.data())
@settings(deadline=None, max_examples=200)
def test_a_part_of_the_image_shows_the_same_as_the_whole(points, size, tool, data):
    points = points if tool == "brush" else [*points, (3.0, 4.0), (20.5, 9.0)]
    one = mark(tool, points, size=0 if tool == "polygon" else size)
    top, left = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    whole = covered(one, (0, 0, *SIZE))
    assert (covered(one, (top, left, 4, 10)) == whole[top : top + 4, left : left + 10]).all()
    painted = np.full((4, 10), 9, np.uint8)
    paint(painted, one, (top, left))
    assert ((painted == 1) == whole[top : top + 4, left : left + 10]).all()
    box = box_of(one, SIZE)
    outside = whole.copy()
    if box is not None:
        outside[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = False
    assert not outside.any()


def test_a_bucket_covers_its_runs():
    one = mark("bucket", runs=((3, 0, 30), (2, 3, 4), (2, 9, 1), (20, 29, 1)))
    found = covered(one, (0, 0, *SIZE))
    assert found.sum() == 36
    assert found[2, 3:7].all()
    assert found[3].all()
    assert found[(2, 20), (9, 29)].all()
    assert (covered(one, (2, 5, 1, 6)) == found[2:3, 5:11]).all()
    assert box_of(one, SIZE) == (2, 0, 19, 30)


def test_the_smallest_numbers_are_no_slopes():
    tiny = ((0.0, 0.0), (1.0, 5e-324), (5e-324, 8.0), (1e-300, 1e-300))
    for tool in ("brush", "polygon"):
        assert covered(mark(tool, tiny), (0, 0, *SIZE)).any()
