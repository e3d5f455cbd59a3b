"""`benchmarks/speed/extract.py`: ratios are of the right phases, and one that cannot be is refused."""

import json
import sys

import pytest


@pytest.fixture
def extract(benchmark_module):
    return benchmark_module("speed", "extract")


def test_each_extraction_is_compared_with_the_bare_forwards_around_it(extract):
    bare = [extract.Seconds(8.0, 12.0), extract.Seconds(10.0, 12.0), extract.Seconds(6.0, 16.0)]
    whole, few = extract.Seconds(12.0, 20.0), extract.Seconds(2.0, 4.0)
    found = extract.ratios("loop", bare, [whole.less(few), whole.less(few).times(0.8)])
    assert found["loop_per_bare"] == [0.9, 1.0]
    assert found["median_loop_per_bare"] == 0.95
    assert found["median_loop_per_bare_of_processor"] == pytest.approx((12 / 16 + 14 / 12.8) / 2)


@pytest.mark.parametrize("name", ["median_loop_per_bare", "median_call_per_bare", "median_exit_per_whole"])
def test_a_part_that_takes_longer_than_the_whole_ends_the_benchmark_with_one_line(extract, name):
    assert list(extract.implausible({name: 1.0, "bare_images_per_s": 2.0})) == []
    with pytest.raises(SystemExit, match=rf"error: implausible figures.*{name} is 8\.6, expected 0 to 1\.1$"):
        extract.refuse(extract.implausible({name: 8.6}))


def test_no_time_and_no_memory_are_refused(extract):
    assert "exit_s 1 is 0" in next(extract.implausible({"exit_s": [1.0, 0.0]}))
    assert "peak_anon_bytes 30 is 0" in next(extract.implausible({"peak_anon_bytes": {30: 0}}))


def test_one_batch_of_images_alone_is_refused(extract, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["extract.py", "efficiency", "--images", "8", "--batch-size", "8"])
    with pytest.raises(SystemExit, match="2"):
        extract.parse_arguments()
    assert "--images got 8, expected more than the batch size, 8" in capsys.readouterr().err


def test_the_command_gets_the_settings_and_its_errors_end_the_benchmark(extract, extraction, monkeypatch):
    def fake(_module, *, run_name):
        assert run_name == "__main__"
        sys.stdout.write(json.dumps(sys.argv[1:]))
        raise SystemExit(codes.pop())

    monkeypatch.setattr(extract.runpy, "run_module", fake)
    monkeypatch.setattr(sys, "argv", [])
    codes = [1, 0]
    words = extract.run_command(extraction)
    assert words[:3] == ["extract-features", str(extraction.data), str(extraction.cache)]
    assert words[words.index("--blocks") + 1] == "1,3"
    assert words[words.index("--precision") + 1] == extraction.precision
    with pytest.raises(SystemExit, match="1"):
        extract.run_command(extraction)
