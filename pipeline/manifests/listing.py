"""All files below a folder, sorted by content and by what their names say; none is left out without a word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...errors import DataError
from ..data.tables import TABLE_SUFFIXES
from ..image_files.listing import SYSTEM_FILES
from ..image_files.paths import FileKind, composed, is_image, kind_of, read_head, split_suffix, undecoded
from ..image_files.raster import UnusableImageError
from .dicom import DicomFile, read_dicom_file
from .names import (
    Role,
    mask_bases,
    place_of,
    role_of_folders,
    role_of_name,
    split_of_folders,
    words_of,
)

_LEFT_OUT = "by --leave-out"
_NO_IMAGE = "no image"


@dataclass(frozen=True)
class FoundFile:
    """One image file, of whatever use."""

    path: Path
    folders: tuple[str, ...]
    """Between the folder that was given and the file."""
    kind: FileKind | None
    """`None`: a folder of OME-Zarr."""
    header: DicomFile | None = None
    """Of a DICOM file."""

    @cached_property
    def name(self) -> str:
        """The path from the folder that was given, with slashes, in NFC."""
        return "/".join((*self.folders, composed(self.path.name)))

    @cached_property
    def stem(self) -> str:
        """The name without suffix, in NFC."""
        return composed(split_suffix(self.path.name)[0])

    @cached_property
    def mask_bases(self) -> frozenset[str]:
        """Names that its image may have, if it is a mask; none where its name has no word for masks."""
        return mask_bases(self.stem)

    @cached_property
    def place(self) -> tuple[str, ...]:
        """Words of its folders that an image and its mask have in common."""
        return place_of(self.folders)

    @cached_property
    def split(self) -> str:
        """The split that its folders name; "" for none."""
        return split_of_folders(self.folders)


@dataclass
class FileListing:
    """The files below one or two folders."""

    images: list[FoundFile] = field(default_factory=list)
    masks: list[FoundFile] = field(default_factory=list)
    segmentations: list[FoundFile] = field(default_factory=list)
    """DICOM-SEG, which refer to images by their headers, not by name."""
    tables: list[Path] = field(default_factory=list)
    others: list[tuple[Path, str]] = field(default_factory=list)
    """Every file without a use, with the reason."""


def list_files(images: Path, masks: Path | None, leave_out: str | None = None) -> FileListing:
    """Sort the files below a folder, and below a second one where masks lie apart.

    A file is a mask if its folder says so, or if its name is that of an image beside it and a word such as `_mask`.

    Args:
        images: the folder of images, or of everything.
        masks: the folder of masks.
        leave_out: regular expression of paths to leave out.

    Raises:
        DataError: A folder does not exist, cannot be read, or holds no images; or no path holds the expression.
    """
    _refuse_absent(images, masks)
    listing = FileListing()
    apart = masks if masks and masks.resolve() != images.resolve() else None
    found = list(_sorted_out(listing, images, apart, leave_out))
    stems = {(one.place, one.split, one.stem) for one in found}
    for one in found:
        _add(listing, one, _role(one, stems, masks_apart=bool(apart)))
    for one in _sorted_out(listing, apart, images, leave_out) if apart else ():
        role = role_of_folders(one.folders)
        _add(listing, one, role if role and role != "image" else _odd_role(one) or "mask")
    if leave_out and found and not any(reason == _LEFT_OUT for _, reason in listing.others):
        raise DataError(f"no file's path holds {leave_out!r} of --leave-out; paths are as {found[0].name!r}")
    _set_fields_of_view_apart(listing)
    if not listing.images:
        raise DataError(f"{images} holds no images{_instead(listing)}")
    return listing


def _refuse_absent(*folders: Path | None) -> None:
    problems = [f"{folder} {_lack(folder)}" for folder in folders if folder and not folder.is_dir()]
    if problems:
        raise DataError("\n".join(problems))


def _lack(folder: Path) -> str:
    return "is a file; expected a folder" if folder.exists() else "does not exist; expected a folder"


def _instead(listing: FileListing) -> str:
    if listing.masks:
        return f": all of its images lie where masks do, such as {listing.masks[0].path}; give the images' own folder"
    seen = ", ".join(f"{path.name} ({reason})" for path, reason in listing.others[:3])
    return f"; there are {len(listing.others)} other files: {seen}" if seen else "; it is empty"


def _sorted_out(listing: FileListing, root: Path, without: Path | None, leave_out: str | None) -> Iterator[FoundFile]:
    """The image files below the root in order of their names; what else is there goes into the listing."""
    for folder, names in _walk(root, without.resolve() if without else None):
        for name in names:
            path = folder / name
            folders = tuple(map(composed, folder.relative_to(root).parts))
            left_out = bool(leave_out and re.search(leave_out, "/".join((*folders, composed(name)))))
            found, reason = (None, _LEFT_OUT) if left_out else _look(path, folders)
            if found and found.header and found.header.is_segmentation:
                listing.segmentations.append(found)
            elif found:
                yield found
            elif path.suffix.lower() in TABLE_SUFFIXES and reason == _NO_IMAGE:
                listing.tables.append(path)
            else:
                listing.others.append((path, reason))


def _walk(root: Path, without: Path | None) -> Iterator[tuple[Path, list[str]]]:
    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error

    for folder, subfolders, names in os.walk(root, onerror=unreadable, followlinks=False):
        # A folder of OME-Zarr is one image; those of systems hold thumbnails and copies.
        whole = [name for name in subfolders if name.lower().endswith(".zarr") or SYSTEM_FILES.fullmatch(name)]
        subfolders[:] = sorted(
            name for name in subfolders if name not in whole and (Path(folder) / name).resolve() != without
        )
        yield Path(folder), sorted(names + whole)


def _look(path: Path, folders: tuple[str, ...]) -> tuple[FoundFile | None, str]:
    """The image file at a path; where there is none, the reason."""
    if reason := _unusable(path):
        return None, reason
    if path.is_dir():
        return (FoundFile(path, folders, None), "") if is_image(path) else (None, "no image of OME-Zarr")
    try:
        head = read_head(path)
        kind = kind_of(head)
        header = read_dicom_file(path) if kind == "DICOM" else None
    except (DataError, UnusableImageError) as error:
        return None, str(error).removeprefix(f"{path} ")
    if kind is None:
        return None, _NO_IMAGE if head else "empty"
    return FoundFile(path, folders, kind, header), ""


def _unusable(path: Path) -> str:
    """Reason not to open a file; "" for none."""
    if undecoded(str(path)):
        return "its name is not UTF-8"
    if SYSTEM_FILES.fullmatch(path.name):
        return "of the system, or hidden"
    return "" if path.is_file() or path.is_dir() else "a broken link, or no file"


def _role(one: FoundFile, stems: set[tuple[tuple[str, ...], str, str]], *, masks_apart: bool) -> Role:
    """The use of a file in the images' folder."""
    role = _odd_role(one) or role_of_folders(one.folders)
    if role is not None and role != "image":
        return role
    if not one.mask_bases:
        return "image"
    beside = any((one.place, one.split, base) in stems for base in one.mask_bases)
    # `label_3.png` in a folder of images alone is an image that is called so.
    return "mask" if beside or (role is None and not masks_apart) else "image"


def _odd_role(one: FoundFile) -> Role | None:
    role = role_of_name(one.stem)
    return None if role in ("image", "mask") else role


def _add(listing: FileListing, one: FoundFile, role: Role) -> None:
    if role == "image":
        listing.images.append(one)
    elif role == "mask":
        listing.masks.append(one)
    else:
        listing.others.append((one.path, role))


def _set_fields_of_view_apart(listing: FileListing) -> None:
    """Take folders `mask` for fields of view where there is a folder `1st_manual` or `manual1`: DRIVE, HRF."""
    names = [(one, one.folders[-1].lower() if one.folders else "") for one in listing.masks]
    if not any("manual" in words_of(name) for _, name in names):
        return
    listing.others += [(one.path, "field of view") for one, name in names if name == "mask"]
    listing.masks = [one for one, name in names if name != "mask"]
