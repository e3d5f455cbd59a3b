"""The two ways in which data may lie on disk, listed as the same entries without opening an image.

LViT's layout (github.com/HUANGLIZI/LViT) is a folder with some of `Train_Folder`, `Val_Folder` and `Test_Folder`,
each with `img/`, `labelcol/` and a `*_text.xlsx` or `*_text.csv` of Image and Description. The presets' data are
published so: MoNuSeg as `img/NAME.tif` with `labelcol/NAME.png`, QaTa-COV19 as `img/NAME.png` with
`labelcol/mask_NAME.png`, the texts of both under the masks' names. A manifest is one table with a row for each sample;
its images and masks may be slices (`scan.nii.gz#12`). What is wrong is collected, never raised one at a time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from ...errors import DataError
from ..config.data import LVIT_FOLDERS, MANIFESTS
from ..image_files.listing import sort_folder
from ..image_files.paths import stem_of, undecoded
from .entries import Entry, Listing, bad_id, own_group
from .manifest import COLUMNS as MANIFEST_COLUMNS
from .manifest import list_manifest
from .tables import OTHER_SUFFIXES, TABLE_SUFFIXES, DataTable, read_table
from .text_tables import COLUMNS, mask_stems, match_rows, missing_columns
from .warnings import DataWarning


def list_entries(data: Path) -> Listing:
    """List a folder in LViT's layout, a manifest, or a folder that holds a manifest.

    Raises:
        DataError: Nothing is there, or it is neither, or both.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist; expected {_EXPECTED}")
    if data.is_file():
        return list_manifest(_known_table(data))
    names = [name for name in (*LVIT_FOLDERS, *MANIFESTS) if (data / name).exists()]
    manifests = [name for name in names if name in MANIFESTS]
    if not names:
        raise DataError(f"{data} is not a data folder; expected {_EXPECTED}")
    if manifests and len(names) > 1:
        raise DataError(f"{data} holds {', '.join(names)}; keep one of them, or give the path of the manifest itself")
    return list_manifest(data / manifests[0]) if manifests else _list_lvit(data, names)


_TABLES = TABLE_SUFFIXES | OTHER_SUFFIXES
_EXPECTED = (
    f"a folder with any of {', '.join(LVIT_FOLDERS)}, or a manifest (.csv, .xlsx) with "
    f"{', '.join(MANIFEST_COLUMNS.required)}"
)


def _known_table(path: Path) -> Path:
    if path.suffix.lower() not in _TABLES:
        raise DataError(f"{path} is not a manifest; expected {_EXPECTED}")
    return path


def _list_lvit(root: Path, folders: list[str]) -> Listing:
    listing = Listing(root)
    for name in folders:
        _add_folder(listing, root / name, LVIT_FOLDERS[name])
    return listing


def _add_folder(listing: Listing, folder: Path, split: str) -> None:
    images = _images_in(listing, folder / "img")
    if not images:
        listing.problems.append(f"{folder / 'img'} holds no images; put them there, or remove {folder.name}")
    masks = _match_masks(listing, folder / "labelcol", images, optional=split == "test")
    stems = [stem_of(image) for image in images]
    entries = [
        Entry(stem, own_group(image, listing.root, stem), split, image, masks.get(image), "", str(image))
        for stem, image in zip(stems, images, strict=True)
    ]
    listing.problems += [problem for entry in entries for problem in bad_id(entry.id, entry.where)]
    listing.entries += _with_texts(listing, folder, entries)


def _images_in(listing: Listing, folder: Path) -> list[Path]:
    images, others = sort_folder(folder) if folder.is_dir() else ([], [])
    if others:
        listing.warnings.append(DataWarning("left-out-files", f"{folder}: files are left out", tuple(others)))
    strange = [name for image in images if (name := undecoded(image.name))]
    listing.problems += [f"{folder / name}: the name is not UTF-8; rename the file" for name in strange]
    return [image for image in images if not undecoded(image.name)]


def _match_masks(listing: Listing, folder: Path, images: list[Path], *, optional: bool) -> dict[Path, Path]:
    """The mask of each image, by its stem."""
    if not folder.is_dir():
        if images and not optional:
            listing.problems.append(f"{folder} does not exist; expected a mask there for each of {len(images)} images")
        return {}
    by_stem = defaultdict(list)
    for mask in _images_in(listing, folder):
        by_stem[stem_of(mask)].append(mask)
    matched = {}
    for image in images:
        masks_of_image = [mask for stem in mask_stems(stem_of(image)) for mask in by_stem.pop(stem, [])]
        if masks_of_image:
            matched[image] = masks_of_image[0]
        if len(masks_of_image) != 1:
            listing.problems.append(_not_one_mask(image, folder, masks_of_image))
    extra = [mask for masks in by_stem.values() for mask in masks]
    listing.problems += [f"{mask} belongs to no image in {folder.parent / 'img'}; remove it" for mask in extra]
    return matched


def _not_one_mask(image: Path, folder: Path, masks: list[Path]) -> str:
    if not masks:
        return f"{image} has no mask; expected {folder / stem_of(image)}.png"
    return f"{image} has {len(masks)} masks ({', '.join(mask.name for mask in masks)}); keep one"


def _with_texts(listing: Listing, folder: Path, entries: list[Entry]) -> list[Entry]:
    tables = [path for path in sorted(folder.iterdir()) if _is_text_table(path)]
    if not tables:
        text = f"{folder} holds no *_text.xlsx or *_text.csv; its samples have no texts"
        listing.warnings.append(DataWarning("no-texts", text))
        return entries
    if len(tables) > 1:
        listing.problems.append(f"{folder} holds {', '.join(path.name for path in tables)}; keep one table of texts")
        return entries
    try:
        table = read_table(tables[0], COLUMNS)
    except DataError as error:
        listing.problems.append(str(error))
        return entries
    return _join_texts(listing, table, entries)


def _is_text_table(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in _TABLES and path.stem.lower().endswith("_text") and path.name[0] not in ".~"


def _join_texts(listing: Listing, table: DataTable, entries: list[Entry]) -> list[Entry]:
    listing.problems += table.problems
    listing.warnings += table.warnings
    problem = missing_columns(table, COLUMNS.required)
    if problem:
        listing.problems.append(problem)
        return entries
    unused = [name for name in table.columns if name not in COLUMNS.required]
    if unused:
        text = f"{table.path}: columns {', '.join(map(repr, unused))} are not used"
        listing.warnings.append(DataWarning("unused-columns", text))
    matched = match_rows(table, [(entry.image, entry.mask) for entry in entries])
    rows = matched.rows
    listing.problems += [*matched.problems, *matched.unmatched]
    listing.problems += [
        f"{table.path} has no row for {entry.where}; add one" for i, entry in enumerate(entries) if i not in rows
    ]
    return [
        replace(entry, text=rows[i].cells["description"]) if i in rows else entry for i, entry in enumerate(entries)
    ]
