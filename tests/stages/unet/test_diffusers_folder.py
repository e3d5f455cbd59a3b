from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from textdiff.errors import SourceError
from textdiff.stages.sources.loading import parse_source, state_digest
from textdiff.stages.unet.recorder import load_unet

COMMON = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "attention_head_dim": 4, "layers_per_block": 1}
PLAIN = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}


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
    with pytest.raises(SourceError, match=r"loaded \(its weights are damaged, or hold more than tensors\)"):
        load_unet(f"diffusers:{folder}")


def test_a_converted_folder_is_loaded_as_its_own_class(tmp_path):
    from diffusers import DDPMScheduler

    from textdiff.stages.unet.guided.adm import ADMUNet2DModel

    settings = {
        "down_block_types": ("ADMResnetDownsampleBlock2D", "ADMAttnDownBlock2D"),
        "up_block_types": ("ADMAttnUpBlock2D", "ADMResnetUpsampleBlock2D"),
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attn_norm_num_groups": 4,
        "time_embedding_dim": 32,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "num_class_embeds": 5,
    }
    models = [ADMUNet2DModel(**settings, attention_head_dim=(None, width, 4, 4, None)) for width in (8, 4)]
    models[1].load_state_dict(models[0].state_dict())
    for width, model in zip((8, 4), models, strict=True):
        model.save_pretrained(tmp_path / str(width))
        DDPMScheduler().save_pretrained(tmp_path / str(width))
    wide, narrow = (load_unet(f"diffusers:{tmp_path / width}", class_label=4) for width in ("8", "4"))
    assert isinstance(wide.model, ADMUNet2DModel)
    assert (wide.model.down_blocks[1].attentions[0].heads, narrow.model.down_blocks[1].attentions[0].heads) == (2, 4)
    assert wide.digest != narrow.digest


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_schedulers_of_all_classes_tell_the_same_noise_levels_exactly(tiny_unet, tmp_path, name, rescaled):
    from diffusers import DDPMScheduler

    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    exact = DDPMScheduler(**settings, rescale_betas_zero_snr=rescaled and name != "PNDM").alphas_cumprod
    changes = {**settings, "_class_name": f"{name}Scheduler", "rescale_betas_zero_snr": rescaled and name != "PNDM"}
    folder = altered(tiny_unet, tmp_path, "scheduler/scheduler_config.json", changes)
    frozen = load_unet(f"diffusers:{folder}")
    assert torch.equal(frozen.alphas_cumprod, exact)
    assert (frozen.alphas_cumprod[-1] == 0) == (rescaled and name != "PNDM")


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
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "flow_prediction"},
            "predicts 'flow_prediction'; expect",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": "CogVideoXDDIMScheduler"}, "XDDIMScheduler does not make"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "steep"}, "could not be loaded .*steep"),
        (
            "model_index.json",
            {"vae": ["diffusers", "A"], "text_encoder": ["b", "B"]},
            "use stable-diffusion:/.*altered",
        ),
        ("unet/config.json", {"in_channels": None, "_class_name": []}, r"is of class \[\]; expected UNet2DModel"),
        ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "also has vqvae, .* does not read images alone"),
        (
            "unet/config.json",
            {"down_block_types": ["AttnDownBlock2D"] * 3},
            "not fit its config.json: missing_keys down_bl",
        ),
        ("unet/config.json", {"add_attention": False}, "not fit its config.json: unexpected_keys mid_block.attention"),
        ("unet/config.json", {"block_out_channels": [8, 8, 32]}, "could not be loaded .*shape"),
        ("unet/config.json", {"down_block_types": 3}, "could not be loaded"),
        ("unet/config.json", {"block_out_channels": []}, "could not be loaded"),
        ("unet/config.json", {"norm_num_groups": 0}, "could not be loaded"),
        ("unet/config.json", {"time_embedding_type": "x"}, "could not be loaded"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}, "are not within 0 to 1; correct num_train"),
        ("scheduler/scheduler_config.json", {"beta_end": 20}, "are not within 0 to 1; correct num_train"),
    ],
)
def test_models_that_are_something_else_are_refused(tiny_unet, tmp_path, file, changes, message):
    folder = altered(tiny_unet, tmp_path, file, changes)
    with pytest.raises(SourceError, match=message):
        load_unet(f"diffusers:{folder}")


def test_only_the_error_is_told(tiny_unet, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    folder = altered(tiny_unet, tmp_path, "unet/config.json", {"add_attention": False})
    with pytest.raises(SourceError, match="unexpected_keys"):
        load_unet(f"diffusers:{folder}")
    assert not caplog.records


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("unet/diffusion_pytorch_model.safetensors", b"\x00" * 100, "could not be loaded"),
        ("unet/diffusion_pytorch_model.safetensors", None, "could not be loaded"),
        ("unet/config.json", b"{", "cannot be read as JSON"),
        ("unet/config.json", b"[]", "holds no JSON object"),
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
        ({"class_embed_type": "timestep"}, r"embeds its class as 'timestep'; expected a table of labels"),
        ({"in_channels": 4}, r"reads 4 channels; expected 3 \(RGB\)"),
    ],
)
def test_architectures_that_cannot_be_recorded_are_refused(tmp_path, config, message):
    from diffusers import DDPMScheduler, UNet2DModel

    UNet2DModel(**{**COMMON, **PLAIN, **config}).save_pretrained(tmp_path)
    DDPMScheduler().save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
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


# Variants and wrapped names


def rewritten(tiny_unet, tmp_path, name, change=lambda state: state):
    """The folder with its weights under another file name, changed."""
    from safetensors.torch import load_file, save_file

    folder = altered(tiny_unet, tmp_path, "unet/config.json", {})
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = change(load_file(weights))
    weights.unlink()
    if name.endswith(".bin"):
        torch.save(state, weights.with_name(name))
    else:
        save_file(state, weights.with_name(name), {"format": "pt"})
    return folder


def digest_of(folder):
    return load_unet(f"diffusers:{folder}").digest


@pytest.mark.parametrize("name", ["fp16.safetensors", "ema.safetensors", "non_ema.safetensors", "fp16.bin"])
def test_the_one_variant_that_is_there_is_loaded(tiny_unet, tmp_path, name):
    folder = rewritten(tiny_unet, tmp_path, f"diffusion_pytorch_model.{name}")
    assert digest_of(folder) == digest_of(tiny_unet)


def test_half_precision_is_the_same_as_under_the_plain_name(tiny_unet, tmp_path):
    halves = [
        rewritten(tiny_unet, tmp_path / name, f"diffusion_pytorch_model{name}.safetensors", lambda state: {
            key: tensor.half() for key, tensor in state.items()
        })
        for name in ("", ".fp16")
    ]  # fmt: skip
    assert digest_of(halves[0]) == digest_of(halves[1]) != digest_of(tiny_unet)
    assert {p.dtype for p in load_unet(f"diffusers:{halves[1]}").model.parameters()} == {torch.float32}


def test_several_variants_are_named_and_a_plain_name_decides(tiny_unet, tmp_path):
    folder = rewritten(tiny_unet, tmp_path, "diffusion_pytorch_model.fp16.safetensors")
    fp16 = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    shutil.copy(fp16, fp16.with_name("diffusion_pytorch_model.non_ema.safetensors"))
    said = r"of several variants \(diffusion_pytorch_model\.fp16\.safetensors, diffusion_pytorch_model\.non_ema\.saf"
    with pytest.raises(SourceError, match=said):
        digest_of(folder)
    shutil.copy(fp16, fp16.with_name("diffusion_pytorch_model.safetensors"))
    assert digest_of(folder) == digest_of(tiny_unet)


def test_a_variant_in_shards_is_loaded(tiny_unet, tmp_path):
    from diffusers import UNet2DModel

    folder = altered(tiny_unet, tmp_path, "unet/config.json", {})
    model = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    model.save_pretrained(folder / "unet", variant="fp16", max_shard_size="40KB")
    assert len([*folder.glob("unet/*fp16-0*.safetensors")]) > 1
    assert digest_of(folder) == digest_of(tiny_unet)


@pytest.mark.parametrize("ending", ["safetensors", "bin", "fp16.safetensors"])
@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "model.unet."])
def test_what_wrappers_put_before_every_name_is_taken_off(tiny_unet, tmp_path, prefix, ending):
    folder = rewritten(
        tiny_unet,
        tmp_path,
        f"diffusion_pytorch_model.{ending}",
        lambda state: {prefix + name: tensor for name, tensor in state.items()},
    )
    assert digest_of(folder) == digest_of(tiny_unet)


def test_parts_that_were_compiled_by_themselves_are_the_same_weights(tiny_unet, tmp_path):
    folder = rewritten(
        tiny_unet,
        tmp_path,
        "diffusion_pytorch_model.safetensors",
        lambda state: {name.replace("mid_block.", "mid_block._orig_mod."): tensor for name, tensor in state.items()},
    )
    assert digest_of(folder) == digest_of(tiny_unet)


def test_names_with_and_without_a_wrapper_are_refused(tiny_unet, tmp_path):
    folder = rewritten(
        tiny_unet,
        tmp_path,
        "diffusion_pytorch_model.safetensors",
        lambda state: state | {"_orig_mod.conv_in.weight": state["conv_in.weight"] + 1, "other": torch.zeros(1)},
    )
    with pytest.raises(SourceError, match=r"unexpected_keys _orig_mod\.conv_in\.weight, other$"):
        digest_of(folder)


def test_wrapped_weights_that_do_not_fit_are_counted_by_their_own_names(tiny_unet, tmp_path):
    folder = rewritten(
        tiny_unet,
        tmp_path,
        "diffusion_pytorch_model.safetensors",
        lambda state: {f"module.{name}": tensor for name, tensor in state.items() if name != "conv_in.bias"},
    )
    with pytest.raises(SourceError, match=r"missing_keys conv_in\.bias$"):
        digest_of(folder)
