"""Coverage of texts by an encoder's vocabulary: unknown tokens, and texts with the same tokens.

A vocabulary of pieces of words gives one and the same token ([UNK]) for whatever it lacks: two reports in a script that
it lacks are then the same to any model after it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .encoder import TextEncoder

_LATIN_ACCENTS = re.compile(r"([a-z])[\u0300-\u036f]+")
_VARIANTS = range(0xFE00, 0xFE10)  # of a character's look


@dataclass(frozen=True)
class TokenCount:
    """Tokens of one text."""

    n_tokens: int
    """Special tokens included, before any cutting."""
    n_own: int
    """Without special tokens."""
    n_unknown: int
    """Those of `n_own` that stand for what the vocabulary lacks."""


def count_unknown(encoder: TextEncoder, texts: Sequence[str]) -> list[TokenCount]:
    """Tokens of each text, and how many of them are unknown: none in vocabularies of bytes."""
    (special,) = encoder.token_ids([""])
    return [
        TokenCount(len(ids), len(ids) - len(special), sum(number == encoder.unknown_id for number in ids))
        for ids in encoder.token_ids(texts)
    ]


def find_alike(encoder: TextEncoder, texts: Sequence[str], *, cut: bool = True) -> list[tuple[str, ...]]:
    """Groups of different texts of which the encoder makes the same tokens.

    Texts count as different if more than case, accents of Latin letters, spaces or punctuation between words tells
    them apart: many encoders leave those out, to no harm.

    Args:
        encoder: gives tokens and limit.
        texts: distinct ones.
        cut: whether texts over the limit are compared as they are cut.

    Returns:
        Groups in the order of their first texts; of texts that are written differently and are not different, one.
    """
    groups: dict[tuple[int, ...], dict[str, str]] = defaultdict(dict)
    for text, ids in zip(texts, encoder.token_ids(texts), strict=True):
        # A cut text ends with the special token of the end, which the first `limit - 1` tokens do not reach.
        groups[tuple(ids[: encoder.limit - 1] if cut else ids)].setdefault(_gist(text), text)
    return [tuple(group.values()) for group in groups.values() if len(group) > 1]


def _gist(text: str) -> str:
    """The part of a text by which it counts as different from another."""
    plain = _LATIN_ACCENTS.sub(r"\1", unicodedata.normalize("NFKD", text.casefold()))
    seen = [letter for letter in plain if unicodedata.category(letter) != "Cf" and ord(letter) not in _VARIANTS]
    kept = (" " if _only_divides(seen, i) else letter for i, letter in enumerate(seen))
    return " ".join("".join(kept).split())


def _only_divides(letters: Sequence[str], i: int) -> bool:
    """Whether a character is punctuation, and not between digits ("3.5")."""
    before, after = "".join(letters[max(i - 1, 0) : i]), "".join(letters[i + 1 : i + 2])
    return unicodedata.category(letters[i]).startswith("P") and not (before.isdigit() and after.isdigit())
