"""`benchmarks/accuracy/strokes.py`: the simulated user by hand, and a curve of each method."""

import json
from pathlib import Path

import numpy as np
import pytest

STROKES = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy" / "strokes.py"


@pytest.fixture
def user(benchmark_module):
    return benchmark_module("accuracy", "simulated_user")


def test_the_largest_wrong_region_is_corrected_along_its_middle_and_never_over_its_border(user):
    truth = np.zeros((20, 30), np.uint8)
    truth[5:12, 3:25], truth[15:18, 2:5] = 1, 1
    stroke = user.correction(np.zeros_like(truth), truth, np.full_like(truth, 255), length=9, width=3)
    rows, columns = stroke.pixels.nonzero()
    assert stroke.label == 1
    assert {*rows.tolist()} <= {7, 8, 9}
    assert 5 <= columns.max() - columns.min() + 1 <= 12
    assert truth[stroke.pixels].all()


def test_what_is_labelled_is_not_corrected_again(user):
    truth, labels = np.ones((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)
    labels[:, :5] = 1
    stroke = user.correction(np.zeros_like(truth), truth, labels, length=9, width=1)
    assert not (stroke.pixels[:, :5]).any()
    assert user.correction(truth, truth, labels, length=9, width=1) is None


@pytest.mark.soak
@pytest.mark.slow
def test_each_method_has_a_curve_and_its_seconds(run_benchmark, tiny_cache, capsys):
    words = ["--methods", "label,ridge,forest", "--strokes", "4", "--per-image", "2", "--folds", "2", "--steps", "2"]
    run_benchmark(STROKES, str(tiny_cache), *words, "--full-masks", "1", "--json")
    *_, last = capsys.readouterr().out.strip().splitlines()
    result = json.loads(last)
    assert {name: [point["strokes"] for point in curve] for name, curve in result["curves"].items()} == {
        "label": [2, 4],
        "ridge": [2, 4],
        "forest": [2, 4],
    }
    points = [point for curve in result["curves"].values() for point in curve]
    assert all(0 <= point["dice"] <= 1 and point["seconds"] > 0 for point in points)
    assert 0 <= result["dice_of_full_masks"] <= 1
