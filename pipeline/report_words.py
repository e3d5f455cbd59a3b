"""Maps of what words did to a mask, as reports show them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from ..cache.table import SampleRow
from ..stages.head import Head
from ..stages.text import load_text_encoder
from .explanation import Explanation, WordEffect, explain_sample
from .head_data import HeadData
from .report_page import WordMap, picture
from .word_plots import EFFECT_COLOURS, scale_of_effects


def words_of_sample(head: Head, data: HeadData, row: SampleRow, encoder: str) -> tuple[WordMap, ...]:
    """Explain the segmentation of a whole cached image under its own text; nothing where it has none.

    Args:
        head: in evaluation mode.
        data: the cache as the head sees it.
        row: of the image.
        encoder: the source of the text encoder that the cache was made with.
    """
    if row.text is None:
        return ()
    loaded = load_text_encoder(encoder, data.device)
    return word_maps(explain_sample(head, data, row, loaded, data.reader.table.texts[row.text]))


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
