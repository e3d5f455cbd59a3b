"""Configurations of checkpoints: published ones by their tensors, others by their flags, all others refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from textdiff.errors import ConfigError, SourceError
from textdiff.stages.unet.guided.adm import ADMUNet2DModel, empty_model
from textdiff.stages.unet.guided.config import ADMConfig
from textdiff.stages.unet.guided.published import PUBLISHED, find_config, published_name
from textdiff.stages.unet.guided.tensors import expected_shapes

FLAGS = {
    "image_size": 16,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1,2",
    "attention_resolutions": "8",
    "resblock_updown": True,
    "num_heads": 4,
    "use_new_attention_order": False,
    "noise_schedule": "linear",
    "diffusion_steps": 1000,
}


def shapes_of(config):
    return expected_shapes(empty_model(config), config)


SMALL = shapes_of(ADMConfig(**FLAGS))


@pytest.fixture
def find(tmp_path):
    """Gives `find(flags, shapes)`, which finds a configuration with the flags in a file."""

    def find(flags, shapes=SMALL):
        path = tmp_path / "flags.json"
        path.write_text(json.dumps(flags))
        return find_config("x", shapes, path)

    return find


# Dhariwal and Nichol 2021, table 4 (and 554 M less its label embedding): parameters in millions.
@pytest.mark.parametrize(
    ("name", "millions", "is_plain", "heads"),
    [
        ("64x64_diffusion", 296, True, 64),
        ("128x128_diffusion", 422, False, (None, None, 128, 192, 256, 256, 256, 192, 128, None, None)),
        ("256x256_diffusion", 554, True, 64),
        ("256x256_diffusion_uncond or an LSUN model", 553, True, 64),
        ("512x512_diffusion", 559, False, (*[None] * 4, *[64] * 7, *[None] * 4)),
    ],
)
def test_a_published_model_is_recognised_by_its_tensors(name, millions, is_plain, heads):
    model = empty_model(PUBLISHED[name])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
    assert isinstance(model, ADMUNet2DModel) is not is_plain
    assert model.config.attention_head_dim == heads
    config = find_config("x", expected_shapes(model, PUBLISHED[name]), None)
    assert config == PUBLISHED[name]
    assert published_name(config) == name


def test_the_published_flags():
    by_size = {name.partition("_")[0]: config for name, config in PUBLISHED.items()}
    assert {size: (c.num_head_channels, c.num_heads) for size, c in by_size.items()} == {
        "64x64": (64, -1),
        "128x128": (-1, 4),
        "256x256": (64, -1),
        "512x512": (64, -1),
    }
    assert [size for size, c in by_size.items() if c.use_new_attention_order] == ["64x64"]
    assert [size for size, c in by_size.items() if c.noise_schedule == "cosine"] == ["64x64"]
    assert {c.diffusion_steps for c in PUBLISHED.values()} == {1000}
    assert [c.image_size for c in by_size.values()] == [64, 128, 256, 512]
    assert [name for name, c in PUBLISHED.items() if not c.class_cond] == ["256x256_diffusion_uncond or an LSUN model"]
    assert by_size["512x512"].head_width(1024) == 64
    assert (by_size["512x512"].widths[0], by_size["512x512"].num_channels) == (128, 256)


def test_a_damaged_published_model_is_the_one_that_it_comes_nearest_to():
    shapes = shapes_of(PUBLISHED["64x64_diffusion"])
    del shapes["out.2.weight"]
    shapes["time_embed.0.weight"] = (768, 1)
    assert find_config("x", shapes, None) == PUBLISHED["64x64_diffusion"]


def test_the_file_of_flags_goes_before_the_published_ones(find):
    shapes = shapes_of(PUBLISHED["64x64_diffusion"])
    assert published_name(find({"image_size": 64, "dropout": 0.1}, shapes)) == "64x64_diffusion"
    own = find({"noise_schedule": "linear", "num_heads": 12}, shapes)
    assert published_name(own) == "own config"
    assert (own.noise_schedule, own.num_heads, own.num_head_channels) == ("linear", 12, -1)
    assert own.use_new_attention_order
    with pytest.raises(ConfigError, match=r"num_heads -1: attentions of 384, 576, 768 channels; expected a divisor"):
        find({"num_heads_upsample": 2}, shapes)


def test_a_model_that_is_nearly_a_published_one_takes_none_of_its_flags(find):
    config = replace(PUBLISHED["64x64_diffusion"], learn_sigma=False)
    with pytest.raises(SourceError, match="its tensors are those of no published model; give a JSON file"):
        find({"num_channels": 192, "num_res_blocks": 3}, shapes_of(config))


def test_an_unknown_model_without_its_flags_is_refused_with_all_that_is_needed(find):
    with pytest.raises(SourceError) as error:
        find_config("guided-diffusion:a.pt", SMALL, None)
    assert str(error.value).splitlines() == [
        "guided-diffusion:a.pt: its tensors are those of no published model; give a JSON file of guided-diffusion's "
        "flags (--config of convert-unet, --unet-config elsewhere) with all that differ from its defaults, and with:",
        "  - image_size: side in pixels of the training images",
        "  - num_head_channels: width of an attention head; or num_heads, where their number is fixed",
        "  - use_new_attention_order: true or false",
        '  - noise_schedule: "linear" or "cosine"',
        "  - diffusion_steps: timesteps of the training, usually 1000",
    ]
    with pytest.raises(SourceError) as error:
        find({"image_size": 16, "num_head_channels": -1, "use_new_attention_order": True, "diffusion_steps": 4000})
    assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == [
        "  - num_head_channels",
        "  - noise_schedule",
    ]


def test_the_number_of_classes_is_that_of_the_label_embedding(find):
    config = ADMConfig(**FLAGS, class_cond=True, n_classes=7)
    assert find({**FLAGS, "class_cond": True}, shapes_of(config)) == config
    assert find({**FLAGS, "class_cond": True}).n_classes == 1000


def test_other_kinds_of_models_are_refused(find):
    with pytest.raises(SourceError, match=r"it reads 6 channels, so it is an upsampling model"):
        find(FLAGS, {**SMALL, "input_blocks.0.0.weight": (32, 6, 3, 3)})
    with pytest.raises(SourceError, match=r"it has no output_blocks, so it is a classifier or incomplete"):
        find(FLAGS, {name: shape for name, shape in SMALL.items() if not name.startswith("output_blocks")})


def test_flags_of_more_blocks_than_tensors_are_refused_before_a_model_is_built(find):
    with pytest.raises(ConfigError, match=r"its flags make 120002 decoder blocks; it has \d+ tensors"):
        find({**FLAGS, "num_res_blocks": 60000})


def test_scalars_make_no_difference_to_the_refusal():
    with pytest.raises(SourceError, match="its tensors are those of no published model"):
        find_config("x", {"output_blocks.0.0": (), "input_blocks.0.0.weight": (), "label_emb.weight": ()}, None)
