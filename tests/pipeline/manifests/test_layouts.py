"""A small copy of each layout, through `make-manifest` and `check-data`: every row, and no problem."""

import numpy as np
import pytest
from PIL import Image


def test_lvit(tmp_path, copy_of, make, write_table):
    data = copy_of(tmp_path / "data", *(
        f"{mask}{split}_Folder/{folder}/{split}{i}.png"
        for split in ("Train", "Val", "Test") for mask, folder in (("", "img"), ("=", "labelcol")) for i in (1, 2)
    ))  # fmt: skip
    write_table(
        data / "Train_Folder" / "Train_text.xlsx",
        [("Image", "Description"), ("Train1.png", "one"), ("Train2.png", "two")],
    )
    made = make(data)
    assert made.summary.layout == "LViT"
    assert made.splits["Val1"] == "val"
    assert {name: row["text"] for name, row in made.rows.items() if row["text"]} == {"Train1": "one", "Train2": "two"}
    assert made.masks == {name: f"{name}.png" for name in made.rows}
    assert made.rows["Train1"]["image"] == "../data/Train_Folder/img/Train1.png"
    assert made.summary.unmatched.images_without_text == ["Test1", "Test2", "Val1", "Val2"]


def test_qata_cov19_as_it_comes(tmp_path, copy_of, make, write_table):
    data = copy_of(tmp_path / "QaTa-COV19-v2", *(
        name for split in ("Train Set", "Test Set") for i in (f"{split[:2]}1", f"{split[:2]}2")
        for name in (f"{split}/Images/covid_{i}.png", f"={split}/Ground-truths/mask_covid_{i}.png")
    ))  # fmt: skip
    header = ("Image", "Description")
    write_table(
        data / "Train_text_for_Covid19.xlsx", [header, ("mask_covid_Tr1.png", "left"), ("mask_covid_Tr2.png", "right")]
    )
    write_table(data / "Test_text_for_Covid19.xlsx", [header, ("mask_covid_Te1.png", "both")])
    made = make(data)
    assert made.summary.layout == "QaTa-COV19"
    assert {name: (row["text"], row["split"], row["mask"].rpartition("/")[2]) for name, row in made.rows.items()} == {
        "covid_Tr1": ("left", "train", "mask_covid_Tr1.png"),
        "covid_Tr2": ("right", "train", "mask_covid_Tr2.png"),
        "covid_Te1": ("both", "test", "mask_covid_Te1.png"),
        "covid_Te2": ("", "test", "mask_covid_Te2.png"),
    }
    assert made.summary.loose["texts"] == {"the mask's name": 3}
    assert made.summary.unmatched.images_without_text == ["covid_Te2"]


def test_qata_with_lvits_sheets_that_divide_its_train_set(tmp_path, copy_of, make, write_table):
    names = [f"covid_{i}" for i in range(4)]
    data = copy_of(tmp_path / "data", *(f"Train Set/Images/{name}.png" for name in names),
                   *(f"=Train Set/Ground-truths/mask_{name}.png" for name in names),
                   "Test Set/Images/a.png", "=Test Set/Ground-truths/mask_a.png")  # fmt: skip
    for split, part in (("Train", names[:3]), ("Val", names[3:])):
        write_table(
            data / f"{split}_text.xlsx", [("Image", "Description"), *((f"mask_{name}.png", name) for name in part)]
        )
    made = make(data)
    assert made.splits == dict.fromkeys(names[:3], "train") | {"covid_3": "val", "a": "test"}


def test_busi_unites_several_masks_and_takes_folders_for_strata(tmp_path, copy_of, save, make):
    half = np.zeros((8, 8), np.uint8)
    half[:4, :4] = 255
    data = copy_of(tmp_path / "Dataset_BUSI_with_GT", *(
        f"{mark}{kind}/{kind} ({i}){mask}.png"
        for kind in ("benign", "malignant", "normal") for i in (1, 2, 3) for mark, mask in (("", ""), ("=", "_mask"))
    ))  # fmt: skip
    save(data / "benign" / "benign (2)_mask.png", mask=half)
    save(data / "benign" / "benign (2)_mask_1.png", mask=half[::-1])
    made = make(data)
    assert made.summary.layout == "BUSI"
    assert {row["stratum"] for row in made.rows.values()} == {"benign", "malignant", "normal"}
    assert made.rows["benign (2)"]["mask"] == "masks/benign (2).png"
    united = np.asarray(Image.open(tmp_path / "out" / "masks" / "benign (2).png"))
    assert (united == np.maximum(half, half[::-1])).all()
    assert made.summary.drawn == ["2 masks of 1 images united"]
    assert made.masks["normal (3)"] == "normal (3)_mask.png"
    assert {row["group"] for row in made.rows.values()} == set(made.rows)
    assert len(made.rows) == 9


def test_glas_with_grades(tmp_path, copy_of, make):
    names = ["train_1", "train_2", "testA_1", "testB_1"]
    data = copy_of(
        tmp_path / "Warwick QU Dataset", *(f"{name}.bmp" for name in names), *(f"={name}_anno.bmp" for name in names)
    )
    (data / "Grade.csv").write_text(
        "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\n"
        "train_1, 1, benign, adenomatous\ntrain_2, 2, malignant, moderately differentiated\n"
        "testA_1, 3, benign, healthy\ntestB_1, 4, malignant, poorly differentiated\n"
    )
    made = make(data)
    assert made.summary.layout == "GlaS"
    assert made.splits == {"train_1": "train", "train_2": "train", "testA_1": "test", "testB_1": "test"}
    assert made.masks["testB_1"] == "testB_1_anno.bmp"
    assert [(row["group"], row["stratum"]) for row in made.rows.values()] == [
        ("3", "benign"), ("4", "malignant"), ("1", "benign"), ("2", "malignant"),
    ]  # fmt: skip


def test_isic(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "isic", *(
        name for part in ("Training", "Test_v2") for i in (f"{len(part)}001", f"{len(part)}002") for name in (
            f"ISIC-2017_{part}_Data/ISIC_{i}.jpg", f"=ISIC-2017_{part}_Data/ISIC_{i}_superpixels.png",
            f"=ISIC-2017_{part}_Part1_GroundTruth/ISIC_{i}_segmentation.png")
    ))  # fmt: skip
    made = make(data)
    assert made.summary.layout == "ISIC"
    assert len(made.rows) == 4
    assert made.masks["ISIC_8001"] == "ISIC_8001_segmentation.png"
    assert made.splits["ISIC_7001"] == "test"
    assert sum("superpixels" in line for line in made.summary.unmatched.files_not_used) == 4
    assert {row["group"] for row in made.rows.values()} == set(made.rows)


def test_drive_does_not_take_the_field_of_view_for_the_mask(tmp_path, copy_of, make):
    names = []
    for split, first in (("training", 21), ("test", 1)):
        for i in (first, first + 1):
            names += [f"{split}/images/{i:02d}_{split}.tif", f"={split}/1st_manual/{i:02d}_manual1.gif",
                      f"={split}/mask/{i:02d}_{split}_mask.gif"]  # fmt: skip
    names.append("=test/2nd_manual/01_manual2.gif")
    made = make(copy_of(tmp_path / "DRIVE", *names))
    assert made.summary.layout == "DRIVE"
    assert made.masks == {
        "01_test": "01_manual1.gif", "02_test": "02_manual1.gif",
        "21_training": "21_manual1.gif", "22_training": "22_manual1.gif",
    }  # fmt: skip
    assert made.splits == {"01_test": "test", "02_test": "test", "21_training": "train", "22_training": "train"}
    reasons = [line.rpartition("(")[2] for line in made.summary.unmatched.files_not_used]
    assert sorted(reasons) == ["field of view)"] * 4 + ["second reading)"]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.png", "{}_mask.png"),
        ("{}.jpg", "{}_GT.png"),
        ("{}.tif", "{}_seg.tif"),
        ("{}.png", "mask_{}.png"),
        ("{}.bmp", "{}_anno.bmp"),
        ("{}.png", "{}-label.png"),
        ("{}.png", "{} ground truth.png"),
        ("image_{}.png", "mask_{}.png"),
        ("{}_image.png", "{}_Segmentation.PNG"),
        ("img/{}.png", "labels/{}.png"),
        ("images/{}.jpg", "masks/{}.png"),
        ("Original/{}.png", "Ground Truth/{}.png"),
        ("images/img_{}.png", "annotations/{}_label.png"),
        ("x {}/image.png", "x {}/mask.png"),
        ("x {}/scan.png", "x {}/seg/whatever.png"),
        ("{}/images/00ff00ff00ff00ff0{}.png", "{}/masks/a0ff00ff00ff00ff0{}.png"),
        ("Img_{}.png", "masks/img_{}.png"),
        ("images/00{}.png", "masks/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("CXR_png/{}.png", "mask/{}_mask.png"),
        ("HAM10000_images_part_1/ISIC_{}.jpg", "HAM10000_segmentations_lesion_tschandl/ISIC_{}_segmentation.png"),
        ("ds/img/case {}.jpg", "ds/masks/case {}.jpg.png"),
        ("pictures {0}/x{0}.png", "SomethingElse/masks/x{0}.png"),
        ("Bilder/Fall{}.png", "Masken/Fall{}_Maske.png"),
        ("Image_{}L.jpg", "Image_{}L_1stHO.png"),
        ("IMD00{0}/IMD00{0}_Dermoscopic_Image/IMD00{0}.bmp", "IMD00{0}/IMD00{0}_lesion/IMD00{0}_lesion.bmp"),
    ],
)  # fmt: skip
def test_names_of_images_and_masks(tmp_path, copy_of, make, image, mask):
    names = [f"{mark}{name.format(i, i)}" for i in "123456789" for mark, name in (("", image), ("=", mask))]
    made = make(copy_of(tmp_path / "data", *names))
    assert len(made.rows) == 9
    for row in made.rows.values():
        (number,) = {*row["image"].rpartition("/")[2]} & {*"123456789"} or {*row["image"]} & {*"123456789"}
        assert row["mask"].endswith(mask.format(number, number))
    assert sorted(made.splits.values()) == ["test"] + ["train"] * 7 + ["val"]
    assert made.summary.unmatched.masks_without_image == made.summary.unmatched.files_not_used == []


def test_pictures_for_people_are_no_images(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "CoNSeP", *(
        f"{split}/{folder}/{split.lower()}_{i}.png"
        for split in ("Train", "Test") for folder in ("Images", "Overlay") for i in (1, 2)
    ))  # fmt: skip
    made = make(data)
    assert sorted(made.rows) == ["test_1", "test_2", "train_1", "train_2"]
    assert all(line.endswith("(picture for people)") for line in made.summary.unmatched.files_not_used)
