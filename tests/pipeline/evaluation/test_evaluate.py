"""Scores of whole images from tiles: put together at their own size, counted once each, whatever the masks' values."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff.cache.format.samples import SampleRow, parents
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, DataError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation import distance_unit
from textdiff.pipeline.evaluation import result as evaluations
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.evaluation.measures import empty_lines, labels
from textdiff.pipeline.evaluation.result import read_evaluation
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.splits import choose_split
from textdiff.pipeline.image_files.spacing import PixelSpacing
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.scoring.summary import scores
from textdiff.pipeline.training.train import train_head
from textdiff.stages.metrics.overlap import confusion, dice


def rewrite(extraction, old, new, *names):
    """Change the values of the masks of the named samples."""
    for name in names:
        path = extraction.data.parent / f"{name}_mask.png"
        mask = np.array(Image.open(path))
        mask[mask == old] = new
        Image.fromarray(mask).save(path)


def training_of(cache, run):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    return TrainConfig(cache, run, head="pixel", text="true", epochs=6, device="cpu", **sizes, **rates)


@pytest.fixture
def tiled(extraction, tmp_path):
    """A run on 20×24 images cut into 4 tiles of 16 pixels, offsets 0 and 4 down, 0 and 8 across."""
    settings = replace(extraction, cache=tmp_path / "tiles", tile=16, tile_overlap=6)
    extract_features(settings)
    training = training_of(settings.cache, tmp_path / "run")
    summary = train_head(training).summary
    return EvaluateConfig(training.run, settings.cache, device="cpu"), summary


@pytest.mark.slow
def test_a_tiled_cache_is_scored_by_whole_images_at_their_own_size(tiled, extraction):
    config, summary = tiled
    assert (summary.n_train, summary.n_val, summary.test["n"]) == (4, 2, 1)
    reader = FeatureReader(config.cache)
    assert [row.tile for row in reader.split("test")] == [(0, 0), (0, 8), (4, 0), (4, 8)]
    evaluation = evaluate(replace(config, split="val", at="native")).scores
    assert [one["id"] for one in evaluation["per_sample"]] == ["val0", "val1"]
    run = RunConfig.read(config.run)
    head = load_head(config.run, run, "cpu")
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    window = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
    for parent, scored in zip(("val0", "val1"), evaluation["per_sample"], strict=True):
        canvas, weights = np.zeros((2, 20, 24)), np.zeros((20, 24))
        rows = [row for row in reader.split("val") if row.parent == parent]
        for (y, x), given in zip((row.tile for row in rows), data.inputs(rows), strict=True):
            (one,) = head.segment(given).softmax(1).numpy()
            canvas[:, y : y + 16, x : x + 16] += one * np.outer(window, window)
            weights[y : y + 16, x : x + 16] += np.outer(window, window)
        truth = np.array(Image.open(extraction.data.parent / f"{parent}_mask.png")) > 0
        counts = confusion(torch.from_numpy((canvas / weights).argmax(0)), torch.from_numpy(truth).long(), 2, 255)
        assert scored["dice"] == pytest.approx(float(dice(counts)))
        assert int(counts.sum()) == 20 * 24


@pytest.mark.slow
def test_labels_of_tiles_give_the_same_as_the_mask_files_and_do_without_them(tiled, extraction):
    config, _ = tiled
    native = evaluate(replace(config, split="train", at="native")).scores
    assert evaluate(replace(config, split="train", at="model")).scores == native
    (extraction.data.parent / "train2_mask.png").unlink()
    assert evaluate(replace(config, split="train", at="model")).scores == native
    with pytest.raises(DataError, match=r"train2: .*train2_mask.png is gone") as caught:
        evaluate(replace(config, split="train", at="native"))
    assert len(caught.value.problems) == 1  # one sample, not its four tiles


@pytest.mark.slow
def test_tiles_larger_than_the_image_and_than_the_models_size_are_scored(extraction, tmp_path):
    settings = replace(extraction, cache=tmp_path / "large", image_size=16, tile=22, tile_overlap=2)
    extract_features(settings)
    training = training_of(settings.cache, tmp_path / "run")
    train_head(training)
    assert [row.tile for row in FeatureReader(settings.cache).split("test")] == [(0, 0), (0, 2)]
    config = EvaluateConfig(training.run, settings.cache, device="cpu")
    at_native, at_model = (evaluate(replace(config, at=at)).scores for at in ("native", "model"))
    assert at_native["n"] == at_model["n"] == 1
    # At the model's scale the truth is the 8×8 square as 16 pixels for 22 show it.
    assert at_model["dice"] == pytest.approx(at_native["dice"], abs=0.15)


@pytest.mark.slow
def test_an_image_counts_where_one_of_its_tiles_is_labelled(extraction, tmp_path):
    (extraction.data.parent / "classes.json").write_text(
        json.dumps({"classes": {"0": "background", "255": "square"}, "ignore": 7})
    )
    path = extraction.data.parent / "val0_mask.png"
    mask = np.array(Image.open(path))
    mask[:, 8:], mask[4:] = 7, 7
    Image.fromarray(mask).save(path)
    settings = replace(extraction, cache=tmp_path / "tiles", tile=16)
    extract_features(settings)
    training = training_of(settings.cache, tmp_path / "run")
    split = choose_split(FeatureReader(settings.cache), training)
    assert [row.tile for row in split.val if row.parent == "val0"] == [(0, 0)]
    assert train_head(training).summary.n_val == 2
    config = EvaluateConfig(training.run, settings.cache, split="val", device="cpu")
    assert evaluate(replace(config, at="native")).scores == evaluate(replace(config, at="model")).scores
    assert evaluate(config).scores["n"] == 2


@pytest.mark.slow
def test_few_labels_are_counted_in_groups_whatever_the_tiles(tiled):
    config, _ = tiled
    reader = FeatureReader(config.cache)
    split = choose_split(reader, replace(training_of(config.cache, config.run), n_labelled=2))
    assert len(parents(split.train)) == 2
    assert len(split.train) == 8
    with pytest.raises(DataError, match="--n-labelled got 5; the cache has 4 labelled groups"):
        choose_split(reader, replace(training_of(config.cache, config.run), n_labelled=5))


@pytest.mark.slow
def test_which_mask_value_is_the_foreground_does_not_matter_but_what_the_classes_are_does(
    tiny_cache, extraction, tmp_path
):
    training = training_of(tiny_cache, tmp_path / "run")
    train_head(training)
    config = EvaluateConfig(training.run, tiny_cache, device="cpu")
    before = evaluate(config).scores
    names = [row.id for row in FeatureReader(tiny_cache).samples]
    rewrite(extraction, 255, 1, *names)
    extract_features(extraction)
    assert FeatureReader(tiny_cache).manifest.classes["classes"] == {"0": "background", "1": "foreground"}
    assert evaluate(config).scores == before
    assert evaluate(replace(config, at="native")).scores["n"] == 1
    declared = {"classes": {"0": "background", "1": "gland"}}
    (extraction.data.parent / "classes.json").write_text(json.dumps(declared))
    extract_features(extraction)
    with pytest.raises(
        CacheMismatchError, match="classes: the head has background, foreground; the cache has background, gland"
    ):
        evaluate(config)


class Listening(Progress):
    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, line):
        self.said.append(line)


@pytest.mark.slow
def test_the_run_keeps_what_evaluate_says(tiny_cache, tmp_path):
    training = training_of(tiny_cache, tmp_path / "run")
    summary = train_head(training).summary
    config, progress = EvaluateConfig(training.run, tiny_cache, device="cpu"), Listening()
    evaluation = evaluate(config, progress)
    assert evaluation.scores["dice"] == pytest.approx(summary.test["dice"])
    assert progress.said == [f"kept in {evaluation.path}; look at {evaluation.path.with_suffix('.html')}"]
    assert evaluation.path.with_suffix(".html").exists()
    assert evaluation.path.parent == training.run / "evaluations"
    assert json.loads(evaluation.path.read_bytes()) == json.loads(json.dumps(evaluation.to_dict()))
    assert read_evaluation(evaluation.path).lines() == evaluation.lines()
    other = evaluate(replace(config, split="val", text="none"))
    assert other.path != evaluation.path
    assert other.n_seen == {"train": 0, "val": 2}
    assert f"of these samples 2 were used to choose the epoch by {training.run}" in other.lines()


@pytest.mark.slow
def test_a_run_that_cannot_be_written_is_evaluated_all_the_same(tiny_cache, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    training, progress = training_of(tiny_cache, tmp_path / "run"), Listening()
    train_head(training)
    monkeypatch.setattr(evaluations, "write_json", refuse)
    evaluation = evaluate(EvaluateConfig(training.run, tiny_cache, device="cpu"), progress)
    assert progress.said == [f"not kept: {evaluation.path} cannot be written (Permission denied)"]
    assert evaluation.scores["n"] == 1


@pytest.mark.slow
def test_outlines_and_objects_are_measured_on_request_and_bands_give_the_same_as_whole_images(tiled):
    config = replace(tiled[0], split="train")
    assert {"hd95", "nsd", "aji", "pq", "surface"}.isdisjoint(evaluate(config).scores)
    asked = replace(config, tolerance=1.5, instances=True)
    evaluation = evaluate(asked).scores
    assert evaluate(replace(asked, surface=True, at="native")).scores == evaluation
    assert evaluation["surface"] == {"unit": "px", "tolerance": 1.5, "remark": ""}
    assert evaluation["n_groups"] == 4
    for sample in evaluation["per_sample"]:
        assert 0 <= sample["pq"] <= 1
        assert 0 <= sample["aji"] <= sample["iou"] + 1e-9  # unions of objects that are not matched only add up
        assert sample["hd95"] >= 0
        assert 0 <= sample["nsd"] <= 1


@pytest.mark.slow
def test_distances_are_in_mm_where_the_images_state_the_size_of_a_pixel(tiled, monkeypatch):
    config = replace(tiled[0], split="train", tolerance=2)
    pixels = evaluate(config).scores
    monkeypatch.setattr(distance_unit, "pixel_spacing", lambda _: PixelSpacing((0.5, 0.5)))
    mm = evaluate(replace(config, tolerance=1)).scores
    assert mm["surface"] == {"unit": "mm", "tolerance": 1, "remark": ""}
    assert mm["hd95"] == pytest.approx(pixels["hd95"] / 2)
    assert mm["nsd"] == pixels["nsd"]
    assert labels(mm)["nsd"] == "NSD (1 mm)"


@pytest.mark.slow
def test_the_table_shows_every_figure_with_its_interval_and_each_class(tiny_cache, tmp_path):
    training = training_of(tiny_cache, tmp_path / "run")
    train_head(training)
    evaluation = evaluate(
        EvaluateConfig(training.run, tiny_cache, split="train", tolerance=2, instances=True, device="cpu")
    )
    text = "\n".join(evaluation.lines())
    scores = evaluation.scores
    assert text.startswith("4 samples in 4 groups of train, at model size, text: true")
    assert "only 4 groups: intervals of fewer than 5 mean little" in text
    low, high = scores["intervals"]["dice"]
    assert "\n                 mean over images              pooled over pixels or objects\n" in text
    assert f"\nDice             {scores['dice']:.4f} [{low:.4f}, {high:.4f}]       {scores['micro_dice']:.4f} [" in text
    assert "\nempty masks of a class: in both 0, in the truth alone 0, in the prediction alone 0 of 4 samples\n" in text
    for label in (
        "IoU",
        "precision",
        "recall",
        "HD95 (px)",
        "NSD (2 px)",
        "AJI",
        "PQ",
        "DQ (F1 at 0.5)",
        "SQ",
        "calibration error (ECE)",
    ):
        assert f"\n{label} " in text
    fields = asdict(evaluation) | {"classes": ("gland", "vessel")}
    fields["scores"] = scores | {"intervals": scores["intervals"] | {"dice": (0.25, 0.75)}}
    fields["scores"] |= {name: 2 * values for name, values in scores.items() if name.startswith("class_")}
    several = type(evaluation)(**fields).lines()
    assert any("[0.2500, 0.7500]" in line for line in several)
    (vessel,) = (line for line in several if line.startswith("vessel"))
    assert vessel.split()[1] == f"{scores['class_dice'][0]:.4f}"


def test_the_rule_for_empty_masks_stands_with_the_number_of_samples_that_it_concerns():
    row = SampleRow("a", "a", "a", "test", 0, None, (2, 2), "", "", None, None)
    rows = [replace(row, id=name, parent=name) for name in "abc"]
    counts = torch.tensor([[[4, 0], [0, 0]], [[3, 0], [1, 0]], [[3, 0], [0, 1]]])
    assert empty_lines(scores(counts, rows)) == [
        "empty masks of a class: in both 1, in the truth alone 0, in the prediction alone 1 of 3 samples",
        "  in both: Dice, IoU 1; precision, recall left out",
        "  in the prediction alone: Dice, IoU, recall 0; precision left out",
    ]


@pytest.mark.slow
def test_views_are_averaged_and_kept_apart_and_more_than_the_cache_has_are_refused(extraction, tmp_path):
    settings = replace(extraction, cache=tmp_path / "views", views=2, views_of="all")
    extract_features(settings)
    training = training_of(settings.cache, tmp_path / "run")
    train_head(training)
    config = EvaluateConfig(training.run, settings.cache, split="val", device="cpu")
    one, two = evaluate(config), evaluate(replace(config, tta=2))
    assert (one.scores["n"], two.scores["n"]) == (2, 2)
    assert one.scores["calibration"] != two.scores["calibration"]
    assert one.path != two.path
    assert two.lines()[0].endswith("text: true, mean over 2 views")
    with pytest.raises(DataError, match="--tta 4: the cache"):
        evaluate(replace(config, tta=4))
