"""A phantom, a UNet and a text encoder so small that an extraction takes a second, and the settings of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import BertConfig, BertModel, BertTokenizer

from textdiff import pretrain_unet
from textdiff.components import write_phantom
from textdiff.config import ExtractConfig

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "nuclei", "are", "spindle", "round", "the", "malignant", "not")


def write_small(out: Path, *, n_train: int, n_val: int, n_test: int, image_size: int) -> None:
    """Write the data set, the UNet and the text encoder that `extraction_of` names.

    Args:
        out: a folder for all three.
        n_train: images of the train split, of 64 pixels each.
        n_val: of the val split.
        n_test: of the test split.
        image_size: side in pixels of the UNet's images.
    """
    write_phantom(out / "data", n_train=n_train, n_val=n_val, n_test=n_test, image_size=64)
    small: dict[str, Any] = {"channels": (8, 16), "steps": 2, "batch_size": 2, "device": "cpu"}
    pretrain_unet(out / "data", out / "unet", image_size=image_size, crop=image_size, **small)
    encoder = out / "encoder"
    encoder.mkdir()
    (encoder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    BertTokenizer(str(encoder / "vocab.txt")).save_pretrained(encoder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(encoder)


def extraction_of(
    out: Path, cache: Path, *, image_size: int = 32, timesteps: tuple[int, ...] = (50, 150)
) -> ExtractConfig:
    """The settings of an extraction of what `write_small` wrote: blocks 1 and 3, 2 rows a shard."""
    return ExtractConfig(
        out / "data", cache, f"diffusers:{out / 'unet'}", f"hf:{out / 'encoder'}", timesteps=timesteps,
        blocks=(1, 3), image_size=image_size, batch_size=2, device="cpu", offline=True,
    )  # fmt: skip
