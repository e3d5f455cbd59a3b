"""A cache in one file and back: the same bytes, read alike, checked alike; whole or absent."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from textdiff.cache.archives import zip as zips
from textdiff.cache.archives.hdf5_writer import HdfWriter
from textdiff.cache.export import FolderWriter
from textdiff.cache.format.manifest import read_manifest, write_manifest
from textdiff.cache.reader import FeatureReader
from textdiff.errors import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    CacheIncompleteError,
    CacheNotFoundError,
    ConfigError,
)
from textdiff.pipeline.config.cache import CacheExportConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance import export as exports
from textdiff.pipeline.maintenance.export import export_cache
from textdiff.pipeline.maintenance.info import cache_info
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.training.train import train_head

NAMES = {"zip": "cache.zip", "hdf5": "cache.h5"}


@pytest.fixture
def small_cache(extraction):
    """int8 with projections, scales, filters and texts: every kind of array."""
    extract_features(replace(extraction, dtype="int8", pca=4))
    return extraction.cache


def export(cache, to, out=None):
    out = out or cache.with_name(NAMES.get(to, "back"))
    export_cache(CacheExportConfig(cache, out, to))
    return out


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("kind", ["tiny_cache", "small_cache"])
def test_there_and_back_gives_the_same_bytes(request, kind, form, folder_bytes):
    cache = request.getfixturevalue(kind)
    packed = export(cache, form)
    assert packed.is_file()
    assert folder_bytes(export(packed, "zarr")) == folder_bytes(cache)
    if form == "zip":  # HDF5 writes the time into its groups
        again = export(packed, form, packed.with_name("again.zip"))
        assert again.read_bytes() == packed.read_bytes()
    assert verify_cache(packed).problems == ()
    assert (cache_info(packed).digests, cache_info(packed).n_shards) == (
        read_manifest(cache).digests,
        verify_cache(cache).n_shards,
    )


@pytest.mark.parametrize("form", NAMES)
def test_a_reader_gives_the_same_from_one_file(small_cache, form):
    there, here = FeatureReader(small_cache), FeatureReader(export(small_cache, form))
    row = there.samples[-1].row
    assert here.pairs == there.pairs
    for block, timestep in there.pairs:
        found = here.stored(block, timestep, row)
        np.testing.assert_array_equal(found.values, there.stored(block, timestep, row).values)
        np.testing.assert_array_equal(found.scales, there.stored(block, timestep, row).scales)
        assert not found.values.flags.owndata
    for name in ("image", "labels", "filters"):
        np.testing.assert_array_equal(getattr(here, name)(row), getattr(there, name)(row))
    for found, expected in zip(here.texts(), there.texts(), strict=True):
        np.testing.assert_array_equal(found, expected)
    bulk = [reader.read((3, 1), (150,), (4, 0, 1)) for reader in (here, there)]
    np.testing.assert_array_equal(bulk[0][3, 150].activations, bulk[1][3, 150].activations)
    projections = [reader.projections((3,), (50,)) for reader in (here, there)]
    np.testing.assert_array_equal(projections[0][3, 50], projections[1][3, 50])


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("form", NAMES)
def test_a_reader_of_one_file_works_in_other_processes(tiny_cache, form, start):
    reader = FeatureReader(export(tiny_cache, form))
    here = np.array(reader.features(3, 50, 1))
    with multiprocessing.get_context(start).Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(reader.features, (3, 50, 1)), here)


def test_zarr_opens_the_zip_file(tiny_cache):
    reader = FeatureReader(tiny_cache)
    group = zarr.open_group(zarr.storage.ZipStore(export(tiny_cache, "zip"), mode="r"), mode="r")
    found = group["features/3/150"]
    assert found.shape[0] == len(reader.manifest.rows)
    np.testing.assert_array_equal(found[2], reader.features(3, 150, 2))


def test_h5py_opens_the_hdf5_file_with_named_axes_and_a_chunk_a_row(tiny_cache):
    reader = FeatureReader(tiny_cache)
    with h5py.File(export(tiny_cache, "hdf5")) as file:
        found = file["features/3/150"]
        assert [dimension.label for dimension in found.dims] == ["row", "y", "x", "channel"]
        assert (found.dtype, found.chunks) == (np.float16, (1, *found.shape[1:]))
        assert found.id.get_create_plist().get_nfilters() == 0
        np.testing.assert_array_equal(found[2], reader.features(3, 150, 2))
        assert found.id.get_chunk_info(2).byte_offset % 64 == 0
        np.testing.assert_array_equal(file["texts/mask"][:], reader.texts()[1])
        assert file["files/manifest.json"][()].tobytes() == (tiny_cache / "manifest.json").read_bytes()


def flip_in(packed, cache, shard):
    """Change a bit of a shard's first row, which is found by its bytes."""
    content, row = bytearray(packed.read_bytes()), (cache / shard).read_bytes()[:64]
    assert content.count(row) == 1
    content[content.index(row) + 5] ^= 8
    packed.write_bytes(content)


@pytest.mark.parametrize("form", NAMES)
def test_a_changed_byte_of_one_file_is_found_and_named(tiny_cache, form, tmp_path):
    packed = export(tiny_cache, form)
    flip_in(packed, tiny_cache, "features/3/50/c/1/0/0/0")
    flip_in(packed, tiny_cache, "filters/c/0/0/0/0")
    found = verify_cache(packed)
    assert [(damage.path, damage.samples) for damage in found.damaged] == [
        ("features/3/50/c/1/0/0/0", ("train2",)),
        ("filters/c/0/0/0/0", ("train0",)),
    ]
    assert "export it again from the cache that it was made from" in found.lines()[-1]
    for read in (lambda reader: reader.features(3, 50, 2), lambda reader: reader.read((3,), (50,), (2,))):
        with pytest.raises(CacheCorruptError, match=r"features/3/50/c/1/0/0/0: the bytes of row 0.*export it again"):
            read(FeatureReader(packed))
    with pytest.raises(CacheCorruptError) as refusal:
        export(packed, "zarr")
    assert str(refusal.value).count("the bytes of row 0 are not those written") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["cache", "data", packed.name])


@pytest.mark.parametrize("form", NAMES)
def test_a_file_cut_short_is_refused(tiny_cache, form):
    packed = export(tiny_cache, form)
    packed.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(CacheCorruptError, match=rf"{packed.name}: not a whole (ZIP|HDF5) file.*restore the file"):
        FeatureReader(packed)


def test_a_damaged_folder_is_not_exported_and_all_that_is_wrong_is_named(tiny_cache, tmp_path):
    (tiny_cache / "labels/c/0/0/0").unlink()
    path = tiny_cache / "images/c/1/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheCorruptError) as refusal:
        export(tiny_cache, "zip")
    told = str(refusal.value)
    assert "labels/c/0/0/0: absent" in told
    assert "images/c/1/0/0/0: has" in told
    assert "--resume" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]
    (tiny_cache / "samples.json").write_text("{}")
    with pytest.raises(CacheCorruptError, match=r"samples.json: changed since it was written"):
        export(tiny_cache, "zip")


def test_a_cache_that_is_none_or_not_whole_is_not_exported(tiny_cache, tmp_path):
    with pytest.raises(CacheNotFoundError, match="no feature cache here"):
        export(tmp_path / "none", "zip")
    write_manifest(tiny_cache, replace(read_manifest(tiny_cache), complete=False))
    with pytest.raises(CacheIncompleteError, match="did not finish"):
        export(tiny_cache, "zip")


def test_what_is_in_the_way_or_does_not_fit_is_refused(tiny_cache, tmp_path, monkeypatch):
    (tmp_path / "cache.zip").write_text("mine")
    with pytest.raises(CacheError, match=r"cache.zip: exists; give a new name"):
        export(tiny_cache, "zip")
    assert (tmp_path / "cache.zip").read_text() == "mine"
    with pytest.raises(CacheError, match="lies in the cache"):
        export(tiny_cache, "zip", tiny_cache / "inside.zip")
    monkeypatch.setattr(exports, "free_bytes", lambda _: 10)
    with pytest.raises(CacheError, match=r"needs .* GB, 0.00 GB are free.*Nothing was written"):
        export(tiny_cache, "hdf5")


@pytest.mark.parametrize(
    ("out", "to", "message"),
    [
        ("cache", "zip", "expected a name that ends in .zip for --to zip"),
        ("cache.zip", "hdf5", "ends in .h5 or .hdf5"),
        ("cache.h5", "zarr", "expected a folder's name"),
        ("cache", "tar", "--to got 'tar'; expected one of hdf5, zip, zarr"),
    ],
)
def test_names_that_tell_another_form_are_refused(out, to, message):
    with pytest.raises(ConfigError, match=message):
        CacheExportConfig(Path("cache"), Path(out), to)


@pytest.mark.parametrize(("form", "writer"), [("zip", zips.ZipWriter), ("hdf5", HdfWriter), ("zarr", FolderWriter)])
def test_interrupted_leaves_nothing(tiny_cache, tmp_path, monkeypatch, form, writer):
    add, added = writer.add, []

    def interrupted(self, path, content):
        if len(added) == 20:
            raise KeyboardInterrupt
        added.append(path)
        add(self, path, content)

    monkeypatch.setattr(writer, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(tiny_cache, form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]
    monkeypatch.undo()
    mine = tmp_path / (NAMES.get(form, "back") + ".tmp")
    mine.write_text("somebody else's")
    assert verify_cache(export(tiny_cache, form)).problems == ()
    assert mine.read_text() == "somebody else's"
    assert not list(tmp_path.glob(".*"))


def test_a_cache_that_changes_while_it_is_exported_is_not_taken_for_whole(tiny_cache, tmp_path, monkeypatch):
    add = FolderWriter.add

    def published_meanwhile(self, path, content):
        (tiny_cache / "manifest.json").write_bytes((tiny_cache / "manifest.json").read_bytes() + b"\n")
        add(self, path, content)

    monkeypatch.setattr(FolderWriter, "add", published_meanwhile)
    with pytest.raises(CacheBusyError, match="changed while it was exported; nothing was written: repeat"):
        export(tiny_cache, "zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]


def test_what_appeared_at_the_place_meanwhile_is_not_written_over(tiny_cache, tmp_path, monkeypatch):
    add = zips.ZipWriter.add

    def taken_meanwhile(self, path, content):
        (tmp_path / "cache.zip").write_text("mine")
        add(self, path, content)

    monkeypatch.setattr(zips.ZipWriter, "add", taken_meanwhile)
    with pytest.raises(CacheError, match="exists now, which it did not when the export began"):
        export(tiny_cache, "zip")
    assert (tmp_path / "cache.zip").read_text() == "mine"


@pytest.mark.slow
def test_one_file_is_trained_from_and_not_extracted_to(tiny_cache, extraction, tmp_path):
    heads = []
    for cache in (tiny_cache, export(tiny_cache, "hdf5"), export(tiny_cache, "zip")):
        run = tmp_path / f"run-{cache.name}"
        train_head(TrainConfig(cache, run, epochs=2, device="cpu"))
        heads.append((run / "head.safetensors").read_bytes())
    assert heads[0] == heads[1] == heads[2]
    with pytest.raises(ConfigError, match=r"cache.h5: a cache in one file is only read.*--to zarr"):
        extract_features(replace(extraction, cache=tmp_path / "cache.h5"))


def test_a_compressed_zip_is_refused_with_what_to_do(tiny_cache, tmp_path):
    with zips.zipfile.ZipFile(tmp_path / "other.zip", "w", zips.zipfile.ZIP_DEFLATED) as archive:
        archive.write(tiny_cache / "manifest.json", "manifest.json")
    with pytest.raises(CacheError, match=r"holds compressed files.*unpack it"):
        FeatureReader(tmp_path / "other.zip")


def test_what_another_program_zipped_is_read_wherever_its_rows_lie(tiny_cache, tmp_path):
    with zips.zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("n", b"\0")  # shifts all that follows to odd places
        for path in sorted(tiny_cache.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tiny_cache))
    there, here = FeatureReader(tiny_cache), FeatureReader(tmp_path / "other.zip")
    for row in range(4):
        found = here.features(3, 50, row)
        assert found.flags.aligned
        np.testing.assert_array_equal(found, there.features(3, 50, row))
