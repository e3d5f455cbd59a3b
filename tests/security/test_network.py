"""No command on local sources touches the network, and --offline refuses what would."""

import json
import socket

import pytest
from typer.testing import CliRunner

from textdiff.cli import app


@pytest.fixture
def attempts(monkeypatch):
    """Every attempt to find or reach another machine, which fails."""
    seen = []

    def refuse(*about, **_):
        seen.append(about)
        raise ConnectionRefusedError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return seen


@pytest.fixture
def textdiff():
    """Gives `textdiff(*words)`, which runs the command line and gives its JSON."""

    def run(*words):
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.mark.slow
def test_all_commands_on_local_sources_work_without_a_network(
    attempts, textdiff, tiny_data, tiny_unet, tiny_encoder, tmp_path
):
    cache, run, image = tmp_path / "cache", tmp_path / "run", tiny_data.parent / "test0.png"
    models = ("--unet", f"diffusers:{tiny_unet}", "--text-encoder", f"hf:{tiny_encoder}")
    size = ("--blocks", "1,3", "--timesteps", "50", "--image-size", 16)
    textdiff("check-data", tiny_data)
    textdiff("extract-features", tiny_data, cache, *models, *size, "--device", "cpu")
    textdiff("train-head", cache, run, "--text", "true", "--epochs", 1, "--device", "cpu")
    textdiff("evaluate", run, cache, "--words", "--device", "cpu")
    textdiff("ablate-timesteps", cache, tmp_path / "ablation", "--seeds", 0, "--epochs", 1, "--device", "cpu")
    textdiff("compare", run, run, "--device", "cpu")
    textdiff("cache", "info", cache)
    textdiff("cache", "verify", cache)
    for told in ((), ("--offline",)):
        out = tmp_path / f"masks{len(told)}"
        textdiff("predict", run, image, out, "--text", "the nuclei are round", "--device", "cpu", *told)
    textdiff("explain", run, image, "--text", "the nuclei are round", "--device", "cpu", "--offline")
    pretraining = ("--steps", 1, "--channels", "8,8", "--image-size", 16, "--crop", 8, "--batch-size", 1)
    textdiff("pretrain-unet", tiny_data, tmp_path / "unet", *pretraining, "--device", "cpu")
    assert attempts == []


@pytest.mark.parametrize(
    "models",
    [
        ("diffusers:org/none", None),
        ("stable-diffusion:org/none", None),
        (None, "hf:org/none"),
        (None, "open_clip:hf-hub:org/none"),
    ],
)
def test_a_hub_id_is_refused_offline_in_one_line_and_nothing_is_written(
    attempts, tiny_data, tiny_unet, tiny_encoder, tmp_path, models
):
    unet, encoder = models[0] or f"diffusers:{tiny_unet}", models[1] or f"hf:{tiny_encoder}"
    words = ("extract-features", tiny_data, tmp_path / "cache", "--unet", unet, "--text-encoder", encoder)
    size = ("--blocks", "1,3", "--timesteps", "50", "--image-size", 16, "--device", "cpu")
    result = CliRunner().invoke(app, [*map(str, words), *map(str, size), "--offline"])
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "it is not on this machine, and --offline forbids to fetch it" in line
    assert "leave --offline out once, or name the model's local folder" in line
    assert not (tmp_path / "cache" / "manifest.json").exists()
    assert attempts == []
