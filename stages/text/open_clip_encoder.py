"""Text towers of open_clip: the plain `CLIP`, those with a tower of their own (CoCa, SigLIP), and BiomedCLIP's kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...errors import SourceError
from ..sources.loading import function_digest, loading
from .encoder import TextEncoder
from .transformers_models import PROBE, drop_pooler, model_settings, token_offsets, unknown_id
from .words import Span, original_span, spans_before_cleaning

_SCHEMES = ("hf-hub:", "local-dir:")
_CONFIG = "open_clip_config.json"

# Parts of a plain CLIP that no token passes through.
_UNUSED = ("logit_", "text_projection")


class _OpenClipTower(TextEncoder):
    """A text tower with one of open_clip's tokenizers."""

    def __init__(self, source: str, digest: str, dim: int, tokenizer: Any, device: str) -> None:  # noqa: ANN401
        # CLIP's own knows every byte.
        unknown = None if hasattr(tokenizer, "encode") else unknown_id(tokenizer.tokenizer)
        super().__init__(source=source, digest=digest, dim=dim, limit=_limit(tokenizer), unknown_id=unknown)
        self._tokenizer, self._device = tokenizer, device

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The vocabulary's numbers of each text's tokens, special tokens included."""
        return [_token_ids(self._tokenizer, text) for text in texts]

    def token_spans(self, text: str) -> list[Span | None]:
        """From the tokenizer's pieces of the cleaned text."""
        return _spans(self.source, self._tokenizer, text, self.limit)


class OpenClipEncoder(_OpenClipTower):
    """A tower that open_clip makes itself; its tokens are the last layer's, after `ln_final`."""

    def __init__(self, source: str, tower: Any, tokenizer: Any, device: str) -> None:  # noqa: ANN401
        used = {name: tensor for name, tensor in tower.state_dict().items() if not name.startswith(_UNUSED)}
        block = tower.transformer.resblocks[0]
        settings = {"heads": block.attn.num_heads, "activation": type(block.mlp.gelu).__name__}
        digest = function_digest(used, {**settings, "probe": tokenizer([PROBE]).tolist()})
        super().__init__(source, digest, tower.ln_final.normalized_shape[0], tokenizer, device)
        self._tower = tower.to(device)

    def encode_batch(
        self, texts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        """Run the tower at its full context, as it was trained."""
        ids = self._tokenizer(list(texts))
        # CLIP pads with 0, which is also a word's id: only where the text ends tells padding apart.
        ends = torch.tensor(self.count_tokens(texts)).clamp(max=self.limit)
        return _last_layer(self._tower, ids.to(self._device)), torch.arange(ids.shape[1]) < ends[:, None]


class OpenClipHFEncoder(_OpenClipTower):
    """A transformers model inside open_clip (BiomedCLIP); its tokens are `last_hidden_state`."""

    def __init__(self, source: str, model: Any, tokenizer: Any, device: str) -> None:  # noqa: ANN401
        settings = {**model_settings(model), "probe": tokenizer([PROBE]).tolist()}
        digest = function_digest(model.state_dict(), settings)
        super().__init__(source, digest, model.config.hidden_size, tokenizer, device)
        self._model = model.to(device)

    def encode_batch(
        self, texts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        """Run the model on the texts, padded to the longest rather than to the full context."""
        ids = self._tokenizer(list(texts)).to(self._device)
        mask = ids != self._model.config.pad_token_id
        longest = int(mask.any(dim=0).nonzero().max()) + 1
        ids, mask = ids[:, :longest], mask[:, :longest]
        return self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask


def load_open_clip(source: str, where: str, device: str) -> OpenClipEncoder | OpenClipHFEncoder:
    """Load the text tower of `open_clip:MODEL[/PRETRAINED]`; the image tower is discarded.

    Raises:
        SourceError: there is no such model or tag, the model has no weights, or they cannot be fetched or read.
    """
    from open_clip.hf_model import HFTextEncoder

    model, tokenizer = _create(source, *_split(source, where))
    del model.visual
    model.float().eval().requires_grad_(False)
    tower = getattr(model, "text", model)
    if isinstance(tower, HFTextEncoder):
        drop_pooler(tower.transformer)
        return OpenClipHFEncoder(source, tower.transformer, tokenizer, device)
    return OpenClipEncoder(source, tower, tokenizer, device)


def _split(source: str, where: str) -> tuple[str, str | None]:
    """The model's name and, for a built-in model, its pretrained tag or checkpoint file."""
    import open_clip

    if where.startswith(_SCHEMES):
        return where, None
    name, _, pretrained = where.partition("/")
    if name not in open_clip.list_models():
        close = ", ".join(get_close_matches(name, open_clip.list_models())) or "open_clip.list_models() has them all"
        raise SourceError(
            f"{source}: open_clip has no built-in model {name!r} (close: {close}); "
            "expected MODEL/PRETRAINED, hf-hub:ORG/NAME or local-dir:FOLDER"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags and not Path(pretrained).is_file():
        wrong = f"{pretrained!r} is neither a tag nor a file" if pretrained else "its weights would be random"
        expected = " or ".join(["a checkpoint file", *tags])
        raise SourceError(f"{source}: {wrong}; expected {name}/PRETRAINED with {expected}")
    return name, pretrained


def _create(source: str, name: str, pretrained: str | None) -> tuple[Any, Any]:
    import open_clip

    with loading(source):
        model = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True, weights_only=True)
        # A model's own config may say otherwise; open_clip's other tokenizers do not know the word.
        safely = {"trust_remote_code": False} if _names_hf_tokenizer(name) else {}
        return model, open_clip.get_tokenizer(name, **safely)


def _names_hf_tokenizer(name: str) -> bool:
    """Whether open_clip makes the model's tokenizer with transformers, as its config says."""
    import open_clip
    from huggingface_hub import hf_hub_download

    if name.startswith("local-dir:"):
        config = json.loads((Path(name.removeprefix("local-dir:")) / _CONFIG).read_bytes())["model_cfg"]
    elif name.startswith("hf-hub:"):
        config = json.loads(Path(hf_hub_download(name.removeprefix("hf-hub:"), _CONFIG)).read_bytes())["model_cfg"]
    else:
        config = open_clip.get_model_config(name)
    return bool(config["text_cfg"].get("hf_tokenizer_name"))


def _last_layer(tower: Any, ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token dim"]:  # noqa: ANN401
    import open_clip

    options = {"normalize_intermediates": True, "intermediates_only": True}
    if isinstance(tower, open_clip.CLIP):
        output = tower.forward_intermediates(text=ids, text_indices=1, **options)
    else:
        output = tower.forward_intermediates(ids, indices=1, output_fmt="NLC", **options)
    features: Tensor = output["text_intermediates"][0]
    return features


def _spans(source: str, tokenizer: Any, text: str, limit: int) -> list[Span | None]:  # noqa: ANN401
    """The characters that each token of a text stands for; `None` for special tokens."""
    clean = _cleaning(tokenizer)
    origins, cleaned = spans_before_cleaning(text, clean), clean(text)
    if hasattr(tokenizer, "encode"):  # CLIP's own encodes the matches of its pattern one by one
        pieces = [(match.span(), len(tokenizer.encode(match.group()))) for match in tokenizer.pat.finditer(cleaned)]
        spans = [original_span(origins, span) for span, n_tokens in pieces for _ in range(n_tokens)]
        return [None, *spans[: limit - 2], None]
    offsets = token_offsets(source, tokenizer.tokenizer, cleaned, limit)
    return [None if span is None else original_span(origins, span) for span in offsets]


def _cleaning(tokenizer: Any) -> Callable[[str], str]:  # noqa: ANN401
    """The first step of an open_clip tokenizer."""
    from open_clip.tokenizer import get_clean_fn

    # SigLipTokenizer keeps none of its own
    return getattr(tokenizer, "clean_fn", get_clean_fn("canonicalize"))


def _token_ids(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401
    """Tokens of a text before any cutting, which open_clip's tokenizers do in silence when they are called."""
    if hasattr(tokenizer, "encode"):  # CLIP's own: encode() leaves out the start and the end
        return [tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id]
    return list(tokenizer.tokenizer(_cleaning(tokenizer)(text), verbose=False).input_ids)


def _limit(tokenizer: Any) -> int:  # noqa: ANN401
    """The context length; CLIPS models keep its last position for a class token."""
    return int(tokenizer.context_length) - (getattr(tokenizer, "tokenizer_mode", "") == "clips")
