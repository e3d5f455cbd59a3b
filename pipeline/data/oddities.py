"""Warnings of single samples: what is usable as it is, and seldom what was meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ..image_files.paths import format_of
from ..views.languages import ENGLISH, language_of
from .inspection import Inspection
from .warnings import DataWarning

WORDS_NAMED = 3
"""Of each language."""


def odd_samples(inspections: Sequence[Inspection]) -> Iterator[DataWarning]:
    """Images of one colour, masks that may lie otherwise than their slices, and texts that are not English."""
    usable = [inspection for inspection in inspections if inspection.image]
    blank = [one.entry.id for one in usable if one.image and one.image.blank]
    if blank:
        text = f"{len(blank)} of {len(usable)} images show a single colour; is their intensity window (--window) right?"
        yield DataWarning("blank-image", text, tuple(blank))
    loose = [one.entry.id for one in usable if one.mask and _is_slice_beside_plain(one)]
    if loose:
        text = (
            f"{len(loose)} samples have a slice of a NIfTI volume and another kind of file as image and mask: rows of "
            "the slice run from the front of the body to its back, columns from the patient's right to the left, and a "
            "file saved of array[:, :, z] lies otherwise (docs/data.md); save both as NIfTI, or look at each (--out)"
        )
        yield DataWarning("mask-beside-slice", text, tuple(loose))
    yield from other_languages({one.entry.id: one.entry.text for one in usable if one.entry.text})


def other_languages(text_of: dict[str, str]) -> Iterator[DataWarning]:
    """A warning of texts that seem not to be in English, if there are any.

    Args:
        text_of: id → text of each sample that has one.
    """
    foreign = {name: text for name, text in text_of.items() if language_of(text) != ENGLISH}
    if foreign:
        text = (
            f"{len(foreign)} of {len(text_of)} texts seem not to be in English ({named_languages(foreign.values())}): "
            "take a text encoder that reads them (docs/texts.md), and no --views, which rewrites sides in English alone"
        )
        yield DataWarning("other-language", text, tuple(foreign))


def named_languages(texts: Iterable[str]) -> str:
    """The languages of texts that are not in English, each with words that say so."""
    signs = defaultdict[str, dict[str, None]](dict)
    for text in texts:
        name, words = language_of(text)
        signs[name] |= dict.fromkeys(words)
    return "; ".join(f"{name}: {', '.join(map(repr, list(words)[:WORDS_NAMED]))}" for name, words in signs.items())


def _is_slice_beside_plain(inspection: Inspection) -> bool:
    """Whether one of image and mask is a slice of a NIfTI volume, and the other is not."""
    paths = (inspection.entry.image, inspection.entry.mask)
    return sum(path is not None and format_of(path) == "NIfTI" for path in paths) == 1
