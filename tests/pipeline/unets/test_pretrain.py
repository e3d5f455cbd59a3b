"""`pretrain-unet`, from image files to a diffusers folder: whole or absent, the same bytes after any interruption."""

import csv
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from textdiff.errors import ConfigError, DataError, RunError
from textdiff.pipeline.config.unets import PretrainConfig
from textdiff.pipeline.runtime import device
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.unets import pretrain
from textdiff.pipeline.unets.pretrain import PretrainSummary, pretrain_unet
from textdiff.stages.unet.recorder import UNetRecorder, load_unet

STEPS = 6
SMALL = {"image_size": 32, "crop": 16, "steps": STEPS, "batch_size": 2, "channels": (8, 16), "layers": 1}


class Heard(Progress):
    """Keeps what was said and counted, and does something once `at` units of a task were counted."""

    def __init__(self, at=None, act=None):
        super().__init__()
        self.lines, self.tasks, self.losses, self._at, self._act = [], [], [], at, act

    def say(self, line):
        self.lines.append(line)

    @contextmanager
    def task(self, label, total, unit):
        self.tasks.append((label, total, unit))
        yield self if label == "pretrain" else Progress().task(label, total, unit).__enter__()

    def advance(self, n=1, **figures):
        self.losses.append(figures["loss"])
        if len(self.losses) == self._at:
            self._act()


def interrupt():
    signal.raise_signal(signal.SIGINT)


def write_image(path, seed, size=(40, 36)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(["b.png", "a.png", "c.png"]):
        write_image(folder / name, seed)
    return folder


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """One training that nothing interrupted: its folder, its summary, and what was heard of it."""
    out, heard = tmp_path_factory.mktemp("finished") / "unet", Heard()
    return out, pretrain_unet(PretrainConfig(images, out, **SMALL), heard), heard


def test_the_folder_is_a_diffusers_pipeline(finished):
    out, summary, _ = finished
    pipeline = DDPMPipeline.from_pretrained(out)
    assert isinstance(pipeline.unet, UNet2DModel)
    assert isinstance(pipeline.scheduler, DDPMScheduler)
    assert pipeline.unet.config.block_out_channels == [8, 16]
    assert pipeline.scheduler.config.num_train_timesteps == 1000
    assert sum(weight.numel() for weight in pipeline.unet.parameters()) == summary.n_parameters
    assert {path.name for path in out.iterdir()} == {"model_index.json", "pretraining.json", "scheduler", "unet"}


def test_load_unet_takes_the_folder(finished):
    frozen = load_unet(f"diffusers:{finished[0]}")
    blocks = list(range(frozen.n_blocks))
    recorded = UNetRecorder(frozen, blocks).record(torch.zeros(1, 3, 32, 32), [50, 150], torch.zeros(1, 3, 32, 32))
    assert len(blocks) == finished[1].n_blocks == 4
    assert [tuple(recorded[block].shape) for block in blocks] == [
        (2, 1, 16, 16, 16),
        (2, 1, 16, 32, 32),
        (2, 1, 8, 32, 32),
        (2, 1, 8, 32, 32),
    ]


def test_the_folder_says_which_images_the_unet_saw(finished, images):
    out, summary, _ = finished
    record = json.loads((out / "pretraining.json").read_text())
    expected = [(name, sha256((images / name).read_bytes()).hexdigest()) for name in ("a.png", "b.png", "c.png")]
    assert [(image["name"], image["sha256"]) for image in record["images"]] == expected
    assert record["settings"]["channels"] == [8, 16]
    assert record["final_loss"] == summary.final_loss


def test_summary_and_progress_agree(finished):
    out, summary, heard = finished
    assert (summary.out, summary.n_images, summary.steps) == (str(out), 3, STEPS)
    assert heard.tasks == [("read", 3, "images"), ("pretrain", STEPS, "steps")]
    assert len(heard.losses) == STEPS
    assert heard.losses[-1] == summary.final_loss
    assert json.loads(json.dumps(summary.to_dict())) == asdict(summary)


def test_summary_says_what_was_made_and_how_to_use_it():
    summary = PretrainSummary("out/unet", 24, 3_484_131, 8, 500, 0.04721, 61.4)
    assert summary.lines() == [
        "out/unet: a UNet of 3.48 M parameters, decoder blocks 0 to 7, 500 steps on 24 images, loss 0.0472, 61 s",
        "use it as --unet diffusers:out/unet",
    ]
    collapsed = replace(summary, final_loss=0.996)
    assert collapsed.lines()[2].startswith("warning: it learnt next to nothing (always answering 0 has loss 1)")


def test_bytes_depend_neither_on_the_folders_nor_on_when_it_saves(finished, images, tmp_path):
    moved = tmp_path / "elsewhere"
    for name in ("a.png", "b.png", "c.png"):
        moved.mkdir(exist_ok=True)
        (moved / name).write_bytes((images / name).read_bytes())
    pretrain_unet(PretrainConfig(moved, tmp_path / "deep" / "out", **SMALL, save_every=1))
    assert contents(tmp_path / "deep" / "out") == contents(finished[0])


def test_another_seed_gives_other_weights(finished, images, tmp_path):
    pretrain_unet(PretrainConfig(images, tmp_path / "out", **SMALL, seed=1))
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert contents(tmp_path / "out")[weights] != contents(finished[0])[weights]


def test_ctrl_c_saves_the_last_step_and_says_how_to_go_on(finished, images, tmp_path):
    config, heard = PretrainConfig(images, tmp_path / "out", **SMALL), Heard(at=4, act=interrupt)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain_unet(config, heard)
    assert signal.getsignal(signal.SIGINT) is handler
    assert heard.lines == ["stopped and saved after 4 of 6 steps; give the same command with --resume to go on"]
    with pytest.raises(RunError, match=r"out holds a training that did not finish; go on with --resume, or delete"):
        pretrain_unet(config)
    resumed = Heard()
    summary = pretrain_unet(replace(config, resume=True), resumed)
    assert resumed.lines == ["going on after 4 of 6 steps"]
    assert resumed.tasks[-1] == ("pretrain", 2, "steps")
    assert summary.final_loss == finished[1].final_loss
    assert contents(tmp_path / "out") == contents(finished[0])


def test_a_second_ctrl_c_does_not_wait(images, tmp_path):
    heard = Heard(at=1, act=lambda: (interrupt(), interrupt()))
    with pytest.raises(KeyboardInterrupt):
        pretrain_unet(PretrainConfig(images, tmp_path / "out", **SMALL), heard)
    assert not (tmp_path / "out" / "checkpoint" / "state.safetensors").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from textdiff.pipeline.config.unets import PretrainConfig
from textdiff.pipeline.unets.pretrain import PretrainSummary, pretrain_unet
from textdiff.pipeline.runtime import device
from textdiff.pipeline.runtime.progress import Progress
from textdiff.stages.unet.recorder import UNetRecorder, load_unet
from contextlib import contextmanager

class Killed(Progress):
    n_steps = 0
    @contextmanager
    def task(self, label, total, unit):
        self.label = label
        yield self
    def advance(self, n=1, **figures):
        self.n_steps += self.label == "pretrain"
        if self.n_steps == 5:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(int(sys.argv[3]))
pretrain_unet(PretrainConfig(Path(sys.argv[1]), Path(sys.argv[2]), save_every=3, **{settings}), Killed())
"""


@pytest.mark.slow
def test_sigkill_half_way_then_resume_gives_the_same_bytes(finished, images, tmp_path):
    out, threads = tmp_path / "out", torch.get_num_threads()
    script = KILLED.replace("{settings}", repr(SMALL))
    arguments = [sys.executable, "-c", script, str(images), str(out), str(threads)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    killed = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "model_index.json").exists()
    heard = Heard()
    pretrain_unet(PretrainConfig(images, out, **SMALL, resume=True), heard)
    assert heard.lines == ["going on after 3 of 6 steps"]
    assert contents(out) == contents(finished[0])


def test_a_crash_while_publishing_leaves_no_index_and_can_be_gone_on_with(finished, images, tmp_path, monkeypatch):
    config = PretrainConfig(images, tmp_path / "out", **SMALL)
    write = pretrain.write_durably

    def crash(path, pieces):
        if path == config.out / "pretraining.json":
            raise OSError("no space left on device")
        write(path, pieces)

    monkeypatch.setattr(pretrain, "write_durably", crash)
    with pytest.raises(OSError, match="no space left"):
        pretrain_unet(config)
    assert not (config.out / "model_index.json").exists()
    monkeypatch.undo()
    pretrain_unet(replace(config, resume=True))
    assert contents(config.out) == contents(finished[0])


def test_resume_where_nothing_stands_begins(finished, images, tmp_path):
    pretrain_unet(PretrainConfig(images, tmp_path / "out", **SMALL, resume=True))
    assert contents(tmp_path / "out") == contents(finished[0])


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_folder_is_left_alone(finished, images, resume):
    with pytest.raises(RunError, match=r"unet holds a finished UNet; give another folder, or delete this one"):
        pretrain_unet(PretrainConfig(images, finished[0], **SMALL, resume=resume))


def test_a_folder_with_something_else_is_left_alone(images):
    with pytest.raises(RunError, match=r"holds something else already; give a folder that is empty or does not exist"):
        pretrain_unet(PretrainConfig(images, images, **SMALL))


def test_resume_refuses_other_settings_and_other_images_in_one_error(images, tmp_path):
    config = PretrainConfig(images, tmp_path / "out", **SMALL)
    with pytest.raises(KeyboardInterrupt):
        pretrain_unet(config, Heard(at=1, act=interrupt))
    write_image(tmp_path / "images" / "a.png", 99)
    other = replace(config, images=tmp_path / "images", resume=True, seed=4, learning_rate=1e-5)
    with pytest.raises(ConfigError, match=r"out cannot be resumed \(give what it was begun with, or") as refused:
        pretrain_unet(other)
    assert str(refused.value).split("\n  - ")[1:] == [
        f"--learning-rate got 1e-05; it was begun with {config.learning_rate}",
        "--seed got 4; it was begun with 0",
        "the images differ: 1 are new or changed, 3 are gone",
    ]


def test_auto_becomes_the_processors_arithmetic_and_a_resume_keeps_it(images, tmp_path, monkeypatch):
    config = PretrainConfig(images, tmp_path / "unet", **SMALL)
    monkeypatch.setattr(device, "computes_bfloat16", lambda _: True)
    with pytest.raises(KeyboardInterrupt):
        pretrain_unet(config, Heard(at=2, act=interrupt))
    monkeypatch.setattr(device, "computes_bfloat16", lambda _: False)
    with pytest.raises(ConfigError, match="--precision got float32; it was begun with bfloat16"):
        pretrain_unet(replace(config, resume=True, precision="float32"))
    pretrain_unet(replace(config, resume=True))
    assert json.loads((config.out / "pretraining.json").read_text())["settings"]["precision"] == "bfloat16"
    whole = replace(config, out=tmp_path / "whole")
    pretrain_unet(replace(whole, precision="bfloat16"))
    assert contents(config.out) == contents(whole.out)


def test_every_unusable_image_is_named_in_one_error(tmp_path):
    write_image(tmp_path / "images" / "good.png", 0)
    write_image(tmp_path / "images" / "small.png", 1, size=(15, 30))
    (tmp_path / "images" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="2 of 3 images cannot be learnt from") as refused:
        pretrain_unet(PretrainConfig(tmp_path / "images", tmp_path / "out", **SMALL))
    broken, small = refused.value.problems
    assert "broken.png" in broken
    assert small.endswith("small.png is 30x15 pixels; expected at least the crop's 16 on each side")
    assert not (tmp_path / "out").exists()


def test_of_lvits_layout_only_the_training_images_are_seen(tmp_path):
    for seed, split in enumerate(["Train", "Val", "Test"]):
        write_image(tmp_path / "data" / f"{split}_Folder" / "img" / f"{split}.png", seed)
    heard = Heard()
    summary = pretrain_unet(PretrainConfig(tmp_path / "data", tmp_path / "out", **SMALL), heard)
    record = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert summary.n_images == 1
    assert [image["name"] for image in record["images"]] == ["Train.png"]
    assert heard.lines == [f"{tmp_path / 'data'} is in LViT's layout: only Train_Folder/img is learnt from"]


def write_manifest(folder, splits):
    rows = [[f"{n}", f"{n}.png", "", "", split] for n, split in enumerate(splits)]
    for n in range(len(splits)):
        write_image(folder / f"{n}.png", n)
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "image", "mask", "text", "split"], *rows])
    return folder / "data.csv"


def test_of_a_manifest_only_the_training_rows_are_seen(tmp_path):
    manifest, heard = write_manifest(tmp_path, ["train", "test", "train", "val"]), Heard()
    pretrain_unet(PretrainConfig(manifest, tmp_path / "out", **SMALL), heard)
    record = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    assert [image["name"] for image in record["images"]] == ["0.png", "2.png"]
    assert heard.lines == [f"{manifest} is a manifest: only the 2 images of its split train are learnt from"]


def test_a_manifest_without_training_rows_is_refused(tmp_path):
    manifest = write_manifest(tmp_path, ["test", "val"])
    with pytest.raises(DataError, match=r"data\.csv has no sample in the split train; expected at least one"):
        pretrain_unet(PretrainConfig(manifest, tmp_path / "out", **SMALL))


def test_a_loss_that_is_no_number_ends_the_training(images, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain.Pretraining, "advance", lambda self, images: float("nan"))
    with pytest.raises(ConfigError, match=r"the loss is nan at step 0: the training diverges; lower --learning-rate"):
        pretrain_unet(PretrainConfig(images, tmp_path / "out", **SMALL))


def test_config_refuses_what_no_unet_can_have(tmp_path):
    with pytest.raises(ConfigError) as refused:
        PretrainConfig(tmp_path, tmp_path, channels=(12, 16), image_size=65, crop=31)
    assert str(refused.value).splitlines() == [
        "--channels got 12; expected a positive multiple of the 8 groups of its normalisation, 8",
        "--image-size got 65; expected a positive multiple of what 2 levels need, 2",
        "--crop got 31; expected a positive multiple of what 2 levels need, 2",
    ]
    with pytest.raises(ConfigError) as refused:
        PretrainConfig(tmp_path, tmp_path, channels=())
    assert str(refused.value) == "--channels got nothing; expected a number of channels for each level"
