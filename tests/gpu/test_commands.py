"""Every command that computes, once, with --device."""

import sys

import pytest

from textdiff import cli

pytestmark = pytest.mark.gpu
SMALL = ("--epochs", 1, "--width", 16, "--n-attention-heads", 2)
STAGE_ONE = ("--timesteps", "50,150", "--blocks", "1,3", "--image-size", 16, "--batch-size", 2)
COMMANDS = {
    "extract-features": ("data/manifest.csv", "out", "--unet", "UNET", "--text-encoder", "ENCODER", *STAGE_ONE),
    "train-head": ("cache", "out", "--head", "auto", *SMALL),
    "ablate-timesteps": ("cache", "out", "--subsets", "50;150", "--seeds", "0", "--epochs", 1),
    "evaluate": ("run", "cache", "--split", "val"),
    "compare": ("run", "run", "--split", "val"),
    "suggest": ("cache", "run"),
    "predict": ("run", "data", "out", "--probabilities", "--uncertainty"),
    "explain": ("run", "data/test0.png", "--text", "the nuclei are round", "--out", "out"),
    "pretrain-unet": ("data", "out", "--image-size", 16, "--crop", 16, "--channels", "8,16", "--steps", 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_tiny_data, tiny_unet, tiny_encoder, device):
    """Data, a cache of them and a run, made on the device."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "data").mkdir()
    with write_tiny_data(folder / "data").open("a", encoding="utf-8") as manifest:
        manifest.write("spare,spare.png,,,train\n")  # without a mask, for `suggest`
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        models = ("--unet", f"diffusers:{tiny_unet}", "--text-encoder", f"hf:{tiny_encoder}")
        run(patch, "extract-features", "data/manifest.csv", "cache", *models, *STAGE_ONE, "--device", device)
        texts = ("--head", "pixel", "--ensemble", 2, "--text", "true")
        run(patch, "train-head", "cache", "run", *texts, *SMALL, "--device", device)
    return folder


def run(patch, *arguments):
    patch.setattr(sys, "argv", ["textdiff", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_runs(folder, command, device, tiny_unet, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    named = {"UNET": f"diffusers:{tiny_unet}", "ENCODER": f"hf:{tiny_encoder}", "out": tmp_path / "out"}
    run(monkeypatch, command, *(named.get(one, one) for one in COMMANDS[command]), "--device", device)
