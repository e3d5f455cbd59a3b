import gzip
import hashlib
from pathlib import Path

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.image_files.paths import (
    file_digest,
    kind_of,
    split_slice,
    split_suffix,
    stem_of,
)


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_each_slice_has_a_digest_of_its_own_that_follows_the_file(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"abc")
    assert file_digest(tmp_path / "scan.nii.gz#3") == hashlib.sha256(b"abc#3").hexdigest()
    assert file_digest(tmp_path / "scan.nii.gz#13") == hashlib.sha256(b"abc#13").hexdigest()
    path.write_bytes(b"abcd")
    assert file_digest(tmp_path / "scan.nii.gz#3") == hashlib.sha256(b"abcd#3").hexdigest()
    with pytest.raises(DataError, match=r"gone\.nii cannot be read: No such file"):
        file_digest(tmp_path / "gone.nii#0")


def test_a_slice_is_taken_apart_unless_a_file_is_really_called_so(tmp_path):
    assert split_slice(tmp_path / "scan.nii.gz#12") == (tmp_path / "scan.nii.gz", 12)
    assert split_slice(tmp_path / "scan.nii.gz") == (tmp_path / "scan.nii.gz", None)
    assert split_slice(tmp_path / "scan#x.dcm") == (tmp_path / "scan#x.dcm", None)
    assert split_slice(tmp_path / "case#1" / "a.png") == (tmp_path / "case#1" / "a.png", None)
    (tmp_path / "slide#7").touch()
    assert split_slice(tmp_path / "slide#7") == (tmp_path / "slide#7", None)
    assert split_slice(tmp_path / "slide#7#2") == (tmp_path / "slide#7", 2)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.png", "a"),
        ("TCGA-1.2 b.TIF", "TCGA-1.2 b"),
        ("scan.nii.gz", "scan"),
        ("scan.nii.gz#12", "scan_12"),
        ("a.png.dcm#0", "a.png_0"),
        ("notes.v2", "notes.v2"),
        (".png", ".png"),
    ],
)
def test_stems_lose_an_images_suffix_and_nothing_else(name, stem):
    assert stem_of(Path(name)) == stem


def test_suffixes_are_known_in_any_case():
    assert split_suffix("A.NII.GZ") == ("A", ".NII.GZ")
    assert split_suffix("a.txt") == ("a.txt", "")


def test_kinds_go_by_content():
    nifti = bytes(344) + b"n+1\0"
    assert kind_of(nifti) == kind_of(gzip.compress(nifti)) == "NIfTI"
    assert kind_of(b"\x1c\2\0\0n+2\0\r\n\x1a\n" + bytes(528)) == "NIfTI"
    assert kind_of(bytes(128) + b"DICM") == "DICOM"
    assert kind_of(b"MM\x00+") == "TIFF"
    assert kind_of(gzip.compress(b"a" * 400)) is kind_of(b"\x1f\x8bbroken") is kind_of(b"") is None
