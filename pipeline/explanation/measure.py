"""Effect of each word of a text on a segmentation, measured by leaving the word out, and the attention beside it.

The effect on a pixel is the target's log odds with the text less those with the text without the word, which is encoded
anew: a contextual encoder puts a word into the tokens of others too, so that hiding its own tokens would leave much of
it. A word costs one text to encode and one pass of the head; the UNet's activations are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...errors import ConfigError, DataError
from ...stages.heads.base import Head, Prepared
from ...stages.heads.input import HeadInput
from ...stages.metrics.overlap import likeliest
from ...stages.metrics.uncertainty import log_odds
from ...stages.text.encoder import TextEncoder
from ...stages.text.words import Word, split_words, without, words_of_tokens
from ..data.classes import Classes
from ..extraction.text_features import as_stored
from ..head_inputs.inputs import CachedFeatures
from .maps import WhatIf
from .result import Explanation


@dataclass(frozen=True, eq=False)
class Question:
    """A text, the same text without each of its words, and perhaps another text, encoded together."""

    text: str
    versus: str | None
    classes: tuple[str, ...]
    """Names of all classes."""
    target: tuple[int, ...]
    """Indices of the classes to explain."""
    words: tuple[Word, ...]
    tokens: Float[Tensor, "text token dim"]
    """Of the text, of the text without each word, then of the other text."""
    token_mask: Bool[Tensor, "text token"]
    """False throughout for an empty text."""
    word_tokens: Float[Tensor, "token word"]
    """1 where a token of the text belongs to a word; last, where it belongs to none."""

    def sizes(self, head: Head) -> list[int]:
        """Numbers of the maps of `measure`: probabilities under each text, effects, attention."""
        n_texts = 1 if self.versus is None else 2
        return [n_texts * len(self.classes), len(self.words), len(head.attention_names) * self.word_tokens.shape[1]]

    def with_text(self, x: HeadInput, i: int) -> HeadInput:
        """The input with the i-th of the texts."""
        return replace(x, tokens=self.tokens[i], token_mask=self.token_mask[i])


def ask(
    encoder: TextEncoder,
    text: str,
    names: tuple[str, ...],
    device: str,
    *,
    versus: str | None = None,
    target: str | None = None,
) -> Question:
    """Encode the texts.

    Args:
        encoder: that of the head's training.
        text: to explain; cut at the encoder's limit.
        names: of the head's classes.
        device: of the head.
        versus: another text for the same image.
        target: name of the class to explain; `None`: all but the background together.

    Raises:
        ConfigError: if there is no such class.
        DataError: if the text has no words, or the tokenizer does not give the words of its tokens.
    """
    of_target = _target(names, target)
    words = split_words(text)
    if not words:
        raise DataError(f"the text {text!r} has no words to explain; give a text with letters or digits")
    texts = [text, *(without(text, word) for word in words), *([] if versus is None else [versus])]
    tokens, token_mask = _encode(encoder, texts)
    owners = words_of_tokens(words, encoder.token_spans(text))
    return Question(
        text=text,
        versus=versus,
        classes=names,
        target=of_target,
        words=words,
        tokens=tokens.to(device),
        token_mask=token_mask.to(device),
        word_tokens=_word_tokens(owners, len(words), tokens.shape[1]).to(device),
    )


def _encode(
    encoder: TextEncoder, texts: Sequence[str]
) -> tuple[Float[Tensor, "text token dim"], Bool[Tensor, "text token"]]:
    """Tokens in the cache's precision, and their mask; of an empty text the mask is false throughout."""
    i_of_texts = [i for i, text in enumerate(texts) if text.strip()]
    not_empty = [texts[i] for i in i_of_texts]
    encoded = encoder.encode(not_empty, truncate=True)
    tokens = torch.zeros(len(texts), *encoded.tokens.shape[1:])
    token_mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    tokens[i_of_texts] = as_stored(encoder.source, not_empty, encoded).float()
    token_mask[i_of_texts] = encoded.mask
    return tokens, token_mask


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
def logits_by_text(
    head: Head, prepared: Prepared, x: HeadInput, question: Question
) -> Iterator[Float[Tensor, "member n_classes y x"]]:
    """Logits of a row under each of the texts in turn.

    Args:
        head: in evaluation mode.
        prepared: what `head.prepare` gives of the row's features.
        x: the row; its own text is not used.
        question: the texts.
    """
    for i in range(len(question.tokens)):
        with head.arithmetic(x.tokens.device):
            logits = head.segment_prepared(prepared, question.with_text(x, i))
        yield logits


@torch.no_grad()
def measure(
    head: Head, x: HeadInput, question: Question, *, advance: Callable[[], None] = lambda: None
) -> Float[Tensor, "map y x"]:
    """Maps of one row that answer the question, at the model's size; they may be blended linearly.

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
    for i, logits in enumerate(logits_by_text(head, prepared, x, question)):
        if i == 0 or i > len(question.words):
            probabilities.append(logits.softmax(1).mean(0))
        odds.append(log_odds(logits, question.target).mean(0))
        advance()
    effects = odds[0] - torch.stack(odds[1 : 1 + len(question.words)])
    attention = head.attention_maps_prepared(prepared, question.with_text(x, 0), question.word_tokens)
    return torch.cat([*probabilities, effects, attention.flatten(0, 1)]).cpu()


def assemble(
    question: Question, head: Head, maps: Float[Tensor, "map y x"], image: UInt8[np.ndarray, "y x 3"]
) -> Explanation:
    """Explanation from the maps of `measure` and the image at their size."""
    n_classes = len(question.classes)
    of_classes, effects, attention = maps.split(question.sizes(head))
    probability, mask = _of_target(of_classes[:n_classes], question)
    versus = None
    if question.versus is not None:
        versus = WhatIf(question.versus, *_of_target(of_classes[n_classes:], question))
    by_name = attention.unflatten(0, (len(head.attention_names), -1)).numpy()
    return Explanation(
        text=question.text,
        target_names=tuple(question.classes[i] for i in question.target),
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
    """Probability of the target, and the pixels where one of its classes is the likeliest."""
    classes = torch.tensor(question.target)
    return probabilities[classes].sum(0).numpy(), torch.isin(likeliest(probabilities), classes).numpy()


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
    """Explain the segmentation of a row of a cache, without the UNet.

    Args:
        head: in evaluation mode.
        data: the cache as the head sees it.
        row: a whole image, one of its tiles, or a view.
        encoder: that of the head's training.
        text: to explain, as it reads for the row.
        versus: as `ask`.
        target: as `ask`.

    Raises:
        ConfigError: as `ask`; or if the cached activations depend on the texts.
        DataError: as `ask`.
    """
    refuse_own_condition(data.reader.manifest.features.condition)
    names = Classes.from_dict(data.reader.manifest.classes).names
    question = ask(encoder, text, names, data.device, versus=versus, target=target)
    (x,) = data.inputs([row])
    maps = measure(head, x, question)
    return assemble(question, head, maps, data.reader.image(row.row))


def refuse_own_condition(condition: str) -> None:
    """Refuse activations that depend on the texts.

    Raises:
        ConfigError: if the UNet was conditioned on each image's own text.
    """
    if condition == "own":
        raise ConfigError(
            "the run's UNet was conditioned on each image's own text (--condition own), so that words change the "
            "activations too; explain a run on a cache that was made with --condition empty"
        )
