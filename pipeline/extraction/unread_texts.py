"""Texts that a text encoder does not read: unknown tokens, and different texts of which it makes the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...errors import DataError
from ...stages.text.coverage import count_unknown, find_alike
from ...stages.text.encoder import TextEncoder
from ..data.warnings import DataWarning

TEXTS_NAMED = 3
"""Of those that are alike."""
_SHOWN = 60
"""Characters of a text in a message."""


def refuse_alike(encoder: TextEncoder, texts: Sequence[str], *, cut: bool) -> None:
    """Refuse different texts of which the encoder makes the same tokens.

    Args:
        encoder: of the texts.
        texts: distinct ones, not empty.
        cut: whether texts over the encoder's limit are to be cut; else they are refused elsewhere.

    Raises:
        DataError: with each group of such texts.
    """
    alike = list(alike_texts(encoder, texts, cut=cut))
    if alike:
        raise DataError(
            f"{encoder.source} makes the same tokens of different texts, so that no head can tell them apart; choose a "
            "text encoder that reads them (docs/texts.md), reword them, or leave them empty:",
            alike,
        )


def alike_texts(encoder: TextEncoder, texts: Sequence[str], *, cut: bool = True) -> Iterator[str]:
    """One line for each group of different texts of which the encoder makes the same tokens; `cut` as `find_alike`."""
    for group in find_alike(encoder, texts, cut=cut):
        more = f" and {len(group) - TEXTS_NAMED} more" if len(group) > TEXTS_NAMED else ""
        is_cut = f" (cut to {encoder.limit})" if max(encoder.count_tokens(group)) > encoder.limit else ""
        yield ", ".join(repr(_shortened(text)) for text in group[:TEXTS_NAMED]) + more + is_cut


def unknown_tokens(encoder: TextEncoder, text_of: Mapping[str, str]) -> Iterator[DataWarning]:
    """A warning with the share of unknown tokens, if there are any.

    Args:
        encoder: of the texts.
        text_of: id → text of each sample that has one.
    """
    counts = dict(zip(text_of, count_unknown(encoder, list(text_of.values())), strict=True))
    unread = {name: count for name, count in counts.items() if count.n_unknown}
    if unread:
        share = sum(count.n_unknown for count in counts.values()) / sum(count.n_own for count in counts.values())
        most = max(count.n_unknown / count.n_own for count in unread.values())
        text = (
            f"{len(unread)} of {len(counts)} texts have tokens that {encoder.source} does not know, {share:.0%} of all "
            f"tokens and up to {most:.0%} of a text's; docs/texts.md says which encoder reads which language"
        )
        yield DataWarning("unknown-tokens", text, tuple(unread))


def long_texts(encoder: TextEncoder, text_of: Mapping[str, str]) -> Iterator[DataWarning]:
    """A warning of texts over the encoder's limit, if there are any; arguments as of `unknown_tokens`."""
    counts = dict(zip(text_of, encoder.count_tokens(list(text_of.values())), strict=True))
    long = [name for name, n_tokens in counts.items() if n_tokens > encoder.limit]
    if long:
        over = max(counts.values()) - encoder.limit
        text = (
            f"{len(long)} of {len(counts)} texts are up to {over} tokens over the limit of {encoder.source}, "
            f"{encoder.limit}; shorten them, or let extract-features cut them (--truncate-texts)"
        )
        yield DataWarning("long-texts", text, tuple(long))


def unread_lines(encoder: TextEncoder, texts: Sequence[str]) -> Iterator[str]:
    """One line for each given text with unknown tokens, and for each group of texts that are the same to the encoder.

    Args:
        encoder: of the texts.
        texts: distinct ones, not empty.
    """
    for text, count in zip(texts, count_unknown(encoder, texts), strict=True):
        if count.n_unknown:
            yield (
                f"{_shortened(text)!r}: {count.n_unknown} of its {count.n_own} tokens are unknown to {encoder.source} "
                "(docs/texts.md says which encoder reads which language)"
            )
    for alike in alike_texts(encoder, texts):
        yield f"{encoder.source} makes the same tokens of {alike}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
