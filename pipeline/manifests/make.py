"""`make-manifest`: from folders as people have them to one table of samples; written whole, or not at all.

The order: files by content and name (`listing`), masks (`matching`, `drawing`), texts (`texts`), rows (`samples`),
splits (`division`). Problems of all steps are collected first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...cache.storage.atomic import write_durably, write_json
from ...errors import DataError
from ..config.data import SHARES, ManifestConfig
from ..data.classes import CLASSES_FILE, Classes, read_classes
from ..data.manifest import path_from
from ..data.tables import TABLE_SUFFIXES
from ..exchange.importing import is_export
from ..runtime.progress import Progress
from .classes import class_problems, declared_classes
from .copies import merge_copies
from .division import divide_groups
from .drawing import MASKS_FOLDER, DrawnMasks, draw_annotations, draw_referred, unite
from .layouts import first_channels, recognise
from .listing import FileListing, list_files
from .matching import MatchedMasks, match_masks
from .names import role_of_folders
from .result import ManifestSummary, Unmatched
from .samples import ManifestSample, SampleListing, make_rows, unread_patients
from .series import match_series
from .texts import MatchedTexts, TableRows, match_names, read_tables

COLUMNS = ("id", "image", "mask", "text", "split", "group")


@dataclass(frozen=True)
class _Found:
    """Results of all steps before the division."""

    listing: FileListing
    masks: MatchedMasks
    drawn: DrawnMasks
    tables: TableRows
    rows: MatchedTexts
    samples: SampleListing
    classes: Classes | None

    def problems(self, config: ManifestConfig) -> Iterator[str]:
        yield from (*self.masks.problems, *self.drawn.problems, *self.tables.problems, *self.rows.problems)
        yield from self.samples.problems
        yield from _no_matches(self, config)
        yield from class_problems(self.classes, config.out.parent)
        for path, content in self.drawn.files.items():
            if path.exists() and path.read_bytes() != content:
                yield f"{path} exists and is another file; move it, or take another folder for --out"


def make_manifest(
    config: ManifestConfig, progress: Progress | None = None, shares: tuple[float, float, float] = SHARES
) -> ManifestSummary:
    """Write a manifest of the images in a folder.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.
        shares: of train, val and test, where neither `config.split` nor the folders say.

    Raises:
        DataError: There are no images, a match is ambiguous, nothing matches, the groups cannot be divided, or a file
            to be written exists; nothing is written then.
    """
    if config.out.exists():
        raise DataError(f"{config.out} exists, perhaps with changes by hand; move it, or give another --out")
    progress = progress or Progress()
    progress.say(f"looking through {config.images}")
    found = _find(config)
    problems = [*found.problems(config)]
    if problems:
        n = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        raise DataError(f"{config.images} has {n}; nothing was written:", problems)
    merged, copies = merge_copies(found.samples.rows)
    rows, split_rule = _divided(merged, config, shares)
    summary = _summary(config, found, rows, split_rule, [copies, _hidden_masks(config, rows)])
    _write(config.out, rows, found)
    return summary


def _find(config: ManifestConfig) -> _Found:
    export = config.masks and _is_export(config.masks)
    folder = None if export else config.masks
    listing = list_files(config.images, folder, config.leave_out)
    first_channels(listing)
    masks = match_masks(listing.images, [] if export else listing.masks)
    series = match_series(listing.images, masks)
    masks.problems += series.problems
    drawn = _draw(config, listing, masks, [*masks.masks, *series.masks])
    tables = read_tables(_tables(config, listing), config.text_columns, given=bool(config.texts))
    rows = match_names(tables.rows, listing.images, masks.masks)
    of_images = {i: parts[0].path for i, parts in masks.masks.items()} | series.masks | drawn.masks
    samples = make_rows(listing.images, of_images, rows, config.group_pattern, config.slices)
    return _Found(listing, masks, drawn, tables, rows, samples, declared_classes(listing, config, drawn.classes))


def _is_export(path: Path) -> bool:
    """Whether the path of masks is what an annotation tool wrote, and no folder of masks with textdiff's classes."""
    return is_export(path) and not (path / CLASSES_FILE).exists()


def _draw(config: ManifestConfig, listing: FileListing, masks: MatchedMasks, masked: Sequence[int]) -> DrawnMasks:
    """The masks that no file holds: of an export, or of DICOM segmentations and of images with several masks."""
    folder = config.out.parent / MASKS_FOLDER
    if config.masks and _is_export(config.masks):
        reason = f"a mask, and --masks is {config.masks.name}"
        listing.others += [(one.path, reason) for one in (*listing.masks, *listing.segmentations)]
        declared = read_classes(config.out.parent) or read_classes(config.images)
        return draw_annotations(config.masks, listing.images, folder, declared)
    drawn = unite({i: parts for i, parts in masks.masks.items() if len(parts) > 1}, listing.images, folder)
    if listing.segmentations:
        drawn.add(draw_referred(listing.segmentations, listing.images, folder, masked))
    return drawn


def _tables(config: ManifestConfig, listing: FileListing) -> list[Path]:
    """The tables that the user gave, or those that lie among the images."""
    if config.texts is None:
        return listing.tables
    listing.others += [(table, "a table, and --texts was given") for table in listing.tables if table != config.texts]
    if not config.texts.is_dir():
        return [config.texts]
    tables = sorted(path for path in config.texts.iterdir() if path.suffix.lower() in TABLE_SUFFIXES)
    if not tables:
        raise DataError(f"{config.texts} holds no tables; expected {' or '.join(sorted(TABLE_SUFFIXES))}")
    return tables


def _no_matches(found: _Found, config: ManifestConfig) -> Iterator[str]:
    """Masks or texts of which none belongs to any image: names that no rule covers."""
    images = found.listing.images
    if not (found.samples.rows or found.samples.problems):
        path, reason = next(iter(found.samples.unusable), (images[0].path, "no slice has a label"))
        yield f"no image is left: {path}: {reason}"
        return
    labelled = any(row.mask for row in found.samples.rows) or found.masks.problems
    if found.masks.unmatched and not labelled:
        yield (
            f"none of {len(found.masks.unmatched)} masks fits one of {len(images)} images: masks are called as "
            f"{found.masks.unmatched[0].path.name}, images as {images[0].path.name}; docs/manifests.md has the rules"
        )
    if config.masks and not (found.masks.unmatched or labelled):
        yield f"{config.masks} holds no masks"
    if config.masks and config.masks.name.lower() == "mask" and any(config.masks.resolve().parent.glob("*manual*")):
        yield f"{config.masks} is DRIVE's field of view, not the vessels; give the folder 1st_manual beside it"
    if found.tables.rows and len(found.rows.unmatched) == len(found.tables.rows):
        row = found.tables.rows[0]
        otherwise = "" if config.texts else ", or set the table aside with --leave-out"
        yield (
            f"none of {len(found.tables.rows)} rows names one of {len(images)} images: {row.where} has {row.name!r}, "
            f"images are called as {images[0].path.name}; choose the columns with --text-columns NAME,TEXT" + otherwise
        )


def _divided(
    rows: Sequence[ManifestSample], config: ManifestConfig, otherwise: tuple[float, float, float]
) -> tuple[list[ManifestSample], str]:
    """The rows with their splits, and the rule by which they have them."""
    if config.split is None and any(row.split for row in rows):
        _refuse_leaks(rows)
        return [*rows], "as folders, names or tables tell"
    shares = config.split or otherwise
    strata: dict[str, list[str]] = {}
    for row in rows:
        strata.setdefault(row.group, []).append(row.stratum)
    labelled = {row.group for row in rows if row.mask}
    splits = divide_groups(strata, labelled, shares, config.seed)
    written = ",".join(f"{share:g}" for share in shares)
    return [replace(row, split=splits[row.group]) for row in rows], f"groups divided {written} with seed {config.seed}"


def _refuse_leaks(rows: Sequence[ManifestSample]) -> None:
    """Refuse splits of which one has images of another's patients."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.group, set()).add(row.split)
    problems = [f"{group}: {', '.join(sorted(names))}" for group, names in splits.items() if len(names) > 1]
    if problems:
        raise DataError(
            f"{len(problems)} groups (patients, or copies of an image) are in more than one split of the folders' own; "
            "divide anew with --split 0.7,0.15,0.15, or give --group-pattern '' to take every image for a patient:",
            problems,
        )


def _hidden_masks(config: ManifestConfig, rows: Sequence[ManifestSample]) -> str:
    """A hint where no image has a mask and a folder beside the images' is called after masks; "" for none."""
    if config.masks or any(row.mask for row in rows):
        return ""
    # Not guessed at: a folder beside the images may belong to other images.
    beside = sorted(path for path in config.images.resolve().parent.iterdir() if path.is_dir())
    found = [path for path in beside if role_of_folders([path.name]) == "mask"]
    return f"no image has a mask; are they in {found[0]}? Give it with --masks" if found else ""


def _summary(
    config: ManifestConfig, found: _Found, rows: Sequence[ManifestSample], split_rule: str, hints: Sequence[str]
) -> ManifestSummary:
    listing, unusable = found.listing, found.samples.unusable
    texts = any(row.text for row in rows)
    layout = recognise(listing, config.images, config.masks)
    unmatched = Unmatched(
        images_without_mask=[row.id for row in rows if row.mask is None],
        masks_without_image=[str(one.path) for one in found.masks.unmatched],
        images_without_text=[row.id for row in rows if not row.text] if texts else [],
        texts_without_image=[f"{row.where} ({row.name!r})" for row in found.rows.unmatched],
        files_not_used=[f"{path} ({reason})" for path, reason in (*listing.others, *found.tables.unused, *unusable)],
    )
    n_left = found.samples.n_slices_left_out
    left_out = f"{n_left} slices without a label were left out" if n_left else ""
    return ManifestSummary(
        out=config.out,
        layout=layout.name,
        rule=layout.rule,
        rows=rows,
        group_rule=found.samples.group_rule,
        split_rule=split_rule,
        drawn=found.drawn.remarks,
        tables=found.tables.read,
        loose={"masks": found.masks.loose, "texts": found.rows.loose},
        unmatched=unmatched,
        hints=[*filter(None, [left_out, unread_patients(rows), *hints])],
    )


def _write(out: Path, rows: Sequence[ManifestSample], found: _Found) -> None:
    """Write masks and classes before the manifest that refers to them."""
    for path, content in found.drawn.files.items():
        write_durably(path, [content])
    if found.classes and not (out.parent / CLASSES_FILE).exists():
        write_json(out.parent / CLASSES_FILE, found.classes.to_dict())
    strata = any(row.stratum for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(["stratum"] if strata else [])])
    for row in rows:
        mask = path_from(row.mask, out.parent) if row.mask else ""
        cells = [row.id, path_from(row.image, out.parent), mask, row.text, row.split, row.group]
        writer.writerow([*cells, *([row.stratum] if strata else [])])
    write_durably(out, [text.getvalue().encode()])
