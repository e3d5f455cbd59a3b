import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.demo import phantom
from textdiff.pipeline.demo.phantom import write_phantom
from textdiff.pipeline.demo.sentences import KIND_WORDS, OTHER_KIND, SPLITS, wordings, write_reports
from textdiff.pipeline.demo.tissue import KIND_VALUES, MIN_SHARE_OF_HALF, Tissue, half, paint_tissue
from textdiff.pipeline.runtime.progress import Progress

SIZES = {"n_train": 8, "n_val": 2, "n_test": 8}
DEFAULT_SIZES = {"train": 96, "val": 24, "test": 24}
SIDES = ("upper", "lower", "left", "right")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom"), **SIZES, seed=3)


@pytest.fixture(scope="module")
def tissues() -> list[Tissue]:
    return [paint_tissue(np.random.default_rng([7, k]), 128) for k in range(8)]


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reports_of_default_size():
    return [(split, write_reports(split, n, seed)) for split, n in DEFAULT_SIZES.items() for seed in range(3)]


# ---- the folder


@pytest.mark.slow
def test_equal_arguments_give_equal_bytes_and_another_seed_others(written, tmp_path):
    again = write_phantom(tmp_path / "again", **SIZES, seed=3)
    assert contents(again.parent) == contents(written.parent)
    other = write_phantom(tmp_path / "other", **SIZES, seed=4)
    assert read_png(other.parent / "images/train-000.png").tobytes() != (
        read_png(written.parent / "images/train-000.png").tobytes()
    )


def test_manifest_has_the_promised_columns_ids_and_splits(written):
    rows = read_table(written)
    assert written.name == "manifest.csv"
    assert list(rows[0]) == ["id", "image", "mask", "text", "split", "group"]
    assert [row["id"] for row in rows[:2]] == ["train-000", "train-001"]
    assert Counter(row["split"] for row in rows) == {"train": 8, "val": 2, "test": 8}
    assert len({row["group"] for row in rows}) == 18


def test_images_are_rgb_and_masks_are_binary_and_not_empty(written):
    for row in read_table(written) + read_table(written.parent / "counterfactual.csv"):
        image, mask = read_png(written.parent / row["image"]), read_png(written.parent / row["mask"])
        assert (image.shape, image.dtype) == ((128, 128, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((128, 128), np.uint8)
        assert set(np.unique(mask)) == {0, 255}


def test_mask_is_the_target_kind_within_the_half_of_the_report(written):
    reports = write_reports("test", 8, seed=3)
    assert {report.side for report in reports} > {None}
    for index, report in enumerate(reports):
        tissue = paint_tissue(np.random.default_rng([3, SPLITS.index("test"), index]), 128)
        expected = tissue.kinds == {"spindle": 1, "round": 2}[report.target]
        if report.side:
            expected &= half(report.side, 128)
        name = f"test-{index:03d}.png"
        assert np.array_equal(read_png(written.parent / "masks" / name) == 255, expected)
        assert np.array_equal(read_png(written.parent / "images" / name), tissue.image)


def test_counterfactuals_keep_image_and_id_and_have_a_disjoint_mask_and_another_text(written):
    truth = [row for row in read_table(written) if row["split"] == "test"]
    others = read_table(written.parent / "counterfactual.csv")
    assert len(others) == 8
    for row, other in zip(truth, others, strict=True):
        assert (other["id"], other["image"], other["split"]) == (row["id"], row["image"], "test")
        assert other["mask"] == f"masks/{row['id']}-other.png"
        assert other["text"] != row["text"]
        masks = [read_png(written.parent / table["mask"]) == 255 for table in (row, other)]
        assert not (masks[0] & masks[1]).any()


def test_own_folder_is_replaced_and_nothing_of_the_larger_phantom_stays(tmp_path):
    write_phantom(tmp_path, n_train=3, n_val=1, n_test=2, image_size=64)
    write_phantom(tmp_path, n_train=1, n_val=1, n_test=1, image_size=64)
    fresh = write_phantom(tmp_path / "sub", n_train=1, n_val=1, n_test=1, image_size=64)
    old = {name: data for name, data in contents(tmp_path).items() if not name.startswith("sub")}
    assert old == contents(fresh.parent)


def test_interrupted_phantom_has_no_manifest_and_can_be_written_again(tmp_path, monkeypatch):
    write_phantom(tmp_path, n_train=2, n_val=1, n_test=1, image_size=64)

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phantom, "paint_tissue", fail)
        with pytest.raises(KeyboardInterrupt):
            write_phantom(tmp_path, n_train=2, n_val=1, n_test=1, image_size=64)
    assert not (tmp_path / "manifest.csv").exists()
    assert not (tmp_path / "counterfactual.csv").exists()
    assert write_phantom(tmp_path, n_train=2, n_val=1, n_test=1, image_size=64).is_file()


def test_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "manifest.csv").write_text("mine")
    with pytest.raises(DataError, match=r"is not empty and holds no phantom \(phantom.json is missing\)"):
        write_phantom(tmp_path, n_train=1, n_val=1, n_test=1)
    assert contents(tmp_path) == {"manifest.csv": b"mine"}
    with pytest.raises(DataError, match="is a file, expected a folder"):
        write_phantom(tmp_path / "manifest.csv")


def test_all_settings_out_of_range_are_named_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"n_val is 0, expected at least 1; image_size is 32, expected at least 64"):
        write_phantom(tmp_path / "out", n_val=0, image_size=32)
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_image(tmp_path):
    class Counting(Progress):
        n_done = 0

        def task(self, label, total, unit):
            self.total = total
            return super().task(label, total, unit)

    progress = Counting()
    write_phantom(tmp_path, n_train=1, n_val=1, n_test=2, image_size=64, progress=progress)
    assert progress.total == 4


# ---- the tissue


def test_halves_are_cut_by_pixel_centres():
    kinds = np.array([[1, 1, 2, 2], [1, 0, 0, 2], [0, 1, 2, 0], [2, 2, 1, 1]], np.uint8)
    tissue = Tissue(np.zeros((4, 4, 3), np.uint8), kinds)
    assert tissue.mask("spindle").astype(int).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]
    assert np.argwhere(tissue.mask("round", "upper")).tolist() == [[0, 2], [0, 3], [1, 3]]
    assert np.argwhere(tissue.mask("round", "lower")).tolist() == [[2, 2], [3, 0], [3, 1]]
    assert np.argwhere(tissue.mask("spindle", "left")).tolist() == [[0, 0], [0, 1], [1, 0], [2, 1]]
    assert np.argwhere(tissue.mask("spindle", "right")).tolist() == [[3, 2], [3, 3]]


def test_middle_line_of_an_odd_image_is_in_neither_half():
    assert half("upper", 3).sum(axis=1).tolist() == [3, 0, 0]
    assert half("right", 3).sum(axis=0).tolist() == [0, 0, 3]


def test_both_kinds_are_in_every_half_of_every_image_in_similar_amounts(tissues):
    for tissue in tissues:
        for kind in KIND_VALUES:
            assert 0.10 < tissue.mask(kind).mean() < 0.17
            assert min(tissue.mask(kind, side).mean() for side in SIDES) >= MIN_SHARE_OF_HALF / 2
    shares = [np.mean([tissue.mask(kind).mean() for tissue in tissues]) for kind in KIND_VALUES]
    assert 0.8 < shares[0] / shares[1] < 1.25


def axis_ratios(mask: np.ndarray) -> list[float]:
    """Short over long axis, from second moments, of each connected shape that is whole and not a splinter."""
    shapes, ratios = Image.fromarray(mask.astype(np.uint8)).copy(), []
    for y, x in np.argwhere(mask):
        if shapes.getpixel((int(x), int(y))) != 1:
            continue
        ImageDraw.floodfill(shapes, (int(x), int(y)), 2)
        points = np.argwhere(np.asarray(shapes) == 2)
        ImageDraw.floodfill(shapes, (int(x), int(y)), 3)
        if len(points) >= 40 and points.min() > 0 and points.max() < len(mask) - 1:
            short, long = np.linalg.eigvalsh(np.cov(points.T))
            ratios.append(float(np.sqrt(short / long)))
    return ratios


def test_kinds_differ_in_roundness_colour_and_texture(tissues):
    spindle, round_ = ([ratio for t in tissues for ratio in axis_ratios(t.mask(kind))] for kind in KIND_VALUES)
    assert np.median(spindle) < 0.45
    assert np.median(round_) > 0.75
    for tissue in tissues:
        red = tissue.image[..., 0].astype(float)
        dark, pale, ground = (red[tissue.kinds == value] for value in (1, 2, 0))
        assert dark.mean() + 15 < pale.mean() < ground.mean() - 15
        assert pale.std() > dark.std()


def test_ground_is_pink_and_nuclei_are_blue_purple(tissues):
    for tissue in tissues:
        red, green, blue = (tissue.image[..., channel].astype(float) for channel in range(3))
        ground, nuclei = tissue.kinds == 0, tissue.kinds > 0
        assert red[ground].mean() > blue[ground].mean() > green[ground].mean()
        assert blue[nuclei].mean() > red[nuclei].mean() > green[nuclei].mean()


def test_stains_vary_from_image_to_image(tissues):
    means = np.array([tissue.image.mean(axis=(0, 1)) for tissue in tissues])
    assert (means.std(axis=0) > 4).all()


def test_nuclei_keep_their_share_at_another_image_size():
    tissue = paint_tissue(np.random.default_rng(0), 192)
    assert tissue.image.shape == (192, 192, 3)
    assert all(0.10 < tissue.mask(kind).mean() < 0.17 for kind in KIND_VALUES)


# ---- the reports


@pytest.mark.parametrize(("split", "reports"), reports_of_default_size())
def test_targets_and_orders_of_mention_are_balanced(split, reports):
    del split
    half_of_all = len(reports) // 2
    assert Counter(report.target for report in reports) == {"spindle": half_of_all, "round": half_of_all}
    assert sum(report.wording.target_first for report in reports) == half_of_all
    assert sum(report.side is not None for report in reports) == len(reports) // 4
    negated = [" not" in report.wording.sentence for report in reports]
    assert any(negated)
    assert not all(negated)


def test_training_reports_use_every_side_and_wording_equally_often():
    reports = write_reports("train", 96, seed=0)
    assert Counter(report.side for report in reports if report.side) == dict.fromkeys(SIDES, 6)
    assert set(Counter(report.wording for report in reports).values()) == {6}


@pytest.mark.parametrize(("split", "reports"), reports_of_default_size())
def test_every_text_names_both_kinds_and_its_side(split, reports):
    del split
    for report in reports:
        for words in KIND_WORDS.values():
            assert any(re.search(rf"\b{re.escape(word)} (nuclei|ones)\b", report.text.lower()) for word in words), (
                report.text
            )
        assert (report.side is None) or re.search(rf"\b{report.side} half\b", report.text.lower())
        assert "{" not in report.text
        assert report.text[0].isupper()


def test_neighbours_and_counterfactuals_differ_in_the_target_alone():
    first, second = write_reports("val", 2, seed=5)
    assert second == first.counterfactual()
    assert (second.target, second.side, second.wording) == (OTHER_KIND[first.target], first.side, first.wording)
    assert second.text != first.text
    assert second.counterfactual() == first


def test_test_wordings_are_unseen_and_a_third_of_all():
    assert wordings("train") == wordings("val")
    assert not set(wordings("train")) & set(wordings("test"))
    assert len(wordings("train")) >= 10
    assert len(wordings("test")) == len(wordings("train")) / 2
    for seed in range(3):
        trained = {report.wording for split in ("train", "val") for report in write_reports(split, 96, seed)}
        assert not trained & {report.wording for report in write_reports("test", 24, seed)}


def test_training_texts_are_many():
    assert len({report.text for report in write_reports("train", 96, seed=0)}) > 90


def test_a_longer_list_begins_with_the_shorter_one():
    assert write_reports("train", 40, seed=1)[:13] == write_reports("train", 13, seed=1)
