"""Tokens of new texts, as the cache of a head's training holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...cache.format.spec import TextSpec
from ...errors import ConfigError, DataError
from ...stages.text.encoder import TextEncoder
from ..extraction.text_features import as_stored, load_same_encoder
from ..extraction.unread_texts import unread_lines
from ..runs.run_config import RunConfig
from ..runtime.progress import Progress
from ..views.languages import ENGLISH, foreign_sides, language_of
from ..views.text_rewriting import rewrite_sides, safe_views

TEXTS_KEPT = 64
"""Texts whose tokens are kept, since the tiles of an image share one and often all images do."""


class LiveTexts:
    """The text encoder of a head's training; it is loaded when it is first needed.

    Args:
        spec: of the texts that the head was trained with; `None`: without texts.
        text_dim: channels of a token, for heads without texts too.
        source: where the encoder is; `None`: where the training had it.
        device: of the head.
        offline: whether the network is forbidden.
    """

    def __init__(self, spec: TextSpec | None, text_dim: int, source: str | None, device: str, *, offline: bool) -> None:
        self._spec, self._text_dim, self._device, self._offline = spec, text_dim, device, offline
        self._source = source or (spec.encoder if spec else None)
        self.tokens = lru_cache(TEXTS_KEPT)(self._tokens)
        self._checked: set[str] = set()

    @classmethod
    def of_run(cls, config: RunConfig, source: str | None, device: str, *, offline: bool) -> Self:
        """The texts of a run's head."""
        spec = None if config.text == "none" else config.texts
        return cls(spec, config.head.text_dim, source, device, offline=offline)

    @property
    def are_read(self) -> bool:
        """Whether the head was trained with texts."""
        return self._spec is not None

    def check(self, texts: Iterable[str], *, n_views: int = 1, progress: Progress | None = None) -> None:
        """Load the encoder, if there are texts, and refuse those that it cannot read whole, rewritten or not.

        What is not checked before its tokens are asked for is checked then.

        Args:
            texts: of images.
            n_views: 1, 2, 4 or 8: the texts are rewritten for these, where they can be.
            progress: where to warn of tokens that the encoder does not know, and of texts that are the same to it;
                `None`: the logger `textdiff`.

        Raises:
            SourceError: if the encoder cannot be loaded, or is not that of the training.
            DataError: with every text that is empty or too long.
            ConfigError: if the head was trained without texts.
        """
        given = list(dict.fromkeys(texts))
        rewritten = (rewrite_sides(text, view) for text in given for view in safe_views(text, n_views))
        distinct = list(dict.fromkeys(text for text in rewritten if text is not None))
        if not distinct:
            return
        if self._spec is None:
            raise ConfigError("a text was given, but the head was trained without texts; leave it out")
        problems = [f"{text!r}: empty; leave the text out instead" for text in distinct if not text.strip()]
        limit = self.encoder.limit
        for text, n_tokens in zip(distinct, self.encoder.count_tokens(distinct), strict=True):
            if n_tokens > limit and not self._spec.truncated:
                problems.append(f"{text[:60]!r}: {n_tokens} tokens; shorten it to {limit}")
        if problems:
            raise DataError(f"texts that {self._source} cannot read:", problems)
        for line in [*unread_lines(self.encoder, given), *(_kept_as_they_are(given) if n_views > 1 else ())]:
            (progress or Progress()).warn(line)
        self._checked.update(distinct)

    def _tokens(self, text: str | None) -> tuple[Float[Tensor, "token dim"], Bool[Tensor, "token"]]:
        """Tokens and token mask of a text, checked; of no text one token that is masked."""
        if text is None:
            nothing = torch.zeros(1, self._text_dim, device=self._device)
            return nothing, torch.zeros(1, dtype=torch.bool, device=self._device)
        if text not in self._checked:
            self.check([text])
        encoded = self.encoder.encode([text], truncate=True)
        # The cache holds tokens in float16; the head sees the same numbers here.
        tokens = as_stored(self.encoder.source, [text], encoded)
        return tokens[0].float().to(self._device), encoded.mask[0].to(self._device)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The frozen text encoder, checked by its digest; for heads that were trained with texts.

        Raises:
            SourceError: if it cannot be loaded, or is not that of the training.
        """
        if self._spec is None or self._source is None:
            raise AssertionError("asked for the text encoder of a head that was trained without texts")
        return load_same_encoder(self._source, self._spec, self._device, offline=self._offline)


def _kept_as_they_are(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if language_of(text) != ENGLISH and not any(foreign_sides(text)):
            yield (
                f"{text[:60]!r} seems not to be in English ({language_of(text).name}): the views that --tta adds are "
                "shown with the text as it is (docs/views.md)"
            )
