"""A cache as an object: its samples, its table, and its use wherever a path is taken."""

import os

import numpy as np
import pytest

import textdiff as td
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, CacheNotFoundError


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
