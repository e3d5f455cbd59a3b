"""The way in which a data set's masks are read: as it declares, or as all of them together tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ....errors import DataError
from ...image_files.masks.content import MaskContent, is_grey, naming, written
from ..classes import Classes, guess_binary, read_classes
from ..inspection import Inspection, MaskFile


def declared_classes(root: Path) -> tuple[Classes | None, list[str]]:
    """Declaration of the data set, and the problem of a malformed one."""
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
