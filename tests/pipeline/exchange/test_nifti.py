"""Masks as NIfTI: voxel for voxel on the image's grid, read back by nibabel."""

import gzip
from itertools import permutations, product

import numpy as np
import pytest

from textdiff.pipeline.exchange.nifti import NiftiMask, without_affine
from textdiff.pipeline.exchange.outputs import MaskBand, OutputTarget
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.image_files.volumes import Volume, list_volumes

nibabel = pytest.importorskip("nibabel")

SHAPE = (3, 4, 5)
VALUES = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
CLASSES = {0: "background", 255: "foreground"}
ORIENTATIONS = ["".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)]


def copied(path, out, dtype=np.uint8, rows=2):
    """The file, read slice by slice as masks and written again in bands of rows."""
    (volume,) = list_volumes(path)
    out.mkdir(exist_ok=True)
    slices = [read_mask(one).astype(dtype) for one in volume.slices]
    writer = NiftiMask(OutputTarget(out, volume, slices[0].shape, CLASSES, np.dtype(dtype)))
    for index, pixels in enumerate(slices):
        for top in range(0, len(pixels), rows):
            writer.add(MaskBand(index, top, pixels[top : top + rows], None, None, None))
    writer.finish()
    return nibabel.load(out / f"{volume.name}.nii.gz")


def oblique():
    """A rotation about an odd axis, voxels of three sizes, and an origin."""
    turn = np.linalg.qr(np.eye(3) + 0.2 * np.random.default_rng(1).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * np.sign(np.diag(turn)) * (0.7, 0.8, 2.5)
    affine[:3, 3] = (-90, 12.5, 700)
    return affine


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_mask_lies_on_the_images_grid_in_all_48_orientations(tmp_path, codes):
    image = nibabel.Nifti1Image(VALUES, oblique())
    to = nibabel.orientations.axcodes2ornt(tuple(codes))
    image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), to))
    nibabel.save(image, tmp_path / "a.nii")
    mask = copied(tmp_path / "a.nii", tmp_path / "out")
    stored = nibabel.load(tmp_path / "a.nii")
    assert nibabel.aff2axcodes(mask.affine) == tuple(codes)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(stored.dataobj))
    np.testing.assert_array_equal(mask.affine, stored.affine)
    assert mask.shape == stored.shape
    assert mask.header.get_zooms() == stored.header.get_zooms()


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 1, 1), (1, 4, 5), (3, 1, 5)])
def test_planes_keep_their_shape(tmp_path, shape):
    values = np.resize(VALUES, shape)
    nibabel.save(nibabel.Nifti1Image(values, oblique()), tmp_path / "a.nii.gz")
    mask = copied(tmp_path / "a.nii.gz", tmp_path / "out")
    assert mask.shape == shape
    np.testing.assert_array_equal(np.asarray(mask.dataobj), values)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (0, 0), (2, 4)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_both_transforms_and_their_codes_stay(tmp_path, kind, codes):
    image = kind(VALUES, None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    image.set_qform(oblique(), codes[0], update_affine=False)
    image.set_sform(oblique() + 1e-3, codes[1], update_affine=True)
    image.header.set_xyzt_units("micron", "sec")
    image.header["descrip"] = b"Secret^Name"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"SECRET-ID"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    mask, stored = copied(tmp_path / "a.nii.gz", tmp_path / "out"), nibabel.load(tmp_path / "a.nii.gz")
    for name in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "qoffset_z", "xyzt_units"):
        np.testing.assert_array_equal(mask.header[name], stored.header[name])
    np.testing.assert_array_equal(mask.affine, stored.affine)
    assert type(mask) is kind
    assert b"secret" not in gzip.decompress((tmp_path / "out" / "a.nii.gz").read_bytes()).lower()


def test_scaling_and_byte_order_of_the_image_do_not_reach_the_mask(tmp_path):
    image = nibabel.Nifti1Image(VALUES.astype(np.int16), oblique(), nibabel.Nifti1Header(endianness=">"))
    image.header.set_slope_inter(2.0, 0.0)
    image.header["cal_max"] = 7
    nibabel.save(image, tmp_path / "a.nii")
    mask = copied(tmp_path / "a.nii", tmp_path / "out", np.uint16)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), 2 * VALUES.astype(np.uint16))
    assert (mask.dataobj.slope, mask.dataobj.inter, mask.get_data_dtype()) == (1, 0, np.dtype("<u2"))


def test_one_slice_of_a_volume_lies_where_it_is_cut(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VALUES, oblique()), tmp_path / "a.nii")
    mask = copied(tmp_path / "a.nii#3", tmp_path / "out")
    assert mask.shape == (3, 4, 1)
    where = nibabel.affines.apply_affine(mask.affine, np.argwhere(np.ones(mask.shape)))
    voxels = np.rint(nibabel.affines.apply_affine(np.linalg.inv(oblique()), where)).astype(int)
    np.testing.assert_allclose(nibabel.affines.apply_affine(oblique(), voxels), where, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(mask.dataobj).ravel(), VALUES[tuple(voxels.T)])
    assert {*voxels[:, 2].tolist()} == {3}


def test_equal_masks_are_equal_files(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VALUES, oblique()), tmp_path / "a.nii")
    for out in ("b", "c"):
        copied(tmp_path / "a.nii", tmp_path / out)
    assert (tmp_path / "b" / "a.nii.gz").read_bytes() == (tmp_path / "c" / "a.nii.gz").read_bytes()


def test_an_unfinished_mask_leaves_nothing(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VALUES, oblique()), tmp_path / "a.nii")
    (volume,) = list_volumes(tmp_path / "a.nii")
    (tmp_path / "out").mkdir()
    writer = NiftiMask(OutputTarget(tmp_path / "out", volume, (4, 3), CLASSES, np.dtype(np.uint8)))
    writer.add(MaskBand(0, 0, np.ones((4, 3), np.uint8), None, None, None))
    writer.discard()
    assert [*(tmp_path / "out").iterdir()] == []


def test_images_that_lie_nowhere_are_refused(tmp_path):
    image = tmp_path / "a.png"
    assert "does not say where its pixels lie" in without_affine(Volume(image, "a", (image,)))


@pytest.mark.parametrize(("units", "expected"), [(2, (0.8, 0.7)), (1, (800, 700)), (3, (8e-4, 7e-4)), (4, (0.8, 0.7))])
def test_pixels_are_measured_in_the_files_units(tmp_path, units, expected):
    image = nibabel.Nifti1Image(VALUES, np.diag([0.7, 0.8, 2.5, 1.0]))
    image.header["xyzt_units"] = units
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(list_volumes(tmp_path / "a.nii")[0].pixel_mm, expected)
