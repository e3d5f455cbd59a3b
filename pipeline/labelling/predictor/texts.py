"""Tokens of the texts that images are shown with: those of the cache, else encoded when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ....cache.format.spec import TextSpec
from ....errors import ConfigError
from ....stages.text.encoder import TextEncoder
from ....stages.text.loading import load_text_encoder
from ...fitting.defaults import TEXT_ENCODER, installed
from ...head_inputs.inputs import CachedFeatures
from ...prediction.live_texts import LiveTexts

TokenPair = tuple[Float[Tensor, "token dim"], Bool[Tensor, " token"]]
"""Tokens of a text, and which of them are real; none of them where there is no text."""


class ShownTexts:
    """Texts as a head reads them.

    Args:
        data: the cache as the head sees it.
        spec: of the cache's texts, or of the encoder that reads new ones; `None`: no text can be read.
        offline: whether the network is forbidden.
    """

    def __init__(self, data: CachedFeatures, spec: TextSpec | None, *, offline: bool = False) -> None:
        self.spec, self.text_dim = spec, spec.dim if spec else data.tokens.shape[-1]
        self._data = data
        self._known = {text: place for place, text in enumerate(data.reader.table.texts)}
        self._live = LiveTexts(spec, self.text_dim, None, data.device, offline=offline)

    @property
    def encoder(self) -> TextEncoder:
        """The frozen encoder, loaded when it is first needed.

        Raises:
            SourceError: if it cannot be loaded, or is not that of the cache.
            ConfigError: if there is none.
        """
        if self.spec is None:
            raise ConfigError(
                f"no text can be read: the cache has none and {TEXT_ENCODER} is not installed; install it "
                "(pip install 'textdiff[label]'), or make the cache with --text-encoder"
            )
        return self._live.encoder

    def tokens(self, text: str) -> TokenPair:
        """Of a text; "" has none.

        Raises:
            SourceError: as `encoder`.
            DataError: if the text is too long.
            ConfigError: if no text can be read.
        """
        if not text.strip():
            return self._live.tokens(None)
        if (place := self._known.get(text)) is not None and self.text_dim == self._data.tokens.shape[-1]:
            return self._data.tokens[place], self._data.token_mask[place]
        return self._live.tokens(text)

    def batch(self, texts: Sequence[str]) -> tuple[Float[Tensor, "text token dim"], Bool[Tensor, "text token"]]:
        """Of several texts, brought to one length."""
        tokens, masks = zip(*map(self.tokens, texts), strict=True)
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(list(tokens), batch_first=True), pad(list(masks), batch_first=True)


def default_encoder() -> str | None:
    """The text encoder that an installed package carries; `None`: it is not installed."""
    return TEXT_ENCODER if installed(TEXT_ENCODER) else None


def spec_of_encoder(source: str, device: str) -> TextSpec:
    """Description of an encoder that no cache was made with.

    Raises:
        SourceError: if it cannot be loaded.
    """
    encoder = load_text_encoder(source, device)
    return TextSpec(source, encoder.digest, encoder.dim, 0, truncated=True)
