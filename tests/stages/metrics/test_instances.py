import math

import numpy as np
import pytest
from scipy import ndimage

from textdiff.stages.metrics.instances import aggregated_jaccard, match_objects, split_objects
from textdiff.stages.metrics.panoptic import detection_quality, panoptic_quality, segmentation_quality


def discs(*discs, size=(80, 80)):
    """A mask of discs, each (y, x, radius)."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.any([(y - top) ** 2 + (x - left) ** 2 <= radius**2 for top, left, radius in discs], 0)


@pytest.mark.parametrize("scale", [1, 3])
def test_touching_discs_are_split_and_a_single_one_is_not_at_any_resolution(scale):
    mask = discs((20, 20, 8), (20, 34, 8), (60, 20, 10)).repeat(scale, 0).repeat(scale, 1)
    assert ndimage.label(mask)[1] == 2
    objects = split_objects(mask)
    assert objects.max() == 3
    assert ((objects > 0) == mask).all()
    at = [objects[y * scale, x * scale] for y, x in ((20, 18), (20, 36), (60, 20))]
    assert len(set(at)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_every_pixel_is_of_an_object(seed):
    mask = np.random.default_rng(seed).random((40, 40)) < 0.5
    mask[:9, :9] = discs((4, 4, 3), size=(9, 9))
    mask[1, 1] = True  # touches the disc at a corner alone
    np.testing.assert_array_equal(split_objects(mask) > 0, mask)


def test_a_bar_and_small_jagged_blobs_stay_whole():
    mask = np.zeros((40, 40), bool)
    mask[4:10, 4:36], mask[20:23, 10:13], mask[23, 11] = True, True, True
    assert split_objects(mask).max() == 2


@pytest.mark.parametrize(("fill", "n_objects"), [(False, 0), (True, 1)])
def test_a_mask_of_nothing_or_everything_has_no_object_or_one(fill, n_objects):
    assert split_objects(np.full((12, 9), fill)).max() == n_objects


def objects(*rows):
    return np.array([list(map(int, row)) for row in rows])


# True object 1 has 4 pixels, 3 of them in a predicted object of 4; nothing overlaps true object 7 (4 pixels), and
# predicted object 9 (2 pixels) overlaps nothing.
TRUTH = objects("1111000", "0000000", "0770000", "0770000")
FOUND = objects("0333300", "0000000", "0000099", "0000000")


def test_aggregated_jaccard_by_hand():
    assert aggregated_jaccard(TRUTH, FOUND) == pytest.approx(3 / (5 + 4 + 2))


def test_in_aggregated_jaccard_two_true_objects_may_take_the_same_predicted_one():
    # 4 of 6 and 2 of 6 pixels.
    assert aggregated_jaccard(objects("111122"), objects("555555")) == pytest.approx((4 + 2) / (6 + 6))


def test_a_true_object_takes_the_predicted_one_of_highest_iou_and_not_of_largest_overlap():
    # With 4: 3 shared of 6 + 3 = IoU 1/3 of 9... with 5: 2 shared pixels of 5, and object 4 is then left over.
    truth, found = objects("11111000000"), objects("44455444444")
    found[0, 5:9], found[0, 9:] = 4, 0
    assert aggregated_jaccard(truth, found) == pytest.approx(2 / (5 + 7))


def test_panoptic_quality_by_hand():
    matches = match_objects(TRUTH, FOUND)
    assert matches.tolist() == pytest.approx([3 / 5, 1, 4])
    assert segmentation_quality(matches) == pytest.approx(3 / 5)
    assert detection_quality(matches) == pytest.approx(1 / (1 + 0.5 + 0.5))
    assert panoptic_quality(matches) == pytest.approx(0.3)


def test_objects_of_several_images_are_pooled_by_sums():
    # One pair of IoU 3/5 among 4 objects, and another image with one pair of IoU 1 among 2.
    one, other = match_objects(TRUTH, FOUND), match_objects(objects("11"), objects("11"))
    assert panoptic_quality(one + other) == pytest.approx(2 * 1.6 / 6)
    assert segmentation_quality(one + other) == pytest.approx(0.8)
    assert detection_quality(one + other) == pytest.approx(4 / 6)


def test_objects_that_share_half_their_union_do_not_match():
    matches = match_objects(objects("1100"), objects("1000"))
    assert (panoptic_quality(matches), detection_quality(matches)) == (0, 0)
    assert segmentation_quality(matches).isnan()


@pytest.mark.parametrize("mask", [discs((20, 20, 8), (20, 34, 8)), discs((9, 9, 4))])
def test_what_equals_the_truth_is_perfect_whatever_the_numbers(mask):
    truth = split_objects(mask)
    found = np.where(truth > 0, 40 - truth, 0)
    assert aggregated_jaccard(truth, found) == 1
    assert panoptic_quality(match_objects(truth, found)) == 1


def test_objects_in_one_alone_are_worth_0_and_in_neither_nothing():
    some, nothing = objects("110"), objects("000")
    for truth, found in ((some, nothing), (nothing, some)):
        assert aggregated_jaccard(truth, found) == 0
        assert panoptic_quality(match_objects(truth, found)) == 0
    assert math.isnan(aggregated_jaccard(nothing, nothing))
    assert panoptic_quality(match_objects(nothing, nothing)).isnan()
