import time

import numpy as np
import pytest
from scipy import ndimage

from textdiff.pipeline.images.resizing import resize_image, resize_labels

AROUND = np.ones((3, 3), bool)


def under_centre(n_source, n_target):
    return (2 * np.arange(n_target) + 1) * n_source // (2 * n_target)


def lesion(side, at, size=64, value=1):
    mask = np.zeros((size, size), np.uint8)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = value
    return mask


def test_growing_axes_take_the_pixel_under_the_centre():
    # (i + 1/2) * 2/5 = 0.2, 0.6, 1.0, 1.4, 1.8
    assert resize_labels(np.array([[0], [1]], np.uint8), (5, 1)).T.tolist() == [[0, 0, 1, 1, 1]]
    mixed = resize_labels(np.array([[0, 0, 1, 1]] * 2, np.uint8), (5, 2))
    assert mixed.tolist() == [[0, 1]] * 5


def test_shrinking_axes_take_the_class_of_most_pixels():
    labels = np.array([[0, 0, 1, 1, 1, 0, 0, 1, 2]], np.uint8)
    assert resize_labels(labels, (1, 3)).tolist() == [[0, 1, 2]]  # the last three are of one pixel each: the rarest
    assert resize_labels(labels, (1, 9)) is labels


def test_labels_invent_nothing_and_know_no_side():
    labels = np.random.default_rng(0).choice(np.array([0, 2, 255], np.uint8), (100, 75))
    resized = resize_labels(labels, (32, 33))
    assert set(np.unique(resized)) == {0, 2}
    solid = np.zeros((96, 96), np.uint8)
    solid[20:50, 31:77] = 1
    turned = resize_labels(np.ascontiguousarray(solid[::-1, ::-1]), (32, 32))[::-1, ::-1]
    assert dice(turned, resize_labels(solid, (32, 32))) > 0.95


def dice(one, other):
    return 2 * ((one == 1) & (other == 1)).sum() / ((one == 1).sum() + (other == 1).sum())


def test_strokes_thinner_than_a_pixel_stay():
    labels = np.full((1, 12), 255, np.uint8)
    labels[0, [0, 3, 4, 10]] = 1, 2, 3, 4
    assert resize_labels(labels, (1, 4)).tolist() == [[1, 3, 255, 4]]
    labels[0, [6, 8]] = 5, 6
    assert resize_labels(labels, (1, 4))[0, 2] in (5, 6)
    assert resize_labels(labels, (1, 24))[0, 1::2].tolist() == labels[0].tolist()


def test_every_click_of_a_real_size_is_kept_and_no_pixel_beside_it():
    labels = np.full((1000, 1000), 255, np.uint8)
    rng = np.random.default_rng(0)
    places = rng.integers(0, 1000, (50, 2))
    labels[places[:, 0], places[:, 1]] = 1
    resized = resize_labels(labels, (256, 256))
    expected = {((2 * y + 1) * 256 // 2000, (2 * x + 1) * 256 // 2000) for y, x in places.tolist()}
    assert set(map(tuple, np.argwhere(resized == 1).tolist())) == expected


@pytest.mark.parametrize("side", range(1, 10))
@pytest.mark.parametrize(("size", "target"), [(128, 32), (256, 32)])
def test_lesions_of_1_to_9_pixels_stay_at_50_random_places(side, size, target):
    """CASES row 1: as 1024 to 256 and 2048 to 256."""
    rng = np.random.default_rng(side)
    for y, x in rng.integers(0, size - side, (50, 2)).tolist():
        resized = resize_labels(lesion(side, (y, x), size), (target, target))
        cells = {(a * target // size, b * target // size) for a in (y, y + side - 1) for b in (x, x + side - 1)}
        shown = set(map(tuple, np.argwhere(resized).tolist()))
        assert shown
        assert all(min(cells)[0] <= a <= max(cells)[0] and min(b for _, b in cells) <= b for a, b in shown)


def test_vessels_stay_connected_and_are_not_dilated():
    """CASES row 1: vessels 2 px wide in 512 px at 64."""
    mask = np.zeros((512, 512), np.uint8)
    for x in range(512):
        y = int(256 + 150 * np.sin(x / 60))
        mask[y : y + 2, x] = 1
    resized = resize_labels(mask, (64, 64))
    assert ndimage.label(resized, AROUND)[1] <= 2
    assert 64 <= resized.sum() < 2 * 64  # as many as the curve is long, in label pixels
    for width in (1, 2, 3):
        straight = np.zeros((512, 512), np.uint8)
        straight[:, 255 : 255 + width] = 1
        assert resize_labels(straight, (64, 64)).any(1).sum() >= 62


def test_a_lost_object_goes_where_most_of_it_lies():
    labels = lesion(3, (7, 6), 32)  # rows 7 to 9 and columns 6 to 8 over four pixels of 8 x 8
    assert np.argwhere(resize_labels(labels, (4, 4))).tolist() == [[1, 0]]


def test_ordinary_objects_are_what_most_of_each_pixel_is():
    y, x = np.mgrid[:256, :256]
    disc = ((y - 120) ** 2 + (x - 131) ** 2 < 80**2).astype(np.uint8)
    expected = disc.reshape(64, 4, 64, 4).sum((1, 3)) >= 8
    np.testing.assert_array_equal(resize_labels(disc, (64, 64)), expected)


def test_the_rarest_of_several_lost_classes_wins():
    labels = lesion(2, (1, 1), 64)
    labels[5, 5] = 2
    resized = resize_labels(labels, (8, 8))
    assert resized[0, 0] == 2
    assert not (resized == 1).any()
    common = lesion(1, (1, 1)) + lesion(3, (40, 40))
    common[2, 2] = 2  # beside class 1, which is elsewhere too
    resized = resize_labels(common, (8, 8))
    assert resized[0, 0] == 2
    assert resized[5, 5] == 1


def test_dust_that_fills_no_pixel_is_shown_throughout():
    dust = np.zeros((512, 512), np.uint8)
    dust[::8, ::8] = 1
    resized = resize_labels(dust, (64, 64))
    assert ndimage.binary_dilation(resized == 1, AROUND).all()


def test_a_mask_of_10_000_pixels_a_side_takes_seconds():
    mask = np.zeros((4000, 10000), np.uint8)
    mask[::997, ::991] = 1
    started = time.perf_counter()
    assert resize_labels(mask, (256, 256)).sum() == mask.sum()
    assert time.perf_counter() - started < 10


def test_images_are_averaged_when_they_shrink():
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small = resize_image(stripes, (2, 8))
    assert small.shape == (2, 8, 3)
    assert small.dtype == np.uint8
    assert np.unique(small[:, 1:-1]).tolist() == [100]  # a sample without averaging sees one stripe: 0 or 200


def test_image_size_is_height_then_width():
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert resize_image(rgb, (7, 9)).shape == (7, 9, 3)
    np.testing.assert_array_equal(resize_image(rgb, (20, 30)), rgb)
