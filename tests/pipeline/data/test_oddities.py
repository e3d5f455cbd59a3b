"""Warnings of single samples."""

import numpy as np
import pytest
from PIL import Image

from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.image_files.reading import read_mask


def warning(data, name, window=None):
    return [line for line in check_data(data, window).warnings if line.endswith(f"[{name}]")]


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    path = folder / "manifest.csv"
    path.write_text("\n".join(["id,image,mask,text,split", *rows]), encoding="utf-8")
    return path


def test_texts_in_other_languages_are_named_with_their_words(tmp_path, write_image, write_mask):
    for name in "abc":
        write_image(tmp_path / f"{name}.png", seed=ord(name))
        write_mask(tmp_path / f"{name}_mask.png")
    texts = {"a": "Knoten links", "b": "round nuclei", "c": "左肺结节"}
    manifest = write(tmp_path, [f"{name},{name}.png,{name}_mask.png,{text},train" for name, text in texts.items()])
    (line,) = warning(manifest, "other-language")
    assert line.startswith("2 of 3 texts seem not to be in English (German: 'links'; Chinese: '左肺结节'):")
    assert line.endswith("in English alone: a, c [other-language]")


@pytest.mark.parametrize("kind", ["black", "transparent", "window"])
def test_an_image_of_one_colour_is_warned_of(tmp_path, write_image, kind):
    write_image(tmp_path / "good.png")
    pixels = np.random.default_rng(0).integers(0, 200, (6, 8, 3), dtype=np.uint8)
    image = {
        "black": Image.fromarray(pixels * 0),
        "transparent": Image.fromarray(np.dstack([pixels, pixels[..., 0] * 0])),
        "window": Image.fromarray(pixels[..., 0].astype(np.uint16)),
    }[kind]
    image.save(tmp_path / "a.png")
    manifest = write(tmp_path, ["good,good.png,,,test", "a,a.png,,,test"])
    (line,) = warning(manifest, "blank-image", (500, 900))
    assert line.startswith("1 of 2 images show a single colour")
    assert line.endswith(": a [blank-image]")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_mask_that_is_no_nifti_file_beside_a_slice_is_warned_of(tmp_path, turned, suffix):
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(0, 99, (6, 6, 2)).astype(np.int16)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    plane = (values[:, :, 0] > 50).astype(np.uint8)
    Image.fromarray(np.ascontiguousarray(plane.T if turned else plane)).save(tmp_path / f"mask.{suffix}")
    (line,) = warning(write(tmp_path, [f"a,scan.nii.gz#0,mask.{suffix},,train"]), "mask-beside-slice", (0, 99))
    assert line.startswith("1 samples have a slice of a NIfTI volume and another kind of file as image and mask")


def test_a_nifti_mask_beside_a_plain_image_is_warned_of(tmp_path, write_image):
    nibabel = pytest.importorskip("nibabel")
    nibabel.Nifti1Image(np.eye(6, dtype=np.uint8)[:, :, None], np.eye(4)).to_filename(tmp_path / "mask.nii")
    write_image(tmp_path / "a.png", size=(6, 6))
    assert warning(write(tmp_path, ["a,a.png,mask.nii,,train"]), "mask-beside-slice")


def test_nifti_masks_beside_slices_and_plain_masks_beside_images_are_not(tmp_path, write_image, write_mask):
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(0, 2, (6, 6, 2)).astype(np.uint8)
    for name in ("scan", "mask"):
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / f"{name}.nii")
    write_image(tmp_path / "b.png")
    write_mask(tmp_path / "b_mask.png")
    manifest = write(tmp_path, ["a,scan.nii#1,mask.nii#1,,train", "b,b.png,b_mask.png,,train"])
    assert warning(manifest, "mask-beside-slice", (0, 1)) == []


def test_docs_say_how_arrays_lie_against_slices(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    array = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "mask.nii")
    for z in range(2):
        shown = read_mask(tmp_path / f"mask.nii#{z}")
        np.testing.assert_array_equal(shown, array[::-1, ::-1, z].T)
        np.testing.assert_array_equal(shown, np.rot90(array[:, :, z].T, 2))
        np.testing.assert_array_equal(shown, np.rot90(array[:, :, z])[:, ::-1])
