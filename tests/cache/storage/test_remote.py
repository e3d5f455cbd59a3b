"""A cache in an object store, on fsspec's store in memory: what is written, read, locked and said."""

import json
import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from textdiff.cache.building.plan import read_state
from textdiff.cache.format.manifest import MANIFEST
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage import leases, spool
from textdiff.cache.storage.leases import hold_lease
from textdiff.cache.storage.location import Location, absolute, free_bytes, location
from textdiff.cache.storage.locks import Share, hold_lock, hold_plan, parts_at_work, refuse_if_locked
from textdiff.cache.storage.remote import Remote
from textdiff.errors import CacheBusyError, CacheCorruptError, CacheError, CacheNotFoundError, ConfigError
from textdiff.pipeline.config.cache import CacheExportConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.export import export_cache
from textdiff.pipeline.maintenance.verify import verify_cache


@pytest.fixture
def store():
    """The root of an empty store."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    return location("memory://bucket/cache")


def objects(root):
    return {name: (root / name).read_bytes() for name in root.names()}


def without_lock(files):
    return {name: content for name, content in files.items() if name != ".lock"}


def test_text_becomes_a_path_or_an_url_as_it_is_written():
    assert location("a/b") == Path("a/b")
    assert location("file:///a/b") == Path("/a/b")
    found = location("memory://bucket/a/")
    assert (str(found), found.name, found.suffix) == ("memory://bucket/a", "a", "")
    assert isinstance(found, Location)
    assert str(found / "b" / "c.zip") == "memory://bucket/a/b/c.zip"
    assert ((found / "b/c.zip").parent, (found / "x.zip").suffix) == (found / "b", ".zip")
    assert absolute(found) == found
    assert absolute(Path("a")) == Path.cwd() / "a"
    assert free_bytes(found) is None
    assert free_bytes(Path("none/there")) > 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftps3://x", "no file system is known for ftps3://; expected a path, or an URL such as s3://"),
        ("gs://bucket/cache", r"need a package that is not installed: pip install 'textdiff\[gs\]'"),
        ("s3:/bucket/cache", "expected two slashes after s3: as in s3://BUCKET/CACHE"),
        ("adl://x", "need a package that is not installed: pip install what is missing"),
    ],
)
def test_an_url_that_cannot_be_reached_says_what_to_install(url, message, monkeypatch):
    def missing(protocol):
        if protocol in ("gs", "adl"):
            raise ImportError(f"no {protocol}")
        raise ValueError("Protocol not known")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=message):
        location(url)


def test_extracted_to_a_store_the_objects_are_those_of_a_folder(extraction, store, folder_bytes):
    extract_features(extraction)
    summary = extract_features(replace(extraction, cache=store))
    assert summary.free_bytes is None
    assert objects(store) == without_lock(folder_bytes(extraction.cache))
    assert verify_cache(store).problems == ()
    assert extract_features(replace(extraction, cache=store)).n_forwards == 0
    assert extract_features(replace(extraction, cache=store, filters=False)).n_forwards == 0
    assert not [name for name in store.names() if name.startswith(("filters", "journal"))]


def test_an_interrupted_extraction_to_a_store_is_gone_on_with(extraction, store, monkeypatch, folder_bytes):
    from textdiff.cache.building import writer

    write_shard, n_written = writer.write_shard, []

    def dying(root, path, rows, n_rows):
        n_written.append(path)
        if len(n_written) > 9:
            raise KeyboardInterrupt
        return write_shard(root, path, rows, n_rows)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_shard", dying)
        with pytest.raises(KeyboardInterrupt):
            extract_features(replace(extraction, cache=store))
    with pytest.raises(CacheError, match="add --resume"):
        extract_features(replace(extraction, cache=store))
    done = len(read_state(store, resume=True).units)
    assert done == 2
    assert extract_features(replace(extraction, cache=store, resume=True)).n_forwards == 7 - 2 * done
    extract_features(extraction)
    assert objects(store) == without_lock(folder_bytes(extraction.cache))


def test_what_is_something_else_is_not_written_to(extraction, store):
    (store / "mine.txt").write_bytes(b"x")
    with pytest.raises(CacheError, match="memory://bucket/cache: exists and is not a feature cache"):
        extract_features(replace(extraction, cache=store))
    with pytest.raises(CacheNotFoundError, match="no feature cache here"):
        FeatureReader(location("memory://bucket/none"))


@pytest.fixture
def stored(tiny_cache, store):
    """The tiny cache, copied to the store."""
    export_cache(CacheExportConfig(tiny_cache, store, "zarr"))
    return store


def test_there_and_back_gives_the_same_bytes(stored, tiny_cache, folder_bytes, tmp_path):
    assert objects(stored) == without_lock(folder_bytes(tiny_cache))
    export_cache(CacheExportConfig(stored, tmp_path / "back", "zarr"))
    assert folder_bytes(tmp_path / "back") == folder_bytes(tiny_cache)
    with pytest.raises(CacheError, match=r"memory://bucket/cache: exists; give a new name"):
        export_cache(CacheExportConfig(tiny_cache, stored, "zarr"))
    with pytest.raises(CacheError, match=r"one file is written to a disk.*--to zarr"):
        export_cache(CacheExportConfig(tiny_cache, location("memory://bucket/c.zip"), "zip"))


def test_an_export_that_fails_leaves_no_objects(tiny_cache, store):
    (tiny_cache / "labels/c/0/0/0").unlink()
    with pytest.raises(CacheCorruptError, match="labels/c/0/0/0: absent"):
        export_cache(CacheExportConfig(tiny_cache, store, "zarr"))
    assert store.names() == []


@pytest.mark.parametrize("segment_bytes", [2000, 1 << 28])
def test_rows_are_read_once_and_are_views_of_the_spool(stored, tiny_cache, monkeypatch, segment_bytes):
    monkeypatch.setattr(spool, "SEGMENT_BYTES", segment_bytes)
    there, here, asked = FeatureReader(tiny_cache), FeatureReader(stored), []
    read_range = Remote.read_range
    monkeypatch.setattr(Remote, "read_range", lambda *args: asked.append(str(args[0])) or read_range(*args))
    for _ in range(2):
        here.fetch((1, 3), (50, 150), 2, filters=True)
        for block, timestep in there.pairs:
            found = here.features(block, timestep, 2)
            np.testing.assert_array_equal(found, there.features(block, timestep, 2))
            assert not found.flags.owndata
        np.testing.assert_array_equal(here.filters(2), there.filters(2))
    assert len(asked) == 2 * 5  # of each shard its index and one row
    bulk = [reader.read((3, 1), (150,), (4, 0, 1))[3, 150].values for reader in (here, there)]
    np.testing.assert_array_equal(*bulk)
    for found, expected in zip(here.texts(), there.texts(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_children_that_are_forked_keep_rows_of_their_own(stored, tiny_cache):
    reader, expected = FeatureReader(stored), FeatureReader(tiny_cache)
    reader.features(3, 50, 0)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_same, args=(reader, row, expected.features(3, 50, row))) for row in (1, 2)]
    for child in children:
        child.start()
    for row in (3, 4):
        np.testing.assert_array_equal(reader.features(3, 50, row), expected.features(3, 50, row))
    for child in children:
        child.join()
        assert child.exitcode == 0
    np.testing.assert_array_equal(reader.features(3, 50, 0), expected.features(3, 50, 0))


def _same(reader, row, expected):
    """Ends the process with an error unless the row is the same."""
    np.testing.assert_array_equal(reader.features(3, 50, row), expected)


def test_a_full_disk_under_the_spool_says_what_to_do(stored, monkeypatch):
    def full(file, content, start):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_write", full)
    with pytest.raises(CacheError, match=r"no room in .*set TMPDIR to a folder on a larger disk"):
        FeatureReader(stored).features(3, 50, 0)


def test_changed_and_lost_objects_are_found_and_mended(stored, extraction, tiny_cache, folder_bytes):
    path = stored / "features/3/50/c/1/0/0/0"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))
    cut = stored / "labels/c/0/0/0"
    cut.write_bytes(cut.read_bytes()[:-1])
    (stored / "images/c/0/0/0/0").unlink()
    (stored / "foreign").write_bytes(b"x")
    found = verify_cache(stored)
    assert sorted(damage.path for damage in found.damaged) == [
        "features/3/50/c/1/0/0/0", "images/c/0/0/0/0", "labels/c/0/0/0",
    ]  # fmt: skip
    assert found.foreign == ("foreign",)
    assert "memory://bucket/cache" in found.repair
    with pytest.raises(CacheCorruptError, match="the bytes of row 0 are not those that were written"):
        FeatureReader(stored).features(3, 50, 2)
    with pytest.raises(CacheCorruptError, match=r"images/c/0/0/0/0: absent; .*--resume"):
        FeatureReader(stored).image(0)
    extract_features(replace(extraction, cache=stored, resume=True))
    (stored / "foreign").unlink()
    assert objects(stored) == without_lock(folder_bytes(tiny_cache))


def test_whatever_a_store_raises_becomes_one_error_that_says_what_to_check(stored, monkeypatch):
    def refused(*_args, **_kwargs):
        raise RuntimeError("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "cat_file", refused)
    message = r"memory://bucket/cache/manifest.json: cannot be read \(RuntimeError: no credentials\); check the address"
    with pytest.raises(CacheError, match=message):
        FeatureReader(stored)


def test_the_second_writer_is_refused_at_once_and_the_lock_goes_with_the_block(store):
    with hold_lock(store):
        for attempt in (
            lambda: hold_lock(store).__enter__(),
            lambda: refuse_if_locked(store),
            lambda: hold_lock(store, Share(0, 2)).__enter__(),
        ):
            with pytest.raises(CacheBusyError, match=r"another process .*its lock ends by itself in [\d]+ s"):
                attempt()
    assert store.names() == []
    refuse_if_locked(store)


def test_parts_write_beside_each_other_and_never_twice(store):
    with hold_lock(store, Share(0, 2)), hold_lock(store, Share(1, 2)):
        assert parts_at_work(store) == ("0-of-2", "1-of-2")
        with pytest.raises(CacheBusyError, match="part 1-of-2 is being made by another process"):
            hold_lock(store, Share(1, 2)).__enter__()
        with pytest.raises(CacheBusyError, match="another process is writing to this cache"):
            hold_lock(store).__enter__()
        refuse_if_locked(store, beside_parts=True)
        with hold_plan(store):
            assert "journal/locks/planning" in store.names()
    assert store.names() == []


def test_parts_into_one_store_give_the_bytes_of_one_process(extraction, store, folder_bytes):
    there = replace(extraction, cache=store, num_parts=2, part_id=0)
    assert not extract_features(there).whole
    assert extract_features(replace(there, part_id=1)).whole
    extract_features(extraction)
    assert objects(store) == without_lock(folder_bytes(extraction.cache))


def test_the_plan_is_waited_for(store, monkeypatch):
    monkeypatch.setattr(leases, "SETTLE_S", 0.02)
    order = []

    def plan(name, seconds):
        with hold_plan(store):
            order.append(name)
            time.sleep(seconds)
            order.append(name)

    threads = [threading.Thread(target=plan, args=(name, 0.1)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def test_a_dead_owners_lease_is_taken_over_when_it_has_ended(store, monkeypatch):
    monkeypatch.setattr(leases, "SETTLE_S", 0.0)
    left = {"owner": "gone", "ends": time.time() - leases.SKEW_S - 1}
    (store / ".lock").write_bytes(json.dumps(left).encode())
    with hold_lock(store):
        assert json.loads((store / ".lock").read_bytes())["owner"] != "gone"
    assert store.names() == []
    (store / ".lock").write_bytes(b"no lease")
    with hold_lock(store):
        pass


def test_a_lease_is_renewed_and_whoever_lost_it_writes_no_more(extraction, store, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_S", 0.02)
    with hold_lock(store):
        first = json.loads((store / ".lock").read_bytes())["ends"]
        until = time.monotonic() + 5
        while json.loads((store / ".lock").read_bytes())["ends"] == first:
            assert time.monotonic() < until
            time.sleep(0.01)
        (store / ".lock").write_bytes(json.dumps({"owner": "other", "ends": time.time() + 60}).encode())
        held = next(iter(leases._held))
        while not held.lost:
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(CacheBusyError, match=r"could not be renewed.*nothing more is written.*--resume"):
            leases.refuse_if_lost(store / MANIFEST)
        leases.refuse_if_lost(location("memory://bucket/another"))
    assert json.loads((store / ".lock").read_bytes())["owner"] == "other"


def test_two_who_take_over_at_once_end_with_one_owner(store, monkeypatch):
    ended = json.dumps({"owner": "gone", "ends": 0.0}).encode()
    (store / ".lock").write_bytes(ended)

    def overtaken(seconds):
        (store / ".lock").write_bytes(json.dumps({"owner": "faster", "ends": time.time() + 60}).encode())

    monkeypatch.setattr(leases.time, "sleep", overtaken)
    with pytest.raises(CacheBusyError, match="busy"):
        hold_lease(store / ".lock", "busy").__enter__()
