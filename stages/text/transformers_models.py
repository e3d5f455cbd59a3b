"""Parts that all loaders of transformers models share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import SourceError
from ..sources.loading import read_model_config
from ..sources.weights import find_weights, read_unwrapped
from .words import Span

TEXT_WEIGHTS = {"safetensors": "model", "bin": "pytorch_model"}
"""Ending of weight files → their name before it."""
# What changes activations and does not show in the weights' names and shapes.
_SETTINGS = ("model_type", "num_attention_heads", "hidden_act", "layer_norm_eps")
PROBE = "Probe: 3 ROUND nuclei, upper-left (40x)."
"""Its token ids stand in digests for the tokenizer's vocabulary and behaviour."""


def load_pretrained(source: str, model_class: Any, folder: Path) -> tuple[Any, Mapping[str, Any]]:  # noqa: ANN401
    """A model and transformers' loading info, also where a wrapper changed the weights' names (torch.compile).

    Raises:
        SourceError: weights of several variants are there, or a tensor under two names that are one.
    """
    files = find_weights(source, folder, TEXT_WEIGHTS)
    model, info = model_class.from_pretrained(
        folder,
        variant=files.variant,
        local_files_only=True,
        weights_only=True,
        output_loading_info=True,
        **({"trust_remote_code": False} if model_class.__name__ == "AutoModel" else {}),
    )
    if info["unexpected_keys"] and any("pooler." not in str(name) for name in info["missing_keys"]):
        state = read_unwrapped(source, files)
        model, info = type(model).from_pretrained(None, config=model.config, state_dict=state, output_loading_info=True)
    return model, info


def refuse_kernels(source: str, folder: Path) -> None:
    """Raise a SourceError if a model's config names compiled code on the hub, which transformers would run."""
    path = folder / "config.json"
    named = sorted(set(_kernels(read_model_config(source, path)))) if path.is_file() else []
    if named:
        raise SourceError(
            f"{source}: {path} asks for code that is not part of the model ({', '.join(named)}); remove "
            "attn_implementation and experts_implementation from it, if you trust the rest"
        )


def _kernels(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Hub ids where transformers takes the name of one of its own functions, at any depth of a config."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        if str(name).lstrip("_").startswith(("attn_implementation", "experts_implementation")):
            names = part.values() if isinstance(part, dict) else [part]
            yield from (str(one) for one in names if "/" in str(one))
        else:
            yield from _kernels(part)


def token_offsets(source: str, tokenizer: Any, text: str, limit: int) -> list[Span | None]:  # noqa: ANN401
    """The characters that each token of a text stands for, cut at the limit; `None` for special tokens.

    Raises:
        SourceError: the tokenizer is one of the slow ones, which do not know.
    """
    if not tokenizer.is_fast:
        raise SourceError(
            f"{source}: {type(tokenizer).__name__} does not know which characters its tokens stand for; "
            "save the model with a fast tokenizer (tokenizer.json)"
        )
    encoding = tokenizer(
        text, return_offsets_mapping=True, return_special_tokens_mask=True, truncation=True, max_length=limit
    )
    tokens = zip(encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
    return [None if special else (start, end) for (start, end), special in tokens]


def unknown_id(tokenizer: Any) -> int | None:  # noqa: ANN401
    """Number of the token for what the vocabulary lacks; `None` for byte-level ones, which name some other token so."""
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    number = tokenizer.unk_token_id
    return None if number is None or number in others else int(number)


@contextmanager
def without_bars() -> Iterator[None]:
    """A block without transformers' progress bars."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def drop_pooler(model: Any) -> None:  # noqa: ANN401
    """Remove the pooler: no token passes through it, and where a checkpoint lacks one its weights are random."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


def model_settings(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """Settings that a digest must hold of a transformers model beside its weights."""
    return {name: getattr(model.config, name, None) for name in _SETTINGS}
