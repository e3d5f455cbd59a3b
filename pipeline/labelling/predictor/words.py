"""Effect of each word of a text on a mask: how far the foreground changes when the word is left out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ....stages.heads.base import Head
from ....stages.heads.input import HeadInput
from ...explanation.measure import Question, logits_by_text


@dataclass(frozen=True)
class WordSpanEffect:
    """A word of a text."""

    start: int
    """Its first character in the text."""
    end: int
    """The character after its last one."""
    word: str
    effect: float
    """1 - soft Dice of the foreground's probabilities with the word and without, in [0, 1]; negative where the word
    takes more away than it adds."""


@torch.no_grad()
def word_effects(head: Head, x: HeadInput, question: Question) -> list[WordSpanEffect]:
    """Effects of a text's words on a row.

    Args:
        head: in evaluation mode.
        x: the row; its own text is not used.
        question: the text, and the text without each of its words.
    """
    foregrounds = [
        1 - logits.softmax(1).mean(0)[0] for logits in logits_by_text(head, head.prepare(x.features), x, question)
    ]
    effects = [_effect(foregrounds[0], without) for without in foregrounds[1 : 1 + len(question.words)]]
    return [WordSpanEffect(*word.span, word.text, effect) for word, effect in zip(question.words, effects, strict=True)]


def _effect(own: Float[Tensor, "y x"], without: Float[Tensor, "y x"]) -> float:
    overlap = 2 * float((own * without).sum()) / max(float((own.square() + without.square()).sum()), 1e-6)
    return (1 - overlap) * (1 if own.sum() >= without.sum() else -1)
