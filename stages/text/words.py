"""The words of a text, the text without one of them, and the word of each token.

A word is letters and digits, with what joins them inside it (`spindle-shaped`, `patient's`, `0.5`). Punctuation
between words belongs to none: it stays when a word is removed, and its tokens are counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import DataError

Span = tuple[int, int]
"""Range of characters of a text: the first, and the one after the last."""

_WORD = re.compile(r"[^\W_]+(?:(?:[-'’]|(?<=\d)[.,](?=\d))[^\W_]+)*")
_CHUNK = re.compile(r"\S+")


@dataclass(frozen=True)
class Word:
    """A word of a text, with its position."""

    text: str
    span: Span


def split_words(text: str) -> tuple[Word, ...]:
    """The words of a text in order; a repeated word is repeated."""
    return tuple(Word(match.group(), match.span()) for match in _WORD.finditer(text))


def without(text: str, word: Word) -> str:
    """The text without one of its words and the space before it.

    Punctuation stays, but not what would then begin the text, a mark that would meet another (`thin,, round`), or empty
    brackets; "" for a text of that word alone.
    """
    before, after = text[: word.span[0]].rstrip(), text[word.span[1] :]
    if not before:
        return re.sub(r"^[\s,;:.]+", "", after)
    if before[-1] + after[:1] in ("()", "[]", "{}"):
        return before[:-1].rstrip() + after[1:]
    return (before[:-1] if before[-1] in ",;:" and after[:1] in tuple(",;:.") else before) + after


def words_of_tokens(words: Sequence[Word], spans: Sequence[Span | None]) -> list[int | None]:
    """Index of the word that each token belongs to; `None`: a special token or punctuation.

    Args:
        words: of the text, in order.
        spans: of the text's tokens.
    """
    return [None if span is None else _word_at(words, span) for span in spans]


def _word_at(words: Sequence[Word], span: Span) -> int | None:
    shared = [min(word.span[1], span[1]) - max(word.span[0], span[0]) for word in words]
    most = max(shared, default=0)
    return shared.index(most) if most > 0 else None


def spans_before_cleaning(text: str, clean: Callable[[str], str]) -> list[Span]:
    """Origin in a text of each character of the cleaned text, for tokenizers that clean texts first.

    Cleaning may change case and spaces and mend or drop characters; where a chunk between spaces gets longer or
    shorter, its characters come from the chunk as a whole.

    Raises:
        DataError: cleaning does more than that.
    """
    origins: list[Span] = []
    for chunk in _CHUNK.finditer(text):
        cleaned, (start, end) = clean(chunk.group()), chunk.span()
        if cleaned and origins:
            origins.append((start, start))
        if len(cleaned) == end - start:
            origins += [(i, i + 1) for i in range(start, end)]
        else:
            origins += [(start, end)] * len(cleaned)
    if len(origins) != len(clean(text)):
        raise DataError(
            f"{text[:60]!r}: the text encoder's tokenizer rewrites this text, so that its tokens cannot be "
            "assigned to words; write it in plain letters and punctuation"
        )
    return origins


def original_span(origins: Sequence[Span], span: Span) -> Span:
    """The span of the original text for one of the cleaned text; an empty one stays empty."""
    start, end = span
    return (origins[start][0], origins[end - 1][1]) if end > start else (0, 0)
