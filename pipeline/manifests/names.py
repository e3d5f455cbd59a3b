"""Roles by the names of files and folders: image or mask, which split, whose mask.

Names are taken apart into words (`imagesTr` → images, tr; `Ground-truths` → ground, truths), which tables below
explain. All comparisons are of names in Unicode's NFC: macOS stores letters and their accents apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from ..image_files.paths import composed

Role = Literal["image", "mask", "field of view", "second reading", "superpixels", "regions", "picture for people"]
"""Use of a file; all but the first two are neither images to segment nor their masks."""

_WORDS_OF_ROLES: dict[Role, str] = {
    "image": "image images img imgs input inputs original originals bild bilder",
    "mask": "mask masks maske masken masque masques mascara mascaras label labels labelcol gt gts "
    "groundtruth groundtruths truth truths manual seg segs segmentation segmentations segmented anno annotation "
    "annotations annotated",
    "field of view": "fov fovs",
    "regions": "roi rois",
    "superpixels": "superpixel superpixels",
    "picture for people": "overlay overlays preview previews thumbnail thumbnails visualization visualizations",
}
_FOLDER_WORDS = {word: role for role, words in _WORDS_OF_ROLES.items() for word in words.split()}
_WORDS_OF_SPLITS = {
    "train": "train training tr",
    "val": "val valid validation dev va",
    "test": "test testing ts",
}
_SPLIT_WORDS = {word: split for split, words in _WORDS_OF_SPLITS.items() for word in words.split()}
_IDLE_WORDS = "data dataset set folder part task png jpg jpeg tif bmp nii dicom files all ground class"
"""Of folders: they tell nothing of an image's kind or patient."""
_KIND_WORDS = (
    "benign malignant normal abnormal healthy disease diseased positive negative covid 19 non viral bacterial "
    "pneumonia tuberculosis tb lung lungs opacity glioma meningioma pituitary tumor tumour no notumor cancer carcinoma "
    "adenoma polyp polyps nevus melanoma keratosis glaucoma diabetic retinopathy dr adult kidney liver breast colon "
    "prostate bladder stomach brain skin"
)
"""Of folders that sort images by kind; other folders are taken for patients."""

_MASK_WORD = (
    "masks?|maske|gts?|ground[ _-]?truth|segs?|segmentations?|segmented|labels?|anno|annotations?|annotated|manual|"
    "lesion|1stHO"
)
_IMAGE_WORD = (
    "images?|img|im|volume|vol|original|orig|training|train|test|scan|0000|flair|t1ce|t1gd|t1n|t1c|t1w|t1|t2w|t2f|t2|"
    "adc|dwi|ct|mri|mr|pet|pt|cxr"
)
_AFTER = re.compile(rf"(?P<base>.+?)[ _.-]+(?:{_MASK_WORD})(?:[ _-]?\(?\d+\)?)?", re.IGNORECASE)
_BEFORE = re.compile(rf"(?:{_MASK_WORD})[ _.-]+(?P<base>.+)", re.IGNORECASE)
_ALONE = re.compile(rf"(?:{_MASK_WORD})(?:[ _-]?\d+)?", re.IGNORECASE)
_IMAGE_AFFIX = re.compile(
    rf"(?:{_IMAGE_WORD})[ _.-]+(?P<after>.+)|(?P<before>.+?)[ _.-]+(?:{_IMAGE_WORD})|(?:{_IMAGE_WORD})", re.IGNORECASE
)
_ODD_NAMES: dict[str, Role] = {
    r".+_superpixels": "superpixels",
    r".+_2ndHO": "second reading",
}
"""Patterns of stems of published data: ISIC, CHASE_DB1."""
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+(?:st|nd)?|[^\W\d_]+")
SPLIT_IN_NAME = r"(train|val|test)[a-z]?[ _-]?\d+"
"""Beginning of stems that name their split, in group 1: GlaS."""
PATIENT_NAMES = {
    "TCGA": r"TCGA[-_][A-Z0-9]{2}[-_][A-Z0-9]{4}",
    "BIDS": r"sub-[A-Za-z0-9]+",
    "LIDC-IDRI": r"LIDC-IDRI-\d+",
    "a number after 'patient'": r"(?i)patient[ _-]?\d+",
}
"""Origin of a name → regular expression of the patient in it, offered for `--group-pattern`."""


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a folder's name in lower case: `Train Set` → train, set; `labelsTr` → labels, tr."""
    return tuple(word.lower() for word in _WORD.findall(composed(name)))


def role_of_folders(folders: Sequence[str]) -> Role | None:
    """The role that the innermost folder with a known word gives to its files; masks before images."""
    for folder in reversed(folders):
        words = words_of(folder)
        roles = {_FOLDER_WORDS[word] for word in words if word in _FOLDER_WORDS}
        if "2nd" in words and "mask" in roles:
            return "second reading"
        if roles:
            return next(
                (role for role in roles if role not in ("image", "mask")), "mask" if "mask" in roles else "image"
            )
    return None


def role_of_name(stem: str) -> Role | None:
    """The role that a file's own name gives to it; `None`: any."""
    odd = next((role for pattern, role in _ODD_NAMES.items() if re.fullmatch(pattern, stem, re.IGNORECASE)), None)
    return odd or ("mask" if mask_bases(stem) else None)


def split_of_folders(folders: Sequence[str]) -> str:
    """The split that the outermost folder with such a word names; "" for none."""
    for folder in folders:
        splits = {_SPLIT_WORDS[word] for word in words_of(folder) if word in _SPLIT_WORDS}
        if len(splits) == 1:
            return splits.pop()
    return ""


def place_of(folders: Sequence[str]) -> tuple[str, ...]:
    """Words of the folders that name neither a role nor a split: what an image and its mask have in common."""
    known = {*_FOLDER_WORDS, *_SPLIT_WORDS, *_IDLE_WORDS.split(), "1st"}
    return tuple(word for folder in folders for word in words_of(folder) if word not in known)


def is_kind(folder: str) -> bool:
    """Whether a folder is called after a kind of images (benign, COVID-19) and not after a patient."""
    return {*words_of(folder)} <= {*_KIND_WORDS.split()}


def mask_bases(stem: str) -> frozenset[str]:
    """Names that the image of a mask may have: of `NAME_mask`, `NAME_mask_1` and `mask_NAME` NAME, of `mask` "".

    Empty where the stem has no word for masks.
    """
    found = {match["base"] for match in (_AFTER.fullmatch(stem), _BEFORE.fullmatch(stem)) if match}
    return frozenset(found | ({""} if _ALONE.fullmatch(stem) else set()))


def bare_image(stem: str) -> str:
    """The stem without the words that images alone have: `img_1` → 1, `21_training` → 21, `CASE_0000` → CASE."""
    found = _IMAGE_AFFIX.fullmatch(stem)
    return stem if found is None else found["after"] or found["before"] or ""


def channel_of(stem: str) -> tuple[str, str] | None:
    """Case and channel of one of nnU-Net's files (`CASE_0001`)."""
    found = _CHANNEL.fullmatch(stem)
    return (found["case"], found["channel"]) if found else None


def without_zeros(name: str) -> str:
    """The name in lower case with every number's leading zeros removed."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.casefold())
