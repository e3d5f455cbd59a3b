"""Texts of a data set as a text encoder reads them: `check-data --text-encoder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...stages.text.coverage import TokenCount, count_unknown
from ...stages.text.loading import load_text_encoder
from ..data.warnings import DataWarning
from ..extraction.unread_texts import alike_texts, long_texts, unknown_tokens


@dataclass(frozen=True)
class EncoderReport:
    """How a text encoder reads the texts of a data set."""

    source: str
    """`kind:where`."""
    limit: int
    """Tokens that it reads of a text."""
    counts: Mapping[str, TokenCount]
    """Text → its tokens."""
    warnings: tuple[DataWarning, ...]
    problems: tuple[str, ...]
    """A line for each group of different texts of which it makes the same tokens."""

    @property
    def share_unknown(self) -> float:
        """Share of unknown tokens among all of the texts', 0..1, special ones left out."""
        counts = self.counts.values()
        return sum(count.n_unknown for count in counts) / max(1, sum(count.n_own for count in counts))

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        lengths = [count.n_tokens for count in self.counts.values()]
        return {
            "source": self.source,
            "limit": self.limit,
            "tokens": [min(lengths, default=0), max(lengths, default=0)],
            "unknown": self.share_unknown,
        }

    def __str__(self) -> str:
        """One line."""
        least, most = self.to_dict()["tokens"]
        texts = f"the texts have {least} to {most}, {self.share_unknown:.1%} of them unknown"
        return f"{self.source} reads up to {self.limit} tokens; {texts if self.counts else 'there are no texts'}"


def read_with_encoder(source: str, text_of: Mapping[str, str]) -> EncoderReport:
    """Let an encoder's tokenizer read the texts of a data set.

    Args:
        source: `kind:where`, of which the whole encoder is loaded, to fail here if at all.
        text_of: id → text of each sample that has one.

    Raises:
        SourceError: The encoder cannot be loaded.
    """
    encoder = load_text_encoder(source)
    texts = sorted({*text_of.values()})
    return EncoderReport(
        source=source,
        limit=encoder.limit,
        counts=dict(zip(texts, count_unknown(encoder, texts), strict=True)),
        warnings=(*unknown_tokens(encoder, text_of), *long_texts(encoder, text_of)),
        problems=tuple(
            f"{source} makes the same tokens of {alike}: no head can tell them apart; choose a text encoder that reads "
            "them (docs/texts.md), reword them, or leave them empty"
            for alike in alike_texts(encoder, texts)
        ),
    )
