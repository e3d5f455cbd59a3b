from __future__ import annotations

import pytest
import torch

from textdiff.errors import ConfigError
from textdiff.stages.unet.noise import add_noise, draw_noise

SHAPE = (3, 5, 7)


def test_shared_noise_is_the_first_draw_of_the_seeded_generator_whatever_the_samples():
    generator = torch.Generator().manual_seed(40)
    expected = [torch.randn((1, *SHAPE), generator=generator) for _ in range(3)]
    noise = draw_noise(SHAPE, seed=40, kind="shared", sample_ids=["a", "b"], n_draws=3)
    assert noise.shape == (3, 1, *SHAPE)
    assert noise.dtype == torch.float32
    assert torch.equal(noise, torch.stack(expected))
    assert torch.equal(noise[:1], draw_noise(SHAPE, seed=40, kind="shared", sample_ids=[]))


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    draw_noise(SHAPE, seed=1, kind="per-sample", sample_ids=["a"], n_draws=2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_per_sample_noise_depends_on_the_sample_and_the_seed_but_not_on_the_batch():
    together = draw_noise(SHAPE, seed=40, kind="per-sample", sample_ids=["a", "b", "c"], n_draws=2)
    alone = draw_noise(SHAPE, seed=40, kind="per-sample", sample_ids=["b"], n_draws=1)
    assert together.shape == (2, 3, *SHAPE)
    assert torch.equal(together[:1, 1:2], alone)
    assert not torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(alone, draw_noise(SHAPE, seed=41, kind="per-sample", sample_ids=["b"]))


def test_per_sample_noise_never_changes_between_versions():
    # sha256("40:TCGA-1")[:8], little-endian, halved, computed by hand with hashlib.
    generator = torch.Generator().manual_seed(int.from_bytes(bytes.fromhex("957a6adfe75dbbc4"), "little") >> 1)
    noise = draw_noise(SHAPE, seed=40, kind="per-sample", sample_ids=["TCGA-1"])
    assert torch.equal(noise[0, 0], torch.randn(SHAPE, generator=generator))


def test_per_sample_noise_of_no_samples_is_empty():
    assert draw_noise(SHAPE, seed=0, kind="per-sample", sample_ids=[], n_draws=2).shape == (2, 0, *SHAPE)


def test_unknown_kinds_and_no_draws_are_refused():
    with pytest.raises(ConfigError, match=r"unknown noise kind 'pink'; expected one of shared, per-sample"):
        draw_noise(SHAPE, seed=0, kind="pink", sample_ids=[])
    with pytest.raises(ConfigError, match="noise draws must be at least 1, got 0"):
        draw_noise(SHAPE, seed=0, kind="shared", sample_ids=[], n_draws=0)


@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("shared", [True, False])
def test_add_noise_is_diffusers(beta_schedule, shared):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule=beta_schedule)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((2, *SHAPE), generator=generator) * 2 - 1
    noise = torch.randn((1 if shared else 2, *SHAPE), generator=generator)
    timesteps = [250, 0, 50, 999]
    x_t = add_noise(image, noise, timesteps, scheduler.alphas_cumprod)
    assert x_t.shape == (4, 2, *SHAPE)
    for i, t in enumerate(timesteps):
        expected = scheduler.add_noise(image, noise.expand_as(image), torch.tensor([t, t]))
        torch.testing.assert_close(x_t[i], expected, rtol=1e-6, atol=1e-6)


def test_add_noise_by_hand():
    image, noise = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 10.0)
    x_t = add_noise(image, noise, [1, 0], torch.tensor([1.0, 0.64]))
    assert x_t.flatten().tolist() == pytest.approx([0.8 * 2 + 0.6 * 10, 2.0])


def test_timesteps_outside_the_schedule_are_all_named_with_the_range():
    image = torch.zeros(1, *SHAPE)
    with pytest.raises(ConfigError, match=r"timesteps \[1000, -1\] are out of range; .* timesteps 0 to 999"):
        add_noise(image, image, [50, 1000, -1], torch.ones(1000))
    with pytest.raises(ConfigError, match="no timesteps were given"):
        add_noise(image, image, [], torch.ones(1000))
