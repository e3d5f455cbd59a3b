"""What jitter does to colours and to activations."""

import pytest
import torch

from textdiff.stages.features.augmentation import draw_activation_jitter, draw_colour_jitter
from textdiff.stages.seeds import named_generator


def test_colours_of_an_image_are_all_changed_by_one_affine_map():
    colours = torch.randn(3, 8, 8, 3, generator=named_generator(0, "colours"))
    changed = draw_colour_jitter(3, 3, named_generator(1, "jitter")).of(colours)
    maps = []
    for before, after in zip(colours.flatten(1, 2), changed.flatten(1, 2), strict=True):
        with_one = torch.cat([before, torch.ones(64, 1)], 1)
        affine = torch.linalg.lstsq(with_one, after).solution
        torch.testing.assert_close(with_one @ affine, after, atol=1e-5, rtol=1e-4)
        maps.append(affine)
    spread = torch.stack(maps) - torch.cat([torch.eye(3), torch.zeros(1, 3)])
    assert 0.05 < float(spread.std()) < 0.3
    assert not torch.allclose(maps[0], maps[1])


def test_channels_of_an_image_are_each_scaled_and_shifted():
    x = torch.randn(2, 20, 20, 6, generator=named_generator(0, "x"))
    changed = draw_activation_jitter(2, 6, named_generator(1, "jitter"), hidden=0.0).of(x)
    gain = changed.std((1, 2), keepdim=True) / x.std((1, 2), keepdim=True)
    offset = (changed - gain * x)[:, :1, :1]
    torch.testing.assert_close(changed, gain * x + offset, atol=1e-5, rtol=1e-4)
    assert 0.05 < float((gain - 1).std()) < 0.4
    assert 0.05 < float(offset.std()) < 0.4


def test_gains_and_offsets_have_the_spread_of_the_unet_from_scratch():
    corners = torch.tensor([0.0, 1.0]).reshape(1, 1, 2, 1).expand(400, 1, 2, 50)
    changed = draw_activation_jitter(400, 50, named_generator(2, "jitter"), hidden=0.0).of(corners)
    offset, gain = changed[:, 0, 0], changed[:, 0, 1] - changed[:, 0, 0]
    assert float(offset.std()) == pytest.approx(0.2, rel=0.05)
    assert float(gain.std()) == pytest.approx(0.2, rel=0.05)
    assert float(gain.mean()) == pytest.approx(1.0, abs=0.01)


def test_a_share_of_the_images_is_hidden_whole():
    x = torch.ones(1000, 2, 2, 3)
    shown = draw_activation_jitter(1000, 3, named_generator(3, "jitter"), hidden=0.3).of(x).abs().flatten(1)
    gone = (shown == 0).all(1)
    assert float(gone.float().mean()) == pytest.approx(0.3, abs=0.05)
    assert (shown[~gone] != 0).all()
