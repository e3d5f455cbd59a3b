"""The words of a text, the text without one of them, and which of an encoder's tokens are whose.

A word is letters and digits, with what joins them inside it (`spindle-shaped`, `patient's`, `0.5`). The punctuation
between words is nobody's: taking a word away leaves it, and its tokens are counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import DataError

Span = tuple[int, int]
"""Where in a text something stands: its first character, and the one after its last."""

_WORD = re.compile(r"[^\W_]+(?:(?:[-'’]|(?<=\d)[.,](?=\d))[^\W_]+)*")
_CHUNK = re.compile(r"\S+")


@dataclass(frozen=True)
class Word:
    """A word of a text, at its place."""

    text: str
    span: Span


def split_words(text: str) -> tuple[Word, ...]:
    """The words of a text as it has them, in order; a word that occurs twice is there twice."""
    return tuple(Word(found.group(), found.span()) for found in _WORD.finditer(text))


def without(text: str, word: Word) -> str:
    """The text without one of its words, and without the space that parted it from the others.

    Punctuation stays, but not what would then begin the text, a mark that would meet another (`thin,, round`), or empty
    brackets; "" where the word was all there was.
    """
    before, after = text[: word.span[0]].rstrip(), text[word.span[1] :]
    if not before:
        return re.sub(r"^[\s,;:.]+", "", after)
    if before[-1] + after[:1] in ("()", "[]", "{}"):
        return before[:-1].rstrip() + after[1:]
    return (before[:-1] if before[-1] in ",;:" and after[:1] in tuple(",;:.") else before) + after


def words_of_tokens(words: Sequence[Word], spans: Sequence[Span | None]) -> list[int | None]:
    """The place of the word that each token belongs to; `None`: a special token or punctuation.

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
    """Where in a text each character of the cleaned text comes from, for tokenizers that clean texts first.

    Cleaning may change case and spaces and mend or drop characters; where a chunk between spaces gets longer or
    shorter, its characters come from the chunk as a whole.

    Raises:
        DataError: if cleaning does more than that.
    """
    origins: list[Span] = []
    for chunk in _CHUNK.finditer(text):
        cleaned, (start, end) = clean(chunk.group()), chunk.span()
        if cleaned and origins:
            origins.append((start, start))
        if len(cleaned) == end - start:
            origins += [(place, place + 1) for place in range(start, end)]
        else:
            origins += [(start, end)] * len(cleaned)
    if len(origins) != len(clean(text)):
        raise DataError(
            f"{text[:60]!r}: the text encoder's tokenizer rewrites this text, so that its tokens cannot be told apart "
            "by words; write it in plain letters and punctuation"
        )
    return origins


def original_span(origins: Sequence[Span], span: Span) -> Span:
    """A span of the cleaned text as one of the text before; an empty one stays empty."""
    start, end = span
    return (origins[start][0], origins[end - 1][1]) if end > start else (0, 0)
