from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from textdiff.errors import ConfigError, SourceError
from textdiff.stages.noise import add_noise
from textdiff.stages.sources import parse_source, state_digest
from textdiff.stages.unet import FrozenUNet, UNetRecorder, load_unet

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


def random_unet(**config) -> FrozenUNet:
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    model = UNet2DModel(**COMMON, **config).eval().requires_grad_(False)
    return FrozenUNet(model, DDPMScheduler().alphas_cumprod, "epsilon", digest="", source="random")


def images(batch: int = 2, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand((batch, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def seen_by_hooks(model, x_t, timesteps) -> dict[int, torch.Tensor]:
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
    model(x_t, timesteps)
    for handle in handles:
        handle.remove()
    return seen


def test_every_block_is_exactly_what_hooks_on_the_whole_model_see(frozen):
    timesteps, image, noise = [250, 50, 1], images(), images(batch=1, seed=1)
    x_t = add_noise(image, noise, timesteps, frozen.alphas_cumprod)
    expected = seen_by_hooks(frozen.model, x_t.flatten(0, 1), torch.tensor([250, 250, 50, 50, 1, 1]))
    recorded = UNetRecorder(frozen, range(frozen.n_blocks)).record(image, timesteps, noise)
    assert frozen.n_blocks == 3 * (frozen.model.config.layers_per_block + 1)
    assert list(recorded) == list(range(frozen.n_blocks)) == sorted(expected)
    for block, activation in recorded.items():
        assert activation.shape[:2] == (3, 2)
        assert torch.isfinite(activation).all()
        assert torch.equal(activation.flatten(0, 1), expected[block])


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


def test_images_need_not_be_square():
    recorder = UNetRecorder(random_unet(**ARCHITECTURES["plain"]), [5])
    assert recorder.record(images()[:, :, :8], [50], images()[:1, :, :8])[5].shape == (1, 2, 8, 8, 16)


def test_a_pipelines_folder_is_loaded_frozen_with_its_schedule(tiny_unet):
    from diffusers import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(tiny_unet, low_cpu_mem_usage=False)
    frozen = load_unet(f"diffusers:{tiny_unet}")
    assert torch.equal(frozen.alphas_cumprod, pipeline.scheduler.alphas_cumprod)
    assert (frozen.prediction_type, frozen.n_blocks, frozen.in_channels) == ("epsilon", 6, 3)
    assert frozen.source == f"diffusers:{tiny_unet}"
    assert not frozen.model.training
    assert not any(p.requires_grad for p in frozen.model.parameters())
    assert state_digest(frozen.model.state_dict()) == state_digest(pipeline.unet.state_dict())


def test_the_same_unet_has_the_same_digest_wherever_it_and_its_schedule_lie(tiny_unet, tmp_path):
    expected = load_unet(f"diffusers:{tiny_unet}").digest
    for place in ("own", "own/scheduler", "scheduler"):
        root = tmp_path / place.replace("/", "-")
        shutil.copytree(tiny_unet / "unet", root / "own")
        shutil.copytree(tiny_unet / "scheduler", root / place, dirs_exist_ok=True)
        assert load_unet(f"diffusers:{root / 'own'}").digest == expected
    assert load_unet(f"diffusers:{tiny_unet / 'unet'}").digest == expected


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("unet/config.json", {"norm_eps": 1e-3}),
        ("unet/config.json", {"attention_head_dim": 8}),
        ("scheduler/scheduler_config.json", {"beta_end": 0.01}),
    ],
)
def test_settings_that_change_the_function_change_the_digest(tiny_unet, tmp_path, file, changes):
    changed = altered(tiny_unet, tmp_path, file, changes)
    assert load_unet(f"diffusers:{changed}").digest != load_unet(f"diffusers:{tiny_unet}").digest


def test_settings_that_do_not_change_the_function_leave_the_digest(tiny_unet, tmp_path):
    changed = altered(tiny_unet, tmp_path, "unet/config.json", {"sample_size": 64, "dropout": 0.5})
    assert load_unet(f"diffusers:{changed}").digest == load_unet(f"diffusers:{tiny_unet}").digest


def test_weights_in_the_older_format_are_read_without_unpickling_code(tiny_unet, tmp_path):
    from safetensors.torch import load_file

    folder = altered(tiny_unet, tmp_path, "unet/config.json", {})
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    assert load_unet(f"diffusers:{folder}").digest == load_unet(f"diffusers:{tiny_unet}").digest
    torch.save({"conv_in.weight": Path("not a tensor")}, weights.with_suffix(".bin"))
    with pytest.raises(SourceError, match="could not be loaded"):
        load_unet(f"diffusers:{folder}")


def altered(tiny_unet: Path, tmp_path: Path, file: str, changes: dict) -> Path:
    """A copy of the tiny pipeline with some fields of a JSON file changed; a field set to None is taken out."""
    folder = tmp_path / "altered"
    shutil.copytree(tiny_unet, folder)
    content = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "class UNet2DConditionModel; expected UNet2DMo"),
        ("scheduler/scheduler_config.json", {"_class_name": "KarrasVeScheduler"}, "KarrasVeScheduler, which has no al"),
        ("scheduler/scheduler_config.json", {"_class_name": None}, "of class None, which has no alphas_cumprod"),
        ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "also has vqvae, .* does not read images alone"),
        (
            "unet/config.json",
            {"down_block_types": ["AttnDownBlock2D"] * 3},
            "not fit its config.json: missing_keys down_bl",
        ),
        ("unet/config.json", {"add_attention": False}, "not fit its config.json: unexpected_keys mid_block.attention"),
        ("unet/config.json", {"block_out_channels": [8, 8, 32]}, "could not be loaded .*shape"),
    ],
)
def test_models_that_are_something_else_are_refused(tiny_unet, tmp_path, file, changes, message):
    folder = altered(tiny_unet, tmp_path, file, changes)
    with pytest.raises(SourceError, match=message):
        load_unet(f"diffusers:{folder}")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("unet/diffusion_pytorch_model.safetensors", b"\x00" * 100, "could not be loaded"),
        ("unet/diffusion_pytorch_model.safetensors", None, "could not be loaded"),
        ("unet/config.json", b"{", "cannot be read as JSON"),
        ("unet/config.json", None, "no config.json in .*; expected the folder of a UNet2DModel"),
        ("scheduler/scheduler_config.json", None, "no scheduler_config.json in .*; expected the noise schedule"),
    ],
)
def test_damaged_and_missing_files_are_named(tiny_unet, tmp_path, file, content, message):
    folder = altered(tiny_unet, tmp_path, "unet/config.json", {})
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        load_unet(f"diffusers:{folder}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"block_out_channels": (32, 32, 32), "up_block_types": ("UpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D")},
            "has AttnSkipUpBlock2D, SkipUpBlock2D, whose decoder cannot be numbered",
        ),
        ({"num_class_embeds": 10}, "conditioned on class labels; expected an unconditional one"),
        ({"in_channels": 4}, r"reads 4 channels; expected 3 \(RGB\)"),
    ],
)
def test_architectures_that_cannot_be_recorded_are_refused(tmp_path, config, message):
    from diffusers import DDPMScheduler, UNet2DModel

    plain = {"down_block_types": PLAIN_DOWN, "up_block_types": PLAIN_UP, "layers_per_block": 1}
    UNet2DModel(**{**COMMON, **plain, **config}).save_pretrained(tmp_path)
    DDPMScheduler().save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=message):
        load_unet(f"diffusers:{tmp_path}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("diffusers:/no/such/folder", "the folder /no/such/folder does not exist"),
        ("diffusers:./models", "the folder models does not exist"),
        ("diffusers:a/b/c", "the folder a/b/c does not exist"),
        (f"diffusers:{__file__}", "is a file; expected the folder"),
        ("diffusers:org/not-there", "not on this machine and the hub could not be reached.*name its local folder"),
        ("diffusers:two words", "neither a folder nor a hub id"),
        ("open_clip:x", "unknown kind 'open_clip'; expected diffusers:..."),
    ],
)
def test_places_that_hold_no_model_are_told_apart(monkeypatch, source, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=message):
        load_unet(source)


def test_sources_are_split_at_the_first_colon():
    assert parse_source("open_clip:local-dir:/a b", ["hf", "open_clip"]) == ("open_clip", "local-dir:/a b")
    with pytest.raises(
        SourceError, match=r"'bert' is no model source here: not of the form .* hf:... or open_clip:..."
    ):
        parse_source("bert", ["hf", "open_clip"])
    with pytest.raises(SourceError, match="not of the form kind:where"):
        parse_source("hf: ", ["hf"])


def test_state_digests_see_names_dtypes_shapes_and_bytes_but_not_order_or_strides():
    a, b = torch.arange(6.0).reshape(2, 3), torch.tensor(1, dtype=torch.bfloat16)
    digest = state_digest({"a": a, "b": b})
    assert digest == state_digest({"b": b, "a": a.T.contiguous().T})
    others = [{"a": a, "c": b}, {"a": a.double(), "b": b}, {"a": a.reshape(3, 2), "b": b}, {"a": a + 1, "b": b}]
    assert len({digest, *map(state_digest, others)}) == 5
