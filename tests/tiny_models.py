"""Tiny random models, saved to disk once a session as the real libraries save theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WORDS = [
    "the",
    "nuclei",
    "are",
    "round",
    "not",
    "spindle",
    "shaped",
    "malignant",
    "in",
    "upper",
    "half",
    "##s",
    ".",
    ",",
]
MORE_WORDS = ["left", "right", "lower", *"abc"]
"""Added to a model of `WORDS`."""


def write_unet(folder: Path, channels: tuple[int, int, int] = (8, 8, 16)) -> None:
    """Write what `tiny_unet` gives, or the same of other widths."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)


def write_encoder(folder: Path) -> None:
    """Write what `tiny_encoder` gives."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *MORE_WORDS]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary) - len(MORE_WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    model = BertModel(config)
    model.resize_token_embeddings(len(vocabulary))
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_unet(tmp_path_factory) -> Path:
    """A diffusers DDPM pipeline's folder: 3 levels of 2 decoder blocks (0 to 5), attention at the deepest two."""
    folder = tmp_path_factory.mktemp("models") / "tiny_unet"
    write_unet(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A Hugging Face folder of a BERT of width 16 and 32 positions, with a WordPiece vocabulary of both lists."""
    folder = tmp_path_factory.mktemp("models") / "tiny_encoder"
    write_encoder(folder)
    return folder


REPORTS = {
    "English": ["a nodule in the left lung", "a nodule in the right lung", "no nodule in the upper half"],
    "German": ["ein Knoten in der linken Lunge", "ein Knoten in der rechten Lunge", "kein Knoten in der oberen Hälfte"],
    "Russian": ["узел в левом лёгком", "узел в правом лёгком", "нет узла в верхней половине"],
    "Arabic": ["عقدة في الرئة اليسرى", "عقدة في الرئة اليمنى", "لا عقدة في النصف العلوي"],
    "Hindi": ["बाएं फेफड़े में गांठ", "दाएं फेफड़े में गांठ", "ऊपरी आधे में कोई गांठ नहीं"],
    "Chinese": ["左肺结节", "右肺结节", "上半部无结节"],
    "Japanese": ["左肺に結節", "右肺に結節", "上半分に結節なし"],
    "Korean": ["왼쪽 폐 결절", "오른쪽 폐 결절", "위쪽 절반에 결절 없음"],
    "Thai": ["ก้อนในปอดซ้าย", "ก้อนในปอดขวา", "ไม่มีก้อนในครึ่งบน"],
}
"""Language → three reports that differ in what they say."""


@pytest.fixture(scope="session")
def tiny_multilingual(tmp_path_factory) -> Path:
    """A Hugging Face folder of an XLM-R of width 16 and 30 positions, with a Unigram tokenizer of `REPORTS`."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([text for texts in REPORTS.values() for text in texts], trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), special, strict=True))
    folder = tmp_path_factory.mktemp("models") / "tiny_multilingual"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=30, **names).save_pretrained(folder)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    XLMRobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_open_clip(tmp_path_factory) -> Path:
    """A folder for `open_clip:local-dir:`: a plain CLIP with a text tower of width 16 and 12 positions."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    folder = tmp_path_factory.mktemp("models") / "tiny_open_clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}), encoding="utf-8")
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_stable_diffusion(tmp_path_factory) -> Path:
    """A Stable Diffusion pipeline's folder: a VAE of 4 pixels a latent, prompts of up to 12 tokens, 6 decoder blocks.

    Blocks 3 to 5, of the UNet's upper level, read the prompt, and so does its middle.
    """
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny_stable_diffusion"
    tokenizer = _tiny_clip_tokenizer(folder / "tokenizer")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=12,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=32,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=_tiny_clip_text_model(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def _tiny_clip_text_model(tokenizer):
    """A CLIPTextModel of width 12 and 12 positions, with the tokenizer's vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=12,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _tiny_clip_tokenizer(folder: Path):
    """A CLIPTokenizer of the letters, at a word's end and elsewhere, and of one merge, saved to `folder`."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "in</w>", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\ni n</w>\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 12}), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_timm(tmp_path_factory) -> str:
    """SOURCE of timm's `test_efficientnet` (5 layers of strides 2 to 32) with random weights in a file."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("models") / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), file)
    return f"timm:test_efficientnet@{file}"


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory) -> Path:
    """A Hugging Face folder of a DINOv2 with 3 blocks of width 16, 2 register tokens and patches of 4 pixels."""
    import torch
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny_dinov2"
    config = Dinov2WithRegistersConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        num_register_tokens=2,
    )
    Dinov2WithRegistersModel(config).save_pretrained(folder)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours), encoding="utf-8")
    return folder
