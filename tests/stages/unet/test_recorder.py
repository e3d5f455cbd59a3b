from __future__ import annotations

from functools import partial

import pytest
import torch

from textdiff.errors import ConfigError
from textdiff.stages.unet.noise import add_noise
from textdiff.stages.unet.recorder import FrozenUNet, UNetRecorder, load_unet

COMMON = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "attention_head_dim": 4}
PLAIN_DOWN, PLAIN_UP = ("DownBlock2D",) * 3, ("UpBlock2D",) * 3
ATTN_DOWN, ATTN_UP = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D",) * 3

ARCHITECTURES = {
    "plain": {"layers_per_block": 1, "down_block_types": PLAIN_DOWN, "up_block_types": PLAIN_UP},
    "attention": {"layers_per_block": 2, "down_block_types": ATTN_DOWN, "up_block_types": ATTN_UP},
    "guided-diffusion": {
        "layers_per_block": 2,
        "down_block_types": ("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
        "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "attn_norm_num_groups": 4,
        "out_channels": 6,
    },
    "attention with residual upsampling": {
        "layers_per_block": 1,
        "down_block_types": ATTN_DOWN,
        "up_block_types": ATTN_UP,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    },
    "centred, learned time, no mid block": {
        "layers_per_block": 1,
        "down_block_types": PLAIN_DOWN,
        "up_block_types": PLAIN_UP,
        "center_input_sample": True,
        "time_embedding_type": "learned",
        "num_train_timesteps": 1000,
        "mid_block_type": None,
        "downsample_padding": 0,
    },
    "fourier time": {
        "layers_per_block": 1,
        "down_block_types": PLAIN_DOWN,
        "up_block_types": PLAIN_UP,
        "time_embedding_type": "fourier",
    },
}


@pytest.fixture(params=ARCHITECTURES)
def frozen(request) -> FrozenUNet:
    return random_unet(**ARCHITECTURES[request.param])


def random_unet(class_label: int | None = None, **config) -> FrozenUNet:
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    model = UNet2DModel(**COMMON, **config).eval().requires_grad_(False)
    alphas_cumprod = DDPMScheduler().alphas_cumprod
    return FrozenUNet(model, alphas_cumprod, "epsilon", digest="", source="random", class_label=class_label)


def images(batch: int = 2, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand((batch, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def seen_by_hooks(model, x_t, timesteps, class_labels=None) -> dict[int, torch.Tensor]:
    """What forward hooks on the whole diffusers model see at the end of each of guided-diffusion's blocks."""
    seen, handles, number = {}, [], 0

    def hook(block):
        def save(_module, _inputs, output):
            seen[block] = output

        return save

    for level in model.up_blocks:
        n = len(level.resnets)
        ends = list(getattr(level, "attentions", level.resnets))
        if level.upsamplers:
            ends[n - 1] = level.upsamplers[0]
        handles += [end.register_forward_hook(hook(number + i)) for i, end in enumerate(ends)]
        number += n
    model(x_t, timesteps, class_labels)
    for handle in handles:
        handle.remove()
    return seen


def assert_as_seen(recorded, expected):
    """The same to rounding: other kernels, as for other memory layouts, give other last bits."""
    for block, activation in recorded.items():
        torch.testing.assert_close(activation.flatten(0, 1), expected[block], rtol=1e-4, atol=1e-5)


def test_every_block_is_what_hooks_on_the_whole_model_see(frozen):
    timesteps, image, noise = [250, 50, 1], images(), images(batch=1, seed=1)
    x_t = add_noise(image, noise, timesteps, frozen.alphas_cumprod)
    expected = seen_by_hooks(frozen.model, x_t.flatten(0, 1), torch.tensor([250, 250, 50, 50, 1, 1]))
    recorded = UNetRecorder(frozen, range(frozen.n_blocks)).record(image, timesteps, noise)
    assert frozen.n_blocks == 3 * (frozen.model.config.layers_per_block + 1)
    assert list(recorded) == list(range(frozen.n_blocks)) == sorted(expected)
    for activation in recorded.values():
        assert activation.shape[:2] == (3, 2)
        assert torch.isfinite(activation).all()
    assert_as_seen(recorded, expected)


def test_shapes_are_the_real_ones_and_need_no_arithmetic(frozen):
    recorder = UNetRecorder(frozen, range(frozen.n_blocks))
    recorded = recorder.record(images(batch=1, size=24), [50], images(batch=1, size=24))
    assert recorder.shapes(24) == {block: tuple(a.shape[2:]) for block, a in recorded.items()}
    assert recorder.shapes(4096)[frozen.n_blocks - 1] == (8, 4096, 4096)
    assert {p.device.type for p in frozen.model.parameters()} == {"cpu"}


def test_nothing_after_the_last_block_is_computed_and_all_timesteps_go_in_one_forward(frozen):
    calls = []
    names = {module: name for name, module in frozen.model.named_modules()}
    handles = [m.register_forward_hook(lambda m, *_: calls.append(names[m])) for m in names]
    per_level = frozen.model.config.layers_per_block + 1
    UNetRecorder(frozen, [per_level, 0]).record(images(), [250, 150, 50], images())
    for handle in handles:
        handle.remove()
    assert calls.count("conv_in") == 1
    assert calls.count("up_blocks.0.resnets.0") == calls.count("up_blocks.1.resnets.0") == 1
    forbidden = ("up_blocks.1.resnets.1", "up_blocks.1.upsamplers", "up_blocks.2", "conv_norm_out", "conv_out")
    assert not [name for name in calls if name.startswith(forbidden)]


def test_timesteps_keep_their_order_and_samples_their_noise():
    frozen = random_unet(**ARCHITECTURES["plain"])
    recorder = UNetRecorder(frozen, [4, 2])
    image, noise = images(), images(seed=1)
    recorded = recorder.record(image, [250, 50], noise)
    assert list(recorded) == [2, 4]
    for i, t in enumerate([250, 50]):
        for j in range(2):
            alone = recorder.record(image[j : j + 1], [t], noise[j : j + 1])
            torch.testing.assert_close(recorded[4][i, j], alone[4][0, 0], rtol=1e-5, atol=1e-5)


def test_a_class_label_is_given_as_diffusers_gives_it_and_none_leaves_the_embedding_out():
    timesteps, image, noise = [250, 50], images(), images(batch=1, seed=1)
    labelled = random_unet(**ARCHITECTURES["attention"], num_class_embeds=7, class_label=3)
    x_t = add_noise(image, noise, timesteps, labelled.alphas_cumprod).flatten(0, 1)
    t = torch.tensor([250, 250, 50, 50])
    expected = seen_by_hooks(labelled.model, x_t, t, class_labels=torch.full((4,), 3))
    recorded = UNetRecorder(labelled, range(9)).record(image, timesteps, noise)
    assert_as_seen(recorded, expected)
    assert UNetRecorder(labelled, [8]).shapes(16) == {8: (8, 16, 16)}

    unlabelled = random_unet(**ARCHITECTURES["attention"], num_class_embeds=7)
    unlabelled_recorded = UNetRecorder(unlabelled, range(9)).record(image, timesteps, noise)
    unlabelled.model.class_embedding.weight.zero_()
    expected = seen_by_hooks(unlabelled.model, x_t, t, class_labels=torch.full((4,), 3))
    assert_as_seen(unlabelled_recorded, expected)
    assert (unlabelled_recorded[8] - recorded[8]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("n_classes", "label", "message"),
    [
        (None, 0, "got the class label 0, but the UNet is not class-conditional; leave it out"),
        (7, 7, "there is no class 7; the UNet has classes 0 to 6"),
        (7, -1, "there is no class -1; the UNet has classes 0 to 6"),
    ],
)
def test_class_labels_that_the_unet_does_not_know_are_refused(tmp_path, n_classes, label, message):
    save(random_unet(**ARCHITECTURES["plain"], num_class_embeds=n_classes), tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_unet(f"diffusers:{tmp_path}", class_label=label)


def test_the_class_label_stands_apart_from_the_digest(tmp_path):
    save(random_unet(**ARCHITECTURES["plain"], num_class_embeds=7), tmp_path)
    unlabelled, labelled = (load_unet(f"diffusers:{tmp_path}", class_label=label) for label in (None, 6))
    assert (unlabelled.class_label, labelled.class_label) == (None, 6)
    assert unlabelled.digest == labelled.digest


def save(frozen: FrozenUNet, folder) -> None:
    from diffusers import DDPMScheduler

    frozen.model.save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_a_lower_precision_is_autocasts_and_leaves_the_noised_image_alone(precision, tolerance):
    frozen = random_unet(**ARCHITECTURES["attention"])
    seen = []
    exact, rough = UNetRecorder(frozen, [3]), UNetRecorder(frozen, [3], precision)
    for recorder in (exact, rough):
        recorder.truncated.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    expected, got = (recorder.record(images(), [50], images(1, seed=1))[3] for recorder in (exact, rough))
    assert got.dtype == getattr(torch, precision)
    assert seen[0].dtype == seen[1].dtype == expected.dtype == torch.float32
    assert torch.equal(seen[0], seen[1])
    assert 0 < (got.float() - expected).norm() / expected.norm() < tolerance
    assert next(frozen.model.parameters()).dtype == torch.float32


def test_unknown_precisions_are_refused():
    with pytest.raises(ConfigError, match="unknown precision 'half'; expected one of float32, bfloat16, float16"):
        UNetRecorder(random_unet(**ARCHITECTURES["plain"]), [0], "half")


def test_activations_lie_channels_last_so_that_storing_them_copies_nothing(tiny_unet):
    frozen = load_unet(f"diffusers:{tiny_unet}")
    assert frozen.model.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    for activations in UNetRecorder(frozen, range(6)).record(images(), [50, 150], images(1)).values():
        assert all(activation.permute(0, 2, 3, 1).is_contiguous() for activation in activations)


def test_a_half_precision_copy_records_in_its_own_precision():
    frozen = random_unet(**ARCHITECTURES["attention"])
    exact = UNetRecorder(frozen, [3]).record(images(), [50], images(1))
    frozen.model.to(torch.bfloat16)
    rough = UNetRecorder(frozen, [3]).record(images(), [50], images(1))
    assert rough[3].dtype == torch.bfloat16
    torch.testing.assert_close(rough[3].float(), exact[3], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([2, 6, -1], r"no decoder blocks \[6, -1\]; the UNet has decoder blocks 0 \(deepest\) to 5"),
        ([], r"one or more, each given once, got \[\]; .* 0 \(deepest\) to 5"),
        ([1, 1], r"each given once, got \[1, 1\]"),
    ],
)
def test_bad_blocks_are_refused_with_the_valid_range(blocks, message):
    with pytest.raises(ConfigError, match=message):
        UNetRecorder(random_unet(**ARCHITECTURES["plain"]), blocks)


def test_images_that_the_unet_cannot_halve_are_refused():
    recorder = UNetRecorder(random_unet(**ARCHITECTURES["plain"]), [0])
    with pytest.raises(ConfigError, match=r"halves images 2 times: .* multiples of 4, got 18x18"):
        recorder.shapes(18)
    with pytest.raises(ConfigError, match="multiples of 4, got 18x18"):
        recorder.record(images(size=18), [50], images(size=18))
    with pytest.raises(ConfigError, match="reads 3 channels, got images of 1"):
        recorder.record(images()[:, :1], [50], images()[:, :1])


def test_noise_has_the_images_shape_and_no_other():
    recorder = UNetRecorder(random_unet(**ARCHITECTURES["plain"]), [0])
    assert recorder.noise_shape(16) == (3, 16, 16)
    with pytest.raises(ConfigError, match=r"noise has the shape \(1, 3, 8, 8\); expected \(3, 16, 16\) for each of 2"):
        recorder.record(images(), [50], images(batch=1, size=8))
    with pytest.raises(ConfigError, match=r"the shape \(3, 3, 16, 16\); expected \(3, 16, 16\) for each of 2 images"):
        recorder.record(images(), [50], images(batch=3))
    with pytest.raises(ConfigError, match="multiples of 4, got 18x18"):
        recorder.noise_shape(18)


def test_a_unet_on_pixels_takes_no_prompts(tiny_unet):
    frozen = load_unet(f"diffusers:{tiny_unet}")
    assert not frozen.text_conditioned
    with pytest.raises(ConfigError, match="reads no text, got 2 prompts; give none"):
        UNetRecorder(frozen, [0]).record(images(), [50], images(), prompts=["a", "b"])


def test_images_need_not_be_square():
    recorder = UNetRecorder(random_unet(**ARCHITECTURES["plain"]), [5])
    assert recorder.record(images()[:, :, :8], [50], images()[:1, :, :8])[5].shape == (1, 2, 8, 8, 16)


def test_a_config_is_for_guided_diffusion_alone(tiny_unet, tmp_path):
    with pytest.raises(ConfigError, match=r"got the config .*flags.json, which only guided-diffusion:FILE takes"):
        load_unet(f"diffusers:{tiny_unet}", config=tmp_path / "flags.json")


@pytest.mark.slow
def test_a_compiled_recorder_gives_the_same_activations(tiny_unet, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    frozen, image, noise = load_unet(f"diffusers:{tiny_unet}"), torch.rand(2, 3, 16, 16), torch.randn(1, 3, 16, 16)
    plain, compiled = (UNetRecorder(frozen, (1, 3), compiled=flag) for flag in (False, True))
    assert compiled.shapes(16) == plain.shapes(16)
    expected = plain.record(image, (5, 50), noise)
    for block, activations in compiled.record(image, (5, 50), noise).items():
        torch.testing.assert_close(activations, expected[block])
