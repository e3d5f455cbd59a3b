"""Run lengths against pycocotools."""

import numpy as np
import pytest

from textdiff.errors import DataError
from textdiff.pipeline.exchange.readers.runs import runs_of
from textdiff.pipeline.exchange.run_lengths import box_of, object_runs, pack, unpack


def noise(seed, n=4):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n, rng.integers(1, 20, 2)).astype(np.uint16)


@pytest.mark.parametrize("seed", range(20))
def test_packed_runs_are_those_of_pycocotools(seed):
    masks = pytest.importorskip("pycocotools.mask")
    labels = noise(seed)
    for number, counts in object_runs(labels):
        mask = labels == number
        encoded = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert pack(counts) == encoded["counts"].decode()
        np.testing.assert_array_equal(unpack(pack(counts)), counts)
        assert [*box_of(counts, len(labels))] == masks.toBbox(encoded).tolist()


@pytest.mark.parametrize("by_columns", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_runs_drawn_are_the_area(seed, by_columns):
    mask = noise(seed, 2).astype(bool)
    height, width = mask.shape
    flat = mask.T.ravel() if by_columns else mask.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    counts = np.diff(changes[changes < flat.size], prepend=0, append=flat.size)
    runs = runs_of(counts.tolist(), (3, 2, height, width), by_columns=by_columns)
    canvas = np.zeros((height + 1, width + 1), bool)  # cuts two rows and one column off
    top, left, pixels = runs.draw(canvas.shape)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    expected = np.zeros((height + 3, width + 2), bool)
    expected[3:, 2:] = mask
    np.testing.assert_array_equal(canvas, expected[: height + 1, : width + 1])
    assert runs.area() == mask.sum()


def test_runs_of_a_large_number_survive():
    counts = np.array([2**31, 1, 5, 2**31 + 3, 0, 7])
    np.testing.assert_array_equal(unpack(pack(counts)), counts)


@pytest.mark.parametrize("text", ["", "é", "P", "~~", "PPPPPPPPPP0", "p" * 50])
def test_broken_text_is_refused(text):
    with pytest.raises(DataError, match="broken"):
        unpack(text)


@pytest.mark.parametrize(
    ("counts", "box"),
    [
        ([1, 2], (0, 0, 2, 2)),
        ([-1, 5], (0, 0, 2, 2)),
        (["a"], (0, 0, 2, 2)),
        ([[4]], (0, 0, 2, 2)),
        ([2**70], (0, 0, 2, 2)),
        ([2**40], (0, 0, 2**20, 2**20)),
        ([], (0, 0, 0, 0)),
        ([2**63 - 1, 2**63 - 1], (0, 0, 2, 2)),
    ],
)
def test_runs_of_another_size_are_refused(counts, box):
    with pytest.raises(DataError, match="runs"):
        runs_of(counts, box, by_columns=True)
