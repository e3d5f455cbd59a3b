"""Which mask belongs to which image, by their names and folders: strict rules first, looser ones for what is left.

A rule makes keys of both names; a pair is made where one image and one mask have a key in common and lie in folders
that fit. Several masks of an image are one where their names differ in a number alone (BUSI), or where they fill the
image's own folder (nuclei drawn one by one); else nothing is chosen and the match is a problem.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..image_files.paths import split_suffix
from .listing import FoundFile
from .names import bare_image, without_zeros

Keys = Callable[[FoundFile], set[str]]
NAMED = 3
"""Files in a line that names several."""


@dataclass(frozen=True)
class MaskRule:
    """A rule by which names match."""

    looseness: str
    """Difference between the names that it allows, in words; "" for none worth a word."""
    image: Keys
    mask: Keys


@dataclass
class MatchedMasks:
    """The masks of the images, and what is left."""

    masks: dict[int, list[FoundFile]] = field(default_factory=dict)
    """Index of an image → its masks, several where they are parts of one."""
    loose: dict[str, int] = field(default_factory=dict)
    """Looseness → pairs that need it."""
    problems: list[str] = field(default_factory=list)
    unmatched: list[FoundFile] = field(default_factory=list)


def _bases(one: FoundFile) -> set[str]:
    return {one.stem, split_suffix(one.stem)[0], *one.mask_bases}  # `NAME.jpg.png` is a mask of `NAME.jpg`


def _bare_bases(one: FoundFile) -> set[str]:
    return {bare_image(base) for base in _bases(one)} | _bases(one)


def _bare(one: FoundFile) -> set[str]:
    return {one.stem, bare_image(one.stem)}


def _with(change: Callable[[str], str], keys: Keys) -> Keys:
    return lambda one: {change(key) for key in keys(one)}


RULES = (
    MaskRule("", lambda one: {one.stem}, _bases),
    MaskRule("", _bare, _bare_bases),
    MaskRule("upper and lower case differ", _with(str.casefold, _bare), _with(str.casefold, _bare_bases)),
    MaskRule("leading zeros differ", _with(without_zeros, _bare), _with(without_zeros, _bare_bases)),
)

OWN_FOLDER = MaskRule("only image in its folder", lambda _: set(), lambda _: set())


def match_masks(images: Sequence[FoundFile], masks: Sequence[FoundFile]) -> MatchedMasks:
    """Find the mask of every image that has one."""
    matched = MatchedMasks()
    lacking, left = dict(enumerate(images)), dict(enumerate(masks))
    unique = len({one.stem for one in images}) == len(images)
    fits = (_same_place, _fitting_places, *([_anywhere] if unique else []))  # else folders say which `1.png` is meant
    for rule, fit in ((rule, fit) for rule in RULES for fit in fits):
        for owners, parts in _clusters(_pairs(rule, fit, lacking, left)):
            if len(owners) == 1 or not rule.looseness:
                _settle(matched, rule, {i: lacking.pop(i) for i in owners}, [left.pop(j) for j in parts])
    _match_own_folders(matched, Counter((one.place, one.split) for one in images), lacking, left)
    matched.unmatched = list(left.values())
    return matched


def _pairs(
    rule: MaskRule,
    fit: Callable[[FoundFile, FoundFile], bool],
    images: Mapping[int, FoundFile],
    masks: Mapping[int, FoundFile],
) -> list[tuple[int, int]]:
    by_key = defaultdict(list)
    for j, mask in masks.items():
        for key in rule.mask(mask):
            by_key[key].append(j)
    return [
        (i, j) for i, image in images.items() for key in rule.image(image) for j in by_key[key] if fit(image, masks[j])
    ]


def _same_place(image: FoundFile, mask: FoundFile) -> bool:
    return (image.place, image.split) == (mask.place, mask.split)


def _fitting_places(image: FoundFile, mask: FoundFile) -> bool:
    """Whether one's folders are among the other's, in their order, and the splits do not differ."""
    fewer, more = sorted((image.place, mask.place), key=len)
    rest = iter(more)
    return all(word in rest for word in fewer) and _anywhere(image, mask)


def _anywhere(image: FoundFile, mask: FoundFile) -> bool:
    return image.split == mask.split or "" in (image.split, mask.split)


def _clusters(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Images and masks that pairs connect, directly or through others."""
    of_image, of_mask = defaultdict[int, set[int]](set), defaultdict[int, set[int]](set)
    for i, j in pairs:
        of_image[i].add(j)
        of_mask[j].add(i)
    while of_image:
        waiting, owners, parts = [next(iter(of_image))], set[int](), set[int]()
        while waiting:
            i = waiting.pop()
            owners.add(i)
            new = of_image.pop(i, set()) - parts
            parts |= new
            waiting += [other for j in new for other in of_mask[j] - owners]
        yield sorted(owners), sorted(parts)


def _settle(matched: MatchedMasks, rule: MaskRule, images: Mapping[int, FoundFile], masks: list[FoundFile]) -> None:
    """Give an image its mask, or the parts of it; anything else is a problem."""
    if len(images) == 1 and (len(masks) == 1 or _are_parts(masks)):
        matched.masks |= dict.fromkeys(images, masks)
        if rule.looseness:
            matched.loose[rule.looseness] = matched.loose.get(rule.looseness, 0) + 1
    elif len(images) == 1:
        (image,) = images.values()
        matched.problems.append(f"{image.path} fits {len(masks)} masks: {named(masks)}; choose one with --leave-out")
    else:
        several = f"{len(images)} images: {named([*images.values()])}"
        matched.problems.append(
            f"{several} fit {named(masks)}; choose with --leave-out, or keep masks in folders as the images"
        )


def _are_parts(masks: Sequence[FoundFile]) -> bool:
    """Whether files of one folder differ by a number or a random name alone."""
    stems = {one.stem for one in masks}
    common = {re.sub(r"[0-9a-f]{16,}|[ _-]*\(?\d+\)?", "", stem.lower()) for stem in stems}
    return len({one.path.parent for one in masks}) == len(common) == 1 and len(stems) == len(masks)


def _match_own_folders(
    matched: MatchedMasks,
    n_images: Mapping[tuple[tuple[str, ...], str], int],
    lacking: dict[int, FoundFile],
    left: dict[int, FoundFile],
) -> None:
    """Masks in the folder of a single image are its own, whatever they are called."""
    by_place = defaultdict(list)
    for j, mask in left.items():
        by_place[mask.place, mask.split].append(j)
    for i, image in list(lacking.items()):
        place = image.place, image.split
        parts = [left[j] for j in by_place[place]]
        if image.place and n_images[place] == 1 and parts:
            for j in by_place[place]:
                del left[j]
            _settle(matched, OWN_FOLDER, {i: lacking.pop(i)}, parts)


def named(files: Sequence[FoundFile]) -> str:
    """The first few of some files."""
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(str(one.path) for one in files[:NAMED]) + more
