"""Pixel sizes as files state them: in the patient, at the detector, or not at all."""

import numpy as np
import pytest
from PIL import Image

from textdiff.pipeline.image_files.spacing import PixelSpacing, pixel_spacing

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-0.7, 0, 0.1, 90], [0, 0.8, 0, -100], [0.1, 0, 2.5, 40], [0, 0, 0, 1.0]])


def write_dicom(path, **tags):
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = "1.2.3"
    one.set_pixel_data(np.zeros((4, 6), np.uint8), "MONOCHROME2", 8)
    for name, value in tags.items():
        setattr(one, name, value)
    one.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": [0.8, 0.7]}, PixelSpacing((0.8, 0.7))),  # between rows first, so along y
        ({"PixelSpacing": [0.8, 0.7], "ImagerPixelSpacing": [0.9, 0.9]}, PixelSpacing((0.8, 0.7))),  # calibrated
        ({"PixelSpacing": [0.9, 0.9], "ImagerPixelSpacing": [0.9, 0.9]}, PixelSpacing((0.9, 0.9), at_detector=True)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, PixelSpacing((0.2, 0.1), at_detector=True)),
        ({"ImagerPixelSpacing": [0.0, 0.1]}, None),
        ({}, None),
    ],
)
def test_dicom_is_in_the_patient_or_else_at_the_detector(tmp_path, tags, spacing):
    assert pixel_spacing(write_dicom(tmp_path / "a.dcm", **tags)) == spacing


def test_nifti_is_that_of_the_axes_of_the_slice_as_it_is_shown(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 2), np.int16), AFFINE), tmp_path / "a.nii.gz")
    found = pixel_spacing(tmp_path / "a.nii.gz#1")
    assert not found.at_detector
    assert found.mm == pytest.approx((0.8, np.hypot(0.7, 0.1)), abs=1e-6)


def test_files_that_state_none_or_are_gone_or_broken_have_none(tmp_path):
    Image.new("L", (6, 4)).save(tmp_path / "a.png", dpi=(72, 72))
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM")
    for name in ("a.png", "b.dcm", "gone.dcm"):
        assert pixel_spacing(tmp_path / name) is None
