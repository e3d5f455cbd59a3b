"""A text encoder of random weights, whose cost is that of a trained one."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer


def save_text_encoder(folder: Path, manifest: Path, *, small: bool) -> Path:
    """Save a BERT, of MiniLM's size unless it is small, that knows the words of the manifest's texts."""
    with manifest.open(encoding="utf-8", newline="") as file:
        texts = " ".join(row["text"] for row in csv.DictReader(file))
    words = sorted({*re.findall(r"\w+|[^\w\s]", texts.lower())})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), "utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    if not small:
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertModel(BertConfig(vocab_size=len(words) + 5, max_position_embeddings=128, **sizes))
    model.save_pretrained(folder)
    return folder
