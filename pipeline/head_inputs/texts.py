"""The text that a head is shown of each row: its own, none, or that of another sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...cache.format.samples import SampleRow, SampleTable
from ...errors import ConfigError
from ...stages.seeds import named_generator
from ..config.training import TextMode
from ..views.text_rewriting import index_in_view
from .splits import originals


def assign_texts(table: SampleTable, text: TextMode, seed: int) -> dict[str, int | None]:
    """Id of each row → index of its text; a shuffled text is rewritten for the row's view.

    Args:
        table: the cache's rows and texts.
        text: each sample's own (`true`), none, or another sample's (`shuffled`).
        seed: of the shuffling.

    Raises:
        ConfigError: if fewer than two texts are there to shuffle.
    """
    if text == "none":
        return {row.id: None for row in table.samples}
    if text == "true":
        return {row.id: row.text for row in table.samples}
    shuffled = _shuffle_texts(originals(table.samples), seed)
    return {row.id: index_in_view(table.texts, shuffled[row.parent], row.view) for row in table.samples}


def _shuffle_texts(samples: Sequence[SampleRow], seed: int) -> dict[str, int | None]:
    """Each image of a split gets the text of another, and all tiles of an image the same."""
    own = {sample.parent: sample.text for sample in samples}
    if len({text for text in own.values() if text is not None}) < 2:
        raise ConfigError("--text shuffled needs at least two different texts in the cache; use --text true or none")
    shuffled: dict[str, int | None] = {}
    for split in sorted({sample.split for sample in samples}):
        ids = sorted({sample.parent for sample in samples if sample.split == split})
        order = torch.randperm(len(ids), generator=named_generator(seed, "shuffled texts", split)).tolist()
        # Along a random cycle each sample gets the text of the next, so that none keeps its own
        # (its words may be the same where texts repeat).
        for i, taker in enumerate(order):
            shuffled[ids[taker]] = own[ids[order[(i + 1) % len(order)]]]
    return shuffled
