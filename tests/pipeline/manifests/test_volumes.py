"""NIfTI volumes and DICOM series: a row for each slice, patients from headers, masks of every kind."""

import json

import pytest

from textdiff.errors import DataError


@pytest.fixture
def nnunet(tmp_path, save_volume):
    """Four cases to train on, each with two channels, and a test case without a mask."""
    data = tmp_path / "Dataset001_Liver"
    for case in range(5):
        part = "Tr" if case < 4 else "Ts"
        for channel in range(2):
            save_volume(data / f"images{part}" / f"liver_00{case}_000{channel}.nii.gz", seed=10 * case + channel)
        if case < 4:
            save_volume(data / "labelsTr" / f"liver_00{case}.nii.gz")
    labels = {"background": 0, "liver": 1, "ignore": 3}
    (data / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    return data


def test_nnunet(nnunet, make, out):
    made = make(nnunet)
    assert made.summary.layout == "nnU-Net"
    assert len(made.rows) == 15
    row = made.rows["liver_002_0000_1"]
    assert row["image"] == "../Dataset001_Liver/imagesTr/liver_002_0000.nii.gz#1"
    assert row["mask"] == "../Dataset001_Liver/labelsTr/liver_002.nii.gz#1"
    assert (row["split"], row["group"]) == ("train", "liver_002_0000")
    assert made.splits["liver_004_0000_0"] == "test"
    assert json.loads((out.parent / "classes.json").read_text()) == {
        "classes": {"0": "background", "1": "liver"},
        "ignore": 3,
    }
    reasons = [line for line in made.summary.unmatched.files_not_used if "another channel of liver_00" in line]
    assert len(reasons) == 5


def test_nnunet_in_two_folders_and_its_first_version(nnunet, make, out):
    (nnunet / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "liver"}}))
    made = make(nnunet / "imagesTr", masks=nnunet / "labelsTr", slices="labelled")
    assert sorted(made.rows) == [f"liver_00{case}_0000_1" for case in range(4)]
    assert sorted(made.splits.values()) == ["test", "train", "train", "val"]
    assert made.summary.hints == ["8 slices without a label were left out"]
    assert '"liver"' in (out.parent / "classes.json").read_text()


@pytest.mark.parametrize("labels", [{"background": 0, "whole": [1, 2]}, {"background": 0}, ["background"], None, {"a": "b"}])
def test_a_dataset_json_without_plain_labels_is_refused(nnunet, make, out, labels):
    (nnunet / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=r"dataset\.json"):
        make(nnunet)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("image", "mask", "group"),
    [
        ("volume-{}.nii", "segmentation-{}.nii", "volume-{}"),
        ("case_{}/image.nii.gz", "case_{}/label.nii.gz", "case_{}"),
        ("case_{}/ct.nii.gz", "case_{}/segmentations/liver.nii.gz", "case_{}"),
        ("img/x{}.nii.gz", "masks/x{}_seg.nii", "x{}"),
        ("sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/labels/sub-{0}/anat/sub-{0}_T1w_seg.nii.gz", "sub-{}"),
    ],
)
def test_names_of_volumes(tmp_path, save_volume, make, image, mask, group):
    for i in range(1, 4):
        save_volume(tmp_path / "data" / image.format(i), seed=i)
        save_volume(tmp_path / "data" / mask.format(i))
    made = make(tmp_path / "data")
    assert len(made.rows) == 9
    assert {row["group"].partition("/")[0] for row in made.rows.values()} == {group.format(i) for i in range(1, 4)}
    for row in made.rows.values():
        (i,) = (i for i in range(1, 4) if f"/{image.format(i)}#" in row["image"])
        assert row["mask"].endswith(f"{mask.format(i)}#{row['image'][-1]}")


def test_a_mask_with_other_slices_is_a_problem(tmp_path, save_volume, make):
    save_volume(tmp_path / "data" / "images" / "a.nii", seed=1)
    save_volume(tmp_path / "data" / "masks" / "a.nii", n_slices=2)
    with pytest.raises(DataError, match=r"a.nii has 2 slices, its image .*a.nii has 3; save the mask slice by slice"):
        make(tmp_path / "data")


def test_a_text_for_a_volume_is_for_its_slices(tmp_path, save_volume, make):
    for i in range(1, 4):
        save_volume(tmp_path / "data" / f"scan_{i}.nii.gz", seed=i)
    (tmp_path / "t.csv").write_text("Image,Description\nscan_1.nii.gz,left\nscan_2,right\n")
    made = make(tmp_path / "data", texts=tmp_path / "t.csv")
    assert made.texts["scan_1_0"] == made.texts["scan_1_2"] == "left"
    assert made.texts["scan_2_1"] == "right"
    assert made.texts["scan_3_1"] == ""
