"""A UNet in bfloat16: its norms are torch's, keep the order in memory, and its activations are those of float32."""

import pytest
import torch
from torch import nn

from textdiff.errors import ConfigError
from textdiff.stages.unet.bfloat16 import ChannelsLastGroupNorm
from textdiff.stages.unet.recorder import UNetRecorder, load_unet


def norm(n_groups=4, n_channels=16):
    made = nn.GroupNorm(n_groups, n_channels).requires_grad_(False)
    nn.init.normal_(made.weight, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(made.bias, generator=torch.Generator().manual_seed(1))
    return made


def activations(shape):
    x = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    return x.movedim(1, -1).contiguous().movedim(-1, 1)  # channels last in memory


@pytest.mark.parametrize("shape", [(2, 16, 5, 6), (2, 16, 30)])
def test_a_group_norm_is_torchs_and_lies_as_its_input(shape):
    x, plain = activations(shape), norm()
    got = ChannelsLastGroupNorm(plain)(x)
    assert got.stride() == x.stride()
    torch.testing.assert_close(got, plain(x), rtol=1e-5, atol=1e-5)


def test_a_group_norm_of_bfloat16_is_that_of_float32_rounded_once():
    x, plain = activations((2, 16, 5, 6)).bfloat16(), norm()
    got = ChannelsLastGroupNorm(plain)(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), plain(x.float()), rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1000.0])
def test_a_group_norm_of_equal_numbers_is_its_bias(value):
    x = torch.full((1, 16, 64, 64), value)
    expected = norm().bias[None, :, None, None].expand_as(x)
    torch.testing.assert_close(ChannelsLastGroupNorm(norm())(x), expected, rtol=0, atol=0.05)


@pytest.fixture
def source(tiny_unet):
    return f"diffusers:{tiny_unet}"


def test_activations_are_those_of_float32_and_lie_channels_last(source):
    frozen = load_unet(source, bfloat16_weights=True)
    dtypes = {weight.dtype for name, weight in frozen.model.named_parameters() if "norm" not in name}
    assert dtypes == {torch.bfloat16}
    exact = load_unet(source)
    assert frozen.digest == exact.digest
    generator = torch.Generator().manual_seed(0)
    images, noise = torch.rand(2, 3, 16, 16, generator=generator), torch.randn(1, 3, 16, 16, generator=generator)
    expected = UNetRecorder(exact, range(6)).record(images, [50, 150], noise)
    recorder = UNetRecorder(frozen, range(6), "bfloat16-weights")
    for block, got in recorder.record(images, [50, 150], noise).items():
        assert got.dtype == torch.bfloat16
        assert got.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        assert 0 < (got.float() - expected[block]).norm() / expected[block].norm() < 0.02
    assert recorder.shapes(16) == UNetRecorder(exact, range(6)).shapes(16)


def test_a_latent_unet_has_its_vae_and_text_encoder_in_float32(tiny_stable_diffusion):
    source = f"stable-diffusion:{tiny_stable_diffusion}"
    frozen, exact = load_unet(source, bfloat16_weights=True), load_unet(source)
    assert {weight.dtype for weight in frozen.latent.parameters()} == {torch.float32}
    images, noise = torch.zeros(2, 3, 32, 32), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = UNetRecorder(exact, [5]).record(images, [50], noise)[5]
    got = UNetRecorder(frozen, [5], "bfloat16-weights").record(images, [50], noise)[5]
    assert 0 < (got.float() - expected).norm() / expected.norm() < 0.02


def test_weights_in_float32_are_refused(source):
    with pytest.raises(ConfigError, match=r"got bfloat16-weights for weights in torch.float32; give load_unet"):
        UNetRecorder(load_unet(source), [0], "bfloat16-weights")
