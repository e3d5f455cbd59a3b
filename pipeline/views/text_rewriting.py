"""A text rewritten for a view of its image: "upper right" of the image is "upper left" of its mirror image.

Words that name sides of the image go where the view takes them. Words that name sides of a body stay with the body:
a turned left lung is the left lung, and a mirrored one looks like a right lung. Ambiguous words, and sides that no word
names, make some views unsafe, for which the text is not rewritten. Safe views are always a group, so that rewriting for
one view and then another is rewriting for both together. docs/views.md has the rules in a table.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from .languages import foreign_sides
from .symmetries import TRANSPOSE, Side, View, is_reflection, side_in
from .vocabulary import (
    ADJECTIVES,
    AXES,
    BODY_FOLLOWS,
    COMPARED_AFTER,
    ENDS,
    EVIDENT_AFTER,
    EVIDENT_BEFORE,
    IDIOMS,
    JOINS,
    NOUN_AFTER,
    RELATIONS,
    SHOWS_A_BODY,
    SIDES,
    STATED_BEFORE,
    THAN_AFTER,
    UNPLACED,
    WORD,
    Family,
)

Views = frozenset[View]

EVERY_VIEW = Views(range(8))
UNTURNED = Views(range(4))
"""The views that keep left and right beside, top and bottom above one another."""
MIRRORED = Views(range(2))
ROTATIONS = Views(view for view in EVERY_VIEW if not is_reflection(view))
UNCHANGED = Views([0])

VERTICAL: tuple[Side, ...] = ("up", "down")


@dataclass(frozen=True)
class Mention:
    """Words of a text that name a side."""

    start: int
    end: int
    write: Callable[[View], str]
    """View → the words that replace them."""
    safe: Views
    """Views for which that is right."""
    names: Literal["image", "body", "nothing"] = "image"
    """Owner of the side; `nothing`: the words only look like the name of a side."""
    n_sides: int = 1
    """2 for a corner ("upper left")."""

    def limited(self, views: Views) -> Mention:
        """The same mention, safe for these views at most."""
        return replace(self, safe=self.safe & views)


def rewrite_sides(text: str, view: View) -> str | None:
    """The text for a view of its image; `None` where no rewriting is safe. View 0 leaves the text unchanged."""
    if view == 0:
        return text
    mentions = _read(text)
    if any(view not in mention.safe for mention in mentions):
        return None
    ends = [0, *(mention.end for mention in mentions)]
    starts = [*(mention.start for mention in mentions), len(text)]
    between = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    written = [*(mention.write(view) for mention in mentions), ""]
    return "".join(itertools.chain.from_iterable(zip(between, written, strict=True)))


def safe_views(text: str | None, n_views: int) -> tuple[View, ...]:
    """The views among the first `n_views` for which the text can be rewritten; all of them without a text."""
    return tuple(view for view in range(n_views) if text is None or rewrite_sides(text, view) is not None)


def index_in_view(texts: Sequence[str], index: int | None, view: View) -> int | None:
    """Index of a cache's text as rewritten for a view; `None`: there is no text, or it cannot be rewritten.

    Args:
        texts: of a sample table.
        index: of the text among them; `None`: no text.
        view: one that samples of the text's own split have, so that the rewritten text is in the table.
    """
    rewritten = None if index is None else rewrite_sides(texts[index], view)
    return None if rewritten is None else texts.index(rewritten)


def unsafe_words(text: str, view: View) -> tuple[str, ...]:
    """The words that prevent rewriting the text for the view."""
    return tuple(text[mention.start : mention.end] for mention in _read(text) if view not in mention.safe)


@lru_cache(4096)
def _read(text: str) -> tuple[Mention, ...]:
    """The mentions of sides, from the text's beginning to its end."""
    mentions = [*_sides(text), *_unplaced(text)]
    if SHOWS_A_BODY.search(text) or any(mention.names == "body" for mention in mentions):
        # A loose "left" may be the patient's: the mirror exchanges both kinds alike, no other view does.
        mentions = [mention.limited(MIRRORED) if mention.names == "image" else mention for mention in mentions]
    return tuple(_limit_neighbours(text, sorted(mentions, key=lambda mention: mention.start)))


def _unplaced(text: str) -> Iterator[Mention]:
    for match in itertools.chain(UNPLACED.finditer(text), foreign_sides(text)):
        yield Mention(match.start(), match.end(), _constant(match[0]), UNCHANGED)


def _sides(text: str) -> Iterator[Mention]:
    words = list(WORD.finditer(text))
    while words:
        word, *words = words
        if of_body := _of_body(text, word):
            yield of_body
        elif words and _is_corner(text, word, words[0]):
            yield _corner(text, word, words.pop(0))
        elif word[0].lower() in AXES:
            yield Mention(*word.span(), _axis(word[0]), EVERY_VIEW)
        else:
            yield _side(text, word)


def _of_body(text: str, word: re.Match[str]) -> Mention | None:
    """A word that names a side of the body: left and right change places in mirrors, all else stays."""
    follows, (family, side) = BODY_FOLLOWS.match(text, word.end()), _meaning(word)
    if follows is None or not (family is ADJECTIVES or family is ENDS or word[0].lower() in AXES):
        return None
    if side is None or side in VERTICAL:
        return Mention(*word.span(), _constant(word[0]), EVERY_VIEW, "body")
    mirrored = _recased(family["right" if side == "left" else "left"], word[0])
    safe = EVERY_VIEW if follows["paired"] else ROTATIONS
    return Mention(*word.span(), lambda view: mirrored if is_reflection(view) else word[0], safe, "body")


def _meaning(word: re.Match[str]) -> tuple[Family, Side | None]:
    return SIDES.get(" ".join(word[0].lower().split()), ({}, None))


def _axis(word: str) -> Callable[[View], str]:
    other = _recased(AXES[word.lower()], word)
    return lambda view: other if view & TRANSPOSE else word


def _is_corner(text: str, first: re.Match[str], second: re.Match[str]) -> bool:
    """Whether a word for above or below and one for beside, in either order, name one corner."""
    families, sides = zip(_meaning(first), _meaning(second), strict=True)
    return (
        all(family is ADJECTIVES or family is ENDS for family in families)
        and (sides[0] in VERTICAL) != (sides[1] in VERTICAL)
        and re.fullmatch(r"\s+|-", text[first.end() : second.start()]) is not None
    )


def _corner(text: str, first: re.Match[str], second: re.Match[str]) -> Mention:
    """Turned a quarter, the side above comes from the side beside: each goes to its own position in the phrase."""
    named = [_meaning(first), _meaning(second)]
    between = text[first.end() : second.start()]

    def write(view: View) -> str:
        lie = {moved in VERTICAL: moved for _, side in named if side for moved in [side_in(view, side)]}
        written = [family[lie[side in VERTICAL]] for family, side in named]
        return between.join(_recased(new, old[0]) for new, old in zip(written, (first, second), strict=True))

    safe = UNCHANGED if _idiom_words(text, first.start(), second.end()) is not None else EVERY_VIEW
    if named[1][1] in VERTICAL and COMPARED_AFTER.match(text, second.end()):
        safe &= MIRRORED  # "on the left lower density"
    return Mention(first.start(), second.end(), write, safe, n_sides=2)


def _side(text: str, word: re.Match[str]) -> Mention:
    """A word that names a side of the image, or looks like one."""
    family, side = _meaning(word)
    if side is None or _names_no_side(text, word):
        return Mention(*word.span(), _constant(word[0]), EVERY_VIEW, "nothing")
    idiom = _idiom_words(text, *word.span()) is not None
    safe = UNCHANGED if idiom else _safe_by_context(text, word, family, side)
    return Mention(*word.span(), lambda view: _recased(family[side_in(view, side)], word[0]), safe)


def _names_no_side(text: str, word: re.Match[str]) -> bool:
    """Whether it is the right of "right angle", the left of "left over", or the lower of "lower density"."""
    if word[0].lower() in (_idiom_words(text, *word.span()) or ()):
        return True
    if word[0].lower() != ADJECTIVES["down"]:
        return False
    compares = STATED_BEFORE.search(text[: word.start()]) or THAN_AFTER.match(text, word.end())
    return bool(COMPARED_AFTER.match(text, word.end()) or (compares and not _is_evident(text, word)))


def _is_evident(text: str, word: re.Match[str]) -> bool:
    """Whether an adjective here names a side, whichever it is."""
    if COMPARED_AFTER.match(text, word.end()):
        return False
    return bool(EVIDENT_BEFORE.search(text[: word.start()]) or EVIDENT_AFTER.match(text, word.end()))


def _idiom_words(text: str, start: int, end: int) -> frozenset[str] | None:
    """The words that would name no side here; `None` outside an idiom."""
    idioms = (words for words, before, after in IDIOMS if before.search(text[:start]) and after.match(text, end))
    return next(idioms, None)


def _safe_by_context(text: str, word: re.Match[str], family: Family, side: Side) -> Views:
    """The views in which the family's words are understood here."""
    unclear = MIRRORED if side in VERTICAL else UNTURNED
    if family is RELATIONS:
        return EVERY_VIEW if NOUN_AFTER.match(text, word.end()) else unclear
    if family is not ADJECTIVES or _is_evident(text, word):
        return EVERY_VIEW
    return UNCHANGED if STATED_BEFORE.search(text[: word.start()]) else unclear


def _limit_neighbours(text: str, mentions: Sequence[Mention]) -> Iterator[Mention]:
    """In "upper and lower right" the right may belong to both: a turned phrase would have to say to which.

    Nor is it clear which words go together where several follow one another, or where one of them names no side.
    """
    limits = [EVERY_VIEW] * len(mentions)
    for i, (one, next_) in enumerate(itertools.pairwise(mentions)):
        between = text[one.end : next_.start]
        touching, kinds = not between.strip(" -"), {one.names, next_.names}
        if touching or (one.n_sides != next_.n_sides and JOINS.fullmatch(between)):
            limit = UNCHANGED if touching and kinds == {"image", "nothing"} else UNTURNED
            limits[i : i + 2] = [limits[i] & limit, limit]
    for mention, limit in zip(mentions, limits, strict=True):
        yield mention.limited(limit) if mention.names == "image" else mention


def _constant(word: str) -> Callable[[View], str]:
    return lambda _: word


def _recased(word: str, like: str) -> str:
    """The word in capitals, with a capital, or in small letters, as the other is."""
    if like.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word
