import json
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from textdiff.cache.format.samples import IGNORE
from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.data.dataset import read_dataset, scan_dataset
from textdiff.pipeline.data.warnings import SETTINGS_FILE

MONUSEG = Path(__file__).resolve().parents[4] / "shared" / "data" / "monuseg"


# What single files say


@pytest.mark.parametrize("kind", ["img", "labelcol"])
def test_truncated_file(lvit, kind, assert_one_problem):
    path = lvit / "Train_Folder" / kind / "a.png"
    path.write_bytes(path.read_bytes()[:-30])
    assert_one_problem(lvit, rf"{kind}/a\.png is truncated or broken")


def test_16_bit_images_need_a_window(lvit, problems_of, assert_one_problem):
    path = lvit / "Val_Folder" / "img" / "c.png"
    path.write_bytes(imagecodecs.png_encode(np.full((6, 8), 900, np.uint16)))
    assert_one_problem(lvit, r"img/c\.png holds 16 bit values \(900 to 900\); say with an intensity window")
    assert problems_of(lvit, (0, 1000)) == ()
    with pytest.raises(ConfigError, match="empty"):
        scan_dataset(lvit, (5, 5))


def test_undeclared_mask_values(lvit, write_mask, assert_one_problem):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 255, 3, 4, 5, 6, 7, 8))
    assert_one_problem(
        lvit,
        r"labelcol/a\.png holds undeclared values 3, 4, 5, 6, 7 and 1 more \(known: 0, 255\); "
        r"correct the mask or name them in classes\.json$",
    )


def test_jpeg_masks_are_told_why(lvit, write_mask, assert_one_problem):
    folder = lvit / "Train_Folder" / "labelcol"
    (folder / "a.png").unlink()
    write_mask(folder / "a.jpg", (0, 255, 255))
    assert_one_problem(lvit, r"labelcol/a\.jpg holds undeclared values .*; JPEG invents values: say .*threshold.*128")


def test_a_mask_of_the_other_binary_kind_is_a_problem(lvit, write_mask, assert_one_problem):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 1))
    assert_one_problem(lvit, r"labelcol/a\.png holds undeclared values 1 \(known: 0, 255\)")


def test_empty_masks_are_one_warning(lvit, write_mask):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0,))
    write_mask(lvit / "Val_Folder" / "labelcol" / "c.png", (0,))
    assert [str(one) for one in read_dataset(lvit).warnings] == ["2 of 4 masks hold only background: a, c [empty-mask]"]


# Classes


def declare(root, declared):
    (root / "classes.json").write_text(declared if isinstance(declared, str) else json.dumps(declared))


def test_declared_classes_and_ignore(lvit, write_mask):
    declare(lvit, {"classes": {"7": "tumour", "0": "background"}, "ignore": 255})
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0, 7, 255))
    write_mask(lvit / "Train_Folder" / "labelcol" / "b.png", (255,))
    dataset = read_dataset(lvit)
    assert dataset.classes == Classes((0, 7), ("background", "tumour"), 255)
    assert dataset.classes.labels(np.array([[0, 7], [255, 7]])).tolist() == [[0, 1], [IGNORE, 1]]
    assert list(map(str, dataset.warnings)) == [
        "1 of 4 masks have no labelled pixel: b [unlabelled-mask]",
        "2 of 4 masks hold only background: c, d [empty-mask]",
    ]


def test_a_class_without_a_pixel_is_a_warning(lvit):
    declare(lvit, {"classes": {"0": "background", "255": "nuclei", "9": "stroma"}})
    (warning,) = read_dataset(lvit).warnings
    assert (
        str(warning)
        == "no mask has a pixel of stroma; is classes.json or the way the masks were saved right? [absent-class]"
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
def test_malformed_classes_say_what_was_expected(lvit, declared, said, assert_one_problem):
    declare(lvit, declared)
    assert_one_problem(lvit, rf"classes\.json.*{said}.*; expected \{{\"classes\": \{{\"0\": \"background\"")


@pytest.mark.parametrize("foreground", [1, 255])
def test_binary_masks_need_no_declaration(lvit, foreground, write_mask):
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


# The whole


def test_everything_is_reported_at_once(lvit, write_mask, problems_of):
    folder = lvit / "Train_Folder"
    (folder / "labelcol" / "a.png").unlink()
    (lvit / "Val_Folder" / "img" / "c.png").write_bytes(b"")
    write_mask(lvit / "Test_Folder" / "labelcol" / "d.png", size=(1, 2))
    with pytest.raises(DataError, match="has 3 problems; correct the data and look again") as caught:
        read_dataset(lvit)
    assert caught.value.problems == problems_of(lvit)
    assert [s.id for s in scan_dataset(lvit)[0].samples] == ["a", "b", "d"]  # c's image cannot be used


def test_one_id_in_two_folders(lvit, write_table, assert_one_problem):
    folder = lvit / "Val_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind / "c.png").rename(folder / kind / "a.png")
    write_table(folder / "Val_text.xlsx", [("Image", "Description"), ("a", "x")])
    assert_one_problem(lvit, r"duplicate id 'a': .*Train_Folder/img/a\.png \(train\), .*Val_Folder/img/a\.png \(val\)")


def test_paths_that_hold_no_data(lvit, tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; expected a folder with any of Train_Folder"):
        scan_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"is not a data folder; expected .* or a manifest \(\.csv, \.xlsx\) with id"):
        scan_dataset(lvit / "Train_Folder")
    with pytest.raises(DataError, match=r"a\.png is not a manifest"):
        scan_dataset(lvit / "Train_Folder" / "img" / "a.png")
    (lvit / "manifest.csv").touch()
    with pytest.raises(DataError, match=r"holds Train_Folder, Val_Folder, Test_Folder, manifest\.csv; keep one"):
        scan_dataset(lvit)


def test_report(lvit, write_image, write_mask):
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
    assert report.lines()[-4:] == [
        "1 warning:",
        "  - 1 of 4 masks hold only background: a [empty-mask]",
        "1 problem:",
        f"  - {report.problems[0]}",
    ]


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


def test_a_warning_is_silenced_by_its_name_with_a_reason(lvit, write_mask):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", (0,))
    (lvit / SETTINGS_FILE).write_text('{"silence": {"empty-mask": "a is healthy"}}')
    report = check_data(lvit)
    assert (report.problems, report.warnings) == ((), ())
    assert report.silenced == ("1 of 4 masks hold only background: a [empty-mask]: a is healthy",)
    assert "1 silenced warning:" in report.lines()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"silence": {"emtpy-mask": "a typo"}}', "no warning is named 'emtpy-mask'; there are absent-class"),
        ('{"silence": {"empty-mask": " "}}', "the reason for silencing 'empty-mask' is missing"),
        ('{"silence": ["empty-mask"]}', 'it is not one object "silence"'),
        ('{"silenced": {}}', 'it is not one object "silence"'),
        ("{", "is not JSON"),
    ],
)
def test_settings_of_the_data_that_are_wrong_are_a_problem(lvit, content, says):
    (lvit / SETTINGS_FILE).write_text(content)
    (problem,) = check_data(lvit).problems
    assert says in problem
