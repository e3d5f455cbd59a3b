"""Distances between surfaces: HD95 and normalised surface Dice (NSD), by hand and by another algorithm."""

import math

import numpy as np
import pytest

from textdiff.stages.metrics.surfaces import surface_distances


def hausdorff_95(truth, predicted, spacing=(1.0, 1.0)):
    return surface_distances(truth, predicted, spacing).hausdorff_95


def square(top, left, side, size=(40, 40)):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_same_mask_is_at_distance_0():
    assert hausdorff_95(square(3, 4, 6), square(3, 4, 6)) == 0


def test_two_pixels_are_as_far_apart_as_they_are():
    assert hausdorff_95(square(0, 0, 1), square(3, 4, 1)) == 5


def test_the_larger_direction_counts_whichever_mask_it_starts_from():
    line, longer = np.zeros((1, 40), bool), np.zeros((1, 40), bool)
    line[0, :11], longer[0, :31] = True, True
    # From the longer line's 31 pixels the distances are 11 times 0, then 1 to 20: index 28.5 is 18.5.
    assert hausdorff_95(line, longer) == hausdorff_95(longer, line) == pytest.approx(18.5)


def test_one_pixel_far_off_is_beyond_the_95th_percentile():
    stray = square(10, 10, 12)
    stray[39, 39] = True
    assert hausdorff_95(square(10, 10, 12), stray) == 0


def test_the_surface_is_the_outline_also_at_the_images_border():
    hole = square(0, 0, 20, (20, 20))
    hole[1:-1, 1:-1] = False
    assert hausdorff_95(square(0, 0, 20, (20, 20)), hole) == 0


@pytest.mark.parametrize(("truth_side", "predicted_side"), [(0, 0), (3, 0), (0, 3)])
def test_nothing_is_at_no_distance_from_an_empty_mask(truth_side, predicted_side):
    assert math.isnan(hausdorff_95(square(2, 2, truth_side), square(2, 2, predicted_side)))


def test_agreement_with_scikit_image_where_all_distances_are_equal():
    from skimage.metrics import hausdorff_distance

    one, other = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    one[5], other[12] = True, True
    assert hausdorff_95(one, other) == hausdorff_distance(one, other) == 7


def test_surface_dice_by_hand():
    # Squares of 6 x 6, one 2 to the right of the other: each has 20 surface pixels. Of the left one's upper and lower
    # side 4 each are at 0, 1 each at 1 and at 2; its left side is at 2; of its right side 2 are at 1 (the other's upper
    # and lower side) and 2 at 2.
    distances = surface_distances(square(10, 10, 6), square(10, 12, 6))
    assert sorted(distances.of_truth) == sorted(distances.of_predicted) == [0] * 8 + [1] * 4 + [2] * 8
    assert [distances.dice(tolerance) for tolerance in (0, 0.99, 1, 1.99, 2)] == [0.4, 0.4, 0.6, 0.6, 1.0]


def test_surfaces_of_unequal_length_count_by_their_pixels():
    dot, far = square(5, 5, 1), square(5, 5, 1) | square(20, 20, 2)
    distances = surface_distances(dot, far)
    assert distances.dice(1) == 2 / 6  # the dot of each, of the 1 and 5 pixels of both
    assert surface_distances(far, dot).dice(1) == 2 / 6


def test_spacing_stretches_each_axis_by_itself():
    distances = surface_distances(square(0, 0, 1), square(3, 4, 1), (2.0, 0.5))
    assert distances.of_truth.tolist() == pytest.approx([math.hypot(6, 2)])
    assert distances.hausdorff_95 == pytest.approx(math.hypot(6, 2))
    assert hausdorff_95(square(3, 3, 6), square(3, 5, 6), (9.0, 0.25)) == 0.5  # only the columns differ


def test_a_tolerance_holds_for_as_many_steps_as_it_is_long():
    one, other = square(0, 0, 1), square(0, 3, 1)
    assert 3 * 0.1 > 0.3
    assert surface_distances(one, other, (0.1, 0.1)).dice(0.3) == 1
    assert surface_distances(one, other, (0.1, 0.1)).dice(0.299) == 0


def test_surface_dice_is_0_against_an_empty_mask_and_none_of_two():
    some, nothing = square(2, 2, 3), square(2, 2, 0)
    assert surface_distances(some, nothing).dice(1e6) == surface_distances(nothing, some).dice(1e6) == 0
    assert math.isnan(surface_distances(nothing, nothing).dice(1))


def test_agreement_with_all_pairs_of_pixels_of_the_whole_image():
    from scipy.spatial.distance import cdist

    generator, spacing = np.random.default_rng(0), (0.7, 1.9)
    blobs = [np.kron(generator.random((7, 9)) < 0.4, np.ones((4, 4), bool)) for _ in range(2)]
    for truth, predicted in (blobs, [np.pad(blob, ((5, 0), (0, 8))) for blob in blobs]):
        inner = [np.pad(mask, 1) for mask in (truth, predicted)]
        cores = [a[1:-1, 1:-1] & a[:-2, 1:-1] & a[2:, 1:-1] & a[1:-1, :-2] & a[1:-1, 2:] for a in inner]
        surfaces = [np.argwhere(mask & ~core) * spacing for mask, core in zip((truth, predicted), cores, strict=True)]
        pairs = cdist(*surfaces)
        distances = surface_distances(truth, predicted, spacing)
        np.testing.assert_allclose(distances.of_truth, pairs.min(1))
        np.testing.assert_allclose(distances.of_predicted, pairs.min(0))
        near = np.count_nonzero(pairs.min(1) <= 2) + np.count_nonzero(pairs.min(0) <= 2)
        assert distances.dice(2) == near / sum(pairs.shape)
