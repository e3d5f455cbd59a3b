import gzip
import sys

import numpy as np
import pytest

from textdiff.errors import DataError
from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.image_files import nifti
from textdiff.pipeline.image_files.reading import read_image, read_mask

nibabel = pytest.importorskip("nibabel")

VOLUME = np.arange(24, dtype=np.int16).reshape(2, 3, 4)  # x (2), y (3), z (4): value = 12 x + 4 y + z
RAS = np.diag([1.0, 1.0, 1.0, 1.0])


def write(path, values, affine=RAS, kind=nibabel.Nifti1Image, slope=None, inter=None):
    image = kind(values, affine)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    return path


# Which voxel is shown where


def test_the_front_is_above_and_the_patients_right_on_the_left(tmp_path):
    write(tmp_path / "a.nii.gz", VOLUME)
    # In RAS, x grows to the right and y to the front: the upper left corner is the largest x and the largest y.
    assert read_mask(tmp_path / "a.nii.gz#1").tolist() == [[21, 9], [17, 5], [13, 1]]
    assert read_mask(tmp_path / "a.nii.gz#0")[0, 0] == 20  # the lowest slice


def test_flipped_axes_give_the_same_picture(tmp_path):
    flipped = np.diag([-1.0, -1.0, -1.0, 1.0])  # LPI: x to the left, y to the back, z to the feet
    write(tmp_path / "a.nii", VOLUME, flipped)
    # The patient's right is x = 0 now, the front y = 0, and the lowest slice the last one stored.
    assert read_mask(tmp_path / "a.nii#0").tolist() == [[3, 15], [7, 19], [11, 23]]
    assert read_mask(tmp_path / "a.nii#3").tolist() == [[0, 12], [4, 16], [8, 20]]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "SPL", "IRP", "PIL"])
def test_however_it_is_stored_a_body_looks_the_same(tmp_path, codes):
    image = nibabel.Nifti1Image(VOLUME, np.diag([0.7, 0.8, 2.5, 1.0]))
    to = nibabel.orientations.axcodes2ornt(tuple(codes))
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), to))
    nibabel.save(turned, tmp_path / "a.nii.gz")
    assert nibabel.aff2axcodes(turned.affine) == tuple(codes)
    for index in range(4):
        assert read_mask(tmp_path / f"a.nii.gz#{index}").tolist() == VOLUME[::-1, ::-1, index].T.tolist()


def test_a_tilted_volume_is_cut_along_the_closest_axes(tmp_path):
    angle = np.deg2rad(20)
    tilted = RAS.copy()
    tilted[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    write(tmp_path / "a.nii", VOLUME, tilted)
    assert read_mask(tmp_path / "a.nii#1").tolist() == [[21, 9], [17, 5], [13, 1]]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 1, 1)])
def test_a_single_plane_needs_no_index(tmp_path, shape):
    path = write(tmp_path / "a.nii.gz", VOLUME[:, :, 1].reshape(shape))
    for name in (path, tmp_path / "a.nii.gz#0"):
        assert read_mask(name).tolist() == [[21, 9], [17, 5], [13, 1]]


def test_a_single_plane_seen_from_the_front_has_the_head_above(tmp_path):
    path = write(tmp_path / "a.nii", VOLUME[:, 1:2])
    assert read_mask(path).tolist() == [[19, 7], [18, 6], [17, 5], [16, 4]]


# Values


def test_scaled_values_go_through_the_window(tmp_path):
    path = write(tmp_path / "a.nii.gz", np.array([[[0], [500], [1000]]], np.int16), slope=2.0, inter=-1000.0)
    # -1000, 0, 1000 in -500..500; the front, largest y, is above
    assert read_image(path, (-500, 500))[:, 0, 0].tolist() == [255, 128, 0]
    assert read_mask(path)[:, 0].tolist() == [1000, 0, -1000]


def test_floats_go_through_the_window(tmp_path):
    path = write(tmp_path / "a.nii", np.array([[[0.0], [0.3], [1.7]]], np.float32))
    assert read_image(path, (0, 1))[:, 0, 2].tolist() == [255, 77, 0]  # 76.5 and a little
    with pytest.raises(DataError, match=r"holds 32 bit values \(0 to 1\.7\); say with an intensity window"):
        read_image(path)


def test_plain_8_bits_need_no_window(tmp_path):
    path = write(tmp_path / "a.nii", np.array([[[0], [7]]], np.uint8))
    assert read_image(path)[:, 0, 1].tolist() == [7, 0]


def test_masks_may_be_stored_as_floats_of_whole_numbers(tmp_path):
    path = write(tmp_path / "a.nii", np.array([[[0], [3]]], np.float64))
    mask = read_mask(path)
    assert mask.dtype.kind == "i"
    assert mask[:, 0].tolist() == [3, 0]
    with pytest.raises(
        DataError, match=r"b\.nii holds values that are not whole numbers .*; save the mask as integers"
    ):
        read_mask(write(tmp_path / "b.nii", np.array([[[0], [0.5]]])))
    with pytest.raises(DataError, match=r"c\.nii holds values that are not whole numbers \(below 2\*\*31\); save the"):
        read_mask(write(tmp_path / "c.nii", np.array([[[0], [1e30]]])))


def test_values_that_are_no_numbers_are_refused(tmp_path):
    path = write(tmp_path / "a.nii", np.array([[[0.0], [np.nan]]], np.float32))
    with pytest.raises(DataError, match="holds values that are no numbers"):
        read_image(path, (0, 1))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_versions_and_byte_orders(tmp_path, kind, order):
    image = kind(VOLUME, RAS)
    swapped = kind(VOLUME, RAS, image.header.as_byteswapped(order))
    nibabel.save(swapped, tmp_path / "a.nii.gz")
    mask = read_mask(tmp_path / "a.nii.gz#1")
    assert mask.dtype == np.int16
    assert mask.tolist() == [[21, 9], [17, 5], [13, 1]]


# What cannot be used


def test_slices_must_be_named(tmp_path):
    path = write(tmp_path / "a.nii.gz", VOLUME)
    for name in (path, tmp_path / "a.nii.gz#4"):
        with pytest.raises(DataError, match=r"holds 4 slices; name one of them: a\.nii\.gz#0 to a\.nii\.gz#3$"):
            read_mask(name)


def test_series_of_volumes_and_complex_values_are_refused(tmp_path):
    path = write(tmp_path / "a.nii", np.zeros((2, 3, 4, 5), np.int16))
    with pytest.raises(DataError, match=r"holds 4 dimensions \(2, 3, 4, 5\); export the one volume"):
        read_mask(tmp_path / f"{path.name}#0")
    write(tmp_path / "b.nii", np.zeros((2, 3, 4), np.complex64))
    with pytest.raises(DataError, match="holds complex64 values; save it as integers or floats"):
        read_mask(tmp_path / "b.nii#0")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_volumes_are_refused(tmp_path, name):
    path = write(tmp_path / name, np.random.default_rng(0).integers(0, 999, (9, 9, 9), dtype=np.int16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{name}#8 is truncated or broken"):
        read_mask(tmp_path / f"{name}#8")


def test_a_volume_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "MAX_UNPACKED_BYTES", 399)
    path = write(tmp_path / "a.nii.gz", VOLUME)
    with pytest.raises(DataError, match="unpacks to over 399 bytes; unpack it with gunzip"):
        read_mask(tmp_path / "a.nii.gz#0")
    (tmp_path / "a.nii").write_bytes(gzip.decompress(path.read_bytes()))
    assert read_mask(tmp_path / "a.nii#1")[0, 0] == 21


def test_what_nibabel_remarks_is_not_heard(tmp_path, caplog):
    path = write(tmp_path / "a.nii", VOLUME)
    content = bytearray(path.read_bytes())
    content[254:256] = (206).to_bytes(2, "little")  # sform_code
    path.write_bytes(content)
    read_mask(tmp_path / "a.nii#0")
    assert not caplog.records


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz", VOLUME)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"is a NIfTI file; install textdiff\[medical\] to read it"):
        read_mask(path)


# Many slices


def test_a_volume_is_unpacked_once_for_its_slices(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz", VOLUME)
    unpacked = []
    real = nifti._load
    monkeypatch.setattr(nifti, "_load", lambda nibabel, path: unpacked.append(path) or real(nibabel, path))
    assert [read_mask(tmp_path / f"a.nii.gz#{index}")[0, 0] for index in range(4)] == [20, 21, 22, 23]
    assert unpacked == [path]
    write(path, VOLUME + np.int16(100))
    assert read_mask(tmp_path / "a.nii.gz#0")[0, 0] == 120


@pytest.mark.parametrize(("n_bytes", "n_kept"), [(2**30, 2), (500, 1)])
def test_unpacked_volumes_are_kept_within_a_limit(tmp_path, monkeypatch, n_bytes, n_kept):
    monkeypatch.setattr(nifti, "MAX_KEPT_BYTES", n_bytes)
    monkeypatch.setattr(nifti, "_kept", {})
    for name in ("a.nii.gz", "b.nii.gz"):
        read_mask(write(tmp_path / name, VOLUME).with_name(f"{name}#0"))
    assert [path for path, *_ in nifti._kept] == [tmp_path / name for name in ("a.nii.gz", "b.nii.gz")][-n_kept:]


@pytest.fixture
def scans(tmp_path):
    """A manifest of three slices of two scans, each with a mask that is stored the other way round."""
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned[:2, 3] = (1, 2)  # the last voxel along x and y lies where the image's first one does
    rows = ["id,image,mask,text,split"]
    for name in "ab":
        values = np.random.default_rng(ord(name)).integers(-1000, 1000, (2, 3, 4), dtype=np.int16)
        write(tmp_path / f"{name}.nii.gz", values)
        write(tmp_path / f"{name}_mask.nii.gz", (values > 0).astype(np.uint8)[::-1, ::-1], turned)
    rows += [f"{scan}{k},{scan}.nii.gz#{k},{scan}_mask.nii.gz#{k},,{split}" for scan, k, split in SLICES]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    return tmp_path


SLICES = (("a", 0, "train"), ("a", 3, "train"), ("b", 0, "val"))


def test_slices_stand_in_manifests(scans):
    samples = read_dataset(scans, (-1000, 1000)).samples
    assert [(sample.id, sample.group) for sample in samples] == [
        ("a0", "a.nii.gz"),
        ("a3", "a.nii.gz"),
        ("b0", "b.nii.gz"),
    ]
    assert len({sample.image_digest for sample in samples} | {sample.mask_digest for sample in samples}) == 6
    for sample in samples:
        assert sample.size == (3, 2)
        image, mask = read_image(sample.image, (-1000, 1000)), read_mask(sample.mask)
        np.testing.assert_array_equal(image[..., 0] > 128, mask)


def test_slices_of_a_scan_are_one_patient(scans):
    manifest = scans / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",train", ",test", 1))
    assert (
        "group 'a.nii.gz' is in more than one split: a0 (test), a3 (train)" in check_data(manifest, (0, 9)).problems[0]
    )


def test_masks_that_lie_elsewhere_are_a_problem(scans):
    write(scans / "b_mask.nii.gz", np.zeros((2, 3, 4), np.uint8), np.diag([1.0, 1.0, 1.02, 1.0]))
    (problem,) = check_data(scans, (0, 9)).problems
    assert "b_mask.nii.gz#0 does not lie where its image b.nii.gz#0 does (their affines differ)" in problem


BIG = np.diag([0.7, 0.7, 1.0, 1.0]) + np.array([[0, 0, 0, -180]] * 2 + [[0, 0, 0, -900]] + [[0] * 4])
ANGLE = np.array([[np.cos(0.01), -np.sin(0.01)], [np.sin(0.01), np.cos(0.01)]])


def changed(part, by):
    affine = BIG.copy()
    affine[part] = by(affine[part])
    return affine


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (BIG.astype(np.float32), False),
        (changed((2, 3), lambda z: z + 0.005), False),
        (changed((2, 3), lambda z: z + 0.09), True),
        (changed((0, 0), lambda x: x * 0.709 / 0.7), True),
        (changed((slice(2), slice(2)), lambda square: ANGLE @ square), True),
    ],
)
def test_places_are_compared_over_the_whole_volume(tmp_path, affine, expected):
    values = np.zeros((512, 512, 1), np.uint8)
    image, mask = write(tmp_path / "a.nii", values, BIG), write(tmp_path / "b.nii", values, affine)
    assert nifti.misplaced(image, mask) is expected


def test_volumes_that_are_missing_are_a_problem(scans):
    manifest = scans / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("b.nii.gz#0", "c.nii.gz#0"))
    (problem,) = check_data(manifest, (0, 9)).problems
    assert "row 4: image 'c.nii.gz#0' does not exist" in problem
