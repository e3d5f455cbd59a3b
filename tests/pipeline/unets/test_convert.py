"""convert-unet: what it writes, what it says, and that it writes all or nothing."""

from __future__ import annotations

import json
import stat

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

from textdiff.errors import RunError, SourceError
from textdiff.pipeline.config.unets import ConvertConfig
from textdiff.pipeline.unets.convert import convert_unet
from textdiff.stages.unet.guided.adm import ADMUNet2DModel, empty_model
from textdiff.stages.unet.guided.config import ADMConfig
from textdiff.stages.unet.guided.convert import convert_checkpoint
from textdiff.stages.unet.guided.tensors import expected_shapes
from textdiff.stages.unet.recorder import load_unet

FLAGS = {
    "image_size": 16,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1,2",
    "attention_resolutions": "16,8",
    "class_cond": True,
    "resblock_updown": True,
    "learn_sigma": True,
    "num_head_channels": 16,
    "use_new_attention_order": False,
    "noise_schedule": "cosine",
    "diffusion_steps": 100,
    "rescale_timesteps": False,
}


@pytest.fixture
def config(tmp_path):
    flags = ADMConfig(**FLAGS, n_classes=7)
    shapes = expected_shapes(empty_model(flags), flags)
    torch.manual_seed(0)
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, tmp_path / "model.safetensors")
    (tmp_path / "flags.json").write_text(json.dumps(FLAGS))
    return ConvertConfig(tmp_path / "model.safetensors", tmp_path / "deep" / "out", tmp_path / "flags.json")


@pytest.mark.slow
def test_diffusers_loads_the_folder_as_what_was_converted(config):
    convert_unet(config)
    model = UNet2DModel.from_pretrained(config.out)
    expected = convert_checkpoint("x", config.checkpoint, config.config)
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    scheduler = DDPMScheduler.from_pretrained(config.out)
    assert torch.equal(scheduler.alphas_cumprod, expected.scheduler.alphas_cumprod)
    assert scheduler.config.num_train_timesteps == 100
    assert sorted(path.name for path in config.out.iterdir()) == [
        "config.json",
        "conversion.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
    ]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in config.out.iterdir()}
    assert len(modes) == 1  # who may read one file of it may read all
    assert [path.name for path in config.out.parent.iterdir()] == ["out"]


def test_what_diffusers_cannot_hold_is_refused_by_diffusers(config):
    config.config.write_text(json.dumps({**FLAGS, "num_head_channels": -1, "num_heads": 2}))
    summary = convert_unet(config)
    assert summary.model_class == "ADMUNet2DModel"
    assert summary.lines()[-2:] == [
        "of class ADMUNet2DModel: diffusers alone refuses it",
        f"use it as --unet diffusers:{config.out}",
    ]
    with pytest.raises(ValueError, match=r"ADMAttnDownBlock2D does not exist"):
        UNet2DModel.from_pretrained(config.out)
    assert ADMUNet2DModel.from_pretrained(config.out).mid_block.attentions[0].heads == 2


@pytest.mark.parametrize("heads", [{}, {"num_head_channels": -1, "num_heads": 2}])
def test_the_folder_and_the_checkpoint_are_the_same_source_of_features(config, heads):
    config.config.write_text(json.dumps({**FLAGS, **heads}))
    convert_unet(config)
    folder = load_unet(f"diffusers:{config.out}")
    checkpoint = load_unet(f"guided-diffusion:{config.checkpoint}", config=config.config)
    assert folder.digest == checkpoint.digest
    assert torch.equal(folder.alphas_cumprod, checkpoint.alphas_cumprod)


def test_the_summary_says_what_was_recognised(config):
    summary = convert_unet(config)
    assert summary.lines() == [
        f"{config.out}: own config, {summary.n_parameters / 1e6:.2f} M parameters, conditioned on 7 classes",
        "attention heads of 16 channels, legacy attention order; cosine schedule of 100 steps, learned variance",
        "decoder blocks (channels at resolution):",
        "   0  64 at 8x8",
        "   1  64 at 16x16",
        "   2  32 at 16x16",
        "   3  32 at 16x16",
        f"use it as --unet diffusers:{config.out}",
    ]
    values = json.loads(json.dumps(summary.to_dict()))
    assert values["blocks"][1] == {"channels": 64, "shrinkage": 1}
    assert (values["recognised"], values["n_classes"], values["image_size"]) == ("own config", 7, 16)
    assert summary.n_parameters == sum(p.numel() for p in UNet2DModel.from_pretrained(config.out).parameters())
    record = json.loads((config.out / "conversion.json").read_text())
    assert record["checkpoint"]["name"] == "model.safetensors"
    assert {**FLAGS, "n_classes": 7}.items() <= record["flags"].items()


def test_the_summary_of_heads_whose_number_is_fixed(config):
    flags = {**FLAGS, "num_head_channels": -1, "num_heads": 2, "num_heads_upsample": 4, "use_new_attention_order": True}
    config.config.write_text(json.dumps(flags))
    assert convert_unet(config).lines()[1].startswith("2 heads an attention (4 in the decoder), new attention order; ")


def test_something_that_stands_at_the_folder_is_left_alone(config):
    config.out.mkdir(parents=True)
    (config.out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"out holds something already; give a folder that is empty or does not exist"):
        convert_unet(config)
    assert [path.name for path in config.out.iterdir()] == ["notes.txt"]
    (config.out / "notes.txt").unlink()
    assert convert_unet(config).image_size == 16


def test_an_interrupt_while_writing_leaves_nothing(config, monkeypatch):
    saved = []

    def stop(self, folder):
        saved.extend(path.name for path in folder.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(DDPMScheduler, "save_pretrained", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_unet(config)
    assert "diffusion_pytorch_model.safetensors" in saved
    assert not list(config.out.parent.iterdir())


def test_a_wrong_checkpoint_makes_no_folder(config):
    config.checkpoint.write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"model\.safetensors: it is no checkpoint"):
        convert_unet(config)
    assert not config.out.parent.exists()
