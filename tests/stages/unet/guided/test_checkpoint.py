"""Checkpoints as files: formats, wrappings, dtypes; and what is wrong with wrong ones."""

from __future__ import annotations

import contextlib
import json
import random
import time

import pytest
import torch
from safetensors.torch import save_file

from textdiff.errors import SourceError
from textdiff.stages.unet.guided.adm import empty_model
from textdiff.stages.unet.guided.checkpoint import read_weights
from textdiff.stages.unet.guided.config import ADMConfig
from textdiff.stages.unet.guided.convert import convert_checkpoint
from textdiff.stages.unet.guided.tensors import expected_shapes

FLAGS = {
    "image_size": 16,
    "num_channels": 32,
    "channel_mult": "1,2",
    "attention_resolutions": "8",
    "use_scale_shift_norm": False,
    "num_heads": 4,
    "use_new_attention_order": True,
    "noise_schedule": "linear",
    "diffusion_steps": 1000,
}


@pytest.fixture(scope="module")
def state():
    config = ADMConfig(**FLAGS)
    shapes = expected_shapes(empty_model(config), config)
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def load(tmp_path):
    config = tmp_path / "flags.json"
    config.write_text(json.dumps(FLAGS))

    def load(content, name="model.pt", **how):
        path = tmp_path / name
        save_file(content, path) if name.endswith(".safetensors") else torch.save(content, path, **how)
        return convert_checkpoint("guided-diffusion:model", path, config).model

    return load


def same(model, other):
    tensors = other.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_every_format_and_wrapping_gives_the_same_model(state, load):
    model = load(state)
    assert same(model, load(state, "model.safetensors"))
    assert same(model, load(state, "model.pth", _use_new_zipfile_serialization=False))
    assert same(model, load({f"module.{name}": tensor for name, tensor in state.items()}))
    assert same(model, load({"state_dict": state, "step": 7, "optimizer": {"lr": 0.1}}))


def test_the_model_is_float32_frozen_and_apart_from_its_file(state, load, tmp_path):
    model = load({name: tensor.half() for name, tensor in state.items()})
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.equal(model.conv_in.weight, state["input_blocks.0.0.weight"].half().float())
    before = model.conv_in.weight.clone()
    (tmp_path / "model.pt").write_bytes(b"")
    assert torch.equal(model.conv_in.weight, before)


def test_all_differences_are_one_error(state, load):
    wrong = dict(state)
    del wrong["output_blocks.2.1.qkv.bias"], wrong["middle_block.0.in_layers.2.weight"]
    wrong["time_embed.0.weight"] = torch.zeros(128, 16)
    wrong["ema.decay"] = torch.zeros(1)
    with pytest.raises(SourceError) as error:
        load(wrong)
    lines = str(error.value).splitlines()
    assert lines[0] == (
        f"guided-diffusion:model: its tensors are not the {len(state)} of its flags; fetch it again, or correct its "
        "flags (--config of convert-unet, --unet-config elsewhere):"
    )
    assert sorted(lines[1:]) == [
        "  - left over: ema.decay [1]",
        "  - missing: middle_block.0.in_layers.2.weight [64, 64, 3, 3]",
        "  - missing: output_blocks.2.1.qkv.bias [192]",
        "  - of another shape: time_embed.0.weight got [128, 16], expected [128, 32]",
    ]


@pytest.mark.parametrize("position", range(0, 100, 3))
def test_any_missing_tensor_is_named(state, load, position):
    name = list(state)[position]
    with pytest.raises(SourceError) as error:
        load({other: tensor for other, tensor in state.items() if other != name})
    assert [line.split(" [")[0] for line in str(error.value).splitlines()[1:]] == [f"  - missing: {name}"]


def test_many_differences_are_counted(state, load):
    with pytest.raises(SourceError) as error:
        load({name: tensor for name, tensor in state.items() if ".norm." not in name and "skip" not in name})
    lines = str(error.value).splitlines()
    n_missing = sum(".norm." in name or "skip" in name for name in state)
    assert len(lines) == 1 + 12 + 1
    assert lines[-1] == f"  - missing: {n_missing - 12} more ({n_missing} in all)"


def test_other_models_are_refused(state, load):
    upsampler = {**state, "input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)}
    with pytest.raises(SourceError, match=r"it reads 6 channels, so it is an upsampling model"):
        load(upsampler)
    classifier = {name: tensor for name, tensor in state.items() if not name.startswith("output_blocks")}
    with pytest.raises(SourceError, match=r"it has no output_blocks, so it is a classifier or incomplete"):
        load(classifier)


class Stranger:
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(1)}, r"expected the state dict of a guided-diffusion UNet .*; it holds weight"),
        ([1, 2], r"it holds no named tensors"),
        (
            Stranger(),
            r"^guided-diffusion:model: it is no checkpoint, or holds more than tensors; fetch it again, or save[^(]*$",
        ),
        ({"input_blocks.0.0.weight": torch.zeros(1), "step": 3}, r"expected tensors alone .* also holds step"),
        ({"input_blocks.0.0.weight": torch.zeros(1), 7: torch.zeros(1)}, r"tensors alone .* by name, .* also holds 7"),
        (
            {"a.input_blocks.0.0.weight": torch.zeros(1), "a.x": torch.zeros(1), "x": torch.zeros(1)},
            r"it holds x both with and without 'a\.' before the name",
        ),
        (
            {"input_blocks.0.0.weight": torch.zeros(1, dtype=torch.int8)},
            r"expected plain floating-point weights; input_blocks.0.0.weight are of torch.int8",
        ),
        ({n: {"input_blocks.0.0.weight": torch.zeros(1)} for n in (0, 1)}, r"it holds several state dicts \(0, 1\)"),
        (
            {name: {"input_blocks.0.0.weight": torch.zeros(1)} for name in ("model", "ema")},
            r"it holds several state dicts \(model, ema\)",
        ),
    ],
)
def test_files_without_one_state_dict(load, content, message):
    with pytest.raises(SourceError, match=message):
        load(content)


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_file_that_was_cut_short(tmp_path, load, state, name):
    load(state, name)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SourceError, match=r"x: it is no checkpoint, or holds more than tensors"):
        convert_checkpoint("x", path, None)


@pytest.mark.parametrize("is_zip", [True, False])
def test_whatever_is_wrong_with_its_bytes(tmp_path, load, recwarn, is_zip):
    path, tensor = tmp_path / "model.pt", torch.zeros(4)
    torch.save({"input_blocks.0.0.weight": tensor, "b": tensor}, path, _use_new_zipfile_serialization=is_zip)
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(content[: rng.choice([len(content), rng.randrange(1, len(content))])])
        for _ in range(rng.randrange(4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(SourceError):
            read_weights("x", path)
    assert not recwarn.list


def test_paths_that_are_no_checkpoint(tmp_path):
    with pytest.raises(SourceError, match=r"x: there is no such file; expected a checkpoint"):
        convert_checkpoint("x", tmp_path / "none.pt", None)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(SourceError, match=r"x: a file of no known kind; expected \.pt, \.pth or \.safetensors"):
        convert_checkpoint("x", tmp_path / "model.onnx", None)


@pytest.mark.parametrize("protocol_2_first", [False, True])
def test_a_pickle_with_an_endless_name_is_refused_at_once(tmp_path, protocol_2_first):
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02" * protocol_2_first + b"c" + b"a" * 1_000_000 + b"\nb\n.")
    started = time.process_time()
    with pytest.raises(SourceError, match="it is no checkpoint, or holds more than tensors"):
        read_weights(str(path), path)
    assert time.process_time() - started < 2
