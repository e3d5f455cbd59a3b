from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from textdiff.errors import ConfigError, DataError
from textdiff.stages.unet.noise import add_noise
from textdiff.stages.unet.recorder import FrozenUNet, UNetRecorder, load_unet

COMMON = {"block_out_channels": (8, 16), "norm_num_groups": 4, "cross_attention_dim": 12, "layers_per_block": 1}
UPPER = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
}
BOTH = {"down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("CrossAttnUpBlock2D",) * 2}
ARCHITECTURES = {
    "heads by level, linear projections": {**BOTH, "attention_head_dim": (2, 4), "use_linear_projection": True},
    "cross attention only, upcast": {**UPPER, "only_cross_attention": (True, False), "upcast_attention": True},
    "two transformer layers": {**BOTH, "attention_head_dim": 4, "transformer_layers_per_block": 2},
    "no middle": {**UPPER, "mid_block_type": None},
    "a middle that reads no text": {**UPPER, "mid_block_type": "UNetMidBlock2D"},
    "scale-shift, centred, fourier time": {
        **UPPER,
        "resnet_time_scale_shift": "scale_shift",
        "center_input_sample": True,
        "time_embedding_type": "fourier",
        "timestep_post_act": "silu",
    },
    "class labels": {**UPPER, "num_class_embeds": 5},
}


@pytest.fixture(scope="module")
def frozen(tiny_stable_diffusion) -> FrozenUNet:
    return load_unet(f"stable-diffusion:{tiny_stable_diffusion}")


@pytest.fixture(scope="module")
def pipeline(tiny_stable_diffusion):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion, low_cpu_mem_usage=False)


def images(batch: int = 2, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand((batch, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def eps(recorder: UNetRecorder, size: int = 32) -> torch.Tensor:
    return torch.randn((1, *recorder.noise_shape(size)), generator=torch.Generator().manual_seed(1))


def with_unet(frozen: FrozenUNet, class_label: int | None = None, **config) -> FrozenUNet:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    model = UNet2DConditionModel(**COMMON, **config).eval().requires_grad_(False)
    return replace(frozen, model=model, class_label=class_label)


def seen_by_hooks(model, x_t, timesteps, text, class_labels=None):
    """What hooks on the whole diffusers model see at the end of each output block, and the model's output."""
    seen, handles = [], []
    for level in model.up_blocks:
        ends = list(getattr(level, "attentions", level.resnets))
        if level.upsamplers:
            ends[-1] = level.upsamplers[0]
        handles += [end.register_forward_hook(lambda _m, _i, out: seen.append(out)) for end in ends]
    output = model(x_t, timesteps, encoder_hidden_states=text, class_labels=class_labels).sample
    for handle in handles:
        handle.remove()
    return [out[0] if isinstance(out, tuple) else out for out in seen], output


def assert_as_the_whole_model(frozen: FrozenUNet, class_labels=None) -> None:
    recorder = UNetRecorder(frozen, range(frozen.n_blocks))
    image, timesteps, prompts = images(), [250, 50], ["", "nuclei"]
    noise, latent = eps(recorder), frozen.latent
    x_t = add_noise(latent.encode_image(image), noise, timesteps, frozen.alphas_cumprod).flatten(0, 1)
    text = latent.encode_prompts(prompts).repeat(2, 1, 1)
    expected, output = seen_by_hooks(frozen.model, x_t, torch.tensor([250, 250, 50, 50]), text, class_labels)
    recorded = recorder.record(image, timesteps, noise, prompts)
    assert len(recorded) == len(expected) == frozen.n_blocks
    # The whole model runs channels first: other kernels, other last bits.
    for block, activation in recorded.items():
        torch.testing.assert_close(activation.flatten(0, 1), expected[block], rtol=1e-4, atol=1e-5)
    model, last = frozen.model, recorded[frozen.n_blocks - 1].flatten(0, 1)
    with torch.inference_mode():
        last = model.conv_out(model.conv_act(model.conv_norm_out(last)))
    torch.testing.assert_close(last, output, rtol=1e-4, atol=1e-5)
    assert recorder.shapes(32) == {block: tuple(a.shape[2:]) for block, a in recorded.items()}


def test_every_block_is_what_hooks_on_the_whole_model_see(frozen):
    assert frozen.n_blocks == 6
    assert_as_the_whole_model(frozen)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_are_right_too(frozen, name):
    label = 3 if name == "class labels" else None
    other = with_unet(frozen, label, **ARCHITECTURES[name])
    assert_as_the_whole_model(other, None if label is None else torch.full((4,), label))


def test_blocks_are_numbered_as_latent_diffusions_twelve(frozen):
    """The layout of Stable Diffusion 1's UNet, narrower: in openaimodel.py output blocks 2, 5 and 8 upsample."""
    from diffusers import UNet2DConditionModel

    widths = {"block_out_channels": (8, 16, 24, 24), "norm_num_groups": 8, "cross_attention_dim": 12}
    recorder = UNetRecorder(replace(frozen, model=UNet2DConditionModel(**widths)), range(12))
    assert {block: (channel, y) for block, (channel, y, _) in recorder.shapes(256).items()} == {
        **dict.fromkeys((0, 1), (24, 8)),
        **dict.fromkeys((2, 3, 4), (24, 16)),
        5: (24, 32),
        **dict.fromkeys((6, 7), (16, 32)),
        8: (16, 64),
        **dict.fromkeys((9, 10, 11), (8, 64)),
    }
    assert [block.text_conditioned for block in recorder.truncated.decoder] == [False] * 3 + [True] * 9


def test_latents_are_the_pipelines_scaled_modes(frozen, pipeline):
    expected = pipeline.vae.encode(images()).latent_dist.mode() * pipeline.vae.config.scaling_factor
    got = frozen.latent.encode_image(images())
    assert got.shape == (2, 4, 8, 8)
    # The pipeline computes channels first: other kernels, other last bits.
    torch.testing.assert_close(got, expected)
    assert torch.equal(got, frozen.latent.encode_image(images()))


def test_a_shift_is_taken_away_before_scaling(pipeline):
    from diffusers import AutoencoderKL

    from textdiff.stages.unet.latent import LatentInput

    vae = AutoencoderKL.from_config({**pipeline.vae.config, "shift_factor": 0.25, "use_quant_conv": False}).eval()
    latent = LatentInput(vae, pipeline.text_encoder, pipeline.tokenizer)
    mode = vae.encode(images()).latent_dist.mode()
    torch.testing.assert_close(latent.encode_image(images()), (mode - 0.25) * 0.18215)


def test_prompts_become_the_pipelines_tokens(frozen, pipeline):
    prompts = ["", "in in", "nuclei"]
    expected, _ = pipeline.encode_prompt(prompts, "cpu", 1, do_classifier_free_guidance=False)
    got = frozen.latent.encode_prompts(prompts)
    assert got.shape == (3, 12, 12)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(got[2:], frozen.latent.encode_prompts(["nuclei"]))


def test_a_mask_of_padding_is_used_where_the_text_encoder_was_trained_with_one(pipeline):
    import copy

    from textdiff.stages.unet.latent import LatentInput

    text_encoder = copy.deepcopy(pipeline.text_encoder)
    text_encoder.config.use_attention_mask = True
    latent = LatentInput(pipeline.vae, text_encoder, pipeline.tokenizer)
    plain = LatentInput(pipeline.vae, pipeline.text_encoder, pipeline.tokenizer)
    with torch.no_grad():
        masked, unmasked = latent.encode_prompts(["in"]), plain.encode_prompts(["in"])
    assert torch.allclose(masked[:, :3], unmasked[:, :3], atol=1e-6)
    assert not torch.allclose(masked[:, 3:], unmasked[:, 3:], atol=1e-6)


def test_prompts_that_are_too_long_are_listed_and_never_cut(frozen):
    assert frozen.latent.encode_prompts(["a b c d e f g h i j"]).shape == (1, 12, 12)
    with pytest.raises(
        DataError, match=r"2 prompts are longer than the 12 tokens .*\n.*13 tokens: 'a b.*\n.*14 tokens"
    ):
        frozen.latent.encode_prompts(["in", "a b c d e f g h i j k", "a b c d e f g h i j k l"])


def test_each_image_is_told_its_own_prompt_and_the_empty_one_by_default(frozen):
    recorder = UNetRecorder(frozen, [5])
    image, noise = images(batch=1).repeat(3, 1, 1, 1), eps(recorder)
    prompted = recorder.record(image, [50, 150], noise, ["", "nuclei", ""])[5]
    plain = recorder.record(image, [50, 150], noise)[5]
    for timestep in range(2):
        torch.testing.assert_close(prompted[timestep, 0], plain[timestep, 0])
        torch.testing.assert_close(prompted[timestep, 2], plain[timestep, 1])
        assert not torch.allclose(prompted[timestep, 1], plain[timestep, 1])
    with pytest.raises(ConfigError, match="got 1 prompts for 3 images; expected one an image, or none"):
        recorder.record(image, [50], noise, ["nuclei"])


def test_an_image_and_a_prompt_are_encoded_once_a_batch_whatever_the_timesteps(frozen):
    calls = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in (("image", frozen.latent.encoder), ("text", frozen.latent.text_model))
    ]
    recorder = UNetRecorder(frozen, [0])
    for _ in range(2):
        recorder.record(images(), [50, 150, 250], eps(recorder), ["spindle", "spindle"])
    for handle in handles:
        handle.remove()
    assert (calls.count("image"), calls.count("text")) == (2, 1)


def test_sizes_are_checked_in_pixels_and_noise_in_latents(frozen):
    recorder = UNetRecorder(frozen, [0])
    assert (frozen.in_channels, frozen.size_multiple, frozen.text_conditioned) == (3, 8, True)
    assert recorder.noise_shape(40) == (4, 10, 10)
    assert recorder.shapes(512) == {0: (16, 64, 64)}
    with pytest.raises(ConfigError, match=r"halves images 3 times: .* multiples of 8, got 20x20"):
        recorder.noise_shape(20)
    with pytest.raises(ConfigError, match="multiples of 8, got 20x20"):
        recorder.shapes(20)
    with pytest.raises(ConfigError, match=r"the shape \(2, 3, 32, 32\); expected \(4, 8, 8\) for each of 2 images"):
        recorder.record(images(), [50], images())


def test_images_need_not_be_square(frozen):
    noise = torch.randn(2, 4, 8, 4)
    assert UNetRecorder(frozen, [5]).record(images()[..., :16], [50], noise)[5].shape == (1, 2, 8, 8, 4)


def test_a_lower_precision_is_the_unets_alone(frozen):
    seen = []
    exact, rough = UNetRecorder(frozen, [5]), UNetRecorder(frozen, [5], "bfloat16")
    for recorder in (exact, rough):
        recorder.truncated.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs))
    expected, got = (recorder.record(images(), [50], eps(recorder))[5] for recorder in (exact, rough))
    assert got.dtype == torch.bfloat16
    assert 0 < (got.float() - expected).norm() / expected.norm() < 0.05
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_activations_lie_channels_last_so_that_storing_them_copies_nothing(frozen):
    recorder = UNetRecorder(frozen, range(6))
    for activations in recorder.record(images(), [50, 150], eps(recorder)).values():
        assert all(activation.permute(0, 2, 3, 1).is_contiguous() for activation in activations)
