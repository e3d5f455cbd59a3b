"""Opening every image and mask once: what single files say, and what they say about one another.

Files are looked through region by region and forgotten, a few at a time: memory does not grow with their number, nor
with the size of a TIFF.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Integer

from ...errors import DataError
from ..image_files.intensities import IntensityWindow
from ..image_files.masks.content import MaskContent
from ..image_files.nifti import misplaced
from ..image_files.paths import file_digest
from ..image_files.reading import open_image, open_mask
from .entries import Entry
from .warnings import DataWarning

T = TypeVar("T")
_MOST_AT_ONCE = 8  # decoded images of 200 million pixels fill 600 MB each


@dataclass(frozen=True)
class ImageFile:
    """A decoded image file: its size (y, x) in pixels and the SHA-256 of its bytes."""

    size: tuple[int, int]
    digest: str
    blank: bool
    """Whether all pixels have one colour."""


@dataclass(frozen=True)
class MaskFile:
    """A decoded mask file, with the number of pixels of each value in it."""

    size: tuple[int, int]
    digest: str
    n_pixels: dict[int, int]
    palette: Mapping[int, int] = field(default_factory=dict)
    """Palette index that occurs → its colour, 0xRRGGBB; empty without a palette."""
    white_is_zero: bool = False
    """Whether the file says that 0 is shown white."""


@dataclass(frozen=True)
class Inspection:
    """An entry with its files decoded; None for a file that is absent or unusable."""

    entry: Entry
    image: ImageFile | None
    mask: MaskFile | None
    problems: tuple[str, ...]


def inspect_entries(
    entries: Sequence[Entry], window: IntensityWindow | None, content: MaskContent = "values"
) -> list[Inspection]:
    """Decode all files, some at a time in threads; the decoders release the interpreter's lock."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_AT_ONCE)) as pool:
        return list(pool.map(partial(_inspect, window=window, content=content), entries))


def _inspect(entry: Entry, window: IntensityWindow | None, content: MaskContent) -> Inspection:
    problems: list[str] = []
    image = _noting(problems, lambda: _inspect_image(entry.image, window))
    mask = None if entry.mask is None else _noting(problems, partial(_inspect_mask, entry.mask, content))
    if image and mask and image.size != mask.size:
        problems.append(
            f"{entry.mask} is {mask.size[0]} x {mask.size[1]} (height x width), its image {entry.image.name} is "
            f"{image.size[0]} x {image.size[1]}; save the mask at the image's size"
        )
    elif image and mask and entry.mask and misplaced(entry.image, entry.mask):
        problems.append(
            f"{entry.mask} does not lie where its image {entry.image.name} does (their affines differ); resample the "
            "mask onto the image, or save it with the image's affine"
        )
    return Inspection(entry, image, mask, tuple(problems))


def _noting(problems: list[str], inspect: Callable[[], T]) -> T | None:
    try:
        return inspect()
    except DataError as error:
        problems.append(str(error))
        return None


def _inspect_image(path: Path, window: IntensityWindow | None) -> ImageFile:
    regions = open_image(path, window)
    first, blank = None, True
    for box in regions.boxes():
        pixels = regions.read(*box)
        first = pixels[0, 0].copy() if first is None else first
        blank = blank and bool((pixels == first).all())
    return ImageFile(regions.size, file_digest(path), blank)


def _inspect_mask(path: Path, content: MaskContent) -> MaskFile:
    regions = open_mask(path, content)
    n_pixels = Counter[int]()
    for box in regions.boxes():
        n_pixels.update(_count(regions.read(*box)))
    found = regions.found
    return MaskFile(regions.size, file_digest(path), dict(n_pixels), found.palette, found.white_is_zero)


def _count(values: Integer[np.ndarray, "y x"]) -> dict[int, int]:
    """How often each value occurs."""
    if values.dtype == np.uint8:  # without sorting them
        return {value: n for value, n in enumerate(np.bincount(values.reshape(-1), minlength=256).tolist()) if n}
    present, counts = np.unique(values, return_counts=True)
    return dict(zip(present.tolist(), counts.tolist(), strict=True))


def duplicate_ids(entries: Iterable[Entry]) -> Iterator[str]:
    """One line for each id that several entries have."""
    for sample_id, same in _grouped(entries, lambda entry: entry.id).items():
        if len(same) > 1:
            listed = ", ".join(f"{entry.where} ({entry.split})" for entry in same)
            yield f"duplicate id {sample_id!r}: {listed}; give each sample an id of its own"


def alike_ids(entries: Iterable[Entry]) -> Iterator[DataWarning]:
    """A warning of ids that name one file on systems whose file names have no case."""
    alike = _grouped(entries, lambda entry: entry.id.casefold()).values()
    several = tuple(" / ".join(ids) for same in alike if len(ids := sorted({one.id for one in same})) > 1)
    if several:
        text = "ids differ in case alone, and their predicted masks would have one name on macOS and Windows"
        yield DataWarning("alike-ids", text, several)


def split_groups(entries: Iterable[Entry]) -> Iterator[str]:
    """One line for each group (patient) in several splits; one id in several splits is a duplicate id already."""
    for group, members in _grouped(entries, lambda entry: entry.group).items():
        if _crosses_splits(members):
            listed = ", ".join(f"{entry.id} ({entry.split})" for entry in members)
            yield f"group {group!r} is in more than one split: {listed}; keep a group (patient) in one split"


def split_contents(inspections: Iterable[Inspection]) -> Iterator[str]:
    """One line for each image that is in several splits under different ids, byte for byte."""
    by_digest = _grouped((one for one in inspections if one.image), _digest)
    for same in by_digest.values():
        if _crosses_splits([one.entry for one in same]):
            listed = ", ".join(f"{one.entry.image} ({one.entry.split})" for one in same)
            yield f"the same image is in more than one split: {listed}; keep it in one"


def _digest(inspection: Inspection) -> str:
    return inspection.image.digest if inspection.image else ""


def _crosses_splits(entries: Sequence[Entry]) -> bool:
    return len({entry.split for entry in entries}) > 1 and len({entry.id for entry in entries}) > 1


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
