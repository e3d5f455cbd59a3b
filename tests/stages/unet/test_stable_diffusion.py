from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from textdiff.errors import SourceError
from textdiff.stages.unet.recorder import UNetRecorder, load_unet

WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}


@pytest.fixture
def folder(tiny_stable_diffusion, tmp_path) -> Path:
    """A copy of the tiny pipeline."""
    return Path(shutil.copytree(tiny_stable_diffusion, tmp_path / "altered"))


def alter(folder: Path, file: str, **changes) -> None:
    """Change fields of a JSON file."""
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **changes}))


def drop_weights(folder: Path) -> None:
    for weights in WEIGHTS.values():
        (folder / weights).unlink()


def digest(folder: Path, **settings) -> str:
    return load_unet(f"stable-diffusion:{folder}", **settings).digest


def test_a_pipelines_folder_is_loaded_frozen_with_its_schedule(tiny_stable_diffusion):
    from diffusers import PNDMScheduler

    frozen = load_unet(f"stable-diffusion:{tiny_stable_diffusion}")
    scheduler = PNDMScheduler.from_pretrained(tiny_stable_diffusion / "scheduler")
    torch.testing.assert_close(frozen.alphas_cumprod, scheduler.alphas_cumprod, rtol=1e-6, atol=0)
    assert (frozen.prediction_type, frozen.n_blocks, frozen.source) == (
        "epsilon",
        6,
        f"stable-diffusion:{tiny_stable_diffusion}",
    )
    for part in (frozen.model, frozen.latent):
        assert not part.training
        assert {(p.dtype, p.requires_grad) for p in part.parameters()} == {(torch.float32, False)}


def test_weights_saved_in_half_precision_are_loaded_in_float32(folder):
    for weights in WEIGHTS.values():
        save_file({k: v.half() for k, v in load_file(folder / weights).items()}, folder / weights, {"format": "pt"})
    alter(folder, "text_encoder/config.json", dtype="float16")
    frozen = load_unet(f"stable-diffusion:{folder}")
    parameters = [*frozen.model.parameters(), *frozen.latent.parameters()]
    assert {p.dtype for p in parameters} == {torch.float32}


def test_weights_in_the_older_format_are_read(folder, tiny_stable_diffusion):
    for weights in map(folder.joinpath, WEIGHTS.values()):
        name = "pytorch_model.bin" if weights.parent.name == "text_encoder" else "diffusion_pytorch_model.bin"
        torch.save(load_file(weights), weights.with_name(name))
        weights.unlink()
    assert digest(folder) == digest(tiny_stable_diffusion)


def test_weights_under_the_names_of_published_checkpoints_are_the_same_weights(folder, tiny_stable_diffusion):
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = load_file(folder / WEIGHTS["vae"])
    for name in [name for name in vae if ".attentions." in name]:
        *parents, part, kind = name.replace("to_out.0", "to_out_0").split(".")
        renamed = older.get(part.replace("to_out_0", "to_out.0"), part)
        vae[".".join([*parents, renamed, kind])] = vae.pop(name)
    assert "encoder.mid_block.attentions.0.query.weight" in vae
    text = load_file(folder / WEIGHTS["text_encoder"])
    text = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in text.items()}
    text["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(vae, folder / WEIGHTS["vae"], {"format": "pt"})
    save_file(text, folder / WEIGHTS["text_encoder"], {"format": "pt"})
    assert digest(folder) == digest(tiny_stable_diffusion)


def test_the_same_pipeline_has_the_same_digest_wherever_it_lies_and_whatever_samples_it(folder, tiny_stable_diffusion):
    alter(folder, "scheduler/scheduler_config.json", _class_name="DDIMScheduler", steps_offset=0)
    weights = load_file(folder / WEIGHTS["vae"])
    weights["decoder.conv_out.bias"] += 1
    save_file(weights, folder / WEIGHTS["vae"], {"format": "pt"})
    alter(folder, "vae/config.json", sample_size=64)
    assert digest(folder) == digest(tiny_stable_diffusion)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("unet/config.json", {"norm_eps": 1e-3}),
        ("unet/config.json", {"upcast_attention": True}),
        ("unet/config.json", {"resnet_skip_time_act": True}),
        ("unet/config.json", {"resnet_out_scale_factor": 2.0}),
        ("vae/config.json", {"scaling_factor": 0.2}),
        ("vae/config.json", {"shift_factor": 0.1}),
        ("text_encoder/config.json", {"hidden_act": "gelu"}),
        ("text_encoder/config.json", {"use_attention_mask": True}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 11}),
        ("tokenizer/tokenizer_config.json", {"pad_token": "a"}),
        ("scheduler/scheduler_config.json", {"beta_end": 0.01}),
    ],
)
def test_settings_that_change_the_function_change_the_digest(folder, tiny_stable_diffusion, file, changes):
    alter(folder, file, **changes)
    assert digest(folder) != digest(tiny_stable_diffusion)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "conv_in.bias"),
        ("vae", "encoder.conv_in.bias"),
        ("vae", "quant_conv.bias"),
        ("text_encoder", "final_layer_norm.bias"),
    ],
)
def test_weights_of_every_part_are_in_the_digest(folder, tiny_stable_diffusion, part, name):
    weights = load_file(folder / WEIGHTS[part])
    (key,) = (key for key in weights if f".{key}".endswith(f".{name}"))
    weights[key] += 1
    save_file(weights, folder / WEIGHTS[part], {"format": "pt"})
    assert digest(folder) != digest(tiny_stable_diffusion)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_with_zero_terminal_signal_the_last_x_t_is_noise_alone(folder, scheduler):
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    alter(folder, "scheduler/scheduler_config.json", _class_name=scheduler, **changes)
    frozen = load_unet(f"stable-diffusion:{folder}")
    assert (frozen.prediction_type, float(frozen.alphas_cumprod[-1])) == ("v_prediction", 0.0)
    recorder, seen = UNetRecorder(frozen, [5]), []
    recorder.truncated.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image, noise = torch.rand(2, 3, 32, 32), torch.randn(1, 4, 8, 8)
    recorded = recorder.record(image, [500, 999], noise)[5]
    assert torch.equal(seen[0][2:], noise.expand(2, -1, -1, -1))
    torch.testing.assert_close(recorded[1, 0], recorded[1, 1])
    assert (recorded[0, 0] - recorded[0, 1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"addition_embed_type": "text_time"}, "it is an SDXL pipeline, whose UNet also reads"),
        ("unet/config.json", {"in_channels": 9}, r"reads 9 channels and the VAE gives 4: .* \(inpainting, editing\)"),
        ("unet/config.json", {"in_channels": 3}, r"the UNet reads 3 channels; expected 4 \(the VAE's\)"),
        (
            "unet/config.json",
            {"_class_name": "ControlNetModel"},
            "unet is of class ControlNetModel; expected UNet2DCond",
        ),
        (
            "unet/config.json",
            {"_class_name": "UNet3DConditionModel"},
            "unet is of class UNet3DConditionModel; expected",
        ),
        (
            "unet/config.json",
            {"up_block_types": ["UNetFlatBlock", "UpBlock2D"]},
            "has UNetFlatBlock, whose decoder canno",
        ),
        ("unet/config.json", {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "mid_block_type is .*Simple.*; only"),
        ("unet/config.json", {"class_embed_type": "projection"}, "embeds its class as 'projection'; expected a table"),
        ("unet/config.json", {"encoder_hid_dim": 8}, "the UNet's encoder_hid_dim is 8; only None is supported"),
        ("unet/config.json", {"attention_type": "gated"}, "attention_type is 'gated'; only 'default' is supported"),
        ("unet/config.json", {"cross_attention_dim": 16}, "reads tokens of 16 channels, the text encoder gives 12"),
        ("vae/config.json", {"_class_name": "VQModel"}, "its vae is of class VQModel; expected AutoencoderKL"),
        ("vae/config.json", {"latents_mean": [0.1] * 4}, r"scaled by channel \(latents_mean, latents_std\)"),
        ("vae/config.json", {"in_channels": 1}, r"the VAE reads 1 channels; expected 3 \(RGB\)"),
        (
            "text_encoder/config.json",
            {"architectures": ["T5EncoderModel"]},
            "is of class T5EncoderModel; expected CLIPT",
        ),
        (
            "model_index.json",
            {"controlnet": ["diffusers", "ControlNetModel"]},
            "also has controlnet, .* reads more than a prompt",
        ),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "has no alphas_cumprod",
        ),
    ],
)
def test_other_pipelines_are_refused_before_any_weights_are_read(folder, file, changes, message):
    alter(folder, file, **changes)
    drop_weights(folder)
    with pytest.raises(SourceError, match=message):
        load_unet(f"stable-diffusion:{folder}")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("unet/config.json", {"in_channels": "x"}),
        ("unet/config.json", {"up_block_types": 3}),
        ("vae/config.json", {"latent_channels": None}),
        ("vae/config.json", {"scaling_factor": None}),
        ("text_encoder/config.json", {"architectures": 3}),
        ("text_encoder/config.json", {"num_attention_heads": 0}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": "x"}),
    ],
)
def test_malformed_settings_are_the_sources_fault(folder, file, changes):
    alter(folder, file, **changes)
    with pytest.raises(SourceError, match="could not be loaded"):
        load_unet(f"stable-diffusion:{folder}")


def test_everything_that_is_wrong_is_said_at_once(folder):
    alter(folder, "unet/config.json", dual_cross_attention=True, time_cond_proj_dim=8)
    alter(folder, "vae/config.json", latents_std=[1.0] * 4)
    with pytest.raises(SourceError, match="time_cond_proj_dim is 8") as caught:
        load_unet(f"stable-diffusion:{folder}")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("altered: the pipeline cannot be recorded:")
    assert [line.startswith("  - ") for line in lines] == [False, True, True, True]


def test_missing_parts_are_listed(folder):
    shutil.rmtree(folder / "vae")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(
        SourceError, match=r"has no vae \(AutoencoderKL\), tokenizer \(CLIPTokenizer\); expected the whole"
    ):
        load_unet(f"stable-diffusion:{folder}")


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_that_are_not_there_or_lack_tensors_are_told(folder, part):
    path = folder / WEIGHTS[part]
    weights = load_file(path)
    save_file(dict(sorted(weights.items())[:-1]), path, {"format": "pt"})
    with pytest.raises(SourceError, match=r"missing_keys|weights lack 1 tensors"):
        load_unet(f"stable-diffusion:{folder}")
    path.unlink()
    with pytest.raises(SourceError, match="could not be loaded"):
        load_unet(f"stable-diffusion:{folder}")


def test_a_pipeline_named_as_a_unet_on_pixels_is_sent_to_the_right_kind(tiny_stable_diffusion):
    for place in (tiny_stable_diffusion, tiny_stable_diffusion / "unet"):
        with pytest.raises(SourceError, match=f"use stable-diffusion:{tiny_stable_diffusion}$"):
            load_unet(f"diffusers:{place}")


@pytest.fixture
def hub(folder, tmp_path, monkeypatch) -> Path:
    """What a hub repository of the tiny pipeline has been asked for; the VAE there is only in the older format."""
    torch.save(load_file(folder / WEIGHTS["vae"]), folder / "vae" / "diffusion_pytorch_model.bin")
    (folder / WEIGHTS["vae"]).unlink()
    (folder / "safety_checker").mkdir()
    others = ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors")
    for name in (
        *others,
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "v1-5.ckpt",
        "safety_checker/config.json",
    ):
        (folder / name).write_bytes(b"{}")
    snapshot = tmp_path / "snapshot"

    def snapshot_download(_hub_id, allow_patterns):
        for path in (path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, snapshot / name)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return snapshot


def test_only_what_is_needed_is_fetched_from_the_hub(hub, tiny_stable_diffusion):
    assert load_unet("stable-diffusion:org/tiny").digest == digest(tiny_stable_diffusion)
    fetched = {path.relative_to(hub).as_posix() for path in hub.rglob("*.*")}
    assert {name for name in fetched if not name.endswith((".json", ".txt"))} == {
        WEIGHTS["unet"],
        WEIGHTS["text_encoder"],
        "vae/diffusion_pytorch_model.bin",
    }


def test_no_weights_are_fetched_of_a_pipeline_that_is_refused(hub, folder):
    alter(folder, "unet/config.json", addition_embed_type="text_time")
    with pytest.raises(SourceError, match="org/tiny: the pipeline cannot be recorded:\n  - it is an SDXL pipeline"):
        load_unet("stable-diffusion:org/tiny")
    assert {path.suffix for path in hub.rglob("*.*")} == {".json", ".txt"}


def test_the_one_variant_of_each_part_is_loaded(folder, tiny_stable_diffusion):
    for weights in map(folder.joinpath, WEIGHTS.values()):
        weights.rename(weights.with_name(weights.name.replace(".safetensors", ".fp16.safetensors")))
    assert digest(folder) == digest(tiny_stable_diffusion)


@pytest.mark.parametrize("part", WEIGHTS)
def test_several_variants_of_a_part_are_named(folder, part):
    path = folder / WEIGHTS[part]
    for variant in ("fp16", "ema"):
        shutil.copy(path, path.with_name(path.name.replace(".safetensors", f".{variant}.safetensors")))
    path.unlink()
    with pytest.raises(SourceError, match=rf"{part} holds weights of several variants \(.*ema.*fp16"):
        load_unet(f"stable-diffusion:{folder}")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_wrapped_parts_are_the_same_weights(folder, tiny_stable_diffusion, part):
    state = load_file(folder / WEIGHTS[part])
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    save_file(wrapped, folder / WEIGHTS[part], {"format": "pt"})
    assert digest(folder) == digest(tiny_stable_diffusion)
