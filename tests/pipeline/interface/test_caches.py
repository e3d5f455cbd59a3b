"""A cache as an object: its samples, its table, and its use wherever a path is taken."""

import os

import numpy as np
import pytest

import textdiff as td
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, CacheNotFoundError, ConfigError


@pytest.fixture
def cache(tiny_cache):
    return td.open_cache(str(tiny_cache))


def test_samples_by_number_by_id_and_by_split(cache):
    assert len(cache) == 7
    assert [one.id for one in cache] == [f"train{i}" for i in range(4)] + ["val0", "val1", "test0"]
    assert cache["val1"] == cache[5] == cache.split("val")[1]
    assert (cache["val1"].split, cache[0].group) == ("val", cache.reader.samples[0].group)
    with pytest.raises(CacheMismatchError, match=r"has no sample 'val9'; it has 7: train0, train1, train2, \.\.\."):
        cache["val9"]


def test_samples_by_numbers_of_numpy_and_by_slices(cache):
    assert cache[np.int64(1)] == cache[1]
    assert cache[-1] == cache[np.int8(-1)] == cache["test0"]
    assert cache[:2] == [cache[0], cache[1]]
    assert cache[9:] == []
    with pytest.raises(CacheMismatchError, match="has no sample 7; it has 7"):
        cache[7]
    with pytest.raises(CacheMismatchError, match="has no sample -8"):
        cache[-8]


def test_ids_and_samples_are_in_it(cache, tiny_cache, extraction, tmp_path):
    assert "train0" in cache
    assert "train9" not in cache
    assert cache["val0"] in cache
    assert 0 not in cache
    other = td.extract_features(**{**vars(extraction), "cache": tmp_path / "other"})
    assert other["val0"] not in cache


def test_samples_are_looked_up_without_a_search(cache, monkeypatch):
    assert cache["test0"].id == "test0"
    monkeypatch.setattr(td.Cache, "samples", ())
    assert cache["train2"].id == "train2"


@pytest.mark.parametrize("name", ["training", "", None])
def test_a_split_that_is_none_is_refused(cache, name):
    expected = f"split got {name!r}; expected one of train, val, test"
    with pytest.raises(ConfigError, match=expected):
        cache.split(name)
    with pytest.raises(ConfigError, match=expected):
        cache.pixels(name)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_so_many_pixels_are_refused(cache, n):
    with pytest.raises(ConfigError, match=f"n_per_image got {n}; expected a whole number of at least 1"):
        cache.pixels(n_per_image=n)


def test_pixels_take_numbers_of_numpy(cache):
    of_python = cache.pixels(n_per_image=5, blocks=[1], timesteps=[50])
    of_numpy = cache.pixels(n_per_image=np.int64(5), blocks=np.array([1]), timesteps=np.array([50]))
    np.testing.assert_array_equal(of_numpy.X, of_python.X)
    with pytest.raises(CacheMismatchError, match="lacks blocks 99 at timesteps 50"):
        cache["train0"].features(np.int64(99), np.int64(50))


def test_classes_are_in_the_order_of_labels(with_classes):
    cache = with_classes({"0": "nothing", "10": "vessel", "2": "gland"}, (2, 10))
    assert cache.classes == ("nothing", "gland", "vessel")
    labels = cache["train0"].labels
    ys = [np.flatnonzero((labels == index).any(1)).mean() for index in (1, 2)]
    assert ys[0] < ys[1]  # the upper half is the gland's
    assert [*td.cache_info(cache).classes.items()] == [("0", "nothing"), ("2", "gland"), ("10", "vessel")]


def test_of_coloured_masks_the_background_comes_first(with_classes):
    red, blue = (255, 0, 0), (0, 0, 255)
    cache = with_classes({"#ff0000": "vessel", "#0000ff": "gland", "#000000": "background"}, (red, blue))
    assert cache.classes == ("background", "gland", "vessel")
    labels = cache["train0"].labels
    assert np.flatnonzero((labels == 2).any(1)).mean() < np.flatnonzero((labels == 1).any(1)).mean()


def test_a_samples_arrays_are_the_readers(cache, tiny_cache):
    reader, sample = FeatureReader(tiny_cache), cache["train1"]
    row = sample.row.row
    for block in cache.blocks:
        np.testing.assert_array_equal(sample.features(block, 50), reader.features(block, 50, row))
    np.testing.assert_array_equal(sample.image, reader.image(row))
    np.testing.assert_array_equal(sample.labels, reader.labels(row))
    assert sample.text == reader.table.texts[sample.row.text]
    with pytest.raises(CacheMismatchError, match="lacks blocks 99"):
        sample.features(99, 50)


def test_flips_and_rotations_are_left_out(extraction, tmp_path):
    folder = tmp_path / "views"
    turned = {**vars(extraction), "cache": folder, "views": 2, "views_of": "all"}
    cache = td.extract_features(**turned)
    assert (len(cache), len(cache.reader.samples)) == (7, 14)


def test_it_is_taken_wherever_its_path_is(cache, tiny_cache):
    assert os.fspath(cache) == str(tiny_cache)
    assert td.cache_info(cache).to_dict() == cache.to_dict()
    assert td.cache_verify(cache).problems == ()
    assert repr(cache) == f"Cache({str(tiny_cache)!r})"
    assert td.open_cache(cache).path == td.Cache(cache).path == tiny_cache
    assert FeatureReader(cache).root == tiny_cache


def test_its_table(cache):
    rows = cache.to_rows()
    frame = cache.to_frame()
    assert list(frame.columns) == ["id", "group", "split", "stratum", "labelled", "text", "height", "width"]
    assert frame[["id", "height"]].to_dict("records") == [{"id": row["id"], "height": row["height"]} for row in rows]
    assert [row["text"] for row in rows] == [sample.text for sample in cache]
    assert frame.split.value_counts().to_dict() == {"train": 4, "val": 2, "test": 1}
    html = cache._repr_html_()
    assert "<summary>7 rows</summary>" in html
    assert "<td>train3</td>" in html


def test_what_an_extraction_returns_says_what_it_did_and_is_the_cache(extraction):
    plan = td.extract_features(**{**vars(extraction), "dry_run": True})
    assert plan.extraction.dry_run
    assert "would be written" in plan.lines()[0]
    assert plan.to_rows() == []
    assert "rows</summary>" not in plan._repr_html_()
    cache = td.extract_features(**vars(extraction))
    assert cache.to_dict()["n_forwards"] == 7
    assert len(cache.split("train")) == 4


def test_there_is_no_cache(tmp_path):
    with pytest.raises(CacheNotFoundError):
        td.open_cache(tmp_path / "none")
