"""Images that are there twice, byte for byte: they count as one patient's, or training data would be tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..image_files.paths import file_digest, split_place
from .samples import ManifestSample


def merge_copies(rows: Sequence[ManifestSample]) -> tuple[list[ManifestSample], str]:
    """The rows with one group for all groups that share an image, and a remark; "" where nothing is there twice."""
    files = sorted({split_place(row.image)[0] for row in rows})
    digests = _digests_of_equals(files)
    same = defaultdict(set)
    for row in rows:
        if digest := digests.get(split_place(row.image)[0]):
            same[digest].add(row.group)
    merged = _merged(same.values())
    if not merged:
        return [*rows], ""
    n_groups = len({*merged, *merged.values()})
    remark = f"{n_groups} groups hold the same images byte for byte, and count as {len({*merged.values()})}"
    return [replace(row, group=merged.get(row.group, row.group)) for row in rows], remark


def _digests_of_equals(files: Iterable[Path]) -> dict[Path, str]:
    """Digest of every file that has the size of another one."""
    by_size = defaultdict(list)
    for file in files:
        if file.is_file():  # no folder of OME-Zarr
            by_size[file.stat().st_size].append(file)
    return {file: file_digest(file) for several in by_size.values() if len(several) > 1 for file in several}


def _merged(shared: Iterable[set[str]]) -> dict[str, str]:
    """Group → the first of the groups that it belongs to, directly or through others; itself left out."""
    first: dict[str, str] = {}

    def root(group: str) -> str:
        while group in first:
            group = first[group]
        return group

    for groups in shared:
        roots = sorted({root(group) for group in groups})
        first |= dict.fromkeys(roots[1:], roots[0])
    return {group: root(group) for group in first}
