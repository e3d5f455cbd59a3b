"""Maps of what words did to a mask, as reports show them."""

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
from ..reports.page import WordMap, picture
from ..runs.run_config import RunConfig
from ..runtime.progress import Progress
from .measure import explain_sample, refuse_own_condition
from .plots import EFFECT_COLOURS, scale_of_effects
from .result import Explanation, WordEffect


class WordExplainer:
    """Explains cached images with the text encoder of a head's training, which evaluation does without otherwise.

    Args:
        run: of the head.
        reader: the cache that it is evaluated on.
        text: which texts the head is shown.
        device: where the encoder is to run.
        offline: whether the network is forbidden.

    Raises:
        ConfigError: if there are no texts, or no whole images, to look at words on.
        SourceError: if the encoder cannot be loaded, or is another one.
    """

    def __init__(self, run: RunConfig, reader: FeatureReader, text: TextMode, device: str, *, offline: bool) -> None:
        if text != "true" or run.texts is None:
            raise ConfigError(
                "--words shows what the words of each sample's own text did, and the head is not shown them"
            )
        if reader.manifest.features.tile is not None:
            raise ConfigError("--words needs whole images, and the cache has tiles; use `textdiff explain RUN IMAGE`")
        refuse_own_condition(reader.manifest.features.condition)
        self._encoder = load_same_encoder(run.texts.encoder, run.texts, device, offline=offline)

    def maps(self, head: Head, data: CachedFeatures, row: SampleRow, progress: Progress) -> tuple[WordMap, ...]:
        """What the words of a sample's text did; none, and a line that says why, where that cannot be told."""
        if row.text is None:
            progress.say(f"--words: {row.parent}, the sample with the lowest Dice, has no text; no words are shown")
            return ()
        try:
            found = explain_sample(head, data, row, self._encoder, data.reader.table.texts[row.text])
        except (DataError, SourceError) as error:
            progress.say(f"--words: {row.parent}: {error}; no words are shown")
            return ()
        return word_maps(found)


def word_maps(found: Explanation) -> tuple[WordMap, ...]:
    """A map of each word's effect, the largest first; red speaks for the target, blue against it."""
    limit = scale_of_effects(found)
    return tuple(_word_map(found, word, limit) for word in found.ranked())


def _word_map(found: Explanation, word: WordEffect, limit: float) -> WordMap:
    pixels = _colours(found.effects[word.place] / limit)
    alt = f"What leaving out “{word.label}” takes from the log odds of {found.target}, pixel by pixel"
    figures = (
        ("inside", f"{word.effect_inside:+.2f}"),
        ("outside", f"{word.effect_outside:+.2f}"),
        ("attention", f"{word.attention:.0%}"),
    )
    return WordMap(word.label, picture(pixels, "", alt), figures)


def _colours(effects: Float32[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """From -1, blue, over 0, white, to 1, red."""
    from matplotlib import colormaps

    shown: UInt8[np.ndarray, "y x 3"] = colormaps[EFFECT_COLOURS]((effects + 1) / 2, bytes=True)[..., :3]
    return shown
