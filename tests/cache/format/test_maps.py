import numpy as np
import pytest

from textdiff.cache.format.maps import StoredMaps, all_finite


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_finite_is_what_numpy_says_for_every_kind_of_number(dtype):
    limits = np.finfo(dtype)
    fine = np.array([0, -0.0, 1, -1, limits.max, limits.min, limits.tiny, -limits.smallest_subnormal], dtype)
    assert all_finite(fine)
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        assert not all_finite(np.append(fine, dtype(bad)))
    assert all_finite(fine[:0])


def test_finite_agrees_with_numpy_on_every_float16():
    patterns = np.arange(2**16, dtype=np.uint16).view(np.float16)
    found = [all_finite(patterns[i : i + 1]) for i in range(2**16)]
    np.testing.assert_array_equal(found, np.isfinite(patterns))


def test_activations_are_values_times_their_channels_scale():
    maps = StoredMaps(np.array([[[[127, -2]]], [[[1, 3]]]], np.int8), np.array([[0.5, 10], [2, 0]], np.float32))
    assert maps.activations.tolist() == [[[[63.5, -20]]], [[[2, 0]]]]
    assert maps.activations.dtype == np.float32
    assert maps.row(1).activations.tolist() == [[[2, 0]]]


def test_activations_of_floats_are_the_values_themselves():
    values = np.ones((1, 2, 2, 3), np.float16)
    assert StoredMaps(values).activations is values


def test_what_is_not_finite_is_counted():
    values = np.array([[[1, np.nan, np.inf, -np.inf]]], np.float16)
    assert StoredMaps(values).describe_not_finite() == "1 NaN, 2 beyond ±65504, the largest float16"
    assert StoredMaps(values[..., :1]).describe_not_finite() is None
    scales = np.array([1, np.nan], np.float32)
    quantised = StoredMaps(np.zeros((1, 1, 2), np.int8), scales)
    assert quantised.describe_not_finite() == "NaN or infinite before it was quantised"
