"""The masks of a data set together: how they are read, which are unusable, and which are odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..image_files.masks.survey import is_grey, naming, written
from ..image_files.masks.values import MaskContent
from ..image_files.paths import split_slice
from .classes import CLASSES_FILE, Classes, guess_binary, read_classes, undeclared
from .inspection import Inspection, MaskFile
from .warnings import DataWarning

MOST_SPREADS, LEAST_SPREAD, LEAST_MASKS = 4, 0.5, 5
"""A mask's share of foreground is odd at so many spreads (in logits, and at least so large) from the median; of so many
masks that are neither empty nor full."""
MANY_VALUES, SHARE_AT_ENDS = 8, 0.8
"""Of a mask: values that are too many for classes, and the least share of nearly black and white ones of soft edges."""
LOSSY = (".jpg", ".jpeg", ".webp", ".jp2", ".j2k")


def declared_classes(root: Path) -> tuple[Classes | None, list[str]]:
    """What the data set declares, and the problem of a malformed declaration."""
    try:
        return read_classes(root), []
    except DataError as error:
        return None, [str(error)]


def content_to_inspect(declared: Classes | None) -> MaskContent:
    """The part of mask files to count: of palettes the indices, as long as nobody knows what they show."""
    return "indices" if declared is None or declared.content == "values" else declared.content


def settle(declared: Classes | None, inspections: Sequence[Inspection]) -> tuple[Classes, list[Inspection], list[str]]:
    """Decide what palettes mean, and the classes where none are declared.

    Returns:
        The classes, the inspections with the values that are to be compared with them, and problems of palettes.
    """
    masks = [one.mask for one in inspections if one.mask]
    if declared is not None and declared.content not in ("values", "indices"):
        return declared, [*inspections], []
    has_colours = any(not is_grey(colour) for mask in masks for colour in mask.palette.values())
    if (declared is not None and declared.reading == "indices") or has_colours:
        classes = declared or guess_binary([mask.n_pixels for mask in masks])
        problems = [*_unlike_palettes(inspections, declared)]
        return replace(classes, reading="indices"), [*inspections], problems
    looked_up = [replace(one, mask=_looked_up(one.mask)) if one.mask else one for one in inspections]
    values = [one.mask.n_pixels for one in looked_up if one.mask]
    return declared or guess_binary(values), looked_up, []


def _looked_up(mask: MaskFile) -> MaskFile:
    """The mask by the grey levels of its palette, if it has one."""
    n_pixels = Counter[int]()
    for value, n in mask.n_pixels.items():
        n_pixels[mask.palette[value] & 255 if mask.palette else value] += n
    return replace(mask, n_pixels=dict(n_pixels))


def _unlike_palettes(inspections: Sequence[Inspection], declared: Classes | None) -> Iterator[str]:
    """A line for masks whose palette indices do not mean the same."""
    masks = {one.entry.mask: one.mask for one in inspections if one.mask and one.entry.mask}
    colours = {colour for mask in masks.values() for colour in mask.palette.values()}
    advice = naming([written(colour) for colour in sorted(colours)])
    bare = [path for path, mask in masks.items() if not mask.palette]
    if bare:
        named = f"{len(bare)} of {len(masks)} masks have no palette ({bare[0].name}, ...)"
        yield f"{named}, and others have one of colours; {advice}"
    elif difference := _difference(masks):
        yield f"the indices of the masks' palettes mean different colours: {difference}; {advice}"
    elif declared is None and any(mask.palette.get(0, 0) for mask in masks.values()):
        yield f"index 0 of the masks' palette is not black, so that the background is not known; {advice}"


def _difference(masks: Mapping[Path, MaskFile]) -> str:
    """Two masks in which an index has other colours, or a colour other indices; "" where there are none."""
    colour_of, index_of = dict[int, tuple[int, Path]](), dict[int, tuple[int, Path]]()
    for path, mask in masks.items():
        for index, colour in mask.palette.items():
            other, there = colour_of.setdefault(index, (colour, path))
            if other != colour:
                return f"index {index} is {written(other)} in {there.name} and {written(colour)} in {path.name}"
            other, there = index_of.setdefault(colour, (index, path))
            if other != index:
                return f"{written(colour)} is index {other} in {there.name} and {index} in {path.name}"
    return ""


def undeclared_values(inspection: Inspection, classes: Classes) -> Iterator[str]:
    """A line for a mask with values that no class has, and how such masks are to be declared."""
    path, mask = inspection.entry.mask, inspection.mask
    strange = classes.undeclared(mask.n_pixels) if mask else []
    if strange and path and mask:
        lossy = split_slice(path)[0].suffix.lower() in LOSSY
        hint = _hint(mask, strange, lossy=lossy) if classes.reading == "values" else ""
        yield f"{path} holds {undeclared(strange, classes)}{hint}"


def _hint(mask: MaskFile, strange: Sequence[int], *, lossy: bool) -> str:
    """What many values are signs of: identities of instances, or soft edges."""
    values, total = sorted(mask.n_pixels), sum(mask.n_pixels.values())
    at_ends = sum(n for value, n in mask.n_pixels.items() if value < 64 or value >= 192)
    is_soft = len(strange) > 2 and strange[0] < 128 <= strange[-1] and at_ends > SHARE_AT_ENDS * total
    if values[-1] <= 255 and (lossy or is_soft):
        why = "JPEG invents values" if lossy else "soft edges?"
        return f'; {why}: say {{"masks": {{"threshold": 128}}}} in {CLASSES_FILE}, and all from 128 on is foreground'
    if len(values) >= MANY_VALUES and (values[-1] > 255 or values[-1] < 2 * len(values)):
        return f'; an instance mask? Say {{"masks": "instances"}} in {CLASSES_FILE}, and all above 0 is foreground'
    return ""


def odd_masks(inspections: Sequence[Inspection], classes: Classes) -> Iterator[DataWarning]:
    """Warnings of masks that are empty, full or unlabelled, or unlike the others, and of classes that no mask has."""
    masks = {one.entry.id: one.mask for one in inspections if one.mask}
    counts = {name: classes.count(mask.n_pixels) for name, mask in masks.items()}
    labelled = {name: of for name, of in counts.items() if sum(of)}
    unlabelled = [name for name in counts if name not in labelled and not classes.undeclared(masks[name].n_pixels)]
    empty = [name for name, of in labelled.items() if not sum(of[1:])]
    full = [name for name, of in labelled.items() if not of[0]]
    for warning, names, text in (
        ("unlabelled-mask", unlabelled, "have no labelled pixel"),
        ("empty-mask", empty, f"hold only {classes.names[0]}"),
        ("full-mask", full, f"have no pixel of {classes.names[0]}; do they show what they should?"),
    ):
        if names:
            yield DataWarning(warning, f"{len(names)} of {len(masks)} masks {text}", tuple(names))
    yield from _odd_shares({name: 1 - of[0] / sum(of) for name, of in labelled.items() if 0 < of[0] < sum(of)})
    has = [any(of) for of in zip(*counts.values(), strict=True)]
    absent = [name for name, there in zip(classes.names, has, strict=bool(has)) if not there]
    if absent:
        text = f"no mask has a pixel of {', '.join(absent)}; is {CLASSES_FILE} or the way the masks were saved right?"
        yield DataWarning("absent-class", text)


def _odd_shares(shares: Mapping[str, float]) -> Iterator[DataWarning]:
    """A warning of masks whose share of foreground is far from the others': inverted, or of something else.

    Far is by the logits of shares, which treat foreground and background alike: `MOST_SPREADS` times the spread from
    their median. The spread is 1.4826 times the median absolute deviation, as large as a normal distribution's standard
    deviation, and of no use where most shares are equal: at least `LEAST_SPREAD`.
    """
    if len(shares) < LEAST_MASKS:
        return
    of = np.array(list(shares.values()))
    logits = np.log(of / (1 - of))
    apart = np.abs(logits - np.median(logits))
    far = apart > MOST_SPREADS * max(1.4826 * float(np.median(apart)), LEAST_SPREAD)
    odd = [name for name, is_far in zip(shares, far, strict=True) if is_far]
    if odd:
        named = ", ".join(f"{shares[name]:.1%}" for name in odd[:3]) + (", ..." if len(odd) > 3 else "")
        text = (
            f"{len(odd)} of {len(shares)} masks have a share of foreground ({named}) far from the others' (median "
            f"{np.median(of):.1%}); are they inverted, or of another kind?"
        )
        yield DataWarning("odd-share", text, tuple(odd))
