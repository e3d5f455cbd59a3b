"""Ablations: who is compared, that company changes nothing, what is kept, what is said of it."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch

from textdiff import cli
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError, DataError, RunError
from textdiff.pipeline.ablation.ablate import ablate_timesteps
from textdiff.pipeline.ablation.jobs import train_job
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.config.training import HEAD_DEFAULTS, TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.runs.folder import read_summary
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer


@pytest.fixture(autouse=True)
def small_heads(monkeypatch):
    """Heads are as `train-head` makes them by default, which is a small one here."""
    small = replace(HEAD_DEFAULTS["pixel"], width=16, images_per_step=2)
    monkeypatch.setitem(HEAD_DEFAULTS, "pixel", small)


@pytest.fixture
def config(tiny_cache, tmp_path):
    return AblateConfig(tiny_cache, tmp_path / "out", seeds=(0,), epochs=1, device="cpu")


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def trained(monkeypatch):
    """What the heads that are trained in this process see, one after another."""
    seen, run = [], Trainer.run

    def recorded(self):
        seen.append((self.data.blocks, self.data.timesteps))
        run(self)

    monkeypatch.setattr(Trainer, "run", recorded)
    return seen


@pytest.mark.slow
def test_a_head_comes_out_the_same_in_processes_in_this_one_and_from_train_head(
    tiny_cache, tmp_path, set_threads, trained
):
    config = AblateConfig(tiny_cache, tmp_path / "two", seeds=(0, 1), epochs=2, device="cpu")
    set_threads(2)
    in_processes = ablate_timesteps(config)
    assert trained == []
    assert torch.get_num_threads() == 2
    set_threads(1)
    assert ablate_timesteps(replace(config, out=tmp_path / "one")).rows == in_processes.rows
    assert len(trained) == 6
    train_head(
        TrainConfig(
            tiny_cache,
            tmp_path / "run",
            head="pixel",
            text="true",
            timesteps=(150,),
            filters=False,
            seed=1,
            epochs=2,
            device="cpu",
        )
    )
    summary = read_summary(tmp_path / "run")
    row = next(row for row in in_processes.rows if row.name == "150")
    assert row.dice[1] == pytest.approx(summary.val_dice, abs=1e-12)


@pytest.mark.slow
def test_finished_heads_are_not_trained_again_and_an_interrupt_keeps_them(config, trained, set_threads, monkeypatch):
    set_threads(1)  # in this process, where `trained` sees it

    def interrupted(device, jobs):
        yield train_job(jobs[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("textdiff.pipeline.ablation.ablate.train_in_processes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ablate_timesteps(config)
    journal = config.out / "heads.jsonl"
    (kept,) = journal.read_text().splitlines()
    journal.write_text(kept + '\n{"identity": {"blo')  # as a crash leaves it
    summary = ablate_timesteps(config)
    assert trained == [((1, 3), (50,)), ((1, 3), (150,)), ((1, 3), (50, 150))]
    assert len(journal.read_text().splitlines()) == 3
    trained.clear()
    assert ablate_timesteps(config).to_dict() == summary.to_dict()
    assert trained == []
    ablate_timesteps(replace(config, epochs=2, subsets=((50,),)))
    assert trained == [((1, 3), (50,))]
    assert len(journal.read_text().splitlines()) == 4


def test_the_table_the_picture_and_only_what_is_named_is_read(config):
    for shard in (config.cache / "features" / "1" / "150").rglob("c/*/*/*/*"):
        shard.unlink()
    summary = ablate_timesteps(replace(config, subsets=((50,),), seeds=(0, 1)))
    header, line = (config.out / "ablation.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), line.split(","), strict=True))
    scores = [float(cells["dice_seed_0"]), float(cells["dice_seed_1"])]
    assert (cells["timesteps"], cells["n_seeds"]) == ("50", "2")
    assert float(cells["dice_mean"]) == pytest.approx(np.mean(scores))
    assert float(cells["dice_std"]) == pytest.approx(np.std(scores, ddof=1))
    kept = json.loads((config.out / "ablation.json").read_bytes())
    assert kept["rows"][0]["dice"] == pytest.approx(scores)
    assert kept["verdict"] == "50 alone was trained; there is nothing to compare it with"
    assert (config.out / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert "only 2 groups" in "\n".join(summary.lines())


@pytest.mark.slow
def test_over_blocks_and_texts(config):
    of_blocks = ablate_timesteps(replace(config, over="blocks", grid="forward", timesteps=(50,)))
    assert [row.variant.blocks for row in of_blocks.rows] == [(1,), (3,), (1, 3)]
    assert {row.variant.timesteps for row in of_blocks.rows} == {(50,)}
    assert of_blocks.path[0] in ("1", "3")
    assert of_blocks.path[1] == "1,3"
    of_texts = ablate_timesteps(replace(config, over="text", epochs=16))  # by then heads find the objects
    assert [row.name for row in of_texts.rows] == ["true", "none", "shuffled"]
    assert len({tuple(row.dice) for row in of_texts.rows}) == 3


@pytest.mark.slow
def test_over_sources_each_model_all_of_them_and_the_filters_alone(config, extraction, tiny_dinov2, trained):
    extract_features(replace(extraction, unet=None, encoder=(f"hf:{tiny_dinov2}",), encoder_layers=((1, 2),)))
    summary = ablate_timesteps(replace(config, over="sources"))
    layers = ("tiny_dinov2/1", "tiny_dinov2/2")
    assert {row.name: (row.variant.blocks, row.variant.layers) for row in summary.rows} == {
        "unet": ((1, 3), ()),
        "tiny_dinov2": ((), layers),
        "unet,tiny_dinov2": ((1, 3), layers),
        "filters": ((), ()),
    }
    assert sorted(trained) == sorted((row.variant.blocks, row.variant.timesteps) for row in summary.rows)
    table = (config.out / "ablation.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("sources,dice_mean")
    assert len(table) == 5
    assert bool(summary.note) == (summary.ranked[0].name != "filters")  # how heads of models come to see filters too


@pytest.mark.slow
def test_encoders_are_left_out_where_timesteps_are_compared(config, extraction, tiny_dinov2):
    before = ablate_timesteps(config)
    extract_features(replace(extraction, unet=None, encoder=(f"hf:{tiny_dinov2}",)))
    after = ablate_timesteps(replace(config, out=config.out.with_name("after")))
    assert [row.dice for row in after.rows] == [row.dice for row in before.rows]


def test_a_cache_without_a_unet_has_no_timesteps_to_compare(config, extraction, tiny_dinov2):
    alone = replace(extraction, unet=None, encoder=(f"hf:{tiny_dinov2}",), cache=config.out.with_name("alone"))
    extract_features(alone)
    with pytest.raises(ConfigError, match="has no UNet whose timesteps could be compared; give --over sources"):
        ablate_timesteps(replace(config, cache=alone.cache))


@pytest.mark.slow
def test_the_winners_command_trains_the_winner(config, capsys, monkeypatch):
    summary = ablate_timesteps(config)
    monkeypatch.setattr("sys.argv", [*shlex.split(summary.command), "--device", "cpu"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert not exit_.value.code, capsys.readouterr().err
    best = summary.ranked[0]
    assert read_summary(config.out / "run").val_dice == pytest.approx(best.dice[0], abs=1e-12)
    assert summary.command.endswith("--no-filters --text true --epochs 1 --device cpu")
    assert "without --no-filters the head also sees filters" in summary.lines()[-1]


def test_folds_score_every_training_image_once_and_leave_the_validation_split_shut(config, monkeypatch):
    read, rows = FeatureReader.labels, set()
    monkeypatch.setattr(FeatureReader, "labels", lambda self, row: rows.add(row) or read(self, row))
    summary = ablate_timesteps(replace(config, folds=2, subsets=((50,), (150,))))
    train = {sample.row: sample.parent for sample in FeatureReader(config.cache).split("train")}
    assert rows == train.keys()
    assert all([*row.per_sample] == sorted(train.values()) for row in summary.rows)
    assert summary.scored_on == "4 images of 2 folds of the training split"
    with pytest.raises(DataError, match="5 folds need as many labelled groups to train on; the cache has 4"):
        ablate_timesteps(replace(config, folds=5))


def test_what_the_cache_lacks_is_one_error_with_the_command_that_adds_it(
    config, extraction, tiny_data, capsys, monkeypatch
):
    with pytest.raises(CacheMismatchError) as caught:
        ablate_timesteps(replace(config, subsets=((50,), (70, 90)), blocks=(1, 2)))
    message = str(caught.value)
    assert "  - block 1: timesteps 70,90\n  - block 2: timesteps 50,70,90\n" in message
    command = shlex.split(message.splitlines()[-1])
    assert command[:4] == ["textdiff", "extract-features", str(tiny_data.parent), str(config.cache)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert not exit_.value.code, capsys.readouterr().err
    assert not config.out.exists()
    FeatureReader(config.cache).require((1, 2), (50, 70, 90))


def test_a_folder_of_something_else_is_left_alone(config):
    config.out.mkdir()
    (config.out / "thesis.txt").write_text("years")
    with pytest.raises(RunError, match="out: exists and is not an ablation; give a new name"):
        ablate_timesteps(config)
    assert [path.name for path in config.out.iterdir()] == ["thesis.txt"]


def test_contradictions_are_named_at_once(config):
    with pytest.raises(ConfigError) as caught:
        replace(config, over="text", subsets=((50,), (150, 50), (50, 150)), grid="pairs", folds=1)
    message = str(caught.value)
    assert "--subsets names 50,150 more than once" in message
    assert "--subsets and --grid were both given, and both say what to compare; give one of them" in message
    assert "--over text compares true, none and shuffled texts; leave --grid out" in message
    assert "--folds got 1; expected at least 2" in message
    with pytest.raises(ConfigError, match="--subsets says which blocks to look at; leave --blocks out"):
        replace(config, over="blocks", subsets=((1,),), blocks=(1,))
    with pytest.raises(ConfigError, match="--grid pairs needs at least 2 timesteps; there is one"):
        ablate_timesteps(replace(config, grid="pairs", timesteps=(50,)))
