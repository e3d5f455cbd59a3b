"""What tensors do not tell: published models are recognised, files of flags are held against the tensors."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from textdiff.errors import ConfigError, SourceError
from textdiff.stages.unet.guided.adm import ADMUNet2DModel
from textdiff.stages.unet.guided.architecture import Architecture, infer_architecture
from textdiff.stages.unet.guided.convert import empty_model
from textdiff.stages.unet.guided.settings import PRESETS, settle
from textdiff.stages.unet.guided.tensors import expected_shapes

SMALL = Architecture(
    in_channels=3,
    out_channels=6,
    model_channels=32,
    widths=(32, 64),
    n_res_blocks=1,
    attention=(False, True),
    scale_shift=True,
    resampling="resnet",
    n_classes=None,
)
NEEDED = {
    "num_heads": 4,
    "use_new_attention_order": False,
    "noise_schedule": "linear",
    "diffusion_steps": 1000,
}


@pytest.fixture
def write(tmp_path):
    def write(flags):
        path = tmp_path / "flags.json"
        path.write_text(flags if isinstance(flags, str) else json.dumps(flags))
        return path

    return write


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
def test_a_published_model_is_recognised_by_its_shapes(name, millions, is_plain, heads):
    preset = next(preset for preset in PRESETS if preset.name == name)
    model = empty_model(preset.architecture, settle("x", preset.architecture, None))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
    assert isinstance(model, ADMUNet2DModel) is not is_plain
    assert model.config.attention_head_dim == heads
    found = infer_architecture("x", expected_shapes(model, preset.architecture))
    assert found == preset.architecture
    assert settle("x", found, None).name == name


def test_the_published_flags():
    by_size = {preset.name.partition("_")[0]: settle("x", preset.architecture, None) for preset in PRESETS}
    assert {size: (s.head_channels, s.n_heads) for size, s in by_size.items()} == {
        "64x64": (64, 0),
        "128x128": (None, 4),
        "256x256": (64, 0),
        "512x512": (64, 0),
    }
    assert [size for size, s in by_size.items() if s.new_attention_order] == ["64x64"]
    assert [size for size, s in by_size.items() if s.noise_schedule == "cosine"] == ["64x64"]
    assert {s.diffusion_steps for s in by_size.values()} == {1000}
    assert [s.image_size for s in by_size.values()] == [64, 128, 256, 512]
    assert by_size["512x512"].head_width(1024) == 64
    first = next(preset.architecture for preset in PRESETS if preset.name == "512x512_diffusion")
    assert (first.widths[0], first.model_channels) == (128, 256)


def test_a_file_of_flags_goes_before_the_published_ones(write):
    published = next(p for p in PRESETS if p.name == "64x64_diffusion").architecture
    assert settle("x", published, write({"image_size": 64, "dropout": 0.1})).name == "64x64_diffusion"
    own = settle("x", published, write({"noise_schedule": "linear", "num_heads": 12}))
    assert own.name == "own config"
    assert (own.noise_schedule, own.n_heads, own.head_channels) == ("linear", 12, None)
    assert own.new_attention_order


def test_heads_by_number_by_width_and_of_the_decoder(write):
    def heads(**flags):
        return settle("x", SMALL, write({**NEEDED, **flags}))

    assert heads().head_width(64) == heads().head_width(64, decoder=True) == 16
    assert heads(num_heads_upsample=-1).head_width(64, decoder=True) == 16
    assert heads(num_heads_upsample=2).head_width(64, decoder=True) == 32
    assert heads(num_heads_upsample=2).head_width(64) == 16
    # A width goes before numbers, as in guided-diffusion.
    assert heads(num_head_channels=8, num_heads_upsample=2).head_width(64, decoder=True) == 8


def test_all_that_is_missing_is_said_at_once(write):
    with pytest.raises(SourceError) as error:
        settle("guided-diffusion:a.pt", SMALL, None)
    assert str(error.value).splitlines() == [
        "guided-diffusion:a.pt: its tensors do not tell all, and it is no published model; give a JSON file of "
        "guided-diffusion's flags (--config of convert-unet, --unet-config elsewhere) that says also:",
        "  - num_head_channels: width of an attention head; or num_heads, where their number is fixed",
        "  - use_new_attention_order: true or false",
        '  - noise_schedule: "linear" or "cosine"',
        "  - diffusion_steps: timesteps that it was trained on, usually 1000",
    ]
    with pytest.raises(SourceError) as error:
        settle("x", SMALL, write({"num_head_channels": -1, "use_new_attention_order": True, "diffusion_steps": 4000}))
    assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == [
        "  - num_head_channels",
        "  - noise_schedule",
        "  - rescale_timesteps",
    ]


def test_every_flag_that_is_unknown_malformed_or_contradicted_is_listed(write):
    flags = NEEDED | {
        "image_size": 16,
        "num_channels": 64,
        "num_res_blocks": 2,
        "channel_mult": "1,1",
        "attention_resolutions": "16",
        "class_cond": True,
        "use_scale_shift_norm": False,
        "resblock_updown": False,
        "learn_sigma": False,
        "heads": 3,
        "num_heads": "4",
        "num_head_channels": 0,
        "noise_schedule": "sigmoid",
        "diffusion_steps": 10,
        "use_fp16": 1,
    }
    with pytest.raises(ConfigError) as error:
        settle("x", SMALL, write(flags))
    lines = str(error.value).splitlines()
    assert re.fullmatch(r".*flags\.json does not fit, as guided-diffusion's flags for this checkpoint:", lines[0])
    assert re.fullmatch(r"  - heads: no such flag; guided-diffusion has image_size, num_channels, .*", lines[1])
    assert lines[2:] == [
        '  - num_heads got "4"; expected a whole number from 1',
        '  - noise_schedule got "sigmoid"; expected "linear" or "cosine"',
        "  - diffusion_steps got 10; expected a whole number from 20 (fewer would need betas above 1)",
        "  - num_head_channels got 0; expected a whole number from 1, or -1 for none",
        "  - use_fp16 got 1; expected true or false",
        "  - num_channels got 64; the tensors say 32",
        "  - num_res_blocks got 2; the tensors say 1",
        "  - class_cond got true; the tensors say false",
        "  - use_scale_shift_norm got false; the tensors say true",
        "  - learn_sigma got false; the tensors say true",
        "  - resblock_updown got false; the tensors say true",
        '  - channel_mult got "1,1"; the tensors say "1,2"',
        '  - attention_resolutions got "16" at image_size 16; the tensors say "8"',
    ]


@pytest.mark.parametrize(
    "flags",
    [
        {"image_size": 16, "attention_resolutions": "8,2", "channel_mult": "1,2"},
        {"channel_mult": "", "num_channels": 32},
        {"use_fp16": True, "dropout": 0.3, "timestep_respacing": "250", "use_kl": False},
    ],
)
def test_flags_that_agree_or_change_nothing_are_accepted(write, flags):
    assert replace(settle("x", SMALL, write({**NEEDED, **flags})), image_size=None) == settle("x", SMALL, write(NEEDED))


def test_an_empty_channel_mult_is_that_of_the_image_size(write):
    of_64 = replace(SMALL, widths=(32, 64, 96, 128), attention=(False,) * 4)
    assert settle("x", of_64, write({**NEEDED, "image_size": 64, "channel_mult": ""})).image_size == 64
    with pytest.raises(ConfigError, match=r'channel_mult got ""; the tensors say "1,2,3,4"'):
        settle("x", of_64, write({**NEEDED, "image_size": 128, "channel_mult": ""}))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"attention_resolutions": "8"}, r"attention_resolutions got \"8\", which says nothing without image_size"),
        ({"num_heads": 3}, r"num_heads 3, in the decoder 3: attentions of 64 channels cannot be parted"),
        ({"num_head_channels": 48}, r"num_head_channels 48: attentions of 64 channels cannot be parted"),
        ("[1]", r"holds no JSON object"),
        ("{", r"cannot be read as a JSON file of guided-diffusion's flags \(Expecting"),
    ],
)
def test_flags_that_cannot_be_used(write, flags, message):
    with pytest.raises(ConfigError, match=message):
        settle("x", SMALL, write(flags if isinstance(flags, str) else {**NEEDED, **flags}))


def test_rescaled_timesteps_are_refused_unless_they_change_nothing(write):
    assert settle("x", SMALL, write({**NEEDED, "rescale_timesteps": True})).diffusion_steps == 1000
    steps = {**NEEDED, "diffusion_steps": 4000}
    assert settle("x", SMALL, write({**steps, "rescale_timesteps": False})).diffusion_steps == 4000
    with pytest.raises(SourceError, match=r"rescale_timesteps with 4000 diffusion_steps is not supported"):
        settle("x", SMALL, write({**steps, "rescale_timesteps": True}))


def test_a_flag_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json cannot be read as a JSON file of guided-diffusion's flags"):
        settle("x", SMALL, tmp_path / "none.json")
