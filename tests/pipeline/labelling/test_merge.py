"""Merged labels: what all say stands, what they differ on does not; agreement by hand-worked figures."""

import json

import numpy as np
import pytest
from PIL import Image

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.config import MergeLabelsConfig
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.labelling.merge import merge_labels

A = [[0, 0, 1, 1], [255, 255, 1, 1]]
B = [[0, 1, 1, 255], [255, 0, 1, 0]]


def data_set(root, masks, names=("background", "nucleus"), seed=0):
    root.mkdir()
    classes = {"classes": {str(i): name for i, name in enumerate(names)}, "ignore": 255}
    (root / "classes.json").write_text(json.dumps(classes))
    rows = ["id,image,mask,text,split"]
    for i, (name, mask) in enumerate(masks.items()):
        pixels = np.random.default_rng(seed + i).integers(0, 256, (2, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{name}.png")
        if mask:
            Image.fromarray(np.array(mask, np.uint8)).save(root / f"{name}_mask.png")
        rows.append(f"{name},{name}.png,{f'{name}_mask.png' if mask else ''},,train")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


def test_a_pixel_has_the_class_of_all_who_labelled_it(tmp_path):
    a, b = data_set(tmp_path / "a", {"one": A, "two": None}), data_set(tmp_path / "b", {"one": B, "two": A})
    summary = merge_labels(MergeLabelsConfig((a, b), tmp_path / "out"))
    merged = read_dataset(tmp_path / "out")
    masks = {one.id: np.array(Image.open(one.mask)).tolist() for one in merged.samples}
    assert masks == {"one": [[0, 255, 1, 1], [255, 0, 1, 255]], "two": A}
    assert (summary.n_images, summary.n_labelled, summary.n_disputed) == (2, 11, 2)
    assert merged.classes.names == ("background", "nucleus")


def test_agreement_is_that_of_the_pixels_that_both_labelled(tmp_path):
    a, b = data_set(tmp_path / "a", {"one": A}), data_set(tmp_path / "b", {"one": B})
    (one,) = merge_labels(MergeLabelsConfig((a, b))).agreements
    # (0,0), (0,1), (0,2), (1,2), (1,3): a says 0 0 1 1 1, b says 0 1 1 1 0
    assert (one.n_images, one.n_pixels) == (1, 5)
    assert one.dice == {"nucleus": pytest.approx(2 * 2 / (3 + 3))}
    by_chance = (3 * 3 + 2 * 2) / 25
    assert one.kappa == pytest.approx((3 / 5 - by_chance) / (1 - by_chance))


def test_agreement_is_that_of_scikit_learn(tmp_path):
    from sklearn.metrics import cohen_kappa_score

    x, y = np.random.default_rng(1).integers(0, 3, (2, 2, 4))
    a, b = (
        data_set(tmp_path / name, {"one": m.tolist()}, ("background", "p", "q")) for name, m in (("a", x), ("b", y))
    )
    (one,) = merge_labels(MergeLabelsConfig((a, b))).agreements
    assert one.kappa == pytest.approx(cohen_kappa_score(x.ravel(), y.ravel()))


def test_kappa_is_undefined_where_both_say_one_class(tmp_path):
    a, b = (data_set(tmp_path / name, {"one": [[1] * 4] * 2}) for name in "ab")
    summary = merge_labels(MergeLabelsConfig((a, b)))
    assert summary.agreements[0].kappa is None
    assert "kappa not defined" in summary.lines()[0]


def test_what_cannot_be_merged_is_named_all_at_once_and_nothing_is_written(tmp_path):
    a = data_set(tmp_path / "a", {"one": A})
    b = data_set(tmp_path / "b", {"one": B}, ("background", "tumour"), seed=1)
    with pytest.raises(DataError) as error:
        merge_labels(MergeLabelsConfig((a, b), tmp_path / "out"))
    assert "background, tumour" in str(error.value)
    assert "one is one image in" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_data_sets_without_a_common_image_cannot_be_merged(tmp_path):
    a, b = data_set(tmp_path / "a", {"one": A}), data_set(tmp_path / "b", {"two": B})
    with pytest.raises(DataError, match="no two of the data sets have an image in common"):
        merge_labels(MergeLabelsConfig((a, b)))


def test_an_existing_folder_is_not_written_to(tmp_path):
    a, b = data_set(tmp_path / "a", {"one": A}), data_set(tmp_path / "b", {"one": B})
    with pytest.raises(DataError, match="give the name of a new folder"):
        merge_labels(MergeLabelsConfig((a, b), a))


@pytest.mark.parametrize(("names", "message"), [(["a"], "expected at least two"), (["a", "a"], "same data set twice")])
def test_one_data_set_is_not_enough(tmp_path, names, message):
    with pytest.raises(ConfigError, match=message):
        MergeLabelsConfig(tuple(tmp_path / name for name in names))
