"""Partial masks, scribbles, single clicks, many classes and weights, from the files to the scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.splits import has_labels
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.train import train_head
from textdiff.stages.unet.recorder import UNetRecorder

pytestmark = pytest.mark.slow

NAMES = ("train0", "train1", "train2", "train3", "val0", "val1", "test0")


@pytest.fixture
def labelled(extraction, tmp_path):
    """Gives a function that writes masks and classes, extracts into one cache, and gives the settings of a training."""
    folder, n_runs = extraction.data.parent, iter(range(9))
    own = {name: np.array(Image.open(folder / f"{name}_mask.png")) for name in NAMES}

    def write(change, classes):
        for name, mask in own.items():
            Image.fromarray(change(name, mask.copy()).astype(np.uint8)).save(folder / f"{name}_mask.png")
        (folder / "classes.json").write_text(json.dumps(classes))
        extract_features(extraction)
        small = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "epochs": 3, "device": "cpu"}
        return TrainConfig(
            extraction.cache, tmp_path / f"run{next(n_runs)}", head="pixel", text="true", learning_rate=1e-2, **small
        )

    return write


def scribbled(ignore, only=NAMES):
    """Labels every third row of the named images, and of others nothing."""

    def change(name, mask):
        kept = (np.arange(len(mask)) % 3 == 0)[:, None] & (name in only)
        return np.where(kept, mask, ignore)

    return change


def square(ignore):
    return {"classes": {"0": "background", "255": "square"}, "ignore": ignore}


def head_bytes(config):
    train_head(config)
    return (config.run / "head.safetensors").read_bytes()


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_what_stands_where_nobody_labelled_changes_no_bit_of_the_head(labelled, head):
    one, other = (head_bytes(replace(labelled(scribbled(v), square(v)), head=head, epochs=1)) for v in (7, 130))
    assert one == other


def test_a_mask_without_a_labelled_pixel_is_as_good_as_none(labelled, extraction):
    settings = labelled(scribbled(7, set(NAMES) - {"train1"}), square(7))
    blank = head_bytes(settings)
    assert RunConfig.read(settings.run).samples["train"] == ("train0", "train2", "train3")
    extraction.data.write_text(extraction.data.read_text().replace("train1_mask.png", ""))
    assert head_bytes(labelled(scribbled(7, set(NAMES) - {"train1"}), square(7))) == blank


def test_scores_count_labelled_pixels_alone(labelled):
    config = labelled(scribbled(7), square(7))
    train_head(config)
    found = evaluate(EvaluateConfig(config.run, config.cache, split="val", device="cpu")).scores
    reader = FeatureReader(config.cache)
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    head = load_head(config.run, RunConfig.read(config.run), "cpu")
    hits = sums = 0
    rows = reader.split("val")
    for row, x, scored in zip(rows, data.inputs(rows), found["per_sample"], strict=True):
        labels = data.labels(row)
        assert 0 < (labels != 255).double().mean() < 1
        predicted = head.segment(x)[0].argmax(0)[labels != 255] == 1
        truth = labels[labels != 255] == 1
        hit, both = int((predicted & truth).sum()), int(predicted.sum() + truth.sum())
        assert scored["dice"] == pytest.approx(2 * hit / both if both else 1.0)
        hits, sums = hits + hit, sums + both
    assert found["micro_dice"] == pytest.approx(2 * hits / sums if sums else 1.0)


def test_one_click_in_an_image_trains(labelled):
    def click(name, mask):
        if name == "train2":
            clicked = np.full_like(mask, 7)
            clicked[1, 1] = mask[1, 1]
            return clicked
        return mask if name in ("val0", "test0") else np.full_like(mask, 7)

    config = labelled(click, square(7))
    reader = FeatureReader(config.cache)
    rows = [row for row in reader.split("train") if has_labels(reader, row)]
    assert [(row.id, int((reader.labels(row.row) != 255).sum())) for row in rows] == [("train2", 1)]
    summary = train_head(config).summary
    assert (summary.n_train, summary.n_val) == (1, 1)
    head = load_head(config.run, RunConfig.read(config.run), "cpu")
    # Statistics of one pixel would have no spread, and the scale its limit of 10,000.
    assert all(float(head.get_buffer(f"scale_{block}").max()) < 1e4 for block in (1, 3))


def test_classes_are_named_and_one_that_is_nowhere_in_an_image_has_a_dice_of_1(labelled):
    classes = {"classes": {"0": "background", "3": "stroma", "9": "tumour"}}

    def two_kinds(name, mask):
        return np.where(mask > 0, 9 if name in ("train0", "train1") else 3, 0)

    config = labelled(two_kinds, classes)
    summary = train_head(replace(config, epochs=6)).summary
    assert summary.classes == ("stroma", "tumour")
    assert np.mean(summary.val_class_dice) == pytest.approx(summary.val_dice)
    found = evaluate(EvaluateConfig(config.run, config.cache, split="val", device="cpu"))
    assert found.to_dict()["classes"] == ("stroma", "tumour")
    assert [line.split()[0] for line in found.lines() if line.startswith(("stroma", "tumour"))] == ["stroma", "tumour"]
    counts = confusion_of(config)
    for sample, counted in zip(found.scores["per_sample"], counts, strict=True):
        assert sample["class_dice"][1] == (1.0 if counted[:, 2].sum() == 0 else 0.0)  # val has no tumour


def confusion_of(config):
    from textdiff.pipeline.head_inputs.scoring import score_samples

    reader = FeatureReader(config.cache)
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    return score_samples(load_head(config.run, RunConfig.read(config.run), "cpu"), data, reader.split("val"))


def test_changed_weights_and_strata_reach_the_head_and_never_run_the_unet(
    labelled, extraction, monkeypatch, folder_bytes
):
    settings = labelled(lambda _, mask: mask, square(7))
    before, plain = folder_bytes(extraction.cache), head_bytes(settings)
    header, *rows = extraction.data.read_text().splitlines()
    rows = [f"{row},liver,{5 if row.startswith('train0') else ''}" for row in rows]
    extraction.data.write_text("\n".join([f"{header},stratum,weight", *rows]) + "\n")
    monkeypatch.setattr(UNetRecorder, "record", lambda *_: pytest.fail("the UNet ran"))
    assert extract_features(extraction).n_forwards == 0
    after = folder_bytes(extraction.cache)
    assert {name for name in after if after[name] != before[name]} == {
        "samples.json",
        "manifest.json",
        "manifest.copy.json",
    }
    old, new = (json.loads(files["manifest.json"])["digests"] for files in (before, after))
    assert {name for name in old if old[name] != new[name]} == {"samples"}
    reader = FeatureReader(extraction.cache)
    assert [(row.stratum, row.weight) for row in reader.samples[:2]] == [("liver", 5.0), ("liver", 1.0)]
    assert head_bytes(replace(settings, run=settings.run.with_name("weighted"))) != plain


def test_tiles_and_views_have_their_samples_weight(extraction):
    header, *rows = extraction.data.read_text().splitlines()
    extraction.data.write_text(
        "\n".join([f"{header},weight", *(f"{row},{n + 1}" for n, row in enumerate(rows))]) + "\n"
    )
    extract_features(replace(extraction, tile=16, tile_overlap=4, image_size=None, views=2))
    weights = {(row.parent, row.weight) for row in FeatureReader(extraction.cache).samples}
    assert weights == {(name, i + 1) for i, name in enumerate(NAMES)}
