"""Reading in every way and in every kind of process, on caches of made-up activations: blocks 3 and 5, 5 images."""

import gc
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from textdiff.cache import reader as reading
from textdiff.cache.building.derived import row_loader
from textdiff.cache.building.plan import plan_work
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format.manifest import RowKey
from textdiff.cache.format.maps import StoredMaps
from textdiff.cache.format.samples import SampleRow, SampleTable
from textdiff.cache.format.spec import FeatureSpec
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheCorruptError, CacheMismatchError

SPEC = FeatureSpec(
    unet="diffusers:a", unet_digest="d", prediction_type="epsilon", noise="shared", noise_draws=1, seed=40,
    image_size=8, window=None, dtype="float16", rows_per_shard=2,
)  # fmt: skip
SHAPES, TIMESTEPS = {3: (4, 4, 6), 5: (8, 8, 2)}, (50, 150)
NAMES = tuple("abcde")


def activations(block, timestep, rows):
    """What the cache holds: different in every place, all of them whole numbers below 2048, exact in float16."""
    place = np.arange(np.prod(SHAPES[block])).reshape(SHAPES[block])
    return np.stack([(place * 7 + row * 131 + timestep + block) % 2039 for row in rows]).astype(np.float32)


def stored(block, timestep, rows, dtype):
    exact = activations(block, timestep, rows)
    if dtype != "int8":
        return StoredMaps(exact.astype(dtype))
    scales = np.abs(exact).max((1, 2)) / 127
    return StoredMaps(np.rint(exact / scales[:, None, None]).astype(np.int8), scales)


def make_cache(root, dtype):
    plan = plan_work(None, replace(SPEC, dtype=dtype), [RowKey(name, name) for name in NAMES], SHAPES, TIMESTEPS)
    writer = CacheWriter(root, plan.manifest)
    for unit in plan.pending:
        pairs = [(block, timestep) for block in unit.blocks for timestep in unit.timesteps]
        writer.write_unit(unit, {pair: stored(*pair, unit.rows, dtype) for pair in pairs}, {})
    samples = tuple(
        SampleRow(name, name, name, "train", row, None, (8, 8), f"{name}.png", name, None, None)
        for row, name in enumerate(NAMES)
    )
    image, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    load = row_loader(images=lambda _: image, labels=lambda _: labels)
    writer.publish(SampleTable("", (), samples), {}, None, filters=False, load=load)
    return root


@pytest.fixture
def cache(tmp_path):
    return make_cache(tmp_path / "float16", "float16")


@pytest.fixture
def int8_cache(tmp_path):
    return make_cache(tmp_path / "int8", "int8")


def test_rows_of_a_float_cache_are_views_of_the_files(cache):
    row = FeatureReader(cache).features(3, 150, 4)
    np.testing.assert_array_equal(row, activations(3, 150, [4])[0])
    assert (row.dtype, row.flags.owndata) == (np.float16, False)


def test_rows_of_an_int8_cache_come_as_activations_or_as_they_are_stored(int8_cache):
    reader, expected = FeatureReader(int8_cache), stored(5, 50, [3], "int8").row(0)
    found = reader.stored(5, 50, 3)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.scales, expected.scales)
    assert not found.values.flags.owndata
    np.testing.assert_array_equal(reader.features(5, 50, 3), expected.activations)
    assert np.abs(reader.features(5, 50, 3) - activations(5, 50, [3])[0]).max() <= expected.scales.max() / 2 * 1.001


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_many_rows_come_in_one_go_in_the_order_asked_for(tmp_path, dtype, workers):
    reader = FeatureReader(make_cache(tmp_path / "cache", dtype))
    found = reader.read((5, 3), (150,), (4, 0, 1), workers=workers)
    assert list(found) == [(5, 150), (3, 150)]
    for (block, timestep), maps in found.items():
        expected = stored(block, timestep, (4, 0, 1), dtype)
        assert maps.values.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(maps.values, expected.values)
        np.testing.assert_array_equal(maps.scales, expected.scales)
    assert reader.read((3,), (50,), ())[3, 50].values.shape == (0, 4, 4, 6)


def test_reading_in_bulk_refuses_what_is_not_there_and_finds_what_was_changed(cache):
    reader = FeatureReader(cache)
    with pytest.raises(CacheMismatchError, match="lacks blocks 4 at timesteps 50"):
        reader.read((3, 4), (50,), (0,))
    path = cache / "features/3/50/c/1/0/0/0"
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    with pytest.raises(CacheCorruptError, match="bytes of row 0 are not those that were written"):
        reader.read((3, 5), (50,), (0, 1, 2, 3))


def open_shards():
    return sorted({line.split(" /")[1] for line in Path("/proc/self/maps").read_text().splitlines() if "/c/" in line})


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped can be seen on Linux alone")
def test_only_what_is_asked_for_is_open_and_only_so_much_at_once(cache, monkeypatch):
    monkeypatch.setattr(reading, "MAX_OPEN_SHARDS", 2)
    reader = FeatureReader(cache)
    assert [path for path in open_shards() if str(cache)[1:] in path] == []
    for block, timestep, row in ((3, 50, 0), (3, 50, 2), (5, 150, 4)):
        reader.features(block, timestep, row)
    kept = [path.split("features/")[1] for path in open_shards() if str(cache)[1:] in path]
    assert kept == ["3/50/c/1/0/0/0", "5/150/c/2/0/0/0"]
    reader.read((3, 5), TIMESTEPS, range(5))
    gc.disable()  # what is open goes with the reader, and does not wait for the garbage collector
    try:
        del reader
        assert [path for path in open_shards() if str(cache)[1:] in path] == []
    finally:
        gc.enable()


def anonymous_bytes():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory can be measured on Linux alone")
def test_rows_that_are_looked_at_stay_the_systems_memory(tmp_path, monkeypatch):
    monkeypatch.setitem(SHAPES, 3, (256, 256, 32))  # 4 MB a row, 20 MB a timestep
    reader = FeatureReader(make_cache(tmp_path / "cache", "float16"))
    reader.features(3, 50, 0).max()
    before = anonymous_bytes()
    rows = [reader.features(3, timestep, row) for timestep in TIMESTEPS for row in range(5)]
    assert sum(int(row.view(np.uint16).max()) for row in rows) > 0
    assert anonymous_bytes() - before < 4e6


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("name", ["cache", "int8_cache"])
def test_a_reader_that_is_open_works_in_other_processes(request, name, start):
    reader = FeatureReader(request.getfixturevalue(name))
    here = {row: np.array(reader.features(3, 50, row)) for row in range(5)}
    bulk = reader.read((5,), (150,), range(5))[5, 150]
    with multiprocessing.get_context(start).Pool(2) as pool:
        there = pool.starmap(reader.features, [(3, 50, row) for row in range(5)])
        again = pool.apply(reader.read, ((5,), (150,), range(5)))[5, 150]
    for row, found in enumerate(there):
        np.testing.assert_array_equal(found, here[row])
    np.testing.assert_array_equal(again.activations, bulk.activations)
    np.testing.assert_array_equal(reader.features(3, 50, 1), here[1])


def test_children_that_are_forked_use_what_is_open_already(cache):
    reader = FeatureReader(cache)
    row = reader.features(3, 50, 0)
    (cache / "features/3/50/c/0/0/0/0").unlink()
    process = multiprocessing.get_context("fork").Process(target=_same, args=(reader, np.array(row)))
    process.start()
    process.join()
    assert process.exitcode == 0
    np.testing.assert_array_equal(reader.features(3, 50, 1), activations(3, 50, [1])[0])


def _same(reader, expected):
    """Ends the process with an error unless the row is the same; closing nothing of the parent's."""
    np.testing.assert_array_equal(reader.features(3, 50, 0), expected)
    del reader


@pytest.mark.parametrize(("rows", "wrong"), [((1, 1, 2), r"\[1\]"), ((0, -1), r"\[-1\]"), ((99,), r"\[99\]")])
def test_rows_that_are_named_twice_or_are_not_there_are_refused(cache, rows, wrong):
    with pytest.raises(ValueError, match=f"rows {wrong} are named twice or are none of 0 to"):
        FeatureReader(cache).read((3,), (50,), rows)


def test_a_block_that_is_not_cached_is_refused_with_what_would_add_it(cache):
    with pytest.raises(CacheMismatchError, match=r"lacks blocks 4 at timesteps 50.*--blocks 4 --timesteps 50"):
        FeatureReader(cache).features(4, 50, 0)
