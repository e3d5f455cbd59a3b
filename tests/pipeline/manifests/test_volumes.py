"""NIfTI volumes and DICOM series: a row for each slice, patients from headers, masks of every kind."""

import json

import numpy as np
import pytest

from textdiff.errors import DataError
from textdiff.pipeline.config.data import ManifestConfig
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.manifests.make import make_manifest


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


@pytest.mark.parametrize(
    "labels", [{"background": 0, "whole": [1, 2]}, {"background": 0}, ["background"], None, {"a": "b"}]
)
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


def test_volumes_with_more_dimensions_are_set_aside(tmp_path, save_volume, make):
    nibabel = pytest.importorskip("nibabel")
    for i in range(1, 4):
        save_volume(tmp_path / f"patient00{i}" / f"patient00{i}_frame01.nii.gz", seed=i)
        save_volume(tmp_path / f"patient00{i}" / f"patient00{i}_frame01_gt.nii.gz")
        sequence = nibabel.Nifti1Image(np.zeros((8, 8, 3, 2), np.uint8), np.eye(4))
        nibabel.save(sequence, tmp_path / f"patient00{i}" / f"patient00{i}_4d.nii.gz")
    made = make(tmp_path)
    assert len(made.rows) == 9
    assert all(made.masks.values())
    assert len(made.summary.unmatched.files_not_used) == 3
    assert "(holds 4 dimensions (8, 8, 3, 2); export the one" in made.summary.unmatched.files_not_used[0]
    with pytest.raises(DataError, match=r"no image is left: .*holds 4 dimensions"):
        make_manifest(ManifestConfig(tmp_path, tmp_path / "x.csv", leave_out="frame"))


def test_no_labelled_slice(tmp_path, save_volume, make):
    save_volume(tmp_path / "scan.nii.gz", seed=1)
    with pytest.raises(DataError, match=r"no image is left: .*scan.nii.gz: no slice has a label"):
        make(tmp_path, slices="labelled")


def test_a_text_for_a_volume_is_for_its_slices(tmp_path, save_volume, make):
    for i in range(1, 4):
        save_volume(tmp_path / "data" / f"scan_{i}.nii.gz", seed=i)
    (tmp_path / "t.csv").write_text("Image,Description\nscan_1.nii.gz,left\nscan_2,right\n")
    made = make(tmp_path / "data", texts=tmp_path / "t.csv")
    assert made.texts["scan_1_0"] == made.texts["scan_1_2"] == "left"
    assert made.texts["scan_2_1"] == "right"
    assert made.texts["scan_3_1"] == ""


def save_dicom(path, z, patient, series, seed=0):
    """A CT slice of 8-bit noise at height `z`, 1 x 1 mm."""
    pydicom = pytest.importorskip("pydicom")
    path.parent.mkdir(parents=True, exist_ok=True)
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"1.2.{series}.{z + 1}"
    one.SeriesInstanceUID, one.StudyInstanceUID = f"1.2.{series}", f"1.3.{series}"
    one.FrameOfReferenceUID = f"1.4.{series}"
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = patient, "Secret^Name", "", ""
    one.StudyDate = one.StudyTime = one.AccessionNumber = one.ReferringPhysicianName = one.StudyID = ""
    one.Modality, one.SeriesNumber, one.InstanceNumber = "CT", 1, z
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * z]
    one.PixelSpacing, one.SliceThickness = [1, 1], 2
    one.set_pixel_data(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8), "MONOCHROME2", 8)
    one.save_as(path, enforce_file_format=True)


@pytest.fixture
def series(tmp_path):
    """Four series of two patients, of three slices each, whose names are not in the order of their places."""
    for s, folder in enumerate(("a/first", "a/second", "b/first", "c/first")):
        for z in range(3):
            save_dicom(tmp_path / "data" / folder / f"IM{9 - z}", z, f"P-{folder[0]}", s, seed=10 * s + z)
    (tmp_path / "data" / "report.dcm").write_bytes(b"x" * 128 + b"DICM" + b"broken")
    return tmp_path / "data"


def test_dicom_series_are_grouped_by_patient(series, make):
    made = make(series)
    assert len(made.rows) == 12
    assert made.groups["a_first_IM7"] == made.groups["a_second_IM9"] == "P-a"
    assert made.summary.group_rule == "PatientID of DICOM headers (12)"
    (line,) = made.summary.unmatched.files_not_used
    assert "report.dcm (is truncated or broken" in line


def test_nifti_masks_of_dicom_series_are_laid_on_by_place(series, make):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.zeros((8, 8, 3), np.uint8)
    voxels[1, 2, 0] = voxels[3:6, 4, 2] = 255
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # LPS, as DICOM's rows and columns go
    for name in ("a/first/mask.nii.gz", "b/first/seg.nii.gz", "c/first/label.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), series / name)
    made = make(series)
    assert made.masks["a_first_IM9"] == "mask.nii.gz#0"
    assert made.masks["a_first_IM7"] == "mask.nii.gz#2"
    assert made.masks["b_first_IM8"] == "seg.nii.gz#1"
    assert made.masks["a_second_IM7"] == ""
    mask = read_mask(series / "a" / "first" / "mask.nii.gz#2")
    assert np.argwhere(mask).tolist() == [[4, 3], [4, 4], [4, 5]]


def test_a_nifti_mask_that_lies_elsewhere_is_a_problem(series, make):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[2, 3] = 2
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 3), np.uint8), affine), series / "b" / "first" / "mask.nii.gz")
    with pytest.raises(DataError, match=r"mask.nii.gz does not lie where the series .*b/first does, slice by slice"):
        make(series)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dicom_segmentations_are_drawn_on_the_slices_that_they_refer_to(series, save, make, out):
    pydicom, highdicom = pytest.importorskip("pydicom"), pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    sources = [pydicom.dcmread(series / "b" / "first" / f"IM{9 - z}") for z in range(3)]
    pixels = np.zeros((3, 8, 8, 2), np.uint8)
    pixels[0, 1:3, 1:3, 0] = pixels[2, 5:7, 4, 1] = 1
    segments = [
        highdicom.seg.SegmentDescription(
            number, label, codes.SCT.Organ, codes.SCT.Liver, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, label in ((1, "liver"), (2, "tumour"))
    ]
    segmentation = highdicom.seg.Segmentation(
        sources, pixels, "BINARY", segments, "1.9.1", 5, "1.9.2", 1, "m", "m", "1", "s"
    )
    segmentation.save_as(series / "b" / "annotated.dcm")
    made = make(series, split=(1.0, 0.0, 0.0))
    assert {name for name, mask in made.masks.items() if mask} == {"b_first_IM7", "b_first_IM8", "b_first_IM9"}
    masks = {name: read_mask(out.parent / made.rows[f"b_first_{name}"]["mask"]) for name in ("IM7", "IM8", "IM9")}
    assert np.argwhere(masks["IM9"] == 1).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert np.argwhere(masks["IM7"] == 2).tolist() == [[5, 4], [6, 4]]
    assert [np.count_nonzero(mask) for mask in masks.values()] == [2, 0, 4]
    assert json.loads((out.parent / "classes.json").read_text())["classes"] == {
        "0": "background",
        "1": "liver",
        "2": "tumour",
    }
    assert made.summary.drawn == ["3 masks drawn from 1 DICOM segmentations"]
    out.unlink()
    save(series / "b" / "first" / "IM9_mask.png")
    with pytest.raises(DataError, match=r"IM9 has a mask by its name and one in a DICOM segmentation"):
        make(series)
