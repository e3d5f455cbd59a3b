"""guided-diffusion's flags: read from files, checked, and turned into widths, levels and heads."""

from __future__ import annotations

import re

import pytest

from textdiff.errors import ConfigError
from textdiff.stages.unet.guided.config import ADMConfig, check_config, read_flags

NEEDED = {
    "image_size": 16,
    "num_heads": 4,
    "use_new_attention_order": False,
    "noise_schedule": "linear",
    "diffusion_steps": 1000,
}
SMALL = {"num_channels": 32, "channel_mult": "1,2", "attention_resolutions": "8"}


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "flags.json"
        path.write_text(text)
        return read_flags(path)

    return read


def make(**flags):
    return ADMConfig(**{**NEEDED, **SMALL, **flags})


def test_levels_and_blocks_by_hand():
    config = make(image_size=64, num_channels=64, channel_mult="1,1.5,2", attention_resolutions="32,16,3")
    assert config.widths == (64, 96, 128)
    assert config.attention == (False, True, True)
    assert config.n_blocks == 9
    assert [config.decoder_block(number) for number in range(9)] == [
        (128, 4),
        (128, 4),
        (128, 2),
        (96, 2),
        (96, 2),
        (96, 1),
        (64, 1),
        (64, 1),
        (64, 1),
    ]
    assert make(attention_resolutions="").attention == (False, False)


def test_an_empty_channel_mult_is_that_of_the_image_size():
    assert make(image_size=64, channel_mult="").widths == (32, 64, 96, 128)
    assert make(image_size=512, channel_mult="", num_channels=64).widths == (32, 64, 64, 128, 128, 256, 256)
    with pytest.raises(ConfigError, match=r"channel_mult: none is known for image_size 16; give one, such as \"1,2,4"):
        check_config("x", make(channel_mult=""))


def test_heads_by_number_by_width_and_of_the_decoder():
    assert make().head_width(64) == make().head_width(64, decoder=True) == 16
    assert make(num_heads_upsample=2).head_width(64, decoder=True) == 32
    assert make(num_heads_upsample=2).head_width(64) == 16
    # A width goes before numbers, as in guided-diffusion.
    assert make(num_head_channels=8, num_heads_upsample=2).head_width(64, decoder=True) == 8


def test_flags_without_effect_are_left_out(read):
    assert read('{"use_fp16": true, "dropout": 0.3, "timestep_respacing": "250", "image_size": 8}') == {"image_size": 8}


def test_every_flag_that_is_unknown_or_malformed_is_listed(read):
    with pytest.raises(ConfigError) as error:
        read(
            '{"heads": 3, "n_classes": 7, "num_heads": "4", "num_res_blocks": true, "num_channels": 0, '
            '"noise_schedule": "sigmoid", "diffusion_steps": 10, "learn_sigma": 1, "image_size": 1e999, '
            '"channel_mult": "1,inf", "attention_resolutions": "16,0"}'
        )
    first, unknown, *lines = str(error.value).splitlines()
    assert first.endswith("flags.json does not hold guided-diffusion's flags:")
    assert re.fullmatch(r"  - heads, n_classes: no such flag; guided-diffusion has image_size, .*, use_kl", unknown)
    assert [line.split(";")[0] for line in lines] == [
        '  - num_heads got "4"',
        "  - num_res_blocks got true",
        "  - num_channels got 0",
        '  - noise_schedule got "sigmoid"',
        "  - diffusion_steps got 10",
        "  - learn_sigma got 1",
        "  - image_size got Infinity",
        '  - channel_mult got "1,inf"',
        '  - attention_resolutions got "16,0"',
    ]
    assert lines[0].endswith("; expected `int`, got `str`")
    assert lines[4].endswith("; expected `int` >= 20")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"holds no JSON object"),
        ("{", r"cannot be read as a JSON file of guided-diffusion's flags \(Expecting"),
    ],
)
def test_files_that_hold_no_flags(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


def test_an_absent_file_of_flags(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json cannot be read as a JSON file of guided-diffusion's flags"):
        read_flags(tmp_path / "none.json")


def test_all_contradictions_are_listed_at_once():
    config = make(num_channels=48, channel_mult="1,1.5", num_heads=5, num_heads_upsample=0, diffusion_steps=4000)
    with pytest.raises(ConfigError) as error:
        check_config("x", config)
    assert str(error.value).splitlines() == [
        "x: its flags make no UNet:",
        "  - num_channels, channel_mult: widths of 48, 48, 72 channels; expected multiples of 32",
        "  - num_heads 5: attentions of 72 channels; expected a divisor of those numbers",
        "  - num_heads_upsample 0: attentions of 72 channels; expected a divisor of those numbers",
        "  - rescale_timesteps got null with 4000 diffusion_steps; expected false: a model of fractions of timesteps "
        "is not supported",
    ]
    with pytest.raises(ConfigError, match=r"num_head_channels 48: attentions of 64 channels"):
        check_config("x", make(num_head_channels=48))


def test_rescaled_timesteps_are_refused_unless_they_change_nothing():
    check_config("x", make(rescale_timesteps=True))
    check_config("x", make(diffusion_steps=4000, rescale_timesteps=False))
    with pytest.raises(ConfigError, match=r"rescale_timesteps got true with 4000 diffusion_steps; expected false"):
        check_config("x", make(diffusion_steps=4000, rescale_timesteps=True))
