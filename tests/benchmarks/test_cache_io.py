"""`benchmarks/speed/cache_io.py`: every way gives back what was written, and ratios are of one repetition."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import zarr


@pytest.fixture
def cache_io(benchmark_module):
    kept = {name: zarr.config.get(name) for name in ("codec_pipeline.path", "threading.max_workers")}
    with zarr.config.set(kept):
        yield benchmark_module("speed", "cache_io")


@pytest.mark.parametrize("name", ["Numpy", "Textdiff", "Zarr", "Zarrs", "Tensorstore"])
def test_every_way_gathers_what_was_written(cache_io, benchmark_module, tmp_path, name):
    if name in ("Zarrs", "Tensorstore") and not importlib.util.find_spec(name.lower()):
        pytest.skip(f"needs {name.lower()} (extra bench)")
    unit = cache_io.make_unit(0.01, 8, "float16")
    way = getattr(benchmark_module("speed", "cache_ways"), name)(tmp_path, 2)
    way.write(unit, 2)
    way.open()
    assert way.read() == 2 * sum(values.nbytes for values in unit.values())
    pixels = np.array([5, 0, 63])
    for gather in way.gathers():
        for pair, values in unit.items():
            gathered = gather(pair, 9, pixels)  # the second row of the second shard
            np.testing.assert_array_equal(gathered, values[1].reshape(64, -1)[pixels])


def test_ratios_compare_the_two_of_one_repetition(cache_io):
    ratios = cache_io.ratios_to_numpy({"numpy": [2.0, 4.0, 1.0], "textdiff": [1.0, 1.0, 1.0]})
    assert ratios == {"textdiff": {"median": 2.0, "each": [2.0, 4.0, 1.0]}}


def test_the_result_names_every_way_and_step(cache_io, tmp_path, monkeypatch, capsys):
    options = ["--mb", "1", "--chunk-mb", "0.01", "--side", "8", "--threads", "2", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["cache_io.py", *options, "--folder", str(tmp_path), "--json"])
    cache_io.main()
    result = json.loads(capsys.readouterr().out)
    assert list(result["ratios"]) == ["write", "cold", "warm", "gather"]
    assert {"numpy x2", "textdiff", "zarr"} <= result["ratios"]["gather"].keys()
    assert list(tmp_path.iterdir()) == []
    assert any(line.startswith("| textdiff | ") for line in cache_io.lines(result))
