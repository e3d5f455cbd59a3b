"""No model's files are run, and no forbidden network is used: with files that try, with the hook and without."""

import json
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from textdiff.errors import SourceError
from textdiff.pipeline.config.unets import ConvertConfig
from textdiff.pipeline.unets.convert import convert_unet
from textdiff.stages.sources import guard
from textdiff.stages.sources.guard import ForbiddenError, OfflineError, guarded, install_guard, network_forbidden
from textdiff.stages.text.loading import load_text_encoder
from textdiff.stages.unet.recorder import load_unet

TOKENIZER_CODE = """
from pathlib import Path
from transformers import BertTokenizer
Path({target!r}).touch()
class EvilTokenizer(BertTokenizer):
    pass
"""


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def hook():
    install_guard()


@pytest.fixture(params=["hook", "no hook"])
def with_and_without_hook(request, monkeypatch):
    """The loaders are safe by themselves; an installed hook can only be made to see nothing."""
    install_guard()
    if request.param == "no hook":
        monkeypatch.setattr(guard, "_RUNS_CODE", ())
        monkeypatch.setattr(guard, "_LOOKS_UP", ())
        monkeypatch.setattr(guard, "_connects", lambda *_: False)


@pytest.fixture
def target(tmp_path):
    """The file that a malicious file would make, if it were run."""
    target = tmp_path / "executed"
    yield target
    assert not target.exists()


@pytest.fixture
def malicious(target):
    """Gives `malicious(path, **how)`, which writes what `torch.save` makes of tensors and of what runs when loaded."""

    def write(path, **how):
        torch.save({"input_blocks.0.0.weight": torch.zeros(1), "more": Touch(target)}, path, **how)
        return path

    return write


def test_the_malicious_file_would_run_if_it_were_unpickled(malicious, target, tmp_path):
    torch.load(malicious(tmp_path / "model.pt"), weights_only=False)
    assert target.exists()
    target.unlink()


@pytest.mark.usefixtures("with_and_without_hook")
@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_checkpoints_of_guided_diffusion_that_would_run_are_refused(malicious, tmp_path, how):
    path, out = malicious(tmp_path / "model.pt", **how), tmp_path / "out"
    with pytest.raises(SourceError, match="holds more than tensors"):
        load_unet(f"guided-diffusion:{path}")
    with pytest.raises(SourceError, match="holds more than tensors"):
        convert_unet(ConvertConfig(path, out))
    assert not out.exists()


@pytest.mark.usefixtures("with_and_without_hook")
def test_a_bare_pickle_that_would_run_is_refused(target, tmp_path):
    (tmp_path / "model.pth").write_bytes(pickle.dumps(Touch(target)))
    with pytest.raises(SourceError, match="holds more than tensors"):
        load_unet(f"guided-diffusion:{tmp_path / 'model.pth'}")


@pytest.mark.usefixtures("with_and_without_hook")
def test_folders_of_pickled_weights_that_would_run_are_refused(
    tiny_unet, tiny_encoder, tiny_stable_diffusion, malicious, tmp_path
):
    unet = shutil.copytree(tiny_unet, tmp_path / "unet")
    (unet / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    malicious(unet / "unet" / "diffusion_pytorch_model.bin")
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (encoder / "model.safetensors").unlink()
    malicious(encoder / "pytorch_model.bin")
    pipeline = shutil.copytree(tiny_stable_diffusion, tmp_path / "pipeline")
    (pipeline / "text_encoder" / "model.safetensors").unlink()
    malicious(pipeline / "text_encoder" / "pytorch_model.bin")
    for source in (f"diffusers:{unet}", f"stable-diffusion:{pipeline}"):
        with pytest.raises(SourceError, match="damaged, or hold more than tensors"):
            load_unet(source)
    with pytest.raises(SourceError, match="damaged, or hold more than tensors"):
        load_text_encoder(f"hf:{encoder}")


@pytest.mark.usefixtures("with_and_without_hook")
def test_open_clip_checkpoints_that_would_run_are_refused(tiny_open_clip, malicious, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_open_clip, tmp_path / "folder")
    (folder / "open_clip_model.safetensors").unlink()
    malicious(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(SourceError, match="damaged, or hold more than tensors"):
        load_text_encoder(f"open_clip:local-dir:{folder}")
    tiny = json.loads((tiny_open_clip / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setattr("open_clip.factory.get_model_config", lambda _name: tiny)
    with pytest.raises(SourceError, match="damaged, or hold more than tensors"):
        load_text_encoder(f"open_clip:ViT-B-32/{malicious(tmp_path / 'clip.pt')}")


@pytest.mark.usefixtures("hook")
def test_what_a_library_unpickles_without_care_is_stopped(tiny_encoder, malicious, tmp_path, monkeypatch):
    path, load = malicious(tmp_path / "model.pt"), torch.load
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", lambda *_, **__: load(path, weights_only=False))
    with pytest.raises(SourceError, match="damaged, or hold more than tensors"):
        load_text_encoder(f"hf:{tiny_encoder}")


def evil_tokenizer(folder, target):
    """Make a folder's tokenizer one with code of its own."""
    (folder / "evil.py").write_text(TOKENIZER_CODE.format(target=str(target)))
    named = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


@pytest.mark.usefixtures("with_and_without_hook")
def test_code_beside_a_model_is_not_run(tiny_encoder, tiny_open_clip, target, tmp_path):
    encoder = evil_tokenizer(shutil.copytree(tiny_encoder, tmp_path / "encoder"), target)
    with pytest.raises(SourceError, match="its tokenizer has no padding token"):  # one of transformers' own was taken
        load_text_encoder(f"hf:{encoder}")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (encoder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="could not be loaded"):
        load_text_encoder(f"hf:{encoder}")
    clip = evil_tokenizer(shutil.copytree(tiny_open_clip, tmp_path / "clip"), target)
    config = json.loads((clip / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "any", "tokenizer_kwargs": {"trust_remote_code": True}}
    (clip / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="could not be loaded"):
        load_text_encoder(f"open_clip:local-dir:{clip}")


@pytest.mark.usefixtures("with_and_without_hook")
@pytest.mark.parametrize("named", ["evil/kernel:f", {"text_config": "evil/kernel"}])
def test_compiled_code_on_the_hub_is_not_asked_for(tiny_encoder, tmp_path, named):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "inner": [{"attn_implementation": named}]}))
    with pytest.raises(SourceError, match=r"asks for code that is not part of the model \(evil/kernel"):
        load_text_encoder(f"hf:{folder}")


@pytest.mark.usefixtures("hook")
def test_the_guard_stops_pickles_and_questions_and_only_within(target):
    content = pickle.dumps(Touch(target))
    with guarded():
        with pytest.raises(ForbiddenError, match=r"pickle\.find_class"):
            pickle.loads(content)
        with pytest.raises(ForbiddenError, match=r"builtins\.input"):
            input("Do you wish to run the custom code?")
    assert pickle.loads(pickle.dumps(Path("x"))) == Path("x")


@pytest.mark.usefixtures("hook")
def test_nothing_connects_while_the_network_is_forbidden(tmp_path):
    def connect():
        with socket.socket() as one:
            one.settimeout(1)
            one.connect(("127.0.0.1", 9))

    with network_forbidden(True):
        with pytest.raises(OfflineError, match="the network is forbidden"):
            connect()
        with pytest.raises(OfflineError, match="the network is forbidden"):
            socket.getaddrinfo("localhost", 80)
        with socket.socket(socket.AF_UNIX) as local, pytest.raises(FileNotFoundError):
            local.connect(str(tmp_path / "none"))
    with network_forbidden(False), pytest.raises(ConnectionRefusedError):
        connect()


@pytest.mark.usefixtures("with_and_without_hook")
@pytest.mark.parametrize(
    "source", ["hf:org/none", "open_clip:hf-hub:org/none", "open_clip:ViT-B-32/openai", "open_clip:RN50/cc12m"]
)
def test_text_encoders_of_the_hub_are_refused_offline(source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SourceError, match=r"it is not on this machine, and --offline forbids to fetch it"):
        load_text_encoder(source, offline=True)


@pytest.mark.usefixtures("with_and_without_hook")
@pytest.mark.parametrize("source", ["diffusers:org/none", "stable-diffusion:org/none"])
def test_unets_of_the_hub_are_refused_offline_and_found_once_they_were_fetched(
    source, tiny_unet, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SourceError, match=r"org/none: it is not on this machine, and --offline forbids"):
        load_unet(source, offline=True)
    if source.startswith("diffusers"):
        snapshot = tmp_path / "models--org--none" / "snapshots" / ("0" * 40)
        shutil.copytree(tiny_unet, snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
        assert load_unet(source, offline=True).digest == load_unet(f"diffusers:{tiny_unet}").digest
        (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        with pytest.raises(SourceError, match=r"forbids to fetch it \(none of .*was fetched before\)"):
            load_unet(source, offline=True)


def test_the_hub_is_told_nothing_of_what_is_done():
    code = (
        "from textdiff.pipeline.runtime.process import prepare_process; prepare_process()\n"
        "import huggingface_hub.constants as hub; print(hub.HF_HUB_DISABLE_TELEMETRY)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"
