import os
import re
from hashlib import sha256
from unicodedata import normalize

import numpy as np
import pytest

from textdiff.pipeline.data.dataset import Sample, read_dataset, scan_dataset


def test_lvit_samples(lvit):
    dataset = read_dataset(lvit)
    assert [(s.id, s.group, s.split, s.text) for s in dataset.samples] == [
        ("a", "a", "train", "text of a"),
        ("b", "b", "train", "text of b"),
        ("c", "c", "val", "text of c"),
        ("d", "d", "test", "text of d"),
    ]
    image, mask = (lvit / "Train_Folder" / kind / "a.png" for kind in ("img", "labelcol"))
    assert dataset.samples[0] == Sample(
        id="a",
        group="a",
        split="train",
        image=image,
        mask=mask,
        text="text of a",
        stratum="",
        weight=1.0,
        size=(6, 8),
        image_digest=sha256(image.read_bytes()).hexdigest(),
        mask_digest=sha256(mask.read_bytes()).hexdigest(),
        n_pixels=(24, 24),
    )
    assert dataset.root == lvit
    assert dataset.warnings == ()


@pytest.mark.parametrize("mask_name", ["mask_a", "a_mask", "a"])
@pytest.mark.parametrize("text_name", ["a.png", "a", "{mask}.png", "{mask}"])
def test_masks_and_texts_go_by_any_of_their_names(lvit, mask_name, text_name, write_table):
    folder = lvit / "Train_Folder"
    (folder / "labelcol" / "a.png").rename(folder / "labelcol" / f"{mask_name}.png")
    rows = [("image", "DESCRIPTION"), (text_name.format(mask=mask_name), "by name"), ("b", "text of b")]
    write_table(folder / "Train_text.xlsx", rows)
    sample = read_dataset(lvit).samples[0]
    assert sample.mask is not None
    assert (sample.id, sample.mask.stem, sample.text) == ("a", mask_name, "by name")


def test_texts_may_come_from_a_csv_with_bom_and_semicolons(lvit):
    (lvit / "Train_Folder" / "Train_text.xlsx").unlink()
    table = 'Image;Description\r\na.png;Größere Kerne, dicht\r\n\r\nb.png;"one; two"\r\n'
    (lvit / "Train_Folder" / "my_text.CSV").write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert [s.text for s in read_dataset(lvit).samples[:2]] == ["Größere Kerne, dicht", "one; two"]


def test_test_images_need_no_masks(lvit, assert_one_problem):
    (lvit / "Test_Folder" / "labelcol" / "d.png").unlink()
    assert_one_problem(lvit, r"img/d\.png has no mask; expected .*labelcol/d\.png")
    (lvit / "Test_Folder" / "labelcol").rmdir()
    sample = read_dataset(lvit).samples[-1]
    assert (sample.mask, sample.mask_digest) == (None, None)


def test_a_folder_without_masks_is_one_problem(lvit, assert_one_problem):
    for mask in (lvit / "Train_Folder" / "labelcol").iterdir():
        mask.unlink()
    (lvit / "Train_Folder" / "labelcol").rmdir()
    assert_one_problem(lvit, r"Train_Folder/labelcol does not exist; expected a mask there for each of 2 images")


def test_missing_mask(lvit, assert_one_problem):
    (lvit / "Train_Folder" / "labelcol" / "b.png").unlink()
    assert_one_problem(lvit, r"Train_Folder/img/b\.png has no mask; expected .*labelcol/b\.png$")


def test_extra_mask(lvit, write_mask, assert_one_problem):
    write_mask(lvit / "Train_Folder" / "labelcol" / "z.png")
    assert_one_problem(lvit, r"labelcol/z\.png belongs to no image in .*img; remove it")


def test_two_masks_for_one_image(lvit, write_mask, assert_one_problem):
    write_mask(lvit / "Train_Folder" / "labelcol" / "mask_a.png")
    assert_one_problem(lvit, r"img/a\.png has 2 masks \(a\.png, mask_a\.png\); keep one")


def test_mask_of_another_size(lvit, write_mask, assert_one_problem):
    write_mask(lvit / "Train_Folder" / "labelcol" / "a.png", size=(6, 7))
    assert_one_problem(lvit, r"labelcol/a\.png is 6 x 7 \(height x width\), its image a\.png is 6 x 8; save the mask")


def test_text_without_image(lvit, write_table, assert_one_problem):
    rows = [("Image", "Description"), ("a.png", "x"), ("b.png", "y"), ("z.png", "z")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert_one_problem(lvit, r"Train_text\.xlsx row 4: 'z\.png' is no image or mask here; add the image or remove")


def test_image_without_text(lvit, write_table, assert_one_problem):
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", [("Image", "Description"), ("b.png", "y")])
    assert_one_problem(lvit, r"Train_text\.xlsx has no row for .*img/a\.png; add one")


def test_empty_text(lvit, write_table, assert_one_problem):
    rows = [("Image", "Description"), ("a.png", "  "), ("b.png", "y")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert_one_problem(lvit, r"Train_text\.xlsx row 2: empty text for 'a\.png'; write a Description")


def test_duplicate_rows_by_whatever_name(lvit, write_table, assert_one_problem):
    rows = [("Image", "Description"), ("a.png", "x"), ("b.png", "y"), ("a", "again")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert_one_problem(lvit, r"row 4: 'a' has a text in row 2 already; keep one")
    assert scan_dataset(lvit)[0].samples[0].text == "x"


def test_a_text_table_without_its_columns_is_one_problem(lvit, write_table, assert_one_problem):
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", [("File", "Description"), ("a.png", "x")])
    assert_one_problem(lvit, r"missing columns 'image'; got 'file', 'description'; add them to the header")


def test_other_columns_of_texts_are_a_warning(lvit, write_table):
    rows = [("Image", "Description", "Rater"), ("a.png", "x", "1"), ("b.png", "y", "2")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    assert re.search(r"Train_text\.xlsx: columns 'rater' are not used", str(read_dataset(lvit).warnings[0]))


def test_two_text_tables(lvit, assert_one_problem):
    (lvit / "Train_Folder" / "new_text.csv").write_text("Image,Description\na.png,x\nb.png,y\n")
    assert_one_problem(lvit, r"Train_Folder holds Train_text\.xlsx, new_text\.csv; keep one table of texts")


def test_no_text_table_is_a_warning(lvit):
    (lvit / "Train_Folder" / "Train_text.xlsx").unlink()
    dataset = read_dataset(lvit)
    assert [s.text for s in dataset.samples] == ["", "", "text of c", "text of d"]
    assert re.search(r"Train_Folder holds no \*_text\.xlsx or \*_text\.csv", str(dataset.warnings[0]))


def test_a_lock_file_of_a_spreadsheet_is_no_table(lvit, problems_of):
    (lvit / "Train_Folder" / "~$Train_text.xlsx").write_bytes(b"lock")
    assert problems_of(lvit) == ()


def test_a_broken_text_table(lvit, assert_one_problem):
    (lvit / "Train_Folder" / "Train_text.xlsx").write_bytes(b"PK\x03\x04 and then nothing")
    assert_one_problem(lvit, r"Train_text\.xlsx cannot be read as XLSX \(BadZipFile: .*\); save it anew")


def test_no_images(lvit, write_table, assert_one_problem):
    for path in (lvit / "Val_Folder" / "img" / "c.png", lvit / "Val_Folder" / "labelcol" / "c.png"):
        path.unlink()
    write_table(lvit / "Val_Folder" / "Val_text.xlsx", [("Image", "Description")])
    assert_one_problem(lvit, r"Val_Folder/img holds no images; put them there, or remove Val_Folder")


def test_names_that_cannot_be_ids(lvit, write_table, assert_one_problem):
    folder = lvit / "Train_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind / "a.png").rename(folder / kind / "a?.png")
    write_table(folder / "Train_text.xlsx", [("Image", "Description"), ("a?.png", "x"), ("b.png", "y")])
    assert_one_problem(
        lvit, r"img/a\?\.png: the id 'a\?' cannot be used; ids become file names on any system: no '\.\.'"
    )


NAMES = [
    "benign (4)",
    "a (1)",
    "A & B",
    "1,5",
    "a+b",
    "a@b",
    "[a]",
    "#7",
    "a#12",
    "k=3",
    "~a",
    "it's",
    "Größe 3%",
    "病理",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_any_system_takes_are_ids(lvit, write_table, name):
    folder = lvit / "Train_Folder"
    (folder / "img" / "a.png").rename(folder / "img" / f"{name}.png")
    (folder / "labelcol" / "a.png").rename(folder / "labelcol" / f"{name}_mask.png")
    write_table(folder / "Train_text.xlsx", [("Image", "Description"), (f"{name}.png", "x"), ("b.png", "y")])
    samples = {sample.id: sample for sample in read_dataset(lvit).samples}
    assert (samples[name].text, samples[name].mask.name) == ("x", f"{name}_mask.png")


@pytest.mark.parametrize(("of_image", "of_mask", "of_row"), [("NFD", "NFC", "NFC"), ("NFC", "NFD", "NFD")])
def test_names_match_in_any_unicode_form(lvit, write_table, of_image, of_mask, of_row):
    name, folder = "Größe 각 é", lvit / "Train_Folder"
    image = folder / "img" / f"{normalize(of_image, name)}.png"
    (folder / "img" / "a.png").rename(image)
    (folder / "labelcol" / "a.png").rename(folder / "labelcol" / f"mask_{normalize(of_mask, name)}.png")
    rows = [("Image", "Description"), (f"{normalize(of_row, name)}.png", "x"), ("b.png", "y")]
    write_table(folder / "Train_text.xlsx", rows)
    samples = {sample.id: sample for sample in read_dataset(lvit).samples}
    assert (samples[normalize("NFC", name)].image, samples[normalize("NFC", name)].text) == (image, "x")


def test_two_names_that_differ_in_unicode_form_alone_are_a_problem(lvit, write_image, problems_of):
    for seed, form in enumerate(("NFC", "NFD")):
        write_image(lvit / "Test_Folder" / "img" / f"{normalize(form, 'é')}.png", seed=70 + seed)
    assert any("duplicate id 'é'" in problem for problem in problems_of(lvit))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Image,Description", "a.png,small, round", "b,y"], "row 2: 3 cells under 2 columns; put quotes"),
        (["Image,Description,,", "a.png,small,,", "b,y, z,"], "row 3: 4 cells under 2 columns; put quotes"),
    ],
)
def test_commas_without_quotes_do_not_cut_texts(lvit, lines, said, problems_of):
    (lvit / "Train_Folder" / "Train_text.xlsx").unlink()
    (lvit / "Train_Folder" / "Train_text.csv").write_text("\n".join(lines))
    assert said in problems_of(lvit)[0]


# The presets' data, as published


def test_monuseg_as_published(tmp_path, write_image, write_mask, write_table):
    """Images are TIFF, masks PNG, and texts go by the mask's file name; here the test folder has no masks yet."""
    names = {"train": ("TCGA-18-5592-01Z-00-DX1", "TCGA-A7.x 2"), "test": ("TCGA-2Z-A9J9-01A-01-TS1",)}
    for seed, (split, stems) in enumerate(names.items()):
        folder = tmp_path / f"{split.title()}_Folder"
        for i, stem in enumerate(stems):
            write_image(folder / "img" / f"{stem}.tif", seed=2 * seed + i)
            if split == "train":
                write_mask(folder / "labelcol" / f"{stem}.png")
        rows = [(f"{stem}.png", f"The nuclei of {stem}.") for stem in stems]
        write_table(folder / f"{split.title()}_text.xlsx", [("Image", "Description"), *rows])
    samples = read_dataset(tmp_path).samples
    assert [(s.id, s.split, s.image.suffix, s.mask is None, s.text) for s in samples] == [
        (stem, split, ".tif", split == "test", f"The nuclei of {stem}.") for split in names for stem in names[split]
    ]


def test_qata_as_published(tmp_path, write_image, write_mask, write_table):
    """Masks are called `mask_NAME.png`, and so are the rows of the texts; strays of file managers stand about."""
    names = ["covid_1", "sub-S03047_ses-E07985_run-1_bp-chest_vp-ap_dx"]
    for seed, folder in enumerate(("Train_Folder", "Val_Folder")):
        root = tmp_path / folder
        for i, name in enumerate(names):
            write_image(root / "img" / f"{folder[0]}{name}.png", seed=2 * seed + i, size=(224, 224))
            write_mask(root / "labelcol" / f"mask_{folder[0]}{name}.png", size=(224, 224))
        rows = [(i, f"mask_{folder[0]}{name}.png", f"BILATERAL infection, {name}. ") for i, name in enumerate(names)]
        write_table(root / f"{folder.split('_')[0]}_text.xlsx", [(None, "Image", "Description"), *rows])
        for stray in ("img/Thumbs.db", "labelcol/.DS_Store", "labelcol/._mask_covid_1.png", "~$Train_text.xlsx"):
            (root / stray).write_bytes(b"stray")
    dataset = read_dataset(tmp_path)
    assert [(s.id, s.mask.name, s.text) for s in dataset.samples if s.mask] == [
        (f"{split}{name}", f"mask_{split}{name}.png", f"BILATERAL infection, {name}.")
        for split in "TV"
        for name in names
    ]
    assert all("columns '' are not used" in str(warning) for warning in dataset.warnings)


def test_a_stray_mask_name_of_another_suffix_still_finds_its_image(lvit, write_table):
    folder = lvit / "Train_Folder"
    write_table(folder / "Train_text.xlsx", [("Image", "Description"), ("a_mask.TIF", "x"), ("mask_b", "y")])
    assert [sample.text for sample in read_dataset(lvit).samples[:2]] == ["x", "y"]


def test_slices_of_one_plane_are_images_like_others(lvit):
    nibabel = pytest.importorskip("nibabel")
    folder = lvit / "Train_Folder"
    for kind in ("img", "labelcol"):
        (folder / kind / "a.png").unlink()
        plane = np.resize(np.array([0, 255], np.uint8), (8, 6))
        nibabel.save(nibabel.Nifti1Image(plane, np.eye(4)), folder / kind / "a.nii.gz")
    sample = read_dataset(lvit).samples[0]
    assert (sample.id, sample.size, sample.text) == ("a", (6, 8), "text of a")


def test_files_that_are_no_images_are_named_and_those_of_systems_are_not(lvit):
    for name in ("notes.txt", "a.xcf", "Thumbs.db", ".DS_Store", "._a.png", "desktop.ini"):
        (lvit / "Train_Folder" / "img" / name).write_bytes(b"stray")
    (lvit / "Val_Folder" / "labelcol" / "old").mkdir()
    of_train, of_val = map(str, read_dataset(lvit).warnings)
    reason = "(no image that is read)"
    assert of_train.endswith(
        f"Train_Folder/img: files are left out: a.xcf {reason}, notes.txt {reason} [left-out-files]"
    )
    assert of_val.endswith("labelcol: files are left out: old (a folder, which is not entered) [left-out-files]")


@pytest.mark.parametrize("suffix", ["bmp", "BMP", "gif"])
def test_no_file_of_a_folder_of_several_formats_is_dropped(lvit, write_image, write_mask, write_table, suffix):
    folder = lvit / "Train_Folder"
    for i, name in enumerate("xyz"):
        write_image(folder / "img" / f"{name}.{suffix}", seed=50 + i)
        write_mask(folder / "labelcol" / f"{name}.{suffix}")
    write_table(
        folder / "Train_text.xlsx", [("Image", "Description"), *((name, f"text of {name}") for name in "abxyz")]
    )
    samples = [sample for sample in read_dataset(lvit).samples if sample.split == "train"]
    assert [(sample.id, sample.text) for sample in samples] == [(name, f"text of {name}") for name in "abxyz"]
    assert all(sample.mask for sample in samples)


def test_images_and_masks_without_suffixes_are_taken_by_their_content(lvit):
    for kind in ("img", "labelcol"):
        (lvit / "Train_Folder" / kind / "a.png").rename(lvit / "Train_Folder" / kind / "a")
    sample = read_dataset(lvit).samples[0]
    assert (sample.id, sample.image.name, sample.mask.name, sample.text) == ("a", "a", "a", "text of a")


@pytest.mark.skipif(os.name != "posix", reason="names are UTF-16 there")
def test_names_that_are_not_utf8_are_problems(lvit, problems_of):
    (lvit / "Test_Folder" / "img" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    (problem,) = problems_of(lvit)
    assert problem.endswith(r"img/caf\xe9.png: the name is not UTF-8; rename the file")
