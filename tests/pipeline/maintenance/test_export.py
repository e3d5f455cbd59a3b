"""A cache in an HDF5 file and back: the same bytes, all of them checked; whole or absent."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from textdiff.cache import export as exporting
from textdiff.cache.format.manifest import read_manifest, write_manifest
from textdiff.cache.hdf5 import HdfWriter
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage.location import location
from textdiff.errors import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheIncompleteError,
    CacheNotFoundError,
    ConfigError,
)
from textdiff.pipeline.config.cache import CacheExportConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance import export as exports
from textdiff.pipeline.maintenance.export import export_cache
from textdiff.pipeline.maintenance.info import cache_info
from textdiff.pipeline.maintenance.verify import verify_cache


@pytest.fixture
def small_cache(extraction):
    """int8 with projections, scales, filters and texts: every kind of array."""
    extract_features(replace(extraction, dtype="int8", pca=4))
    return extraction.cache


def export(cache, name):
    out = cache.with_name(name)
    export_cache(CacheExportConfig(cache, out))
    return out


@pytest.mark.parametrize("kind", ["tiny_cache", "small_cache"])
def test_there_and_back_gives_the_same_bytes(request, kind, folder_bytes):
    cache = request.getfixturevalue(kind)
    packed = export(cache, "cache.h5")
    summary = export_cache(CacheExportConfig(packed, cache.with_name("back")))
    assert folder_bytes(cache.with_name("back")) == folder_bytes(cache)
    assert (summary.to, summary.n_shards) == ("zarr", verify_cache(cache).n_shards)
    assert folder_bytes(export(cache, "copy")) == folder_bytes(cache)


def test_h5py_opens_the_hdf5_file_with_named_axes_and_a_chunk_a_row(tiny_cache):
    reader = FeatureReader(tiny_cache)
    with h5py.File(export(tiny_cache, "cache.h5")) as file:
        dataset = file["features/3/150"]
        assert [dimension.label for dimension in dataset.dims] == ["row", "y", "x", "channel"]
        assert (dataset.dtype, dataset.chunks) == (np.float16, (1, *dataset.shape[1:]))
        assert dataset.id.get_create_plist().get_nfilters() == 0
        np.testing.assert_array_equal(dataset[2], reader.features(3, 150, 2))
        assert dataset.id.get_chunk_info(2).byte_offset % 64 == 0
        np.testing.assert_array_equal(file["texts/mask"][:], reader.texts()[1])
        assert file["files/manifest.json"][()].tobytes() == (tiny_cache / "manifest.json").read_bytes()


@pytest.mark.parametrize("read", [FeatureReader, cache_info, verify_cache])
def test_an_hdf5_file_is_not_read_in_place(tiny_cache, read):
    packed = export(tiny_cache, "cache.h5")
    with pytest.raises(CacheError, match=rf"bring the cache back to a folder: textdiff cache export {packed} FOLDER"):
        read(packed)


def test_nothing_is_extracted_to_an_hdf5_file(extraction, tmp_path):
    message = r"cache.h5: extract into a folder, and then: .*An existing file is brought back to a folder first: "
    with pytest.raises(ConfigError, match=message):
        extract_features(replace(extraction, cache=tmp_path / "cache.h5"))


def flip_in(packed, cache, shard):
    """Change a bit of a shard's first row, which is found by its bytes."""
    content, row = bytearray(packed.read_bytes()), (cache / shard).read_bytes()[:64]
    assert content.count(row) == 1
    content[content.index(row) + 5] ^= 8
    packed.write_bytes(content)


def test_changed_bytes_of_an_hdf5_file_are_found_on_the_way_back(tiny_cache, tmp_path):
    packed = export(tiny_cache, "cache.h5")
    flip_in(packed, tiny_cache, "features/3/50/c/1/0/0/0")
    flip_in(packed, tiny_cache, "filters/c/0/0/0/0")
    flip_in(packed, tiny_cache, "samples.json")
    with pytest.raises(CacheCorruptError) as refusal:
        export(packed, "back")
    lines = str(refusal.value).splitlines()
    assert sorted(lines[1:-1]) == [
        "  - features/3/50/c/1/0/0/0: not the bytes that the manifest recorded",
        "  - filters/c/0/0/0/0: not the bytes that the manifest recorded",
        "  - samples.json: changed since it was written",
    ]
    assert "export it again from the cache that it was made from" in lines[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "cache.h5", "data"]


def change(file, name, value):
    with h5py.File(file, "r+") as content:
        content[name][2] = value


@pytest.mark.parametrize("name", ["features/3/50", "scales/3/50", "projections/1/50", "images", "labels", "texts/mask"])
def test_a_changed_row_of_every_kind_of_array_is_found(small_cache, name):
    packed = export(small_cache, "cache.h5")
    change(packed, name, True if name == "texts/mask" else 7)
    with pytest.raises(
        CacheCorruptError, match=rf"  - {name}/c/[01]/[0/]+: not the bytes that the manifest recorded\n"
    ):
        export(packed, "back")


def test_a_file_that_lacks_something_or_is_no_cache_is_refused(tiny_cache, tmp_path):
    packed = export(tiny_cache, "cache.h5")
    content = packed.read_bytes()
    packed.write_bytes(content[:-1000])
    with pytest.raises(CacheCorruptError, match=r"cache.h5: not a whole HDF5 file of a cache.*restore the file"):
        export(packed, "back")
    for name, message in {
        "features/3/50": r"cache.h5: not a whole HDF5 file of a cache.*'50' doesn't exist",
        "files/features/3/50/zarr.json": r"  - features/3/50/zarr.json: absent",
        "files/manifest.json": r"holds no whole cache \(manifest.json: absent\); restore the file",
    }.items():
        packed.write_bytes(content)
        with h5py.File(packed, "r+") as file:
            del file[name]
        with pytest.raises(CacheCorruptError, match=message):
            export(packed, "back")
    packed.unlink()
    h5py.File(packed, "w").close()
    with pytest.raises(CacheCorruptError, match=r"holds no whole cache \(.*no feature cache here\)"):
        export(packed, "back")
    assert not (tmp_path / "back").exists()


def test_an_hdf5_file_goes_back_to_a_folder_alone(tiny_cache):
    packed = export(tiny_cache, "cache.h5")
    for out in (packed.with_name("again.h5"), location("memory://bucket/cache")):
        with pytest.raises(CacheError, match="is brought back to a folder on a disk; give a folder's name for OUT"):
            export_cache(CacheExportConfig(packed, out))


def test_a_damaged_folder_is_not_exported_and_all_that_is_wrong_is_named(tiny_cache, tmp_path):
    (tiny_cache / "labels/c/0/0/0").unlink()
    path = tiny_cache / "images/c/1/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheCorruptError) as refusal:
        export(tiny_cache, "cache.h5")
    message = str(refusal.value)
    assert "labels/c/0/0/0: absent" in message
    assert "images/c/1/0/0/0: has" in message
    assert "--resume" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]
    (tiny_cache / "samples.json").write_text("{}")
    with pytest.raises(CacheCorruptError, match=r"samples.json: changed since it was written"):
        export(tiny_cache, "cache.h5")


def test_a_cache_that_is_absent_or_not_whole_is_not_exported(tiny_cache, tmp_path):
    with pytest.raises(CacheNotFoundError, match="no feature cache here"):
        export(tmp_path / "none", "cache.h5")
    write_manifest(tiny_cache, replace(read_manifest(tiny_cache), complete=False))
    with pytest.raises(CacheIncompleteError, match="did not finish"):
        export(tiny_cache, "cache.h5")


def test_what_is_in_the_way_or_does_not_fit_is_refused(tiny_cache, tmp_path, monkeypatch):
    packed = export(tiny_cache, "packed.h5")
    (tmp_path / "cache.h5").write_text("mine")
    with pytest.raises(CacheError, match=r"cache.h5: exists; give a new name"):
        export(tiny_cache, "cache.h5")
    assert (tmp_path / "cache.h5").read_text() == "mine"
    with pytest.raises(CacheError, match="lies in the cache"):
        export_cache(CacheExportConfig(tiny_cache, tiny_cache / "inside.h5"))
    monkeypatch.setattr(exports, "free_bytes", lambda _: 10)
    for cache in (tiny_cache, packed):
        with pytest.raises(CacheError, match=r"needs .* GB, 0.00 GB are free.*Nothing was written"):
            export(cache, "folder")


@pytest.mark.parametrize("name", ["cache.h5", "back"])
def test_interrupted_leaves_nothing(tiny_cache, tmp_path, monkeypatch, name):
    read_shard, n_read = exporting.read_shard, []

    def interrupted(*arguments):
        n_read.append(1)
        if len(n_read) == 10:
            raise KeyboardInterrupt
        return read_shard(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "read_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(tiny_cache, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]
    mine = tmp_path / f"{name}.tmp"
    mine.write_text("somebody else's")
    export(tiny_cache, name)
    assert mine.read_text() == "somebody else's"
    assert not list(tmp_path.glob(".*"))


def test_a_cache_that_changes_while_it_is_exported_is_not_taken_for_whole(tiny_cache, tmp_path, monkeypatch):
    read_shard = exporting.read_shard

    def published_meanwhile(*arguments):
        (tiny_cache / "manifest.json").write_bytes((tiny_cache / "manifest.json").read_bytes() + b"\n")
        return read_shard(*arguments)

    monkeypatch.setattr(exporting, "read_shard", published_meanwhile)
    with pytest.raises(CacheBusyError, match="changed while it was exported; nothing was written: repeat"):
        export(tiny_cache, "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]


def test_what_appeared_at_the_name_meanwhile_is_not_written_over(tiny_cache, tmp_path, monkeypatch):
    add = HdfWriter.add

    def taken_meanwhile(self, path, content):
        (tmp_path / "cache.h5").write_text("mine")
        add(self, path, content)

    monkeypatch.setattr(HdfWriter, "add", taken_meanwhile)
    with pytest.raises(CacheError, match="exists now, which it did not when the export began"):
        export(tiny_cache, "cache.h5")
    assert (tmp_path / "cache.h5").read_text() == "mine"
