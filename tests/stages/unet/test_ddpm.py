"""A training step against the same step written out, its schedules by hand, and a restore against no restore."""

import math

import pytest
import torch
from diffusers import DDPMScheduler

from textdiff.stages.seeds import named_generator
from textdiff.stages.unet.ddpm import Pretraining, build_unet, learning_rate_factor, random_crops


def make_training(seed=3, steps=20):
    unet = build_unet(crop=16, channels=(8, 16), layers=1, seed=seed)
    return Pretraining(
        unet, crop=16, batch_size=4, steps=steps, learning_rate=1e-3, ema_decay=0.99, seed=seed, device="cpu"
    )


@pytest.fixture(scope="module")
def images():
    """Three smooth pictures: a slope in each colour, each image of another brightness."""
    slope = torch.linspace(0, 150, 24)
    image = torch.stack([slope[:, None].expand(24, 24), slope[None].expand(24, 24), torch.full((24, 24), 90.0)], dim=-1)
    return torch.stack([image, image + 50, image + 100]).to(torch.uint8)


def test_unet_has_the_decoder_blocks_it_promises_and_takes_larger_images():
    unet = build_unet(crop=16, channels=(8, 16, 24), layers=2, seed=0)
    assert sum(len(block.resnets) for block in unet.up_blocks) == 3 * (2 + 1)
    assert unet.config.sample_size == 16
    with torch.inference_mode():
        assert unet(torch.zeros(2, 3, 40, 24), torch.tensor([0, 999])).sample.shape == (2, 3, 40, 24)


def test_initial_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build_unet(16, (8,), 1, seed).conv_in.weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_crops_come_in_all_eight_orientations_and_no_other():
    corners = torch.tensor([[0, 51], [102, 255]], dtype=torch.uint8)
    images = corners[None, :, :, None].expand(1, 2, 2, 3)
    crops = random_crops(images, 2, 400, torch.Generator().manual_seed(0))
    assert crops.shape == (400, 3, 2, 2)
    seen = {tuple(round(value, 3) for value in crop[0].flatten().tolist()) for crop in crops}
    a, b, c, d = -1.0, -0.6, -0.2, 1.0
    around = [(a, b, c, d), (b, d, a, c), (d, c, b, a), (c, a, d, b)]
    mirrored = [(b, a, d, c), (d, b, c, a), (c, d, a, b), (a, c, b, d)]
    assert seen == {*around, *mirrored}


def test_crops_reach_every_corner_of_every_image():
    images = torch.zeros(2, 3, 4, 3, dtype=torch.uint8)
    images[1, 2, 3] = 255
    images[0, 0, 0] = 100
    crops = random_crops(images, 1, 500, torch.Generator().manual_seed(0))
    assert {round((value + 1) * 127.5) for value in crops.flatten().tolist()} == {0, 100, 255}


def test_learning_rate_rises_over_a_tenth_and_falls_to_zero():
    assert learning_rate_factor(0, 100) == 0.1
    assert learning_rate_factor(9, 100) == 1.0
    assert learning_rate_factor(10, 100) == 1.0
    assert learning_rate_factor(55, 100) == pytest.approx(0.5)
    assert learning_rate_factor(99, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert learning_rate_factor(0, 1) == 1.0


def test_first_loss_is_that_of_the_step_written_out(images):
    generator = named_generator(3, "pretrain", 0)
    x_0 = random_crops(images, 16, 4, generator)
    t = torch.randint(1000, (4,), generator=generator)
    noise = torch.randn(4, 3, 16, 16, generator=generator)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[t].reshape(4, 1, 1, 1)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise
    with torch.inference_mode():
        expected = (build_unet(16, (8, 16), 1, 3)(x_t, t).sample - noise).square().mean()
    assert make_training().advance(images) == pytest.approx(float(expected), rel=1e-5)


def test_averaged_weights_start_as_the_weights_and_then_follow_them(images):
    training = make_training()
    training.advance(images)
    first = {name: tensor.clone() for name, tensor in training.state().items()}
    training.advance(images)
    second = training.state()
    for name in (name.removeprefix("unet/") for name in second if name.startswith("unet/")):
        torch.testing.assert_close(first[f"ema/{name}"], first[f"unet/{name}"])
        expected = 2 / 11 * first[f"unet/{name}"] + 9 / 11 * second[f"unet/{name}"]
        torch.testing.assert_close(second[f"ema/{name}"], expected)


def test_restored_training_goes_on_bit_by_bit(images):
    straight, stopped = make_training(), make_training()
    for _ in range(5):
        straight.advance(images)
    for _ in range(3):
        stopped.advance(images)
    resumed = make_training(seed=3)
    resumed.restore(stopped.state(), 3)
    assert resumed.step == 3
    for _ in range(2):
        resumed.advance(images)
    expected = straight.state()
    assert resumed.state().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state().items())


@pytest.mark.slow
def test_it_learns(images):
    training = make_training(steps=80)
    losses = [training.advance(images) for _ in range(80)]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_averaged_unet_has_the_averaged_weights_in_a_form_that_can_be_saved(images):
    training = make_training()
    for _ in range(3):
        training.advance(images)
    averaged, state = training.averaged_unet(), training.state()
    assert not averaged.training
    assert training.n_parameters == sum(weight.numel() for weight in averaged.parameters())
    for name, weight in averaged.named_parameters():
        assert weight.is_contiguous()
        assert torch.equal(weight, state[f"ema/{name}"])
        assert name.startswith("time_embedding") or not torch.equal(weight, state[f"unet/{name}"])


def test_scheduler_is_the_linear_one_that_predicts_noise():
    scheduler = make_training().scheduler
    assert isinstance(scheduler, DDPMScheduler)
    assert (scheduler.config.prediction_type, scheduler.config.beta_schedule) == ("epsilon", "linear")
    torch.testing.assert_close(scheduler.alphas_cumprod, torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0))
