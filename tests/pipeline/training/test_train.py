"""Stage two on a small real cache: it learns, it is exact about resuming, and it leaves the frozen models alone."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError, DataError, RunError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.splits import choose_split
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training import state
from textdiff.pipeline.training.schedule import schedule
from textdiff.pipeline.training.state import load_state, save_state
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.metrics.overlap import confusion, dice


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    return TrainConfig(
        tiny_cache, tmp_path / "run", head="pixel", text="true", epochs=4, device="cpu", **sizes, **rates
    )


def test_a_head_learns_a_bright_square(training):
    summary = train_head(replace(training, epochs=12)).summary
    everything = 2 * 64 / (64 + 20 * 24)  # the Dice of marking every pixel
    assert summary.val_dice > 2 * everything
    assert (summary.n_train, summary.n_val, summary.test["n"]) == (4, 2, 1)
    assert summary.val_is == "the validation split"


def test_a_run_folder_holds_what_it_should_and_no_more(training):
    train_head(training)
    names = sorted(path.name for path in training.run.iterdir())
    assert names == ["command.json", "config.json", "head.safetensors", "metrics.jsonl", "report.html", "summary.json"]
    config = json.loads((training.run / "config.json").read_bytes())
    assert config["digests"] == dict(FeatureReader(training.cache).manifest.digests)
    assert config["blocks"] == [1, 3]
    assert config["timesteps"] == [50, 150]
    assert config["samples"]["train"] == ["train0", "train1", "train2", "train3"]
    metrics = [json.loads(line) for line in (training.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4]
    assert metrics[-1]["loss"] < metrics[0]["loss"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(training, tmp_path, run_bytes):
    train_head(training)
    train_head(replace(training, run=tmp_path / "again"))
    train_head(replace(training, run=tmp_path / "other", seed=1))
    first, again, other = (run_bytes(tmp_path / name) for name in ("run", "again", "other"))
    assert first == again
    assert first["head.safetensors"] != other["head.safetensors"]


@pytest.mark.slow
def test_interrupted_and_resumed_gives_the_same_bytes_as_never_interrupted(training, tmp_path, run_bytes, monkeypatch):
    train_head(training)
    stopped = replace(training, run=tmp_path / "stopped")
    step = Trainer.learn

    def interrupted(self, *args):
        if self.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)  # in the middle of the third epoch
            monkeypatch.setattr(Trainer, "learn", step)
        return step(self, *args)

    monkeypatch.setattr(Trainer, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    assert (stopped.run / "resume.safetensors").exists()
    with pytest.raises(RunError, match="holds a run that did not finish"):
        train_head(stopped)
    with pytest.raises(RunError, match="its training did not finish"):
        evaluate(EvaluateConfig(stopped.run, stopped.cache))
    train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(training.run)


def test_a_training_that_goes_on_under_other_conditions_says_so(training, monkeypatch):
    trainer = Trainer.from_config(training, FeatureReader(training.cache))
    training.run.mkdir()
    save_state(training.run, trainer)
    assert load_state(training.run, trainer) == ""
    monkeypatch.setattr(state, "conditions_of", lambda device: {"device": "NVIDIA H100", "torch": torch.__version__})
    assert load_state(training.run, trainer) == "device cpu, now NVIDIA H100"


def test_a_training_that_diverges_says_so(training):
    with pytest.raises(ConfigError, match=r"the loss is not finite in epoch \d: lower --learning-rate"):
        train_head(replace(training, learning_rate=1.0, weight_decay=100.0, epochs=30))


def test_resuming_with_other_settings_is_refused_with_what_differs(training):
    train_head(training)
    with pytest.raises(RunError, match=r"train\.seed: the run has 0, this command says 3"):
        train_head(replace(training, resume=True, seed=3))
    assert train_head(replace(training, resume=True)).summary.epochs == 4


def test_a_folder_of_something_else_is_left_alone(training):
    training.run.mkdir()
    (training.run / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="exists and is not a run"):
        train_head(training)
    assert [path.name for path in training.run.iterdir()] == ["thesis.txt"]


def test_what_the_cache_lacks_is_refused_with_the_command_that_adds_it(training):
    with pytest.raises(CacheMismatchError, match=r"lacks blocks 1,3 at timesteps 999; .*--blocks 1,3 --timesteps 999"):
        train_head(replace(training, timesteps=(50, 999)))


def test_text_modes_show_the_head_what_they_say(tiny_cache):
    reader = FeatureReader(tiny_cache)

    def texts(mode):
        data = open_head_data(reader, blocks=None, timesteps=None, text=mode, seed=0, device="cpu")
        return data.text_of, data.texts(reader.samples)[1].any(1)

    (own, own_shown), (none, none_shown), (shuffled, _) = texts("true"), texts("none"), texts("shuffled")
    assert own == {sample.id: sample.text for sample in reader.samples}
    assert set(none.values()) == {None}
    assert own_shown.tolist() == [sample.text is not None for sample in reader.samples]
    assert not none_shown.any()
    train_ids = [sample.id for sample in reader.split("train")]
    assert sorted(str(shuffled[name]) for name in train_ids) == sorted(str(own[name]) for name in train_ids)
    assert shuffled != own


def test_a_head_without_text_gives_the_same_whatever_the_texts(training, extraction):
    train_head(replace(training, text="none"))
    before = evaluate(EvaluateConfig(training.run, training.cache)).scores
    manifest = extraction.data.read_text()
    extraction.data.write_text(manifest.replace("the nuclei are round", "not malignant"))
    extract_features(extraction)
    assert evaluate(EvaluateConfig(training.run, training.cache)).scores == before


def test_few_labels_are_drawn_by_seed_and_held_out_groups_are_never_trained_on(training):
    reader = FeatureReader(training.cache)
    two = choose_split(reader, replace(training, n_labelled=2))
    assert len(two.train) == 2
    assert choose_split(reader, replace(training, n_labelled=2)) == two
    held = choose_split(reader, replace(training, hold_out=True, val_fraction=0.5))
    assert {s.id for s in held.train} | {s.id for s in held.val} == {"train0", "train1", "train2", "train3"}
    assert (len(held.train), len(held.val)) == (2, 2)
    with pytest.raises(DataError, match="--n-labelled got 9; the cache has 4 labelled groups"):
        choose_split(reader, replace(training, n_labelled=9))


def test_unlabelled_pixels_and_images_teach_nothing(training, extraction):
    """A mask whose lower half is not labelled trains, and an image without a mask is left out."""
    from PIL import Image

    folder = extraction.data.parent
    names = {"classes": {"0": "background", "255": "square"}, "ignore": 7}
    (folder / "classes.json").write_text(json.dumps(names))
    mask = np.array(Image.open(folder / "train0_mask.png"))
    mask[10:] = 7
    Image.fromarray(mask).save(folder / "train0_mask.png")
    text = extraction.data.read_text().replace("train1_mask.png", "")
    extraction.data.write_text(text)
    extract_features(extraction)
    reader = FeatureReader(training.cache)
    by_id = {sample.id: sample for sample in reader.samples}
    assert set(np.unique(reader.labels(by_id["train0"].row)[8:])) == {255}
    assert (reader.labels(by_id["train1"].row) == 255).all()
    assert train_head(training).summary.n_train == 3


def test_too_few_labels_say_so(training, extraction):
    lines = extraction.data.read_text().splitlines()
    unlabelled = [line.replace(f"{line.split(',')[0]}_mask.png", "") for line in lines]
    extraction.data.write_text("\n".join(unlabelled) + "\n")
    extract_features(extraction)
    with pytest.raises(DataError, match="0 labelled samples, of which 0 to train on"):
        train_head(training)


def test_evaluate_agrees_with_masks_worked_out_one_by_one(training):
    train_head(training)
    scores = evaluate(EvaluateConfig(training.run, training.cache, split="val")).scores
    reader, config = FeatureReader(training.cache), RunConfig.read(training.run)
    head = load_head(training.run, config, "cpu")
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    samples = reader.split("val")
    for sample, x, scored in zip(samples, data.inputs(samples), scores["per_sample"], strict=True):
        predicted = head.segment(x)[0].argmax(0)
        truth = torch.from_numpy(np.array(reader.labels(sample.row)))
        assert scored["dice"] == pytest.approx(float(dice(confusion(predicted, truth, 2, 255))))
    assert scores["dice"] == pytest.approx(np.mean([scored["dice"] for scored in scores["per_sample"]]))
    assert scores["n"] == 2


@pytest.mark.slow
def test_native_scores_need_the_mask_files_as_they_were(training, extraction):
    train_head(replace(training, epochs=12))
    assert evaluate(EvaluateConfig(training.run, training.cache, at="native")).scores["dice"] > 0.47
    (extraction.data.parent / "test0_mask.png").unlink()
    with pytest.raises(DataError, match=r"test0: .*test0_mask.png is gone"):
        evaluate(EvaluateConfig(training.run, training.cache, at="native"))


def test_texts_are_not_shown_to_a_head_that_never_saw_any(training):
    train_head(replace(training, text="none"))
    with pytest.raises(ConfigError, match=r"--text true: .* was trained without texts"):
        evaluate(EvaluateConfig(training.run, training.cache, text="true"))


def test_a_cache_without_texts_is_scored_with_the_null_token(training, extraction):
    train_head(training)
    lines = [line.split(",") for line in extraction.data.read_text().splitlines()]
    extraction.data.write_text(
        "\n".join(",".join([*cells[:3], "" if i else "text", cells[4]]) for i, cells in enumerate(lines))
    )
    before = evaluate(EvaluateConfig(training.run, training.cache, text="none")).scores
    extract_features(extraction)
    assert evaluate(EvaluateConfig(training.run, training.cache)).scores == before


def test_evaluate_refuses_another_kind_of_cache_and_an_empty_split(training, extraction, tmp_path):
    train_head(training)
    other = replace(extraction, cache=tmp_path / "other", seed=1)
    extract_features(other)
    with pytest.raises(CacheMismatchError, match="seed: the cache has 1, this request needs 40"):
        evaluate(EvaluateConfig(training.run, other.cache))
    lines = extraction.data.read_text().splitlines(keepends=True)
    extraction.data.write_text("".join(line for line in lines if not line.startswith("test")))
    extract_features(extraction)
    with pytest.raises(DataError, match="no labelled samples there; it has some in train, val"):
        evaluate(EvaluateConfig(training.run, training.cache))


def test_the_learning_rate_rises_and_falls():
    assert schedule(0.0) == pytest.approx(0.02)
    assert schedule(0.05) == pytest.approx(1)
    assert schedule(0.525) == pytest.approx(0.5)
    assert schedule(1.0) == pytest.approx(0, abs=1e-9)


def test_settings_that_contradict_themselves_are_all_named_at_once(tiny_cache, tmp_path):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(
            tiny_cache, tmp_path / "run", head="pixel", epochs=0, width=30, n_attention_heads=8, text_dropout=1.5
        )
    message = str(caught.value)
    assert "--epochs got 0; expected at least 1" in message
    assert "--width got 30; expected a positive multiple of --n-attention-heads 8" in message
    assert "--text-dropout got 1.5; expected a number from 0.0 to 1.0" in message


@pytest.mark.slow
def test_neither_training_nor_ablation_imports_a_frozen_models_library(tiny_cache, tmp_path):
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from textdiff import ablate_timesteps, train_head
        from textdiff.config import AblateConfig, TrainConfig
        cache, out = Path({str(tiny_cache)!r}), Path({str(tmp_path)!r})
        train_head(TrainConfig(cache, out / "run", head="pixel", text="true", epochs=1, device="cpu"))
        ablate_timesteps(AblateConfig(cache, out / "ablation", seeds=(0,), epochs=1, device="cpu"))
        print(sorted({{"diffusers", "transformers", "open_clip", "huggingface_hub"}} & set(sys.modules)))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
