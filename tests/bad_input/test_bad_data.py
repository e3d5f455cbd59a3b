"""Images, masks, texts and tables that nobody can use: each is refused with what is wrong and what to do."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

HEADER = "id,image,mask,text,split"
GOOD = "a,train0.png,train0_mask.png,,train"


def manifest(*rows, header=HEADER):
    """The sound images under a manifest of these rows."""

    def arrange(scene):
        scene.copy("data")
        scene.write("data/manifest.csv", "\n".join([header, *rows]) + "\n")
        return scene.extract()

    return arrange


def with_file(name, content, *more):
    """The sound data with a file replaced by bytes, text, or what a function makes of the bytes there."""

    def arrange(scene):
        scene.copy("data")
        for path, one in [(name, content), *more]:
            scene.edit(f"data/{path}", one) if callable(one) else scene.write(f"data/{path}", one)
        return scene.extract()

    return arrange


def lvit(spoil):
    """The sound data in LViT's layout, spoilt."""

    def arrange(scene):
        spoil(scene.copy("lvit"))
        return scene.extract("lvit")

    return arrange


def saved(pixels, form="PNG", **options):
    """An image file of an array."""
    file, image = io.BytesIO(), Image.fromarray(np.asarray(pixels))
    image.save(file, form, **options)
    return file.getvalue()


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def turned():
    image = Image.new("RGB", (24, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def inked():
    file = io.BytesIO()
    Image.new("CMYK", (24, 20)).save(file, "JPEG")
    return file.getvalue()


def promising(width, height):
    """A PNG of a few bytes that says it is huge."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def classes(content):
    return with_file("classes.json", content if isinstance(content, (str, bytes)) else json.dumps(content))


def empty_book():
    """An XLSX whose only sheet is a chart, so that there is no table in it."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    book.create_chartsheet()
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def extract_from(name, content=None):
    def arrange(scene):
        if content is not None:
            scene.write(name, content)
        return scene.extract(name)

    return arrange


def nothing(scene):
    (scene.here / "data").mkdir()
    return scene.extract()


def folder_for_manifest(scene):
    (scene.here / "data" / "manifest.csv").mkdir(parents=True)
    return scene.extract()


def two_layouts(scene):
    scene.copy("lvit")
    scene.write("lvit/manifest.csv", HEADER)
    return scene.extract("lvit")


FOLDERS = {
    "nothing at the path": (
        extract_from("nowhere"),
        "nowhere does not exist; expected a folder with any of Train_Folder",
    ),
    "an empty folder": (nothing, "data is not a data folder; expected a folder with any of Train_Folder"),
    "a folder of something else": (extract_from("some", None), "some does not exist"),
    "a file that is no table": (extract_from("list.txt", "a"), "list.txt is not a manifest; expected"),
    "a folder called manifest.csv": (folder_for_manifest, "manifest.csv cannot be read: Is a directory"),
    "two layouts in one folder": (two_layouts, "Test_Folder, manifest.csv; keep one of them"),
    "no images": (
        lvit(lambda d: [p.unlink() for p in (d / "Val_Folder/img").iterdir()]),
        "holds no images; put them there",
    ),
    "a mask of no image": (
        lvit(lambda d: (d / "Val_Folder/labelcol/z.png").write_bytes(b"")),
        "z.png belongs to no image in lvit/Val_Folder/img; remove it",
    ),
    "no mask": (lvit(lambda d: (d / "Val_Folder/labelcol/c.png").unlink()), "c.png has no mask; expected"),
    "no table of texts can be read": (
        lvit(lambda d: (d / "Val_Folder/Val_text.xlsx").write_bytes(b"PK\3\4")),
        "cannot be read as XLSX",
    ),
    "two tables of texts": (
        lvit(lambda d: (d / "Val_Folder/more_text.csv").write_text("Image,Description\n")),
        "keep one table of texts",
    ),
    "a table without its columns": (
        lvit(
            lambda d: [(d / "Val_Folder/Val_text.xlsx").unlink(), (d / "Val_Folder/a_text.csv").write_text("Name\nc\n")]
        ),
        "missing columns 'image', 'description'; got 'name'; add them to the header",
    ),
}

TABLES = {
    "an empty manifest": (with_file("manifest.csv", ""), "manifest.csv has no header; expected the columns' names"),
    "only a header": (manifest(), "lists no images; write one row for each sample"),
    "columns that are missing": (
        manifest("a,b", header="id,image"),
        "missing columns 'mask', 'text', 'split'; got 'id', 'image'",
    ),
    "columns that nobody knows": (
        manifest(f"{GOOD},1", header=f"{HEADER},age"),
        "unknown columns 'age'; expected id, image",
    ),
    "a column twice": (manifest(GOOD, header=f"{HEADER},id"), "more than one column named 'id'; keep one"),
    "a row that is too long": (
        manifest("a,train0.png,,round, bright,train"),
        "row 2: 6 cells under 5 columns; put quotes",
    ),
    "a quote that is not closed": (manifest('a,train0.png,,"round,train'), "not a valid CSV"),
    "no UTF-8": (with_file("manifest.csv", b"id,\xff\xfe"), "is not UTF-8 (byte 3); save it as 'CSV UTF-8'"),
    "a NUL byte": (manifest("a\0,train0.png,,,train"), "manifest.csv"),
    "no XLSX": (extract_from("m.xlsx", b"PK\3\4 this is no book"), "m.xlsx cannot be read as XLSX"),
    "a book without sheets": (extract_from("m.xlsx", empty_book()), "m.xlsx"),
    "an id twice": (manifest(GOOD, GOOD), "duplicate id 'a'"),
    "an id that leads out of the folder": (
        manifest("../a,train0.png,,,train"),
        "the id '../a' cannot be used; ids become file names",
    ),
    "an empty id": (manifest(",train0.png,,,train"), "the id '' cannot be used"),
    "an id that is too long for a file": (manifest("a" * 300 + ",train0.png,,,train"), "cannot be used"),
    "no image named": (manifest("a,,,,train"), "row 2: no image is named; fill in the column 'image'"),
    "an image that is not there": (
        manifest("a,gone.png,,,train"),
        "row 2: image 'gone.png' does not exist; paths start at data",
    ),
    "a folder for an image": (manifest("a,.,,,train"), "row 2: image '.' does not exist"),
    "a name that no disk takes": (manifest("a," + "x" * 5000 + ".png,,,train"), "does not exist"),
    "a mask that is not there": (manifest("a,train0.png,gone.png,,train"), "row 2: mask 'gone.png' does not exist"),
    "a split that nobody knows": (
        manifest("a,train0.png,,,fourth"),
        "split 'fourth' is unknown; expected train, val or test",
    ),
    "a weight of nothing": (manifest(f"{GOOD},0", header=f"{HEADER},weight"), "weight '0' is no number above 0"),
    "a weight of infinity": (manifest(f"{GOOD},inf", header=f"{HEADER},weight"), "weight 'inf' is no number above 0"),
    "a patient in two splits": (
        manifest(f"{GOOD},p", "b,train1.png,,,val,p", header=f"{HEADER},group"),
        "group 'p' is in more than one split",
    ),
    "an image in two splits": (manifest(GOOD, "b,train0.png,,,val"), "the same image is in more than one split"),
    "a slice of what has none": (
        manifest("a,train0.png#3,,,train"),
        "names a slice, and train0.png is a PNG file without slices; leave out #3",
    ),
    "all problems at once": (
        manifest("../a,gone.png,gone.png,,fourth"),
        "data has 4 problems; correct the data and look again",
    ),
}

IMAGES = {
    "an empty image": (with_file("train0.png", b""), "train0.png is empty"),
    "text for an image": (
        with_file("train0.png", "I am a picture"),
        "is not a PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000, DICOM or NIfTI file (begins b'I am a p')",
    ),
    "half an image": (with_file("train0.png", lambda b: b[: len(b) // 2]), "train0.png is truncated or broken"),
    "a changed byte": (
        with_file("train0.png", lambda b: b[:60] + bytes([b[60] ^ 4]) + b[61:]),
        "train0.png is truncated or broken",
    ),
    "half a JPEG": (
        with_file("train0.png", saved(np.zeros((20, 24, 3), np.uint8), "JPEG")[:300]),
        "truncated or broken",
    ),
    "a JPEG stored turned": (with_file("train0.png", turned()), "is stored turned (orientation 6); save it upright"),
    "ink values": (with_file("train0.png", inked()), "holds CMYK ink values; save it as RGB"),
    "a stack": (
        with_file("train0.png", tiff(np.zeros((3, 20, 24), np.uint8), photometric="minisblack")),
        "is a stack (3, 20, 24); export the one plane that is meant",
    ),
    "floats": (
        with_file("train0.png", tiff(np.zeros((20, 24), np.float32))),
        "holds 32 bit values (0 to 0); say with an intensity window",
    ),
    "half a TIFF": (with_file("train0.png", tiff(np.zeros((20, 24), np.uint8))[:-100]), "is truncated"),
    "a head of a TIFF alone": (with_file("train0.png", b"II*\0\xff\xff\xff\xff"), "is truncated or broken"),
    "16 bits without a window": (
        with_file("train0.png", saved(np.zeros((20, 24), np.uint16))),
        "holds 16 bit values (0 to 0); say with an intensity window",
    ),
    "more pixels than there is memory": (
        with_file("train0.png", promising(60000, 60000)),
        "has 60000 x 60000 pixels, over the limit of 200000000",
    ),
    "half a DICOM file": (
        with_file("train0.png", bytes(128) + b"DICM\2\0\0\0UL\4\0"),
        "train0.png is truncated or broken (AttributeError while reading DICOM)",
    ),
    "half a NIfTI file": (with_file("train0.png", bytes(344) + b"n+1\0"), "train0.png is truncated or broken"),
    "an animation": (
        with_file(
            "train0.png",
            saved(np.zeros((20, 24), np.uint8), save_all=True, append_images=[Image.new("L", (24, 20), 9)]),
        ),
        "is an animation; export the one frame that is meant",
    ),
    "a mask of another size": (
        with_file("train0_mask.png", saved(np.zeros((10, 12), np.uint8))),
        "is 10 x 12 (height x width), its image train0.png is 20 x 24; save the mask at the image's size",
    ),
    "a mask in colour": (
        with_file("train0_mask.png", saved(np.full((20, 24, 3), (1, 2, 3), np.uint8))),
        "is in colour; save the mask as grey",
    ),
    "values that nobody declared": (
        with_file("train0_mask.png", saved(np.full((20, 24), 7, np.uint8))),
        "undeclared values 7 (known: 0, 255)",
    ),
}

CLASSES = {
    "no JSON": (classes("{classes"), "classes.json is not JSON"),
    "no object": (classes("[]"), 'there is no object "classes"'),
    "brackets without end": (classes("[" * 100_000), "classes.json is not JSON"),
    "unknown keys": (classes({"classes": {"0": "a", "1": "b"}, "ingore": 255}), "unknown keys ['ingore']"),
    "one class": (classes({"classes": {"0": "a"}}), "1 classes are declared, 2 to 255 are possible"),
    "two classes of one name": (classes({"classes": {"0": "a", "1": "a"}}), "every class needs a name of its own"),
    "a value that no mask has": (classes({"classes": {"0": "a", "-1": "b"}}), "'-1' is not a mask value (0 to 65535)"),
    "a number beyond all": (
        classes('{"classes": {"0": "a", "' + "9" * 400 + '": "b"}}'),
        "is not a mask value (0 to 65535)",
    ),
    "a class that is ignored": (
        classes({"classes": {"0": "a", "1": "b"}, "ignore": 1}),
        '"ignore" is 1, which is a class too',
    ),
    "an ignored text": (
        classes({"classes": {"0": "a", "1": "b"}, "ignore": "x"}),
        "\"ignore\" is 'x', not a mask value",
    ),
}


@pytest.mark.parametrize("row", [*FOLDERS, *TABLES, *IMAGES, *CLASSES])
def test_data_that_cannot_be_used_is_refused(refused, row):
    refused(*{**FOLDERS, **TABLES, **IMAGES, **CLASSES}[row])
