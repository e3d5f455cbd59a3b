"""What each word of a text did to a segmentation, measured by leaving it out, and the attention beside it.

A word's effect on a pixel is the target's log odds with the text less those with the text without that word, which is
encoded anew: tokens of a word know of the others, so that hiding its own tokens would leave much of it there. A word
costs one text to encode and one pass of the head; the UNet's activations are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...errors import ConfigError, DataError
from ...stages.heads.base import Head
from ...stages.heads.input import HeadInput
from ...stages.metrics.occlusion import log_odds
from ...stages.text.encoder import TextEncoder
from ...stages.text.words import Word, split_words, without, words_of_tokens
from ..data.classes import Classes
from ..head_inputs.inputs import CachedFeatures
from .result import Explanation, WhatIf


@dataclass(frozen=True, eq=False)
class Question:
    """A text, the same without each of its words, and perhaps another one, encoded together."""

    text: str
    versus: str | None
    classes: tuple[str, ...]
    """Names of all classes."""
    target: tuple[int, ...]
    """Indices of those that are asked about."""
    words: tuple[Word, ...]
    tokens: Float[Tensor, "text token dim"]
    """Of the text, of the text without each word, then of the other one."""
    token_mask: Bool[Tensor, "text token"]
    """False throughout where nothing was left of a text."""
    word_tokens: Float[Tensor, "token word"]
    """1 where a token of the text belongs to a word; last, where it belongs to none."""

    def sizes(self, head: Head) -> list[int]:
        """How many maps of each kind `measure` gives: probabilities under each text, effects, attention."""
        n_asked = 1 if self.versus is None else 2
        return [n_asked * len(self.classes), len(self.words), len(head.attention_names) * self.word_tokens.shape[1]]

    def asked_of(self, x: HeadInput, i: int) -> HeadInput:
        """A row with the i-th of the texts."""
        return replace(x, tokens=self.tokens[i], token_mask=self.token_mask[i])


def ask(
    encoder: TextEncoder,
    text: str,
    classes: Classes,
    device: str,
    *,
    versus: str | None = None,
    target: str | None = None,
) -> Question:
    """Encode what has to be encoded.

    Args:
        encoder: that of the head's training.
        text: whose words are asked about; what is over the encoder's limit is cut.
        classes: what the head tells apart.
        device: where the head is.
        versus: another text, to see what the mask would be.
        target: name of the class that is asked about; `None`: all but the background together.

    Raises:
        ConfigError: if there is no such class.
        DataError: if the text has no words, or the tokenizer cannot tell whose tokens are whose.
    """
    of_target = _target(classes.names, target)
    words = split_words(text)
    if not words:
        raise DataError(f"{text!r} has no words to explain; give a text with letters or digits")
    texts = [text, *(without(text, word) for word in words), *([] if versus is None else [versus])]
    kept = [i for i, one in enumerate(texts) if one.strip()]
    encoded = encoder.encode([texts[i] for i in kept], truncate=True)
    tokens = torch.zeros(len(texts), *encoded.tokens.shape[1:])
    token_mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    # The cache holds tokens in float16; the head sees the same numbers here.
    tokens[kept], token_mask[kept] = encoded.tokens.half().float(), encoded.mask
    owners = words_of_tokens(words, encoder.token_spans(text))
    return Question(
        text=text,
        versus=versus,
        classes=classes.names,
        target=of_target,
        words=words,
        tokens=tokens.to(device),
        token_mask=token_mask.to(device),
        word_tokens=_word_tokens(owners, len(words), tokens.shape[1]).to(device),
    )


def _target(classes: tuple[str, ...], name: str | None) -> tuple[int, ...]:
    if name is None:
        return tuple(range(1, len(classes)))
    if name not in classes:
        raise ConfigError(f"--target got {name!r}; expected one of the run's classes: {', '.join(classes)}")
    return (classes.index(name),)


def _word_tokens(owners: Sequence[int | None], n_words: int, n_tokens: int) -> Float[Tensor, "token word"]:
    word_tokens = torch.zeros(n_tokens, n_words + 1)
    for token, owner in enumerate(owners):
        word_tokens[token, n_words if owner is None else owner] = 1
    return word_tokens


@torch.no_grad()
def measure(
    head: Head, x: HeadInput, question: Question, *, advance: Callable[[], None] = lambda: None
) -> Float[Tensor, "map y x"]:
    """Everything that is asked of one row, at the model's size; all of it may be blended linearly.

    Args:
        head: in evaluation mode.
        x: the row; its own text is not used.
        question: the texts.
        advance: called after each text.

    Returns:
        As many maps of each kind as `Question.sizes` gives: probabilities of all classes, effects of the words, and
        for each attention the share of each word and of the rest.
    """
    prepared = head.prepare(x.features)
    probabilities, odds = [], []
    for i in range(len(question.tokens)):
        logits = head.segment_prepared(prepared, question.asked_of(x, i))
        if i == 0 or i > len(question.words):
            probabilities.append(logits.softmax(1).mean(0))
        odds.append(log_odds(logits, question.target).mean(0))
        advance()
    effects = odds[0] - torch.stack(odds[1 : 1 + len(question.words)])
    attention = head.attention_maps_prepared(prepared, question.asked_of(x, 0), question.word_tokens)
    return torch.cat([*probabilities, effects, attention.flatten(0, 1)]).cpu()


def assemble(
    question: Question, head: Head, maps: Float[Tensor, "map y x"], image: UInt8[np.ndarray, "y x 3"]
) -> Explanation:
    """The maps that `measure` gave, with their names; the image is of their size."""
    n_classes = len(question.classes)
    of_classes, effects, attention = maps.split(question.sizes(head))
    probability, mask = _of_target(of_classes[:n_classes], question)
    versus = None
    if question.versus is not None:
        versus = WhatIf(question.versus, *_of_target(of_classes[n_classes:], question))
    by_name = attention.unflatten(0, (len(head.attention_names), -1)).numpy()
    return Explanation(
        text=question.text,
        target_names=tuple(question.classes[place] for place in question.target),
        words=question.words,
        image=image,
        probability=probability,
        mask=mask,
        effects=effects.numpy(),
        attention=by_name[:, :-1],
        attention_elsewhere=by_name[:, -1],
        attention_names=head.attention_names,
        versus=versus,
    )


def _of_target(
    probabilities: Float[Tensor, "n_classes y x"], question: Question
) -> tuple[Float32[np.ndarray, "y x"], Bool[np.ndarray, "y x"]]:
    """The target's probability, and where one of its classes is the likeliest."""
    classes = torch.tensor(question.target)
    return probabilities[classes].sum(0).numpy(), torch.isin(probabilities.argmax(0), classes).numpy()


def explain_sample(
    head: Head,
    data: CachedFeatures,
    row: SampleRow,
    encoder: TextEncoder,
    text: str,
    *,
    versus: str | None = None,
    target: str | None = None,
) -> Explanation:
    """Explain the segmentation of a cached picture, without the UNet.

    Args:
        head: in evaluation mode.
        data: the cache as the head sees it.
        row: of the picture: a whole image, one of its tiles, or a view.
        encoder: that of the head's training.
        text: whose words are asked about, as it reads for the picture.
        versus: as `ask`.
        target: as `ask`.

    Raises:
        ConfigError: as `ask`; or if the cached activations were made with the texts themselves.
        DataError: as `ask`.
    """
    refuse_own_condition(data.reader.manifest.features.condition)
    classes = Classes.from_dict(data.reader.manifest.classes)
    question = ask(encoder, text, classes, data.device, versus=versus, target=target)
    (x,) = data.inputs([row])
    maps = measure(head, x, question)
    return assemble(question, head, maps, data.reader.image(row.row))


def refuse_own_condition(condition: str) -> None:
    """Refuse activations that know the texts.

    Raises:
        ConfigError: as said.
    """
    if condition == "own":
        raise ConfigError(
            "the run's UNet was told each image's own text (--condition own), so that words change the activations "
            "too; explain a run on a cache that was made with --condition empty"
        )
