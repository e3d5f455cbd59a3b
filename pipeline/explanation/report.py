"""Maps of the effects of words in the report of `evaluate --words`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...errors import ConfigError, DataError, SourceError
from ...stages.heads.base import Head
from ..config.training import TextMode
from ..extraction.text_features import load_same_encoder
from ..head_inputs.inputs import CachedFeatures
from ..reports.page import WordMap, inline_image
from ..runs.run_config import RunConfig
from ..runtime.progress import Progress
from .maps import WordEffect
from .measure import explain_sample, refuse_own_condition
from .plots import EFFECT_COLOURS, scale_of_effects
from .result import Explanation


class WordExplainer:
    """Explains rows of a cache with the text encoder of a head's training, which evaluation needs for nothing else.

    Args:
        run: of the head.
        reader: the cache that it is evaluated on.
        text: which texts the head is shown.
        device: of the encoder.
        offline: whether the network is forbidden.

    Raises:
        ConfigError: if the head is not shown each sample's own text, or rows are not whole images.
        SourceError: if the encoder cannot be loaded, or is another one.
    """

    def __init__(self, run: RunConfig, reader: FeatureReader, text: TextMode, device: str, *, offline: bool) -> None:
        if text != "true" or run.texts is None:
            raise ConfigError("--words shows the effect of each sample's own words, and the head is not shown them")
        if reader.manifest.features.tile is not None:
            raise ConfigError("--words needs whole images, and the cache has tiles; use `textdiff explain RUN IMAGE`")
        refuse_own_condition(reader.manifest.features.condition)
        self._encoder = load_same_encoder(run.texts.encoder, run.texts, device, offline=offline)

    def maps(self, head: Head, data: CachedFeatures, row: SampleRow, progress: Progress) -> tuple[WordMap, ...]:
        """Effects of the words of a row's text, the largest first; empty where there are no words, with a warning."""
        text = "" if row.text is None else data.reader.table.texts[row.text]
        try:
            explanation = explain_sample(head, data, row, self._encoder, text)
        except (DataError, SourceError) as error:
            progress.say(f"--words: {row.parent}: {error}; no words are shown")
            return ()
        limit = scale_of_effects(explanation)
        return tuple(_word_map(explanation, word, limit) for word in explanation.ranked())


def _word_map(explanation: Explanation, word: WordEffect, limit: float) -> WordMap:
    pixels = _colours(explanation.effects[word.index] / limit)
    alt = f"Effect of “{word.label}” on the log odds of {explanation.target}, pixel by pixel"
    figures = (
        ("inside", f"{round(word.effect_inside, 2) + 0.0:+.2f}"),  # no -0.00
        ("outside", f"{round(word.effect_outside, 2) + 0.0:+.2f}"),
        ("attention", f"{word.attention:.0%}"),
    )
    return WordMap(word.label, inline_image(pixels, "", alt), figures)


def _colours(effects: Float32[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """-1 as blue (against the target), 0 as white, 1 as red (for it)."""
    from matplotlib import colormaps

    shown: UInt8[np.ndarray, "y x 3"] = colormaps[EFFECT_COLOURS]((effects + 1) / 2, bytes=True)[..., :3]
    return shown
