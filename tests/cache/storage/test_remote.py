"""A cache in an object store, on fsspec's store in memory: what is written, read and said."""

import gc
import multiprocessing
import pickle
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from textdiff.cache.building.plan import read_state
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage.location import Location, free_bytes, location
from textdiff.cache.storage.locks import Share, hold_lock, hold_plan, hold_worker, parts_at_work, refuse_if_locked
from textdiff.cache.storage.remote import RemotePath
from textdiff.errors import CacheCorruptError, CacheError, CacheMismatchError, CacheNotFoundError, ConfigError
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
    assert str(found / "b" / "c.h5") == "memory://bucket/a/b/c.h5"
    assert (found / Path("b") / "x.h5").suffix == ".h5"
    assert found.resolve() == found
    assert pickle.loads(pickle.dumps(found)) == found
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


@pytest.mark.slow
def test_extracted_to_a_store_the_objects_are_those_of_a_folder(extraction, store, folder_bytes):
    extract_features(extraction)
    summary = extract_features(replace(extraction, cache=store))
    assert summary.free_bytes is None
    assert objects(store) == without_lock(folder_bytes(extraction.cache))
    assert verify_cache(store).problems == ()
    assert extract_features(replace(extraction, cache=store)).n_forwards == 0
    assert extract_features(replace(extraction, cache=store, filters=False)).n_forwards == 0
    assert not [name for name in store.names() if name.startswith(("filters", "journal"))]


@pytest.mark.slow
def test_an_interrupted_extraction_to_a_store_is_gone_on_with(extraction, store, monkeypatch, folder_bytes):
    from textdiff.cache.building import writer

    write_shard, n_written = writer.write_shard, []

    def dying(root, path, rows, n_rows):
        n_written.extend([path] if path.startswith("features/") else [])
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
    export_cache(CacheExportConfig(tiny_cache, store))
    return store


def test_there_and_back_gives_the_same_bytes(stored, tiny_cache, folder_bytes, tmp_path):
    assert objects(stored) == without_lock(folder_bytes(tiny_cache))
    export_cache(CacheExportConfig(stored, tmp_path / "back"))
    assert folder_bytes(tmp_path / "back") == folder_bytes(tiny_cache)
    with pytest.raises(CacheError, match=r"memory://bucket/cache: exists; give a new name"):
        export_cache(CacheExportConfig(tiny_cache, stored))
    with pytest.raises(CacheError, match="an HDF5 file is written to a disk; export it there and copy it"):
        export_cache(CacheExportConfig(tiny_cache, location("memory://bucket/c.h5")))


def test_an_export_that_fails_leaves_no_objects(tiny_cache, store):
    (tiny_cache / "labels/c/0/0/0").unlink()
    with pytest.raises(CacheCorruptError, match="labels/c/0/0/0: absent"):
        export_cache(CacheExportConfig(tiny_cache, store))
    assert store.names() == []


@pytest.fixture
def downloads(monkeypatch):
    """The names of objects that are copied to this machine's disk, in order."""
    names, download = [], RemotePath.download

    def remember(self, file):
        names.append(str(self).removeprefix("memory://bucket/cache/"))
        download(self, file)

    monkeypatch.setattr(RemotePath, "download", remember)
    return names


def test_a_shard_is_downloaded_once_and_its_rows_are_views_of_the_copy(stored, tiny_cache, downloads):
    there, here = FeatureReader(tiny_cache), FeatureReader(stored)
    for _ in range(2):
        here.fetch([(b, t) for b in (1, 3) for t in (50, 150)], 2, filters=True)
        for block, timestep in there.pairs:
            row = here.features(block, timestep, 2)
            np.testing.assert_array_equal(row, there.features(block, timestep, 2))
            assert not row.flags.owndata
        np.testing.assert_array_equal(here.filters(2), there.filters(2))
    shards = [f"features/{block}/{timestep}/c/1/0/0/0" for block in (1, 3) for timestep in (150, 50)]
    assert sorted(downloads) == [*shards, "filters/c/1/0/0/0"]
    bulk = [reader.read((3, 1), (150,), (4, 0, 1))[3, 150].values for reader in (here, there)]
    np.testing.assert_array_equal(*bulk)
    for actual, expected in zip(here.texts(), there.texts(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_new_reader_reads_what_is_in_the_store_now(stored):
    FeatureReader(stored).labels(0)
    path = stored / "labels/c/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheCorruptError, match="cut short or damaged"):
        FeatureReader(stored).labels(0)


def copies(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_the_copies_go_with_the_reader_and_not_with_a_child_process(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    reader = FeatureReader(stored)
    row = reader.features(3, 50, 0)
    child = multiprocessing.get_context("fork").Process(target=_drop, args=([reader],))
    child.start()
    child.join()
    assert (child.exitcode, len(copies(tmp_path / "tmp"))) == (0, 1)
    expected = row.copy()
    del reader
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []
    np.testing.assert_array_equal(row, expected)


def _drop(readers):
    readers.clear()
    gc.collect()


def test_threads_that_ask_for_the_same_shard_read_it_whole(stored, tiny_cache, monkeypatch):
    def slow(self, remote, local):
        content = self.cat_file(remote)
        Path(local).write_bytes(content[: len(content) // 2])
        time.sleep(0.05)
        Path(local).write_bytes(content)

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "get_file", slow)
    reader, expected = FeatureReader(stored), FeatureReader(tiny_cache).features(3, 50, 1)
    with ThreadPoolExecutor(4) as pool:
        for row in pool.map(lambda _: reader.features(3, 50, 1), range(4)):
            np.testing.assert_array_equal(row, expected)


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


def test_a_full_disk_says_what_to_do(stored, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "get_file", full)
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


def test_a_store_has_no_locks_and_holds_no_lock_files(store):
    with hold_lock(store), hold_lock(store), hold_lock(store, Share(0, 2)), hold_plan(store), hold_worker(store):
        refuse_if_locked(store)
        assert parts_at_work(store) == ()
        assert store.names() == []


def test_parts_into_one_store_give_the_bytes_of_one_process(extraction, store, folder_bytes):
    there = replace(extraction, cache=store, num_parts=2, part_id=0)
    assert not extract_features(there).whole
    assert extract_features(replace(there, part_id=1)).whole
    extract_features(extraction)
    assert objects(store) == without_lock(folder_bytes(extraction.cache))


@pytest.mark.slow
def test_the_same_part_made_twice_at_once_gives_the_same_bytes(extraction, store, folder_bytes, monkeypatch):
    """A second process begins when the first has recorded one unit, and ends before it goes on."""
    there, record = replace(extraction, cache=store, resume=True), CacheWriter.record

    def overtaken(self, unit):
        record(self, unit)
        monkeypatch.setattr(CacheWriter, "record", record)
        extract_features(there)

    monkeypatch.setattr(CacheWriter, "record", overtaken)
    assert extract_features(there).n_forwards == 7
    extract_features(extraction)
    assert objects(store) == without_lock(folder_bytes(extraction.cache))


def test_parts_of_other_settings_are_refused_by_the_plan(extraction, store):
    there = replace(extraction, cache=store, num_parts=2, part_id=0)
    extract_features(there)
    with pytest.raises(CacheMismatchError, match=r"seed|begun with other settings"):
        extract_features(replace(there, part_id=1, seed=41))
