"""Which files of a folder are images, and that no other is left out without a word."""

import os
from unicodedata import normalize

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.image_files.listing import FileNames, left_out, list_images, sort_folder

PNG, JPEG, DICOM = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(128) + b"DICM"


def test_images_are_listed_sorted_and_without_company(tmp_path):
    strays = (
        "notes.txt",
        "._a.png",
        "Thumbs.db",
        ".DS_Store",
        "desktop.ini",
        ".hidden.png",
        "~$a.xlsx",
        "DICOMDIR",
        "f.gz",
    )
    for name in ("b.PNG", "a.tiff", "c.jpeg", "d.nii.gz", "e.dcm", *strays):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.png").touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.tiff", "b.PNG", "c.jpeg", "d.nii.gz", "e.dcm"]
    assert list_images(tmp_path / "b.PNG") == [tmp_path / "b.PNG"]
    out = "f.gz (empty), notes.txt (empty), sub (a folder, which is not entered)"
    assert left_out(tmp_path) == f"{tmp_path}: left out: {out}"
    assert left_out(tmp_path / "b.PNG") == ""


def test_a_slice_and_a_dicom_file_without_a_suffix_are_images(tmp_path):
    (tmp_path / "d.nii.gz").touch()
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    for name in ("d.nii.gz#4", "IM0001", "IM0001#4"):
        assert list_images(tmp_path / name) == [tmp_path / name]


def test_listing_nothing_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"holds no images \(left out: notes\.txt \(empty\)\); expected PNG, JPEG, "):
        list_images(tmp_path)
    with pytest.raises(DataError, match=r"notes\.txt is not an image"):
        list_images(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="nowhere does not exist; expected an image or a folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"gone\.nii does not exist; expected an image or a folder"):
        list_images(tmp_path / "gone.nii#3")


def test_files_are_images_by_content_whatever_their_names(tmp_path):
    contents = {"IM0001": DICOM, "1.2.840.113": DICOM, "scan": PNG, "photo.dat": JPEG, "report.pdf": b"%PDF-1.7"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "broken.png").write_bytes(b"text")  # a problem when it is opened
    (tmp_path / "labels.json").write_text("{}")
    images, others = sort_folder(tmp_path)
    assert [image.name for image in images] == ["1.2.840.113", "IM0001", "broken.png", "photo.dat", "scan"]
    assert others == ["labels.json (no image that is read)", "report.pdf (no image that is read)"]


def test_many_files_that_are_left_out_are_counted(tmp_path):
    for number in range(13):
        (tmp_path / f"{number:02}.xml").touch()
    assert left_out(tmp_path).endswith("08.xml (empty), 09.xml (empty) and 3 more")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "secret").touch(mode=0)
    assert sort_folder(tmp_path) == ([], ["secret (cannot be read)"])


def test_names_of_a_table_find_files_in_any_form(tmp_path):
    folder = tmp_path / normalize("NFD", "Größe")
    folder.mkdir()
    file = folder / normalize("NFD", "é.nii.gz")
    file.touch()
    names = FileNames(tmp_path)
    for name in ("Größe/é.nii.gz", "Größe\\é.nii.gz", f"{tmp_path}/Größe/é.nii.gz"):
        assert names.find(name) == file
    assert names.find("Größe/é.nii.gz#12") == file.with_name(f"{file.name}#12")
    assert names.find("Größe") is names.find("Größe/e.nii.gz") is names.find("x" * 5000) is None
    (folder / normalize("NFC", "é.nii.gz")).touch()
    assert names.find(f"Größe/{normalize('NFC', 'é')}.nii.gz").name == normalize("NFC", "é.nii.gz")
