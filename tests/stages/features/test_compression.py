import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from textdiff.errors import ConfigError
from textdiff.stages.features.compression import (
    Projection,
    choose_fit_images,
    choose_fit_pixels,
    fit_projection,
    quantise,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_quantised_by_hand():
    x = torch.tensor([[[[254.0, 0], [-3, 0]]], [[[-0.5, 127], [0.25, 126.4]]]])
    values, scale = quantise(x)
    assert scale.tolist() == [[2, 0], [pytest.approx(0.5 / 127), 1]]
    assert values.tolist() == [[[[127, 0], [-2, 0]]], [[[-127, 127], [64, 126]]]]  # -1.5 and 63.5 go to even
    assert (values.dtype, scale.dtype) == (torch.int8, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_error_is_half_a_scale_at_most(dtype):
    x = (random(3, 9, 7, 20) * torch.logspace(-3, 3, 20)).to(dtype).permute(0, 2, 1, 3)
    values, scale = quantise(x)
    assert values.is_contiguous()
    steps = (values * scale[:, None, None] - x.float()).abs() / scale[:, None, None]
    assert steps.max() <= 0.5 + 1e-4
    assert values.abs().amax((1, 2)).eq(127).all()


def test_channels_that_are_nearly_nothing_become_zero():
    values, scale = quantise(torch.full((1, 2, 2, 1), 1e-39))
    assert (values.abs().max(), scale.item()) == (0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_shows_in_the_scale_of_its_channel(bad):
    x = random(2, 3, 3, 4)
    x[1, 2, 0, 3] = bad
    assert quantise(x)[1].isfinite().tolist() == [[True] * 4, [True, True, True, False]]


@pytest.fixture
def pixels():
    """500 pixels of 12 channels, far from the origin; the variances of 4 hidden directions are well apart."""
    return random(500, 4) * torch.tensor([8.0, 4, 2, 1]) @ random(4, 12, seed=1) + 0.01 * random(500, 12, seed=2) + 30


def test_a_projection_is_scikit_learns(pixels):
    projection = fit_projection(pixels, 3)
    theirs = PCA(3, svd_solver="full").fit(pixels.double().numpy())
    np.testing.assert_allclose(projection.mean, theirs.mean_, rtol=1e-6)
    signs = np.sign((projection.components.numpy() * theirs.components_).sum(1, keepdims=True))
    np.testing.assert_allclose(projection.components.numpy() * signs, theirs.components_, atol=1e-5)
    images = pixels[:60].reshape(3, 4, 5, 12)
    expected = theirs.transform(pixels[:60].numpy()) * signs[:, 0]
    np.testing.assert_allclose(projection.apply(images).reshape(60, 3), expected, atol=1e-3)


def test_signs_are_fixed_and_the_fit_is_the_same_each_time(pixels):
    components = fit_projection(pixels, 3).components
    largest = components.abs().argmax(1, keepdim=True)
    assert (components.gather(1, largest) > 0).all()
    assert torch.equal(fit_projection(pixels, 3).components, components)
    torch.testing.assert_close(fit_projection(60 - pixels, 3).components, components, atol=1e-5, rtol=0)


def test_a_projection_survives_being_kept_as_rows(pixels):
    projection = fit_projection(pixels, 3)
    rows = projection.to_rows()
    assert rows.shape == (4, 12)
    again = Projection.from_rows(rows)
    assert torch.equal(again.mean, projection.mean)
    assert torch.equal(again.components, projection.components)


def test_half_precision_is_projected_in_single(pixels):
    projection, images = fit_projection(pixels, 3), pixels.half()
    assert projection.apply(images).dtype == torch.float32
    assert torch.equal(projection.apply(images), projection.apply(images.float()))


def test_more_components_than_there_can_be_are_refused(pixels):
    with pytest.raises(ConfigError, match="--pca got 13; 500 pixels of training images with 12 channels give 12 comp"):
        fit_projection(pixels, 13)
    with pytest.raises(ConfigError, match="--pca got 3; 2 pixels of training images with 12 channels give 2 comp"):
        fit_projection(pixels[:2], 3)


def test_a_fit_on_what_is_not_finite_is_refused(pixels):
    pixels[3, 4] = float("inf")
    with pytest.raises(ConfigError, match="activations of training images are NaN or infinite"):
        fit_projection(pixels, 3)


def test_the_images_of_a_fit_do_not_depend_on_their_order():
    ids = [f"image{i}" for i in range(100)]
    chosen = choose_fit_images(ids, 40)
    assert (len(chosen), len(set(chosen))) == (32, 32)
    assert choose_fit_images(ids[::-1], 40) == chosen
    assert choose_fit_images(ids, 41) != chosen
    assert choose_fit_images(["b", "a"], 0) == ("a", "b")


def test_the_pixels_of_a_fit_do_not_depend_on_the_batch():
    images = torch.arange(2 * 30 * 30.0).reshape(2, 30, 30, 1).repeat(1, 1, 1, 3)
    both = choose_fit_pixels(images, ["a", "b"], 40, 6, 50)
    alone = choose_fit_pixels(images[1:], ["b"], 40, 6, 50)
    assert both.shape == (2 * 512, 3)
    assert torch.equal(both[512:], alone)
    assert len(set(alone[:, 0].tolist())) == 512
    assert alone.min() >= 900
    assert not torch.equal(choose_fit_pixels(images[1:], ["b"], 40, 6, 150), alone)
    assert len(choose_fit_pixels(images[:, :4, :5], ["a", "b"], 40, 6, 50)) == 2 * 20


def test_a_projection_from_the_disk_gives_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    fitted = fit_projection(torch.randn(500, 96, generator=generator), 16)
    restored = Projection.from_rows(torch.from_numpy(fitted.to_rows().numpy().copy()))
    x = torch.randn(2, 33, 17, 96, generator=generator)
    assert torch.equal(restored.apply(x), fitted.apply(x))
    assert fitted.components.is_contiguous()
