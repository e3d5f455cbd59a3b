"""A user's data as samples: what was found, and everything that is wrong with it, all at once.

`check_data` reports, `read_dataset` insists: both rest on `scan_files`, which opens every file once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ..image_files.intensities import IntensityWindow
from .classes import Classes
from .inspection import (
    Inspection,
    MaskFile,
    alike_ids,
    duplicate_ids,
    inspect_entries,
    split_contents,
    split_groups,
)
from .layouts import list_entries
from .masks.lost_classes import LabelSize, lost_classes
from .masks.oddities import odd_masks, undeclared_values
from .masks.reading import content_to_inspect, declared_classes, settle
from .oddities import odd_samples
from .warnings import DataWarning, divide, read_silenced


@dataclass(frozen=True)
class Sample:
    """One image with what is known about it."""

    id: str
    group: str
    """The patient or whole image it comes from; everything that counts samples counts groups."""
    split: str
    """train, val or test."""
    image: Path
    """A file, or a slice of one (`FILE#INDEX`); so is the mask. `open_image` and `open_mask` read both."""
    mask: Path | None
    text: str
    """The image's text; "" where there is none."""
    stratum: str
    """The kind that it is of (organ, scanner, hospital), over which draws of groups are spread; "": unknown."""
    weight: float
    """How much its pixels count in a head's loss, beside those of other samples; above 0."""
    size: tuple[int, int]
    """The image's own height and width in pixels."""
    image_digest: str
    """SHA-256 of the image file, in hexadecimal; of a slice as `file_digest` says."""
    mask_digest: str | None
    n_pixels: tuple[int, ...] = ()
    """Pixels of each class in the mask; empty where there is none."""


@dataclass(frozen=True)
class Dataset:
    """All samples, and what their masks' values mean."""

    root: Path
    samples: tuple[Sample, ...]
    """By split and name in LViT's layout, in the manifest's order otherwise."""
    classes: Classes
    warnings: tuple[DataWarning, ...]
    names_files: bool = True
    """Whether a cache may name the files; not where ids are hashed."""


@dataclass(frozen=True)
class Scan:
    """A data set and all that is wrong with it."""

    dataset: Dataset
    problems: tuple[str, ...]
    masks: tuple[MaskFile, ...]
    silenced: tuple[str, ...]
    """Warnings that the data set's own `textdiff.json` silences, each with the reason."""


def read_dataset(data: Path, window: IntensityWindow | None = None, label_size: LabelSize | None = None) -> Dataset:
    """Read data that must be free of problems; as `scan_files`.

    Raises:
        DataError: There is no data at the path, or anything is wrong with it; its `problems` lists everything.
    """
    scan = scan_files(data, window, label_size)
    problems = scan.problems
    if problems:
        n = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        raise DataError(f"{data} has {n}; correct the data and look again with `textdiff check-data`:", problems)
    return scan.dataset


def scan_dataset(data: Path, window: IntensityWindow | None = None) -> tuple[Dataset, tuple[str, ...]]:
    """Everything usable that was found, and every problem as one line that says what to do.

    Raises:
        DataError: There is no data of a known layout at the path.
    """
    scan = scan_files(data, window)
    return scan.dataset, scan.problems


def scan_files(data: Path, window: IntensityWindow | None, label_size: LabelSize | None = None) -> Scan:
    """Open every file of a data set once.

    Args:
        data: a folder or a manifest.
        window: of images that need one.
        label_size: at which masks are to be learnt; to warn of classes that are lost there, masks of several classes
            are opened once more. `None`: unknown.
    """
    listing = list_entries(data)
    declared, malformed = declared_classes(listing.root)
    inspections = inspect_entries(listing.entries, window, content_to_inspect(declared))
    classes, inspections, unlike = settle(declared, inspections)
    # What masks may hold is not known where the declaration is malformed, so nothing is said of them.
    strange = [] if malformed or unlike else [line for one in inspections for line in undeclared_values(one, classes)]
    class_problems = (*malformed, *unlike, *strange)
    silenced, setting_problems = _find_silenced(listing.root)
    masks = tuple(inspection.mask for inspection in inspections if inspection.mask)
    problems = (
        *listing.problems,
        *(problem for inspection in inspections for problem in inspection.problems),
        *class_problems,
        *setting_problems,
        *duplicate_ids(listing.entries),
        *split_groups(listing.entries),
        *split_contents(inspections),
    )
    samples = tuple(sample for inspection in inspections for sample in _samples(inspection, classes))
    lost = [] if label_size is None or class_problems else lost_classes(inspections, classes, label_size)
    odd = (*alike_ids(listing.entries), *odd_masks(inspections, classes), *lost, *odd_samples(inspections))
    shown, hidden = divide((*listing.warnings, *odd), silenced)
    return Scan(Dataset(listing.root, samples, classes, shown), problems, masks, hidden)


def _samples(inspection: Inspection, classes: Classes) -> Iterator[Sample]:
    """The sample, unless its image is unusable; an unusable mask counts as none."""
    if inspection.image:
        entry, mask = inspection.entry, inspection.mask
        yield Sample(
            id=entry.id,
            group=entry.group,
            split=entry.split,
            image=entry.image,
            mask=entry.mask if mask else None,
            text=entry.text,
            stratum=entry.stratum,
            weight=entry.weight,
            size=inspection.image.size,
            image_digest=inspection.image.digest,
            mask_digest=mask.digest if mask else None,
            n_pixels=classes.count(mask.n_pixels) if mask else (),
        )


def _find_silenced(root: Path) -> tuple[dict[str, str], list[str]]:
    """Name → reason of the warnings that the data set silences, with the problem of a malformed file."""
    try:
        return read_silenced(root), []
    except DataError as error:
        return {}, [str(error)]
