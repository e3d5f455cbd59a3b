import math

import numpy as np
import pytest

from textdiff.stages.metrics.overlap import hausdorff_95


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
