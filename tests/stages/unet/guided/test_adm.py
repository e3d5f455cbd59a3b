"""The UNet class for what diffusers' own cannot hold: round trip, refusal by diffusers, and the decoder's numbering."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor

from textdiff.stages.unet.decoder import TruncatedUNet
from textdiff.stages.unet.guided.adm import ADMUNet2DModel

# Two heads everywhere: 16, 32 and 32 channels each; a first width of 32 beside an embedding of 64.
SETTINGS = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 6,
    "time_embedding_dim": 256,
    "down_block_types": ("ADMAttnDownBlock2D", "ADMResnetDownsampleBlock2D", "ADMAttnDownBlock2D"),
    "up_block_types": ("ADMAttnUpBlock2D", "ADMResnetUpsampleBlock2D", "ADMAttnUpBlock2D"),
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "norm_num_groups": 32,
    "attn_norm_num_groups": 32,
    "resnet_time_scale_shift": "scale_shift",
    "num_class_embeds": None,
    "attention_head_dim": (16, None, 32, 32, 32, None, 16),
}


def make(**settings):
    torch.manual_seed(0)
    return ADMUNet2DModel(**{**SETTINGS, **settings}).eval().requires_grad_(False)


@pytest.fixture
def noisy():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_it_survives_saving_and_loading(tmp_path, noisy):
    model = make(num_class_embeds=5)
    model.save_pretrained(tmp_path)
    loaded, info = ADMUNet2DModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    labels = torch.tensor([1, 4])
    expected = model(noisy, torch.tensor([7, 900]), class_labels=labels).sample
    assert torch.equal(loaded(noisy, torch.tensor([7, 900]), class_labels=labels).sample, expected)
    assert {name: _plain(value) for name, value in loaded.config.items() if name in SETTINGS} == {
        **{name: _plain(value) for name, value in SETTINGS.items()},
        "num_class_embeds": 5,
    }
    assert loaded.config["_class_name"] == "ADMUNet2DModel"


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("low_memory", [True, False])
def test_diffusers_own_class_refuses_its_folder(tmp_path, low_memory):
    make().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"ADMAttnDownBlock2D does not exist"):
        UNet2DModel.from_pretrained(tmp_path, low_cpu_mem_usage=low_memory)


def test_it_computes_what_diffusers_does_where_both_can_hold_the_model(noisy):
    shared = {"block_out_channels": (64, 64, 64)}
    own = make(**shared, attention_head_dim=(16, None, 16, 16, 16, None, 16))
    types = {kind: tuple(name[3:] for name in SETTINGS[kind]) for kind in ("down_block_types", "up_block_types")}
    plain = UNet2DModel(**{**SETTINGS, **shared, **types, "attention_head_dim": 16}).eval()
    plain.load_state_dict(own.state_dict())
    torch.testing.assert_close(own(noisy, 500).sample, plain(noisy, 500).sample)


def test_the_width_of_a_head_is_each_levels_own(noisy):
    model = make()
    parts = [*model.down_blocks, model.mid_block, *model.up_blocks]
    heads = [[attention.heads for attention in getattr(part, "attentions", ())] for part in parts]
    assert heads == [[2], [], [2], [2], [2, 2], [], [2, 2]]
    other = make(attention_head_dim=(16, None, 32, 32, 32, None, 32))  # one head in the last level
    other.load_state_dict(model.state_dict())
    assert not torch.allclose(model(noisy, 5).sample, other(noisy, 5).sample)


def test_attention_without_torchs_own_kernel_is_scaled_by_the_same_width(noisy):
    model = make()
    fused = model(noisy, 5).sample
    for attention in (module for module in model.modules() if isinstance(module, Attention)):
        attention.set_processor(AttnProcessor())
    assert torch.allclose(model(noisy, 5).sample, fused, atol=1e-5)


def test_the_embedding_is_a_quarter_of_its_setting_wide():
    model = make()
    assert model.time_proj(torch.tensor([3])).shape == (1, 64)
    assert model.time_embedding.linear_1.weight.shape == (256, 64)
    assert model.conv_in.out_channels == 32


def levels(resampling):
    """Settings of three levels, the first and last with attention."""
    down, up = ("ResnetDownsample", "ResnetUpsample") if resampling == "resnet" else ("Down", "Up")
    return {
        "down_block_types": ("ADMAttnDownBlock2D", f"ADM{down}Block2D", "ADMAttnDownBlock2D"),
        "up_block_types": ("ADMAttnUpBlock2D", f"ADM{up}Block2D", "ADMAttnUpBlock2D"),
        "downsample_type": resampling,
        "upsample_type": resampling,
    }


@pytest.mark.parametrize("resampling", ["resnet", "conv"])
def test_its_decoder_can_be_truncated(noisy, resampling):
    model = make(**levels(resampling))
    t = torch.tensor([10, 20])
    blocks = TruncatedUNet(model, range(6))(noisy, t)
    shapes = [tuple(activation.shape[1:]) for activation in blocks.values()]
    assert shapes == [(64, 4, 4), (64, 8, 8), (64, 8, 8), (64, 16, 16), (32, 16, 16), (32, 16, 16)]
    output = model.conv_out(model.conv_act(model.conv_norm_out(blocks[5])))
    assert torch.allclose(output, model(noisy, t).sample, atol=1e-6)
