import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import imagecodecs
import numpy as np
import openpyxl
import pytest
from PIL import Image

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.samples import IGNORE, Classes, Sample, check_data, read_dataset, scan_dataset

MONUSEG = Path(__file__).resolve().parents[2] / "shared" / "data" / "monuseg"
HEADER = "id,image,mask,text,split,group"


def write_image(path, seed=0, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def write_mask(path, values=(0, 255), size=(6, 8)):
    """A mask whose pixels go through `values` in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), size)).save(path)


def write_table(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


@pytest.fixture
def lvit(tmp_path):
    """Two training samples and one of each other split, in LViT's layout."""
    root = tmp_path / "data"
    for i, (folder, names) in enumerate({"Train": "ab", "Val": "c", "Test": "d"}.items()):
        for j, name in enumerate(names):
            write_image(root / f"{folder}_Folder" / "img" / f"{name}.png", seed=10 * i + j)
            write_mask(root / f"{folder}_Folder" / "labelcol" / f"{name}.png")
        rows = [(f"{name}.png", f"text of {name}") for name in names]
        write_table(root / f"{folder}_Folder" / f"{folder}_text.xlsx", [("Image", "Description"), *rows])
    return root


@pytest.fixture
def manifest(tmp_path):
    """A manifest of two samples; returns a function that writes other rows instead."""
    root = tmp_path / "data"
    for i, name in enumerate("abc"):
        write_image(root / "images" / f"{name}.png", seed=i)
        write_mask(root / "masks" / f"{name}.png")

    def write(*rows, header=HEADER):
        path = root / "manifest.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    write("a,images/a.png,masks/a.png,round nuclei,train,p1", "b,images/b.png,,,val,p2")
    return write


def problems_of(data, window=None):
    return scan_dataset(data, window)[1]


def assert_one_problem(data, pattern):
    problems = problems_of(data)
    assert len(problems) == 1, problems
    assert re.search(pattern, problems[0]), problems[0]
    assert "\n" not in problems[0]


# LViT's layout


def test_lvit_samples(lvit):
    dataset = read_dataset(lvit)
    assert [(s.id, s.group, s.split, s.text) for s in dataset.samples] == [
        ("a", "a", "train", "text of a"),
        ("b", "b", "train", "text of b"),
        ("c", "c", "val", "text of c"),
        ("d", "d", "test", "text of d"),
    ]
    image, mask = (lvit / "Train_Folder" / kind / "a.png" for kind in ("img", "labelcol"))
    assert dataset.samples[0] == Sample(
        id="a",
        group="a",
        split="train",
        image=image,
        mask=mask,
        text="text of a",
        size=(6, 8),
        image_digest=sha256(image.read_bytes()).hexdigest(),
        mask_digest=sha256(mask.read_bytes()).hexdigest(),
    )
    assert dataset.root == lvit
    assert dataset.warnings == ()


@pytest.mark.parametrize("mask_name", ["mask_a", "a_mask", "a"])
@pytest.mark.parametrize("text_name", ["a.png", "a", "{mask}.png", "{mask}"])
def test_masks_and_texts_go_by_any_of_their_names(lvit, mask_name, text_name):
    folder = lvit / "Train_Folder"
    (folder / "labelcol" / "a.png").rename(folder / "labelcol" / f"{mask_name}.png")
    rows = [("image", "DESCRIPTION"), (text_name.format(mask=mask_name), "by name"), ("b", "text of b")]
    write_table(folder / "Train_text.xlsx", rows)
    sample = read_dataset(lvit).samples[0]
    assert sample.mask is not None
    assert (sample.id, sample.mask.stem, sample.text) == ("a", mask_name, "by name")


def test_texts_may_come_from_a_csv_with_bom_and_semicolons(lvit):
    (lvit / "Train_Folder" / "Train_text.xlsx").unlink()
    table = 'Image;Description\r\na.png;Größere Kerne, dicht\r\n\r\nb.png;"one; two"\r\n'
    (lvit / "Train_Folder" / "my_text.CSV").write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert [s.text for s in read_dataset(lvit).samples[:2]] == ["Größere Kerne, dicht", "one; two"]


def test_test_images_need_no_masks(lvit):
    (lvit / "Test_Folder" / "labelcol" / "d.png").unlink()
    assert_one_problem(lvit, r"img/d\.png has no mask; expected .*labelcol/d\.png")
    (lvit / "Test_Folder" / "labelcol").rmdir()
    sample = read_dataset(lvit).samples[-1]
    assert (sample.mask, sample.mask_digest) == (None, None)


def test_a_folder_without_masks_is_one_problem(lvit):
    for mask in (lvit / "Train_Folder" / "labelcol").iterdir():
        mask.unlink()
    (lvit / "Train_Folder" / "labelcol").rmdir()
    assert_one_problem(lvit, r"Train_Folder/labelcol does not exist; expected a mask there for each of 2 images")


def test_missing_mask(lvit):
    (lvit / "Train_Folder" / "labelcol" / "b.png").unlink()
    assert_one_problem(lvit, r"Train_Folder/img/b\.png has no mask; expected .*labelcol/b\.png$")


def test_extra_mask(lvit):
    write_mask(lvit / "Train_Folder" / "labelcol" / "z.png")
    assert_one_problem(lvit, r"labelcol/z\.png belongs to no image in .*img; remove it")


def test_two_masks_for_one_image(lvit):
    write_mask(lvit / "Train_Folder" / "labelcol" / "mask_a.png")
    assert_one_problem(lvit, r"img/a\.png has 2 masks \(a\.png, mask_a\.png\); keep one")


def test_mask_of_another_size(lvit):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", size=(6, 7))
    assert_one_problem(lvit, r"labelcol/a\.png is 6 x 7 \(height x width\), its image a\.png is 6 x 8; save the mask")


def test_text_without_image(lvit):
    rows = [("Image", "Description"), ("a.png", "x"), ("b.png", "y"), ("z.png", "z")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert_one_problem(lvit, r"Train_text\.xlsx row 4: 'z\.png' is no image or mask here; add the image or remove")


def test_image_without_text(lvit):
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", [("Image", "Description"), ("b.png", "y")])
    assert_one_problem(lvit, r"Train_text\.xlsx has no row for .*img/a\.png; add one")


def test_empty_text(lvit):
    rows = [("Image", "Description"), ("a.png", "  "), ("b.png", "y")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert_one_problem(lvit, r"Train_text\.xlsx row 2: empty text for 'a\.png'; write a Description")


def test_duplicate_rows_by_whatever_name(lvit):
    rows = [("Image", "Description"), ("a.png", "x"), ("b.png", "y"), ("a", "again")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert_one_problem(lvit, r"row 4: 'a' has a text in row 2 already; keep one")
    assert scan_dataset(lvit)[0].samples[0].text == "x"


def test_a_text_table_without_its_columns_is_one_problem(lvit):
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", [("File", "Description"), ("a.png", "x")])
    assert_one_problem(lvit, r"missing columns 'image'; found 'file', 'description'; add them to the header")


def test_other_columns_of_texts_are_a_warning(lvit):
    rows = [("Image", "Description", "Rater"), ("a.png", "x", "1"), ("b.png", "y", "2")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert re.search(r"Train_text\.xlsx: columns 'rater' are not used", read_dataset(lvit).warnings[0])


def test_two_text_tables(lvit):
    (lvit / "Train_Folder" / "new_text.csv").write_text("Image,Description\na.png,x\nb.png,y\n")
    assert_one_problem(lvit, r"Train_Folder holds Train_text\.xlsx, new_text\.csv; keep one table of texts")


def test_no_text_table_is_a_warning(lvit):
    (lvit / "Train_Folder" / "Train_text.xlsx").unlink()
    dataset = read_dataset(lvit)
    assert [s.text for s in dataset.samples] == ["", "", "text of c", "text of d"]
    assert re.search(r"Train_Folder holds no \*_text\.xlsx or \*_text\.csv", dataset.warnings[0])


def test_a_lock_file_of_a_spreadsheet_is_no_table(lvit):
    (lvit / "Train_Folder" / "~$Train_text.xlsx").write_bytes(b"lock")
    assert problems_of(lvit) == ()


def test_a_broken_text_table(lvit):
    (lvit / "Train_Folder" / "Train_text.xlsx").write_bytes(b"PK\x03\x04 and then nothing")
    assert_one_problem(lvit, r"Train_text\.xlsx cannot be read as XLSX \(BadZipFile: .*\); save it anew")


def test_no_images(lvit):
    for path in (lvit / "Val_Folder" / "img" / "c.png", lvit / "Val_Folder" / "labelcol" / "c.png"):
        path.unlink()
    write_table(lvit / "Val_Folder" / "Val_text.xlsx", [("Image", "Description")])
    assert_one_problem(lvit, r"Val_Folder/img holds no images; put them there, or remove Val_Folder")


def test_names_that_cannot_be_ids(lvit):
    folder = lvit / "Train_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind / "a.png").rename(folder / kind / "a (1).png")
    write_table(folder / "Train_text.xlsx", [("Image", "Description"), ("a (1).png", "x"), ("b.png", "y")])
    assert_one_problem(lvit, r"img/a \(1\)\.png: the id 'a \(1\)' cannot be used; ids become file names: letters")


# What single files say


@pytest.mark.parametrize("kind", ["img", "labelcol"])
def test_truncated_file(lvit, kind):
    path = lvit / "Train_Folder" / kind / "a.png"
    path.write_bytes(path.read_bytes()[:-30])
    assert_one_problem(lvit, rf"{kind}/a\.png is truncated or broken")


def test_16_bit_images_need_a_window(lvit):
    path = lvit / "Val_Folder" / "img" / "c.png"
    path.write_bytes(imagecodecs.png_encode(np.full((6, 8), 900, np.uint16)))
    assert_one_problem(lvit, r"img/c\.png holds 16 bit values \(900 to 900\); say with an intensity window")
    assert problems_of(lvit, (0, 1000)) == ()
    with pytest.raises(ConfigError, match="empty"):
        scan_dataset(lvit, (5, 5))


def test_undeclared_mask_values(lvit):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 255, 3, 4, 5, 6, 7, 8))
    assert_one_problem(
        lvit,
        r"labelcol/a\.png holds undeclared values 3, 4, 5, 6, 7 and 1 more \(known: 0, 255\); "
        r"correct the mask or name them in classes\.json$",
    )


def test_jpeg_masks_are_told_why(lvit):
    folder = lvit / "Train_Folder" / "labelcol"
    (folder / "a.png").unlink()
    write_mask(folder / "a.jpg", (0, 255, 255))
    assert_one_problem(lvit, r"labelcol/a\.jpg holds undeclared values .*; JPEG invents values, save masks as PNG$")


def test_a_mask_of_the_other_binary_kind_is_a_problem(lvit):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 1))
    assert_one_problem(lvit, r"labelcol/a\.png holds undeclared values 1 \(known: 0, 255\)")


def test_empty_masks_are_one_warning(lvit):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0,))
    write_mask(lvit / "Val_Folder" / "labelcol" / "c.png", (0,))
    assert read_dataset(lvit).warnings == ("2 of 4 masks hold only background: a, c",)


# Classes


def declare(root, declared):
    (root / "classes.json").write_text(declared if isinstance(declared, str) else json.dumps(declared))


def test_declared_classes_and_ignore(lvit):
    declare(lvit, {"classes": {"7": "tumour", "0": "background"}, "ignore": 255})
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 7, 255))
    write_mask(lvit / "Train_Folder" / "labelcol" / "b.png", (255,))
    dataset = read_dataset(lvit)
    assert dataset.classes == Classes((0, 7), ("background", "tumour"), 255)
    assert dataset.classes.labels(np.array([[0, 7], [255, 7]])).tolist() == [[0, 1], [IGNORE, 1]]
    assert dataset.warnings == ("1 of 4 masks have no labelled pixel: b", "2 of 4 masks hold only background: c, d")


def test_a_class_without_a_pixel_is_a_warning(lvit):
    declare(lvit, {"classes": {"0": "background", "255": "nuclei", "9": "stroma"}})
    assert read_dataset(lvit).warnings == (
        "no mask has a pixel of stroma; is classes.json or the way the masks were saved right?",
    )


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("{", "is not JSON"),
        ([], 'there is no object "classes"'),
        ({"names": {}}, 'there is no object "classes"'),
        ({"classes": {"0": "a", "1": "b"}, "ignored": 3}, r"unknown keys \['ignored'\]"),
        ({"classes": {"0": "a", "-1": "b"}}, "'-1' is not a mask value"),
        ({"classes": {"0": "a", "70000": "b"}}, "'70000' is not a mask value"),
        ({"classes": {"1": "a", "01": "b"}}, "a mask value is declared twice"),
        ({"classes": {"0": "a"}}, "1 classes are declared, 2 to 255 are possible"),
        ({"classes": {"0": "a", "1": "a"}}, "every class needs a name of its own"),
        ({"classes": {"0": "a", "1": 5}}, "every class needs a name of its own"),
        ({"classes": {"0": "a", "1": "b"}, "ignore": "255"}, "\"ignore\" is '255', not a mask value"),
        ({"classes": {"0": "a", "1": "b"}, "ignore": 1}, '"ignore" is 1, which is a class too'),
    ],
)
def test_malformed_classes_say_what_was_expected(lvit, declared, said):
    declare(lvit, declared)
    assert_one_problem(lvit, rf"classes\.json.*{said}.*; expected \{{\"classes\": \{{\"0\": \"background\"")


@pytest.mark.parametrize("foreground", [1, 255])
def test_binary_masks_need_no_declaration(lvit, foreground):
    for path in lvit.glob("*_Folder/labelcol/*.png"):
        write_mask(path, (0, foreground, foreground))
    classes = read_dataset(lvit).classes
    assert classes == Classes((0, foreground), ("background", "foreground"), None)
    labels = classes.labels(np.array([[0, foreground]], np.uint8))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 1]]


def test_labels_refuse_what_is_not_declared():
    with pytest.raises(DataError, match=r"the mask holds undeclared values -1, 2 \(known: 0, 1\)"):
        Classes((0, 1), ("a", "b"), None).labels(np.array([[2, 0, -1]]))


def test_classes_survive_json():
    classes = Classes((0, 3, 300), ("a", "b", "c"), 255)
    assert Classes.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes
    whole = replace(classes, ignore=None)
    assert Classes.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


# Manifests


def test_manifest_samples(manifest, tmp_path):
    path = manifest(
        "a,images/a.png,masks/a.png,round nuclei,train,p1",
        "b,images/b.png,,,Dev,",
        'c 1.x,images/c.png,,"x, y",test,p1x',
    )
    for data in (path, path.parent):
        dataset = read_dataset(data)
        assert dataset.root == tmp_path / "data"
        assert [(s.id, s.group, s.split, s.text, s.mask is None) for s in dataset.samples] == [
            ("a", "p1", "train", "round nuclei", False),
            ("b", "b", "val", "", True),
            ("c 1.x", "p1x", "test", "x, y", True),
        ]


def test_manifest_as_xlsx_without_group(manifest):
    path = manifest().parent / "my.xlsx"
    write_table(path, [("ID", "Image", "Mask", "Text", "Split"), (12, "images/a.png", None, "x", "validation")])
    (sample,) = read_dataset(path).samples
    assert (sample.id, sample.group, sample.split) == ("12", "12", "val")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x,images/z.png,,,train,", r"row 3: image 'images/z\.png' does not exist; paths start at "),
        ("x,images/c.png,masks/z.png,,train,", r"row 3: mask 'masks/z\.png' does not exist"),
        ("x,,,,train,", "row 3: no image is named"),
        ("x,images/c.png,,,holdout,", "row 3: split 'holdout' is unknown; expected train, val or test"),
        ("x,images/c.png,,,,", "row 3: split '' is unknown"),
        (",images/c.png,,,train,", "row 3: the id '' cannot be used"),
        ("../x,images/c.png,,,train,", r"row 3: the id '\.\./x' cannot be used; ids become file names"),
        ("a/b,images/c.png,,,train,", "row 3: the id 'a/b' cannot be used"),
        ("x..y,images/c.png,,,train,", r"row 3: the id 'x\.\.y' cannot be used"),
        ("x.,images/c.png,,,train,", r"row 3: the id 'x\.' cannot be used"),
        ("x,images/c.png,,small, round,train,", "row 3: 7 cells under 6 columns; put quotes around text with commas"),
        ("a,images/c.png,,,train,", r"duplicate id 'a': .*row 2 \(train\), .*row 3 \(train\); give each sample"),
        ("a,images/c.png,,,val,p1", r"duplicate id 'a': .*row 2 \(train\), .*row 3 \(val\)"),
        ("x,images/c.png,,,val,p1", r"group 'p1' is in more than one split: a \(train\), x \(val\); keep a group"),
        ("x,images/a.png,,,val,", r"the same image is in more than one split: .*a\.png \(train\), .*a\.png \(val\)"),
    ],
)
def test_one_wrong_row(manifest, row, said):
    assert_one_problem(manifest("a,images/a.png,masks/a.png,,train,p1", row), said)


def test_one_image_may_stand_twice_in_a_split_with_other_texts(manifest):
    path = manifest("a,images/a.png,masks/a.png,spindle,train,p", "b,images/a.png,masks/b.png,round,train,p")
    assert [s.text for s in read_dataset(path).samples] == ["spindle", "round"]


def test_a_copy_under_another_name_in_another_split(manifest):
    path = manifest("a,images/a.png,,,train,", "b,images/b.png,,,test,")
    (path.parent / "images/b.png").write_bytes((path.parent / "images/a.png").read_bytes())
    assert_one_problem(path, r"the same image is in more than one split: .*a\.png \(train\), .*b\.png \(test\)")


def test_unknown_and_missing_columns(manifest):
    path = manifest("a,images/a.png,masks/a.png,train,p1", header="id,image,mask,split,patient")
    unknown, missing = problems_of(path)
    assert "unknown columns 'patient'; expected id, image, mask, text, split and optionally group" in unknown
    assert "missing columns 'text'; found 'id', 'image', 'mask', 'split', 'patient'; add them" in missing


def test_tables_that_cannot_be_read(manifest):
    path = manifest()
    assert_one_problem(path, "manifest.csv lists no images; write one row for each sample")
    assert_one_problem(manifest(header="id,id,image"), "more than one column named 'id'; keep one")
    path.write_bytes(b"")
    assert_one_problem(path, "has no header; expected the columns' names in its first row")
    path.write_bytes("id,image\nä,b\n".encode("latin-1"))
    assert_one_problem(path, r"is not UTF-8 \(byte 9\); save it as 'CSV UTF-8'")
    path.write_text(f'{HEADER}\na,"images/a.png\n')
    assert_one_problem(path, r"is not a valid CSV \(unexpected end of data\); look for a quote")


# The whole


def test_everything_is_reported_at_once(lvit):
    folder = lvit / "Train_Folder"
    (folder / "labelcol" / "a.png").unlink()
    (lvit / "Val_Folder" / "img" / "c.png").write_bytes(b"")
    write_mask(lvit / "Test_Folder" / "labelcol" / "d.png", size=(1, 2))
    with pytest.raises(DataError, match="has 3 problems; correct the data and look again") as caught:
        read_dataset(lvit)
    assert caught.value.problems == problems_of(lvit)
    assert [s.id for s in scan_dataset(lvit)[0].samples] == ["a", "b", "d"]  # c's image cannot be used


def test_one_id_in_two_folders(lvit):
    folder = lvit / "Val_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind / "c.png").rename(folder / kind / "a.png")
    write_table(folder / "Val_text.xlsx", [("Image", "Description"), ("a", "x")])
    assert_one_problem(lvit, r"duplicate id 'a': .*Train_Folder/img/a\.png \(train\), .*Val_Folder/img/a\.png \(val\)")


def test_paths_that_hold_no_data(lvit, manifest, tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; expected a folder with any of Train_Folder"):
        scan_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"is not a data folder; expected .* or a manifest \(\.csv, \.xlsx\) with id"):
        scan_dataset(lvit / "Train_Folder")
    with pytest.raises(DataError, match=r"a\.png is not a manifest"):
        scan_dataset(lvit / "Train_Folder" / "img" / "a.png")
    with pytest.raises(DataError, match=r"holds Train_Folder, Val_Folder, Test_Folder, manifest\.csv; keep one"):
        scan_dataset(lvit)  # both fixtures fill the same folder


def test_report(lvit):
    declare(lvit, {"classes": {"0": "background", "255": "nuclei"}, "ignore": 9})
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 9, 9, 9))
    write_image(lvit / "Test_Folder" / "img" / "d.png", size=(5, 8))
    report = check_data(lvit)
    found = report.to_dict()
    # Four masks of 48 pixels: 12 and 3 x 24 of background, 3 x 24 of nuclei, 36 not labelled.
    assert found["classes"] == [
        {"value": 0, "name": "background", "share": 84 / 192},
        {"value": 255, "name": "nuclei", "share": 72 / 192},
    ]
    assert found["not_labelled"] == 36 / 192
    assert found["splits"] == {"train": 2, "val": 1, "test": 1}
    assert found["sizes"] == {"5 x 8": 1, "6 x 8": 3}
    assert (found["n"], found["groups"], found["texts"]) == (4, 4, 4)
    assert (found["without_text"], found["without_mask"]) == (0, 0)
    assert len(found["problems"]) == 1
    assert json.loads(json.dumps(found)) == found
    assert report.lines() == [
        "samples: 4 (2 train, 1 val, 1 test), groups: 4",
        "classes: background (0) 43.8%, nuclei (255) 37.5%, not labelled 18.8%",
        "sizes (height x width): 5 x 8 (1), 6 x 8 (3)",
        "texts: 4 distinct, samples without: 0",
        "masks: samples without: 0",
        "1 warning:",
        "  - 1 of 4 masks hold only background: a",
        "1 problem:",
        f"  - {report.problems[0]}",
    ]


def test_report_counts_groups_and_what_is_absent(manifest):
    report = check_data(
        manifest("a,images/a.png,masks/a.png,x,train,p", "b,images/b.png,,x,train,p", "c,images/c.png,,,val,q")
    )
    assert (report.n_groups, report.n_texts, report.n_without_text, report.n_without_mask) == (2, 1, 1, 2)
    assert report.lines()[-2:] == ["no warnings", "no problems"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Image,Description", "a.png,small, round", "b,y"], "row 2: 3 cells under 2 columns; put quotes"),
        (["Image,Description,,", "a.png,small,,", "b,y, z,"], "row 3: 4 cells under 2 columns; put quotes"),
    ],
)
def test_commas_without_quotes_do_not_cut_texts(lvit, lines, said):
    (lvit / "Train_Folder" / "Train_text.xlsx").unlink()
    (lvit / "Train_Folder" / "Train_text.csv").write_text("\n".join(lines))
    assert said in problems_of(lvit)[0]


@pytest.mark.real_data
def test_monuseg():
    if not MONUSEG.exists():
        pytest.skip("the MoNuSeg images are not beside this checkout")
    report = check_data(MONUSEG)
    assert report.problems == report.warnings == ()
    assert report.splits == {"train": 24, "val": 6}
    assert (report.n_groups, report.n_texts, report.n_without_text, report.n_without_mask) == (30, 11, 0, 0)
    assert report.classes.ids == (0, 255)
    assert report.sizes == {(1000, 1000): 30}
