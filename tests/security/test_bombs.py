"""Small files that would fill the memory if they were believed."""

import gzip
import io
import re
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager

import imagecodecs
import numpy as np
import openpyxl
import pytest
import tifffile

from textdiff.errors import DataError, SourceError
from textdiff.pipeline.data.classes import read_classes
from textdiff.pipeline.data.sheets import workbook
from textdiff.pipeline.data.tables import read_table
from textdiff.pipeline.image_files import nifti
from textdiff.pipeline.image_files.reading import read_image
from textdiff.stages.sources.loading import read_model_config

MOST_BYTES = 100e6
"""Beyond what a reader may take for any file here, each of which promises a gigabyte and more."""
ZEROS = bytes(1 << 30)


@contextmanager
def refused(error, message):
    """What stands within raises this error, and takes little memory before."""
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message) as found:
            yield found
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))


def jpeg(path):
    content = bytearray(imagecodecs.jpeg_encode(np.zeros((8, 8), np.uint8)))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    path.write_bytes(content)


@pytest.mark.parametrize(("name", "write"), [("a.png", png), ("a.jpg", jpeg)])
def test_images_of_too_many_pixels_are_refused_by_their_headers(tmp_path, name, write):
    write(tmp_path / name)
    with refused(DataError, r"pixels, over the limit of 200000000; cut it into fields"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(("code", "compress"), [(8, zlib.compress), (50000, imagecodecs.zstd_encode)])
def test_a_tiffs_segment_that_unpacks_to_more_than_it_holds_is_refused(tmp_path, code, compress):
    path, bomb = tmp_path / "a.tif", compress(ZEROS[: 1 << 28])
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="zlib", rowsperstrip=64)
    with tifffile.TiffFile(path) as tiff:
        compression, offset, size = (tiff.pages[0].tags[tag].valueoffset for tag in (259, 273, 279))
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, compression, code)
    struct.pack_into("<I", content, offset, len(content))
    struct.pack_into("<I", content, size, len(bomb))
    path.write_bytes(content + bomb)
    with refused(DataError, "is truncated or broken"):
        read_image(path)


def test_a_packed_nifti_is_unpacked_to_its_limit_only(tmp_path, monkeypatch):
    nibabel = pytest.importorskip("nibabel")
    monkeypatch.setattr(nifti, "MAX_UNPACKED_BYTES", 1 << 20)
    header = nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)).to_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header + ZEROS[: 1 << 28], 1))
    with refused(DataError, r"unpacks to over 1048576 bytes; unpack it with gunzip"):
        read_image(tmp_path / "a.nii.gz#0")


@pytest.fixture
def dicom(tmp_path):
    """Gives `dicom(frame, syntax)`: an 8×8 DICOM file of one encoded frame."""
    pydicom = pytest.importorskip("pydicom")

    def write(frame, syntax):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
        dataset.set_pixel_data(np.zeros((8, 8), np.uint8), "MONOCHROME2", 8)
        dataset.PixelData = pydicom.encaps.encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        return tmp_path / "a.dcm"

    return write


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [("1.2.840.10008.1.2.4.70", imagecodecs.ljpeg_encode), ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode)],
)
def test_a_dicom_frame_of_another_size_than_its_header_says_is_not_decoded(dicom, syntax, encode, tmp_path):
    assert read_image(dicom(encode(np.zeros((8, 8), np.uint8)), syntax)).shape == (8, 8, 3)
    path = dicom(encode(np.zeros((3000, 3000), np.uint8)), syntax)
    with refused(DataError, r"is truncated or broken \((Runtime|Value)Error while reading DICOM\)"):
        read_image(path)


@pytest.mark.slow
def test_a_deflated_dicom_file_is_not_inflated(dicom):
    path = dicom(b"\0\0", "1.2.840.10008.1.2.4.70")
    content = path.read_bytes().replace(b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.1.99")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:400] + packer.compress(ZEROS) + packer.flush())
    with refused(DataError, r"is compressed as Deflated Explicit VR Little Endian.* save it uncompressed"):
        read_image(path)


def book(path, replace_sheet=lambda sheet: sheet):
    """An XLSX of Image and Description with one row, whose sheet is changed."""
    made = openpyxl.Workbook()
    made.active.append(("Image", "Description"))
    made.active.append(("a.png", "round"))
    buffer = io.BytesIO()
    made.save(buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, replace_sheet(content) if name.endswith("sheet1.xml") else content)
    return path


def test_a_spreadsheet_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path):
    path = book(tmp_path / "a.xlsx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/bomb.xml", "w") as member:
        for _ in range(5):
            member.write(ZEROS[: 1 << 26])
    assert path.stat().st_size < 1e6
    with refused(DataError, r"a\.xlsx unpacks to 33\d{7} bytes, over the limit of 268435456; save the two"):
        read_table(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"</sheetData>", b'</sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>'),
        (rb'<dimension ref="A1:B2" ?/>', b'<dimension ref="A1:XFD1048576"/>'),
    ],
)
def test_a_spreadsheet_is_as_large_as_its_cells_whatever_it_says(tmp_path, old, new):
    path = book(tmp_path / "a.xlsx", lambda sheet: re.sub(old, new, sheet))
    assert path.read_bytes() != book(tmp_path / "b.xlsx").read_bytes()
    (row,) = read_table(path).rows
    assert row.cells == {"image": "a.png", "description": "round"}


@pytest.mark.parametrize("cell", ["XFD3", "A1048576"])
def test_a_cell_far_away_is_refused_where_it_makes_too_many(tmp_path, monkeypatch, cell):
    monkeypatch.setattr(workbook, "MAX_CELLS", 10_000)
    row = cell.lstrip("AXFD").encode()
    far = b'<row r="%b"><c r="%b" t="n"><v>1</v></c></row></sheetData>' % (row, cell.encode())
    path = book(tmp_path / "a.xlsx", lambda sheet: sheet.replace(b"</sheetData>", far))
    with refused(DataError, r"has over 10000 cells, blank ones among them counted; remove what stands far"):
        read_table(path)


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_entities_in_a_spreadsheet_are_refused(tmp_path):
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'

    def laugh(sheet):
        start = sheet.index(b"<worksheet")
        return sheet[:start] + entities + sheet[start:].replace(b"<v>0</v>", b"<v>&b;</v>", 1)

    with refused(DataError, r"cannot be read as XLSX") as found:
        read_table(book(tmp_path / "a.xlsx", laugh))
    assert "EntitiesForbidden" in {type(error).__name__ for error in causes(found.value)}


def test_files_of_absurd_size_or_depth_are_refused(tmp_path):
    deep = "[" * 200_000
    (tmp_path / "classes.json").write_text(deep)
    with refused(DataError, r"classes\.json is not JSON"):
        read_classes(tmp_path)
    with (tmp_path / "classes.json").open("r+b") as file:
        file.truncate(1 << 33)  # of which nothing lies on the disk
    with refused(DataError, r"classes\.json has 8589934592 bytes, over the limit of 1048576"):
        read_classes(tmp_path)
    (tmp_path / "config.json").write_text(deep)
    with refused(SourceError, r"config\.json cannot be read as JSON"):
        read_model_config("diffusers:x", tmp_path / "config.json")
    with (tmp_path / "config.json").open("r+b") as file:
        file.truncate(1 << 33)
    with refused(SourceError, r"config\.json has 8589934592 bytes; expected settings, of at most 16777216"):
        read_model_config("diffusers:x", tmp_path / "config.json")
    with (tmp_path / "table.csv").open("wb") as file:
        file.truncate(1 << 33)
    with refused(DataError, r"table\.csv has 8589934592 bytes, over the limit of 268435456"):
        read_table(tmp_path / "table.csv")
