"""Masks as DICOM-SEG: read back by pydicom and by highdicom, which know nothing of this program."""

from dataclasses import replace

import numpy as np
import pytest

from textdiff.pipeline.exchange.dicom_seg import DicomSegmentation, without_source
from textdiff.pipeline.exchange.nifti import NiftiMask, without_affine
from textdiff.pipeline.exchange.outputs import MaskBand, OutputTarget
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.image_files.volumes import list_volumes

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
nibabel = pytest.importorskip("nibabel")

CT, ULTRASOUND, RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.1"
CLASSES = {0: "background", 7: "tumour", 200: "Ödem"}
AXIAL = (1, 0, 0, 0, 1, 0)


def dicom(kind=CT, series="1.2.3.4", **tags):
    """A data set without pixels."""
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = kind
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = pydicom.uid.generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.3", series, "1.2.9"
    one.PatientID, one.Modality, one.SeriesNumber = "p1", "CT", 3
    for name, value in tags.items():
        setattr(one, name, value)
    return one


def write_series(folder, values, step=(0, 0, 2.5), axes=AXIAL, first=(-90, -80, 30), series="1.2.3.4", **tags):
    """A file for each slice of values [z, y, x], their names in no order."""
    folder.mkdir(exist_ok=True)
    names = np.random.default_rng(3).permutation(len(values))
    for z, pixels in enumerate(values):
        position = [float(start + z * along) for start, along in zip(first, step, strict=True)]
        one = dicom(series=series, ImagePositionPatient=position, ImageOrientationPatient=list(axes), **tags)
        one.PixelSpacing, one.SliceThickness = [0.8, 0.7], 2.5
        one.set_pixel_data(pixels, "MONOCHROME2", 8)
        one.save_as(folder / f"{series}-{names[z]}.dcm", enforce_file_format=True)
    return folder


def masked(volume, out, writer_of, classes=CLASSES):
    """A mask of the volume [z, y, x], of which each slice is an own one, and the file of it."""
    size = read_mask(volume.slices[0]).shape
    mask = np.random.default_rng(5).choice(np.array([*classes], np.uint8), (len(volume.slices), *size))
    mask[0] = 0
    out.mkdir(exist_ok=True)
    writer = writer_of(OutputTarget(out, volume, size, classes, np.dtype(np.uint8)))
    for index, pixels in enumerate(mask):
        for top in range(0, len(pixels), 3):
            writer.add(MaskBand(index, top, pixels[top : top + 3], None, None, None))
    writer.finish()
    (file,) = out.iterdir()
    return mask, file


VALUES = np.random.default_rng(0).integers(0, 256, (4, 5, 6), dtype=np.uint8)


def test_the_files_of_a_series_are_one_volume_in_the_order_in_which_they_lie(tmp_path):
    (volume,) = list_volumes(write_series(tmp_path / "scan", VALUES))
    assert (volume.name, volume.kind, volume.pixel_mm) == ("scan", "DICOM", (0.8, 0.7))
    np.testing.assert_array_equal([read_mask(one) for one in volume.slices], VALUES)
    # DICOM's x and y go to the left and to the back, NIfTI's to the right and to the front.
    expected = [[-0.7, 0, 0, 90], [0, -0.8, 0, 80], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected)


@pytest.mark.parametrize("axes", [AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (0.8, 0.6, 0, 0, 0, -1)])
def test_a_nifti_mask_of_a_series_has_every_voxel_where_dicom_has_it(tmp_path, axes):
    x, y = np.reshape(axes, (2, 3))
    step = 2.5 * np.cross(x, y)
    (volume,) = list_volumes(write_series(tmp_path / "scan", VALUES, step, axes))
    mask, file = masked(volume, tmp_path / "out", NiftiMask)
    read = nibabel.load(file)
    np.testing.assert_array_equal(np.asarray(read.dataobj).transpose(2, 1, 0), mask)
    for z, path in enumerate(volume.slices):
        one = pydicom.dcmread(path)
        corner = np.array(one.ImagePositionPatient, float)
        for row, column in ((0, 0), (4, 5), (2, 1)):  # PS3.3 C.7.6.2.1.1
            lps = corner + column * 0.7 * x + row * 0.8 * y
            ras = nibabel.affines.apply_affine(read.affine, (column, row, z))
            np.testing.assert_allclose(ras * (-1, -1, 1), lps, atol=1e-4)
    assert tuple(np.round(read.header.get_zooms(), 4)) == (0.7, 0.8, 2.5)


def test_a_dicom_seg_refers_to_each_source_and_names_each_class(tmp_path):
    (volume,) = list_volumes(write_series(tmp_path / "scan", VALUES))
    assert without_source(volume) is None
    mask, file = masked(volume, tmp_path / "out", DicomSegmentation)
    assert file.name == "scan_seg.dcm"
    read = highdicom.seg.segread(file)
    sources = [pydicom.dcmread(path) for path in volume.slices]
    uids = [source.SOPInstanceUID for source in sources]
    planes = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    for number, (value, name) in enumerate([*CLASSES.items()][1:]):
        np.testing.assert_array_equal(planes[..., number], mask == value)
        assert read.get_segment_description(number + 1).segment_label == name
    plain = pydicom.dcmread(file)
    assert [item.SegmentLabel for item in plain.SegmentSequence] == ["tumour", "Ödem"]
    assert (plain.StudyInstanceUID, plain.PatientID, plain.Modality) == ("1.2.3", "p1", "SEG")
    assert plain.SeriesInstanceUID != "1.2.3.4"
    frames = plain.pixel_array
    for frame, about in zip(frames, plain.PerFrameFunctionalGroupsSequence, strict=True):
        source = about.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = about.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(frame, mask[uids.index(source)] == [*CLASSES][number])
        assert about.PlanePositionSequence[0].ImagePositionPatient == sources[uids.index(source)].ImagePositionPatient


def test_frames_of_one_file_keep_its_order(tmp_path):
    group = [highdicom.PlanePositionSequence("PATIENT", (0.0, 0.0, z)) for z in (5.0, 0.0, 10.0)]
    about = [pydicom.Dataset() for _ in group]
    for item, position in zip(about, group, strict=True):
        item.PlanePositionSequence = position
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = highdicom.PixelMeasuresSequence((0.8, 0.7), 5.0)
    shared.PlaneOrientationSequence = highdicom.PlaneOrientationSequence("PATIENT", AXIAL)
    one = dicom("1.2.840.10008.5.1.4.1.1.2.1")
    one.set_pixel_data(VALUES[:3], "MONOCHROME2", 8)
    one.PerFrameFunctionalGroupsSequence, one.SharedFunctionalGroupsSequence = about, [shared]
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    (volume,) = list_volumes(tmp_path / "a.dcm")
    assert [path.name for path in volume.slices] == ["a.dcm#1", "a.dcm#0", "a.dcm#2"]
    assert without_source(volume) is None
    mask, file = masked(volume, tmp_path / "out", DicomSegmentation)
    read = highdicom.seg.segread(file)
    planes = read.get_pixels_by_source_frame(
        one.SOPInstanceUID, [2, 1, 3], combine_segments=True, relabel=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(np.array([*CLASSES])[planes], mask)
    nifti_mask, file = masked(volume, tmp_path / "nifti", NiftiMask)
    np.testing.assert_array_equal(np.asarray(nibabel.load(file).dataobj).transpose(2, 1, 0), nifti_mask)


@pytest.mark.parametrize("spacing", [None, [0.2, 0.1]])
def test_a_radiograph_without_a_place_can_have_one_too(tmp_path, spacing):
    one = dicom(RADIOGRAPH, Modality="CR", FrameOfReferenceUID=None)
    del one.FrameOfReferenceUID
    if spacing:
        one.PixelSpacing = spacing
    one.set_pixel_data(VALUES[0], "MONOCHROME2", 8)
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    (volume,) = list_volumes(tmp_path / "a.dcm")
    assert volume.affine is None
    assert without_source(volume) is None
    _, file = masked(volume, tmp_path / "out", DicomSegmentation)
    read = highdicom.seg.segread(file)
    assert not read.get_pixels_by_source_instance([one.SOPInstanceUID], assert_missing_frames_are_empty=True).any()


def test_what_cannot_be_referred_to_is_refused(tmp_path):
    folder = write_series(tmp_path / "scan", VALUES)
    (volume,) = list_volumes(folder)
    assert "is no DICOM image" in without_source(replace(volume, kind="NIfTI"))
    one = pydicom.dcmread(volume.slices[0])
    del one.StudyInstanceUID
    one.save_as(tmp_path / "a.dcm")
    (alone,) = list_volumes(tmp_path / "a.dcm")
    assert "it has no StudyInstanceUID, to which a DICOM-SEG refers" in without_source(alone)
    assert "without its #INDEX" in without_source(list_volumes(tmp_path / "a.dcm#0")[0])
    one.StudyInstanceUID, one.PatientSex = "1.2.3", "SECRET"
    one.save_as(tmp_path / "a.dcm")
    said = without_source(list_volumes(tmp_path / "a.dcm")[0])
    assert "make no valid DICOM-SEG (ValueError in highdicom)" in said
    assert "SECRET" not in said


# Series that are no even grid


def test_missing_slices_are_named_and_no_nifti_is_written(tmp_path):
    folder = write_series(tmp_path / "scan", VALUES)
    (volume,) = list_volumes(folder)
    volume.slices[1].unlink()
    (volume,) = list_volumes(folder)
    assert volume.affine is None
    first, second = (path.name for path in volume.slices[:2])
    assert "slices are missing or unevenly spaced" in without_affine(volume)
    assert f"mm from {first} to {second}" in without_affine(volume)
    assert "give --formats png" in without_affine(volume)
    assert without_source(volume) is None


def test_two_scans_in_one_series_are_named(tmp_path):
    write_series(tmp_path / "scan", VALUES, step=(0, 0, 0.0), first=(0, 0, 7))
    write_series(tmp_path / "scan", VALUES, first=(0, 0, 7))
    for z in range(4):
        (tmp_path / "scan" / f"1.2.3.4-{z}.dcm").rename(tmp_path / "scan" / f"b{z}.dcm")
    write_series(tmp_path / "scan", VALUES, first=(0, 0, 7))
    (volume,) = list_volumes(tmp_path / "scan")
    assert "slices lie at one place" in without_affine(volume)


def test_a_tilted_gantry_is_remarked_and_its_shear_kept(tmp_path):
    (volume,) = list_volumes(write_series(tmp_path / "scan", VALUES, step=(0, 1, 2.5)))
    assert "tilt of 21.8 degrees (gantry)" in volume.remark
    mask, file = masked(volume, tmp_path / "out", NiftiMask)
    read = nibabel.load(file)
    np.testing.assert_allclose(read.affine[:3, 2], (0, -1, 2.5))
    np.testing.assert_array_equal(np.asarray(read.dataobj).transpose(2, 1, 0), mask)


def test_each_series_of_a_folder_is_a_volume_and_files_without_a_place_are_images(tmp_path):
    folder = write_series(tmp_path / "study", VALUES)
    write_series(folder, VALUES, series="1.2.3.5")
    write_series(folder, VALUES[:1], axes=(0, 1, 0, 0, 0, -1), series="1.2.3.5.6")
    one = dicom(RADIOGRAPH)
    one.set_pixel_data(VALUES[0], "MONOCHROME2", 8)
    for name in ("x.dcm", "y.dcm"):
        one.save_as(folder / name, enforce_file_format=True)
    volumes = list_volumes(folder)
    assert {volume.name: len(volume.slices) for volume in volumes} == {
        "1.2.3.5.6-0": 1, "study_1.2.3.4-3": 4, "study_1.2.3.5-3": 4, "x": 1, "y": 1
    }  # fmt: skip


def test_pictures_of_one_plane_are_images_even_in_one_series(tmp_path):
    volumes = list_volumes(write_series(tmp_path / "scan", VALUES, step=(0, 0, 0)))
    assert [volume.name for volume in volumes] == [f"1.2.3.4-{n}" for n in range(4)]


def test_a_cine_loop_is_a_volume_that_lies_nowhere(tmp_path):
    one = dicom(ULTRASOUND)
    one.set_pixel_data(VALUES, "MONOCHROME2", 8)
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    (volume,) = list_volumes(tmp_path / "a.dcm")
    assert (len(volume.slices), volume.affine, volume.uneven) == (4, None, "")


def test_a_header_that_makes_no_sense_makes_no_volume(tmp_path):
    one = dicom(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=list(AXIAL), PixelSpacing=[1, 1])
    one.set_pixel_data(VALUES[0], "MONOCHROME2", 8)
    one.NumberOfFrames = 1
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    head = b"\x28\x00\x08\x00IS\x02\x00"
    content = (tmp_path / "a.dcm").read_bytes()
    assert head + b"1 " in content
    (tmp_path / "a.dcm").write_bytes(content.replace(head + b"1 ", head + b"{}"))
    (volume,) = list_volumes(tmp_path / "a.dcm")
    assert (len(volume.slices), volume.affine) == (1, None)
