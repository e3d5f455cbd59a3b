"""Layouts of published data, known by signs among their files; a layout is named, its files are matched as all are.

The words of names and folders, the affixes of masks and the rules of matching (`names`, `matching`) hold for every
layout. What stands here tells the user which data were recognised and how their files are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .listing import FileListing, FoundFile
from .names import channel_of


@dataclass(frozen=True)
class FolderLayout:
    """How one data set, or one way of keeping data, looks."""

    name: str
    signs: tuple[str, ...]
    """Regular expressions, each of which some file's path must hold."""
    rule: str
    """How its files are read."""


LAYOUTS = (
    FolderLayout(
        "LViT",
        (r"(train|val|test)_folder/img/", r"/labelcol/"),
        "img/ and labelcol/ of Train_Folder, Val_Folder and Test_Folder, with their tables of texts",
    ),
    FolderLayout(
        "QaTa-COV19",
        (r"(train|test) set/images/", r"/ground-truths/mask_"),
        "Ground-truths/mask_NAME is the mask of Images/NAME; Train Set and Test Set are splits",
    ),
    FolderLayout(
        "nnU-Net",
        (r"images(tr|ts)/", r"labels(tr|ts)/"),
        "labelsTr/CASE is the mask of imagesTr/CASE or CASE_0000, the first channel; dataset.json names the classes",
    ),
    FolderLayout(
        "DRIVE",
        (r"images/\d+_(training|test)\.", r"1st_manual/"),
        "1st_manual/ has the masks; mask/ is the field of view and 2nd_manual/ a second reading, neither is used",
    ),
    FolderLayout(
        "GlaS",
        (r"(train|test[ab])_\d+\.", r"(train|test[ab])_\d+_anno\."),
        "NAME_anno is the mask of NAME; train_, testA_ and testB_ are splits",
    ),
    FolderLayout(
        "BUSI",
        (r"(benign|malignant|normal) \(\d+\)_mask",),
        "NAME_mask is the mask of NAME, with NAME_mask_1 and so on united; the folders are strata",
    ),
    FolderLayout(
        "ISIC", (r"ISIC_\d+_segmentation\.",), "NAME_segmentation is the mask of NAME; superpixels are not used"
    ),
    FolderLayout("PH2", (r"IMD\d+_lesion\.",), "IMD000_lesion is the mask of IMD000; regions of interest are not used"),
    FolderLayout(
        "CHASE_DB1",
        (r"_1stHO\.",),
        "NAME_1stHO is the mask of NAME; NAME_2ndHO, a second reading, is not used",
    ),
    FolderLayout(
        "nuclei one by one",
        (r"([0-9a-f]{16,})/images/\1\.", r"([0-9a-f]{16,})/masks/"),
        "all masks in the folder of an image are united",
    ),
)


def recognise(listing: FileListing, images: Path, masks: Path | None) -> FolderLayout:
    """The first layout whose signs are there, or words for how the masks lie.

    Args:
        listing: of all files.
        images: the folder that was given.
        masks: the folder of masks, where it was given.
    """
    of_images, of_masks = images.resolve().name, (masks or images).resolve().name
    paths = [f"{of_images}/{one.name}" for one in listing.images]
    paths += [f"{of_masks}/{one.name}" for one in listing.masks]
    for layout in LAYOUTS:
        if all(any(re.search(sign, path, re.IGNORECASE) for path in paths) for sign in layout.signs):
            return layout
    return _unnamed(listing, masks)


def _unnamed(listing: FileListing, masks: Path | None) -> FolderLayout:
    if masks and not listing.masks:
        return FolderLayout("images and annotations", (), f"masks are drawn from {masks.name}")
    if not listing.masks:
        return FolderLayout("images alone", (), "no file has a mask's name, and no folder that of masks")
    together = {one.path.parent for one in listing.images} & {one.path.parent for one in listing.masks}
    if together:
        return FolderLayout("images and masks together", (), "masks by a word in their names (NAME_mask, mask_NAME)")
    return FolderLayout("images and masks apart", (), "masks by their folder, matched with images by name")


def first_channels(listing: FileListing) -> None:
    """Leave the first file of every case of nnU-Net among the images: a sample has one."""
    masks = {one.stem for one in listing.masks}
    first: dict[tuple[Path, str], FoundFile] = {}
    kept = []
    for one in listing.images:
        found = channel_of(one.stem)
        key = (one.path.parent, found[0]) if found else (one.path.parent, one.stem)
        if found and key in first and (found[0] in masks or "imagests" in map(str.lower, one.folders)):
            reason = f"another channel of {first[key].path.name}, and a sample has one image"
            listing.others.append((one.path, reason))
        else:
            first.setdefault(key, one)
            kept.append(one)
    listing.images = kept
