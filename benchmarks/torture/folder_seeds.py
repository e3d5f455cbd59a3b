"""Seeds of `fuzz.py`: small sound folders for `make-manifest`, one of nnU-Net and one of a DICOM series."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

_SHAPE = (8, 8, 2)


def write_folders(folder: Path) -> None:
    """Write both folders."""
    _write_nnunet(folder / "nnunet")
    _write_series(folder / "series")


def _write_nnunet(folder: Path) -> None:
    for name in ("imagesTr/a_0000.nii", "labelsTr/a.nii"):
        (folder / name).parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(np.ones(_SHAPE, np.uint8), np.eye(4)), folder / name)
    labels = {"background": 0, "tumour": 1, "ignore": 2}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "channel_names": {"0": "CT"}}))


def _write_series(folder: Path) -> None:
    folder.mkdir()
    slices = [_slice(z) for z in range(2)]
    for z, one in enumerate(slices):
        one.save_as(folder / f"{z}.dcm", enforce_file_format=True)
    pixels = np.zeros((2, 8, 8), np.uint8)
    pixels[0, 2:4, 2:4] = 1
    segment = highdicom.seg.SegmentDescription(
        1, "liver", codes.SCT.Organ, codes.SCT.Liver, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    seg = highdicom.seg.Segmentation(slices, pixels, "BINARY", [segment], "1.9.1", 5, "1.9.2", 1, "m", "m", "1", "s")
    seg.save_as(folder / "seg.dcm")
    (folder / "texts.csv").write_text("Image;Description;Patient\n0.dcm;round;p\n1;dark;p\n")


def _slice(z: int) -> pydicom.Dataset:
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = SecondaryCaptureImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"1.2.3.{z + 1}"
    one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = "1.2.3", "1.3.3", "1.4.3"
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "p", "", "", ""
    one.StudyDate = one.StudyTime = one.AccessionNumber = one.ReferringPhysicianName = one.StudyID = ""
    one.Modality, one.SeriesNumber, one.InstanceNumber = "CT", 1, z
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * z]
    one.PixelSpacing, one.SliceThickness = [1, 1], 2
    one.set_pixel_data(np.full((8, 8), 60 * z, np.uint8), "MONOCHROME2", 8)
    return one
