"""Shards against zarr-python: what we write it reads, what it writes we read."""

import google_crc32c
import numpy as np
import pytest
import zarr

from textdiff.cache.format import shard as shards
from textdiff.cache.format.layout import features_layout
from textdiff.cache.format.shard import ShardFile, read_rows, write_shard
from textdiff.cache.format.zarr_metadata import write_metadata
from textdiff.errors import CacheCorruptError

LAYOUT = features_layout(6, 50, (5, 7, 3), "float16", 4)


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((6, 5, 7, 3)).astype(np.float16)


@pytest.fixture
def root(tmp_path, rows):
    write_metadata(tmp_path, [(LAYOUT, len(rows))])
    write_shard(tmp_path, LAYOUT.shard_path(0), dict(enumerate(rows[:4])), 4)
    write_shard(tmp_path, LAYOUT.shard_path(1), dict(enumerate(rows[4:])), 4)
    return tmp_path


def open_shard(root, group=0):
    return ShardFile(root / LAYOUT.shard_path(group), LAYOUT.row_shape, LAYOUT.dtype, 4)


def test_zarr_python_reads_what_we_write(root, rows):
    array = zarr.open_group(root, mode="r")["features/6/50"]
    assert array.dtype == np.float16
    assert array.metadata.dimension_names == ("row", "y", "x", "channel")
    np.testing.assert_array_equal(array[:], rows)


def test_our_bytes_are_those_that_zarr_python_writes(root, rows, tmp_path_factory):
    other = tmp_path_factory.mktemp("zarr")
    (other / "zarr.json").write_bytes((root / LAYOUT.name / "zarr.json").read_bytes())
    array = zarr.open_array(other, mode="r+", config={"write_empty_chunks": True})
    array[:] = rows
    ours, theirs = (root / LAYOUT.shard_path(0)).read_bytes(), (other / "c" / "0" / "0" / "0" / "0").read_bytes()
    assert len(ours) == 4 * (5 * 7 * 3 * 2 + 4) + 4 * 16 + 4
    # zarr-python may order the rows of a shard otherwise; the index says where each is.
    assert sorted(ours[i : i + 214] for i in range(0, 856, 214)) == sorted(
        theirs[i : i + 214] for i in range(0, 856, 214)
    )


def test_we_read_what_zarr_python_writes(root, rows, tmp_path_factory):
    other = tmp_path_factory.mktemp("zarr")
    (other / "zarr.json").write_bytes((root / LAYOUT.name / "zarr.json").read_bytes())
    zarr.open_array(other, mode="r+")[:] = rows
    shard = ShardFile(other / "c" / "1" / "0" / "0" / "0", LAYOUT.row_shape, LAYOUT.dtype, 4)
    np.testing.assert_array_equal(shard.row(1), rows[5])


def test_rows_come_back_without_a_copy(root, rows):
    row = open_shard(root).row(2)
    np.testing.assert_array_equal(row, rows[2])
    assert not row.flags.owndata


def test_writing_to_a_row_in_memory_leaves_the_file(root, rows):
    open_shard(root).row(0)[:] = 0
    np.testing.assert_array_equal(open_shard(root).row(0), rows[0])


def test_an_all_zero_row_is_stored_and_not_left_to_the_fill_value(tmp_path):
    record = write_shard(tmp_path, "s/c/0/0", {0: np.zeros((5, 7, 3), np.float16)}, 4)
    assert record.size_bytes == 210 + 4 + 64 + 4
    shard = ShardFile(tmp_path / "s/c/0/0", LAYOUT.row_shape, LAYOUT.dtype, 4)
    assert shard.row(0).sum() == 0


def test_the_record_names_the_size_and_a_checksum_that_depends_on_the_content(tmp_path, rows):
    record = write_shard(tmp_path, "a/s/c/0/0", dict(enumerate(rows[:4])), 4)
    content = (tmp_path / "a/s/c/0/0").read_bytes()
    assert (record.path, record.size_bytes) == ("a/s/c/0/0", len(content))
    of_rows = b"".join(google_crc32c.value(row.tobytes()).to_bytes(4, "little") for row in rows[:4])
    assert record.crc32c == f"{google_crc32c.value(of_rows + content[4 * 214 : -4]):08x}"
    assert write_shard(tmp_path, "a/s/c/0/0", dict(enumerate(rows[1:5])), 4).crc32c != record.crc32c


def test_a_row_that_is_not_there_is_an_error_and_not_zeros(root):
    with pytest.raises(CacheCorruptError, match="row 2 is absent"):
        open_shard(root, group=1).row(2)


def test_a_changed_byte_is_found_when_its_row_is_read(root, rows):
    path = root / LAYOUT.shard_path(0)
    content = bytearray(path.read_bytes())
    content[214 + 17] ^= 1
    path.write_bytes(content)
    shard = open_shard(root)
    np.testing.assert_array_equal(shard.row(0), rows[0])
    with pytest.raises(CacheCorruptError, match="bytes of row 1 are not those that were written"):
        shard.row(1)


@pytest.mark.parametrize("keep", [0, 10, 856, 920])
def test_a_file_cut_short_is_found_when_it_is_opened(root, keep):
    path = root / LAYOUT.shard_path(0)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CacheCorruptError, match="cut short or damaged: the index at its end"):
        open_shard(root)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(CacheCorruptError, match="none: absent; `textdiff cache verify` lists"):
        ShardFile(tmp_path / "none", (1,), np.dtype("uint8"), 1)


def test_a_file_with_a_hole_cut_out_is_found(root):
    path = root / LAYOUT.shard_path(0)
    content = path.read_bytes()
    path.write_bytes(content[:100] + content[200:])
    with pytest.raises(CacheCorruptError, match="its index names more bytes than it has"):
        open_shard(root)


@pytest.mark.parametrize("piece_bytes", [64, 1 << 18])
def test_rows_are_read_in_bulk_in_pieces_of_any_size(root, rows, monkeypatch, piece_bytes):
    monkeypatch.setattr(shards, "PIECE_BYTES", piece_bytes)
    out = np.empty_like(rows[:3])
    read_rows(root / LAYOUT.shard_path(0), {3: out[0], 0: out[1], 1: out[2]}, 4)
    np.testing.assert_array_equal(out, rows[[3, 0, 1]])


def test_bulk_reading_finds_what_is_absent_or_changed(root):
    path, out = root / LAYOUT.shard_path(1), np.empty(LAYOUT.row_shape, np.float16)
    with pytest.raises(CacheCorruptError, match="row 2 is absent"):
        read_rows(path, {2: out}, 4)
    with pytest.raises(CacheCorruptError, match="row 0 is absent or of another size"):
        read_rows(path, {0: out[1:]}, 4)
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(content)
    read_rows(path, {1: out}, 4)
    with pytest.raises(CacheCorruptError, match="bytes of row 0 are not those that were written"):
        read_rows(path, {0: out}, 4)
