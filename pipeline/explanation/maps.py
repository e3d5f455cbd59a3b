"""Maps of the effects of words and of the attention, and their figures inside and outside the mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from ...stages.text.words import Word


@dataclass(frozen=True, eq=False)
class WhatIf:
    """The segmentation of the same image under another text."""

    text: str
    probability: Float32[np.ndarray, "y x"]
    """Of the target, in [0, 1]."""
    mask: Bool[np.ndarray, "y x"]
    """Where a class of the target is the likeliest."""


@dataclass(frozen=True)
class WordEffect:
    """Figures of one word, inside and outside the predicted mask."""

    index: int
    """In `words` and in the maps."""
    label: str
    """The word, with its number where it occurs again: `nuclei (2)`."""
    effect_inside: float
    """Mean effect inside in nats of log odds: positive where the word speaks for the target."""
    effect_outside: float
    """The same outside."""
    change_inside: float
    """Mean magnitude of the effect inside, by which words are ranked."""
    change_outside: float
    """The same outside."""
    ratio: float | None
    """`change_inside` / `change_outside`; `None` where nothing changed outside."""
    attention: float
    """The word's share of the attention, mean over the pixels inside."""


@dataclass(frozen=True, eq=False)
class ExplanationMaps:
    """Effects of the words of a text on an image's segmentation.

    Maps are at the size that the head works at; those of an image that was cut into tiles at the image's own.
    """

    text: str
    target_names: tuple[str, ...]
    """A class, or all but the background together."""
    words: tuple[Word, ...]
    """In the text's order, as are the maps."""
    image: UInt8[np.ndarray, "y x 3"]
    probability: Float32[np.ndarray, "y x"]
    """Of the target, in [0, 1]."""
    mask: Bool[np.ndarray, "y x"]
    """Where a class of the target is the likeliest."""
    effects: Float32[np.ndarray, "word y x"]
    """Log odds of the target with the text less those without the word, in nats; mean over an ensemble's members."""
    attention: Float32[np.ndarray, "name word y x"]
    """Share of the attention that the word's tokens get, in [0, 1]."""
    attention_elsewhere: Float32[np.ndarray, "name y x"]
    """The rest: punctuation and the encoder's special tokens."""
    attention_names: tuple[str, ...]
    """Of the attentions: heads of the attention, attentions of each block, or members of an ensemble."""
    versus: WhatIf | None

    @property
    def target(self) -> str:
        """The target in words."""
        return " or ".join(self.target_names)

    @property
    def has_both_sides(self) -> bool:
        """Whether the mask has an inside and an outside; if not, figures of both are of the whole image."""
        return bool(self.mask.any() and not self.mask.all())

    def ranked(self) -> list[WordEffect]:
        """Each word's figures, the largest change inside first."""
        inside, outside = (self.mask, ~self.mask) if self.has_both_sides else [np.ones_like(self.mask)] * 2
        effects = [self._figures(i, inside, outside) for i in range(len(self.words))]
        return sorted(effects, key=lambda one: -one.change_inside)

    def _figures(self, i: int, inside: np.ndarray, outside: np.ndarray) -> WordEffect:
        within, beyond = self.effects[i][inside], self.effects[i][outside]
        change_inside, change_outside = float(np.abs(within).mean()), float(np.abs(beyond).mean())
        return WordEffect(
            index=i,
            label=self._label(i),
            effect_inside=float(within.mean()),
            effect_outside=float(beyond.mean()),
            change_inside=change_inside,
            change_outside=change_outside,
            ratio=change_inside / change_outside if change_outside > 0 else None,
            attention=float(self.attention[:, i].mean(0)[inside].mean()),
        )

    def _label(self, i: int) -> str:
        word = self.words[i].text
        number = [one.text.lower() for one in self.words[: i + 1]].count(word.lower())
        return f"{word} ({number})" if number > 1 else word
