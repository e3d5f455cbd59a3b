"""Frozen text encoders behind one signature: texts in, one vector a token and a mask out.

Tokens are the output of the encoder's last layer after its final normalisation, before any pooling or projection. No
text is cut unless asked: several tokenizers cut at their limit in silence, so tokens are counted first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...errors import DataError
from .words import Span

MAX_BATCH = 64
"""Texts that go through an encoder at once."""


@dataclass(frozen=True, eq=False)
class TextTokens:
    """The token features of several texts, on the CPU, padded to the longest."""

    tokens: Float[Tensor, "batch token dim"]
    """float32; zero where `mask` is False."""

    mask: Bool[Tensor, "batch token"]
    """True on a text's own tokens, special ones included, and False on padding."""


class TextEncoder(ABC):
    """A frozen text encoder: checks, batches and pads around a model.

    Args:
        source: the `kind:where` that it was loaded from.
        digest: SHA-256 over the weights, the settings that change their function, and the tokenizer's behaviour.
        dim: size of a token's vector.
        limit: the most tokens that a text may have, special tokens included.
        unknown_id: the number of the token for what the vocabulary lacks; `None`: it lacks nothing, since it knows
            every byte.
    """

    def __init__(self, *, source: str, digest: str, dim: int, limit: int, unknown_id: int | None = None) -> None:
        self.source, self.digest, self.dim, self.limit, self.unknown_id = source, digest, dim, limit, unknown_id

    @abstractmethod
    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The vocabulary's numbers of each text's tokens, special tokens included, before any cutting."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text, special tokens included, before any cutting."""
        return [len(ids) for ids in self.token_ids(texts)]

    @abstractmethod
    def token_spans(self, text: str) -> list[Span | None]:
        """The characters that each token of a text stands for, in the order of `encode`; `None` for special tokens.

        Raises:
            SourceError: the tokenizer does not know.
            DataError: the tokenizer rewrites this text beyond recognition.
        """

    @abstractmethod
    def encode_batch(
        self, texts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        """Tokens and mask of at most `MAX_BATCH` checked texts, cut at the limit."""

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> TextTokens:
        """Encode the texts; no text's result depends on the others by more than rounding (1e-5).

        Raises:
            DataError: texts are empty, or longer than `limit` while `truncate` is not set; all of them are listed.
        """
        self._check(texts, truncate)
        batches = []
        for start in range(0, len(texts), MAX_BATCH):
            with torch.inference_mode():
                batches.append(self.encode_batch(texts[start : start + MAX_BATCH]))
        return _padded_together(batches, self.dim)

    def _check(self, texts: Sequence[str], truncate: bool) -> None:
        empty = [f"text {i}: {text!r}" for i, text in enumerate(texts) if not text.strip()]
        if empty:
            raise DataError(f"{len(empty)} texts are empty; leave the text of such samples out instead", empty)
        if truncate:
            return
        counts = zip(texts, self.count_tokens(texts), strict=True)
        long = [f"{n} tokens: {_shortened(text)}" for text, n in counts if n > self.limit]
        if long:
            raise DataError(
                f"{len(long)} texts are longer than the {self.limit} tokens that {self.source} reads; "
                "shorten them, choose an encoder that reads more, or allow them to be cut (truncate)",
                long,
            )


def _padded_together(batches: Sequence[tuple[Tensor, Tensor]], dim: int) -> TextTokens:
    n_texts = sum(len(mask) for _, mask in batches)
    longest = max((_length(mask) for _, mask in batches), default=0)
    padded, masks = torch.zeros(n_texts, longest, dim), torch.zeros(n_texts, longest, dtype=torch.bool)
    start = 0
    for tokens, mask in batches:
        rows, columns = slice(start, start + len(mask)), slice(0, _length(mask))
        masks[rows, columns] = mask[:, columns].cpu()
        padded[rows, columns] = tokens[:, columns].float().cpu()
        start += len(mask)
    return TextTokens(padded.masked_fill(~masks[..., None], 0.0), masks)


def _length(mask: Bool[Tensor, "batch token"]) -> int:
    return int(mask.any(dim=0).nonzero().max()) + 1


def _shortened(text: str, n_characters: int = 80) -> str:
    return repr(text if len(text) <= n_characters else f"{text[: n_characters - 3]}...")
