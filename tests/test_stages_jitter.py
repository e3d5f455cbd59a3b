"""What jitter does to colours and to the units of activations."""

import pytest
import torch

from textdiff.stages.jitter import jitter_colours, jitter_unit
from textdiff.stages.seeds import named_generator


def test_colours_of_an_image_are_all_changed_by_one_affine_map():
    colours = torch.randn(3, 8, 8, 3, generator=named_generator(0, "colours"))
    changed = jitter_colours(colours, named_generator(1, "jitter"))
    maps = []
    for before, after in zip(colours.flatten(1, 2), changed.flatten(1, 2), strict=True):
        with_one = torch.cat([before, torch.ones(64, 1)], 1)
        affine = torch.linalg.lstsq(with_one, after).solution
        torch.testing.assert_close(with_one @ affine, after, atol=1e-5, rtol=1e-4)
        maps.append(affine)
    spread = torch.stack(maps) - torch.cat([torch.eye(3), torch.zeros(1, 3)])
    assert 0.05 < float(spread.std()) < 0.3
    assert not torch.allclose(maps[0], maps[1])


def test_standardised_by_another_unit_activations_are_scaled_and_shifted():
    x = 5 + 3 * torch.randn(400, 6, generator=named_generator(0, "x"))
    mean, scale = x.mean(0)[None], 1 / x.std(0)[None]
    other_mean, other_scale = jitter_unit(mean, scale, 2, named_generator(1, "jitter"))
    assert other_mean.shape == other_scale.shape == (2, 6)
    standardised = (x - mean) * scale
    for place in range(2):
        found = (x - other_mean[place]) * other_scale[place]
        gain = other_scale[place] / scale[0]
        offset = (found - gain * standardised)[0]
        torch.testing.assert_close(found, gain * standardised + offset, atol=1e-4, rtol=1e-4)
        assert 0 < float((gain - 1).abs().max()) < 1
        assert 0 < float(offset.abs().max()) < 1


def test_gains_and_offsets_have_the_spread_of_the_unet_from_scratch():
    mean, scale = torch.zeros(1, 50), torch.ones(1, 50)
    other_mean, other_scale = jitter_unit(mean, scale, 400, named_generator(2, "jitter"))
    assert float(other_scale.std()) == pytest.approx(0.2, rel=0.05)
    assert float((other_mean * other_scale).std()) == pytest.approx(0.2, rel=0.05)
