"""What `make-manifest` refuses, what it names, groups and their division, and real data in two layouts."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.config.data import ManifestConfig
from textdiff.pipeline.manifests.division import divide_groups
from textdiff.pipeline.manifests.make import make_manifest

MONUSEG = Path("/work/shared/data/monuseg")


def test_masks_in_a_folder_apart_and_what_matches_nothing(tmp_path, copy_of, make):
    copy_of(tmp_path / "data", *(f"img/{i}.png" for i in range(5)), *(f"=gt/{i}.png" for i in range(1, 7)))
    (tmp_path / "data" / "img" / "notes.txt").write_text("x")
    made = make(tmp_path / "data" / "img", masks=tmp_path / "data" / "gt")
    assert made.masks == {"0": "", "1": "1.png", "2": "2.png", "3": "3.png", "4": "4.png"}
    unmatched = made.summary.to_dict()["unmatched"]
    assert unmatched["images_without_mask"] == ["0"]
    assert [name.rpartition("/")[2] for name in unmatched["masks_without_image"]] == ["5.png", "6.png"]
    assert [name.rpartition("/")[2] for name in unmatched["files_not_used"]] == ["notes.txt (no image)"]
    assert made.splits["0"] == "train"


def test_masks_of_one_folder_called_as_their_images(tmp_path, copy_of, make):
    copy_of(tmp_path, *(f"a/label_{i}.png" for i in range(3)), *(f"=b/label_{i}.png" for i in range(3)))
    made = make(tmp_path / "a", masks=tmp_path / "b")
    assert made.masks == {f"label_{i}": f"label_{i}.png" for i in range(3)}


def test_ambiguous_masks_are_all_named_and_nothing_is_written(tmp_path, copy_of, make, out):
    data = copy_of(tmp_path / "data", "1.png", "=1_mask.png", "=masks/1.png", "x/2.png", "y/2.png", "=masks/2.png")
    with pytest.raises(DataError, match="has 2 problems; nothing was written") as raised:
        make(data)
    one, two = raised.value.problems
    assert one.startswith(f"{data / '1.png'} fits 2 masks: {data / '1_mask.png'}, {data / 'masks' / '1.png'}; choose")
    assert two.startswith(
        f"2 images: {data / 'x' / '2.png'}, {data / 'y' / '2.png'} fit {data / 'masks' / '2.png'}; choose"
    )
    assert not out.parent.exists()


def test_two_masks_of_one_name_in_two_folders_are_not_guessed_at(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "data", "CXR/1.png", "=ManualMask/leftMask/1.png", "=ManualMask/rightMask/1.png")
    with pytest.raises(
        DataError, match=r"1.png fits 2 masks: .*leftMask/1.png, .*rightMask/1.png; choose one with --leave-out"
    ):
        make(data)


def test_a_patients_mask_is_not_given_to_another_patients_image(tmp_path, copy_of, make):
    data = copy_of(
        tmp_path / "data", *(f"p{i}/images/1.png" for i in range(1, 6)), *(f"=p{i}/masks/1.png" for i in (1, 2, 3, 9))
    )
    made = make(data)
    assert {name for name, mask in made.masks.items() if not mask} == {"p4_images_1", "p5_images_1"}
    assert made.summary.unmatched.masks_without_image == [str(data / "p9" / "masks" / "1.png")]
    assert made.groups["p1_images_1"] == "p1"


def test_masks_that_differ_cannot_be_united(tmp_path, copy_of, save, make, out):
    data = copy_of(tmp_path / "data", "1.png", "=1_mask_1.png", "2.png", "=2_mask_1.png")
    save(data / "1_mask_2.png", mask=np.full((8, 8), 1, np.uint8))
    save(data / "2_mask_2.png", mask=np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="has 2 problems") as raised:
        make(data)
    assert "hold several values (1, 255)" in raised.value.problems[0]
    assert "differ in size" in raised.value.problems[1]
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        ([], {}, "data holds no images; it is empty"),
        (
            ["=masks/1.png"],
            {},
            "data holds no images: all of its images lie where masks do, such as .*; give the images'",
        ),
        (["1.png"], {"masks": "nowhere"}, "nowhere does not exist"),
        (["1.png"], {"texts": "nowhere.csv"}, "nowhere.csv"),
        (
            ["1.png"],
            {"split": (0.5, 0.25, 0.25)},
            "1 group with masks cannot be divided into train, val, test: a group",
        ),
        (
            ["ab.png", "=masks/xy.png"],
            {},
            "none of 1 masks fits one of 1 images: masks are called as xy.png, images as ab",
        ),
    ],
)
def test_refused(tmp_path, copy_of, make, out, names, settings, message):
    data = tmp_path / "data"
    data.mkdir()
    copy_of(data, *names)
    settings = {name: tmp_path / value if isinstance(value, str) else value for name, value in settings.items()}
    with pytest.raises(DataError, match=message):
        make(data, **settings)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": (0.7, 0.2, 0.2)}, "--split got 0.7,0.2,0.2; expected TRAIN,VAL,TEST of at least 0 that add up to 1"),
        ({"split": (1.2, -0.1, -0.1)}, "--split got"),
        ({"split": (float("nan"), 0.5, 0.5)}, "--split got"),
        ({"group_pattern": "("}, "--group-pattern got '\\(', no regular expression"),
        ({"leave_out": "*a"}, "--leave-out got '\\*a', no regular expression"),
        ({"out": Path("data.xlsx")}, "--out got 'data.xlsx'; expected a name that ends in .csv"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        ManifestConfig(Path(), **settings)


def test_an_existing_manifest_and_other_classes_are_kept(tmp_path, copy_of, make, out):
    data = copy_of(tmp_path / "data", *(f"{i}.png" for i in range(3)))
    made = make(data)
    before = out.read_bytes()
    with pytest.raises(
        DataError, match=r"data.csv exists, perhaps with changes by hand; move it, or give another --out"
    ):
        make(data)
    assert out.read_bytes() == before
    out.unlink()
    (data / "classes.json").write_text('{"classes": {"0": "background", "255": "gland"}}')
    (out.parent / "classes.json").write_text('{"classes": {"0": "background", "255": "tumour"}}')
    with pytest.raises(DataError, match=r"classes.json declares other classes than these data .background, gland."):
        make(data)
    (out.parent / "classes.json").unlink()
    assert make(data).rows == made.rows
    assert '"gland"' in (out.parent / "classes.json").read_text()


def test_a_folder_that_cannot_be_written_to(tmp_path, copy_of):
    data = copy_of(tmp_path / "data", *(f"{i}.png" for i in range(3)))
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        make_manifest(ManifestConfig(data, tmp_path / "file" / "data.csv"))


def test_the_same_seed_gives_the_same_bytes(tmp_path, copy_of, make, out):
    data = copy_of(tmp_path / "data", *(f"{i}.png" for i in range(20)))
    contents = []
    for seed in (0, 0, 1):
        make(data, seed=seed)
        contents.append(out.read_bytes())
        out.unlink()
    assert contents[0] == contents[1] != contents[2]


def test_groups_stay_whole_by_pattern(tmp_path, copy_of, make):
    names = [f"TCGA-AA-000{i}-01Z-{part}.png" for i in range(6) for part in "AB"]
    data = copy_of(tmp_path / "data", *names)
    made = make(data, group_pattern="TCGA-..-....")
    assert made.groups["TCGA-AA-0003-01Z-B"] == "TCGA-AA-0003"
    assert Counter(made.splits.values()) == {"train": 8, "val": 2, "test": 2}
    assert made.summary.hints == []


def test_a_parenthesis_of_the_pattern_is_the_group_and_images_without_it_are_named(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "data", "x1_a.png", "x1_b.png", "x2_a.png", "y.png")
    made = make(data, group_pattern=r"x(\d)_")
    assert made.groups == {"x1_a": "1", "x1_b": "1", "x2_a": "2", "y": "y"}
    assert made.summary.group_rule == "--group-pattern (3), each image (1)"


@pytest.mark.parametrize(
    "name", ["TCGA-AA-{0:04d}-{1}", "sub-S{0:03d}_ses-{1}", "LIDC-IDRI-{0:04d}_{1}", "Patient {0}_{1}"]
)
def test_patients_in_names_are_pointed_out(tmp_path, copy_of, make, name):
    data = copy_of(tmp_path / "data", *(f"{name.format(i, part)}.png" for i in range(3) for part in (1, 2)))
    made = make(data)
    (hint,) = made.summary.hints
    assert hint.startswith("3 patients seem to be in several groups")
    pattern = hint.partition("--group-pattern '")[2].rstrip("'")
    assert len({*made.groups.values()}) == 6
    made_again = make_manifest(ManifestConfig(data, data.parent / "again.csv", group_pattern=pattern))
    assert made_again.to_dict()["groups"] == 3
    assert made_again.hints == []


def test_folders_of_patients_are_groups(tmp_path, copy_of, make):
    names = [
        f"{mark}TCGA_CS_49{i}/TCGA_CS_49{i}_{k}{mask}.tif"
        for i in range(5)
        for k in (1, 2)
        for mark, mask in (("", ""), ("=", "_mask"))
    ]
    made = make(copy_of(tmp_path / "kaggle_3m", *names))
    assert made.groups["TCGA_CS_491_2"] == "TCGA_CS_491"
    assert made.masks["TCGA_CS_491_2"] == "TCGA_CS_491_2_mask.tif"
    assert Counter(made.splits.values()) == {"train": 6, "val": 2, "test": 2}


def test_splits_of_folders_that_cut_patients_are_refused_unless_divided_anew(tmp_path, copy_of, make, out):
    data = copy_of(
        tmp_path / "data", *(f"{split}/images/p{i}_{split}.png" for split in ("train", "test") for i in range(4))
    )
    with pytest.raises(
        DataError, match=r"4 groups \(patients, or copies of an image\) are in more than one split .*--split 0.7"
    ) as raised:
        make(data, group_pattern=r"p\d")
    assert raised.value.problems[0] == "p0: test, train"
    assert not out.parent.exists()
    made = make(data, group_pattern=r"p\d", split=(0.5, 0.25, 0.25))
    assert Counter(made.splits.values()) == {"train": 4, "val": 2, "test": 2}


def test_a_single_split_is_no_division(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "data", *(f"train/images/{i}.png" for i in range(10)))
    assert Counter(make(data).splits.values()) == {"train": 6, "val": 2, "test": 2}


def test_division_is_spread_over_strata_and_leaves_unlabelled_groups_to_train():
    strata = {f"{kind}{i}": [kind] for kind in "ab" for i in range(20)}
    labelled = {group for group in strata if int(group[1:]) < 10}
    splits = divide_groups(strata, labelled, (0.6, 0.2, 0.2), seed=3)
    held = Counter((group[0], split) for group, split in splits.items() if split != "train")
    assert held == {("a", "val"): 2, ("b", "val"): 2, ("a", "test"): 2, ("b", "test"): 2}
    assert all(splits[group] == "train" for group in {*strata} - labelled)


@pytest.mark.parametrize(
    ("shares", "counts"),
    [
        ((1, 0, 0), (3, 0, 0)),
        ((0, 0, 1), (0, 0, 3)),
        ((0, 0.5, 0.5), (0, 2, 1)),
        ((0.8, 0, 0.2), (2, 0, 1)),
        ((0.1, 0.45, 0.45), (1, 1, 1)),
    ],
)
def test_shares_of_few_groups(shares, counts):
    strata = {name: [""] for name in "abc"}
    splits = Counter(divide_groups(strata, set("abc"), shares, 0).values())
    assert (splits["train"], splits["val"], splits["test"]) == counts


def test_copies_of_an_image_stay_in_one_split(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "data", *(f"{i}.png" for i in range(12)))
    for i in range(6):
        shutil.copy(data / f"{i}.png", data / f"copy_of_{i}.png")
    made = make(data)
    assert made.splits["3"] == made.splits["copy_of_3"]
    assert made.groups["copy_of_3"] == "3"
    assert made.summary.hints == ["12 groups hold the same images byte for byte, and count as 6"]
    data = copy_of(tmp_path / "other", *(f"{split}/{split}{i}.png" for split in ("train", "test") for i in range(3)))
    shutil.copy(data / "train" / "train1.png", data / "test" / "again.png")
    with pytest.raises(
        DataError, match=r"1 groups \(patients, or copies of an image\) are in more than one split"
    ) as raised:
        make_manifest(ManifestConfig(data, tmp_path / "other.csv"))
    assert raised.value.problems == ("again: test, train",)


def test_one_of_several_modalities_is_chosen(tmp_path, copy_of, make):
    cases = [f"BraTS20_Training_00{i}" for i in range(1, 5)]
    names = [f"{case}/{case}_{kind}.png" for case in cases for kind in ("flair", "t1", "t1ce", "t2")]
    data = copy_of(tmp_path / "data", *names, *(f"={case}/{case}_seg.png" for case in cases))
    with pytest.raises(DataError, match=r"4 images: .*_flair.png, .*_seg.png; choose with --leave-out"):
        make(data)
    made = make(data, leave_out="_(flair|t1|t2)[.]")
    assert made.masks == {f"{case}_t1ce": f"{case}_seg.png" for case in cases}
    assert made.groups[f"{cases[0]}_t1ce"] == cases[0]
    assert len(made.summary.unmatched.files_not_used) == 12
    with pytest.raises(DataError, match="no file's path holds 'pet' of --leave-out; paths are as 'BraTS20_"):
        make_manifest(ManifestConfig(data, tmp_path / "other.csv", leave_out="pet"))


def test_one_of_two_kinds_of_masks_is_chosen(tmp_path, copy_of, make):
    kinds = [f"{split}/{kind}" for split in ("Train", "Test") for kind in ("COVID-19", "Non-COVID", "Normal")]
    data = copy_of(tmp_path / "data", *(
        f"{mark}{kind}/{folder}/{kind[:2]}{kind[-6:]}_{i}.png" for kind in kinds for i in (1, 2)
        for mark, folder in (("", "images"), ("=", "infection masks"), ("=", "lung masks"))
    ))  # fmt: skip
    with pytest.raises(DataError, match=r"fits 2 masks: .*/infection masks/.*, .*/lung masks/.*; choose one with"):
        make(data)
    made = make(data, leave_out="lung masks")
    assert len(made.rows) == 12
    assert all("/infection masks/" in row["mask"] for row in made.rows.values())
    assert Counter(row["stratum"] for row in made.rows.values()) == {"COVID-19": 4, "Non-COVID": 4, "Normal": 4}
    assert Counter(made.splits.values()) == {"train": 6, "test": 6}


def test_masks_beside_the_images_folder_are_pointed_out_and_not_taken(tmp_path, copy_of, make):
    copy_of(tmp_path, *(f"x/images/{i}.png" for i in range(3)), "=x/labels/1.png")
    made = make(tmp_path / "x" / "images")
    assert made.summary.hints == [f"no image has a mask; are they in {tmp_path / 'x' / 'labels'}? Give it with --masks"]


def test_drives_field_of_view_is_refused_as_masks(tmp_path, copy_of, make):
    copy_of(tmp_path, "images/21_training.tif", "=1st_manual/21_manual1.png", "=mask/21_training_mask.png")
    with pytest.raises(DataError, match="is DRIVE's field of view, not the vessels; give the folder 1st_manual"):
        make(tmp_path / "images", masks=tmp_path / "mask")
    made = make(tmp_path / "images", masks=tmp_path / "1st_manual", split=(0.0, 0.0, 1.0))
    assert made.masks == {"21_training": "21_manual1.png"}
    assert made.splits == {"21_training": "test"}


def test_a_table_whose_name_holds_a_split_says_nothing_alone(tmp_path, copy_of, make):
    data = copy_of(tmp_path / "data", *(f"{i}.png" for i in range(10)))
    (data / "my_test.csv").write_text("Image,Description\n" + "".join(f"{i},text\n" for i in range(10)))
    assert Counter(make(data).splits.values()) == {"train": 6, "val": 2, "test": 2}


@pytest.mark.real_data
@pytest.mark.skipif(not MONUSEG.is_dir(), reason="MoNuSeg is not here")
@pytest.mark.slow
def test_monuseg_in_its_own_layout_and_flattened(tmp_path, make, out):
    made = make(MONUSEG)
    assert made.summary.layout == "LViT"
    assert Counter(made.splits.values()) == {"train": 24, "val": 6}
    assert all(made.texts.values())
    assert all(made.masks.values())
    flat = tmp_path / "flat"
    flat.mkdir()
    for folder in ("Train_Folder", "Val_Folder"):
        for image in (MONUSEG / folder / "img").iterdir():
            shutil.copy(image, flat)
        for mask in (MONUSEG / folder / "labelcol").iterdir():
            shutil.copy(mask, flat / f"{mask.stem}_mask.png")
    out.unlink()
    flattened = make(flat, texts=MONUSEG / "Train_Folder" / "Train_text.xlsx")
    assert {*flattened.rows} == {*made.rows}
    assert Counter(flattened.splits.values()) == {"train": 22, "val": 4, "test": 4}
    assert sum(map(bool, flattened.texts.values())) == 24
