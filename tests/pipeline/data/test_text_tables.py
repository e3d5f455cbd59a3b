from pathlib import Path

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.data.text_tables import texts_by_image

IMAGES = [Path("img/a.tif"), Path("img/b.png"), Path("img/c.1.nii.gz")]


def alone(images):
    """Images that are their own only slice."""
    return {image: (image,) for image in images}


@pytest.fixture
def table(tmp_path):
    """A function that writes a table of texts."""

    def write(*rows, header="Image,Description"):
        path = tmp_path / "texts.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


def test_rows_go_by_the_names_of_images_and_masks(table):
    path = table("mask_a.png,of a", "b_mask,of b", "c.1.png,of c", "other.png,of none")
    assert texts_by_image(alone(IMAGES), path) == dict(zip(IMAGES, ["of a", "of b", "of c"], strict=True))


def test_an_image_that_is_called_like_a_mask_comes_first(table):
    images = [Path("a.png"), Path("mask_a.png")]
    path = table("mask_a.png,of the second", "a.png,of the first")
    assert texts_by_image(alone(images), path) == {images[0]: "of the first", images[1]: "of the second"}


def test_slices_go_by_their_own_names(table):
    slices = [Path("scan.nii.gz#2"), Path("scan.nii.gz#12")]
    assert texts_by_image(alone(slices), table("scan.nii.gz#12,high", "scan_2,low")) == {
        slices[0]: "low",
        slices[1]: "high",
    }


def test_all_problems_are_told_at_once(table):
    path = table("a.png,once", "mask_a.png,twice", "b.png,")
    with pytest.raises(DataError, match=r"texts\.csv does not give every image one text") as caught:
        texts_by_image(alone(IMAGES), path)
    twice, empty, absent = caught.value.problems
    assert twice.endswith("row 3: 'mask_a.png' has a text in row 2 already; keep one")
    assert empty.endswith("row 4: empty text for 'b.png'; write a Description")
    assert absent == "no row for c.1.nii.gz; add one"


def test_columns_are_needed(table):
    with pytest.raises(DataError, match=r"missing columns 'description'; got 'image', 'text'; add them to"):
        texts_by_image(alone(IMAGES), table("a,b", header="Image,Text"))


def test_the_slices_of_a_volume_may_share_its_text(table):
    slices = [Path("scan/IM1"), Path("scan/IM2"), Path("scan/IM3")]
    series = {Path("scan"): slices}
    agreed = {Path("scan"): "round"}
    assert texts_by_image(series, table("IM1,round", "IM2,round", "IM3,round")) == agreed
    assert texts_by_image(series, table("IM2,round")) == agreed
    assert texts_by_image(series, table("scan,round", "IM2,flat")) == agreed
    with pytest.raises(DataError, match=r"2 texts for the slices of scan, .* write one row for scan"):
        texts_by_image(series, table("IM1,round", "IM2,flat"))
