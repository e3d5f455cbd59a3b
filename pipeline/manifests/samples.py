"""Rows of the manifest: an image or a slice each, with its mask, text, patient and kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ...errors import DataError
from ..data.entries import bad_id
from ..image_files.paths import split_slice, stem_of
from ..image_files.reading import open_image, read_mask
from ..image_files.volumes import Volume, list_volumes
from .listing import FoundFile
from .names import PATIENT_NAMES, SPLIT_IN_NAME, is_kind, place_of, split_of_folders
from .texts import MatchedTexts, TextRow


@dataclass(frozen=True)
class ManifestSample:
    """One sample of the manifest."""

    file: FoundFile
    image: Path
    """The file, or a slice of it (`FILE#INDEX`); so is the mask."""
    mask: Path | None
    text: str
    split: str
    """"" until the groups are divided."""
    group: str
    stratum: str
    id: str = ""


@dataclass
class SampleListing:
    """The rows, and what was odd while they were made."""

    rows: list[ManifestSample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unusable: list[tuple[Path, str]] = field(default_factory=list)
    """Volumes that cannot be read, with the reason."""
    group_rule: str = ""
    """Origin of the groups, in words."""
    n_slices_left_out: int = 0
    """Slices of volumes without a label, where those were not asked for."""


class PatientGroups:
    """Patient and kind of every image: from a pattern, tables, DICOM headers or folders, in this order."""

    def __init__(self, images: Sequence[FoundFile], pattern: str | None) -> None:
        """Of all images; `pattern` as `--group-pattern` says."""
        self._pattern = pattern
        self._collections = _collections(images)
        self.rules: Counter[str] = Counter()

    def group(self, one: FoundFile, row: TextRow | None) -> str:
        """The image's patient; "" where it stands for itself."""
        rule, group = next(((rule, group) for rule, group in self._candidates(one, row) if group), ("each image", ""))
        self.rules[rule] += 1
        return group

    def _candidates(self, one: FoundFile, row: TextRow | None) -> Iterator[tuple[str, str]]:
        if self._pattern is not None:
            found = re.search(self._pattern, one.name) if self._pattern else None
            yield "--group-pattern", (found[1] if found.re.groups else found[0]) or "" if found else ""
            return
        yield "tables", row.values.get("group", "") if row else ""
        yield "PatientID of DICOM headers", one.header.patient if one.header else ""
        yield "folders", "/".join(folder for folder in self._folders(one) if not is_kind(folder))

    def stratum(self, one: FoundFile, row: TextRow | None) -> str:
        """The image's kind; "" for none."""
        named = row.values.get("stratum", "") if row else ""
        return named or "/".join(folder for folder in self._folders(one) if is_kind(folder))

    def _folders(self, one: FoundFile) -> list[str]:
        return [folder for folder in one.folders if folder not in self._collections and place_of([folder])]


def _collections(images: Sequence[FoundFile]) -> set[str]:
    """Folders that tell nothing of a patient or a kind: those of all images, and the only ones of a split."""
    shared = set.intersection(*({*one.folders} for one in images))
    by_split = defaultdict(set)
    for folder in {folder for one in images for folder in one.folders}:
        by_split[split_of_folders([folder])].add(folder)
    alone = {folder for split, folders in by_split.items() if split and len(folders) == 1 for folder in folders}
    return shared | alone


def make_rows(
    images: Sequence[FoundFile],
    masks: Mapping[int, Path],
    matched: MatchedTexts,
    pattern: str | None,
    slices: Literal["all", "labelled"],
) -> SampleListing:
    """The rows of all images, without their splits where no folder, table or name tells them.

    Args:
        images: in order.
        masks: index of an image → its one mask.
        matched: the images' rows of tables.
        pattern: as `--group-pattern` says.
        slices: of a volume, which become samples.
    """
    samples, grouping = SampleListing(), PatientGroups(images, pattern)
    splits = _splits(images, matched.rows)
    for i, one in enumerate(images):
        row = matched.rows.get(i)
        group = grouping.group(one, row)
        whole = ManifestSample(
            one,
            one.path,
            masks.get(i),
            row.values.get("text", "") if row else "",
            splits[i],
            group,
            grouping.stratum(one, row),
        )
        samples.rows += _sliced(samples, whole, slices)
    _name(samples)
    _add_texts_of_groups(samples, matched)
    samples.group_rule = ", ".join(f"{rule} ({n})" for rule, n in grouping.rules.most_common())
    return samples


def _splits(images: Sequence[FoundFile], rows: Mapping[int, TextRow]) -> list[str]:
    """The images' splits by the tables that name them, by folders, or by the beginning of all names (GlaS).

    "" for all where a single split is named; else images of no split train.
    """
    by_table = [rows[i].split if i in rows else "" for i in range(len(images))]
    if len({*by_table} - {""}) < 2:
        by_table = [""] * len(images)
    splits = [split or one.split for split, one in zip(by_table, images, strict=True)]
    if not any(splits):
        named = [re.match(SPLIT_IN_NAME, one.stem, re.IGNORECASE) for one in images]
        splits = [found[1].lower() for found in named if found] if all(named) else splits
    one_alone = len({*splits}) == 1 or {*splits} == {"", "train"}
    return ["" if one_alone else split or "train" for split in splits]


def _sliced(samples: SampleListing, whole: ManifestSample, slices: str) -> list[ManifestSample]:
    """A row for each slice of a volume."""
    if whole.file.kind not in ("NIfTI", "DICOM"):
        return [whole]
    volume = _volume(whole.image)
    if volume.kind is None:
        samples.unusable.append((whole.image, _reason(whole.image)))
        return []
    images = volume.slices
    masks = _volume(whole.mask).slices if whole.mask else ()
    if whole.mask and len(masks) != len(images):
        samples.problems.append(
            f"{whole.mask} has {len(masks)} slices, its image {whole.image} has {len(images)}; save the mask slice by "
            "slice like the image"
        )
        return []
    group = whole.group or (whole.file.stem if len(images) > 1 else "")
    rows = [
        replace(whole, image=image, mask=masks[i] if masks else None, group=group) for i, image in enumerate(images)
    ]
    if slices == "labelled" and len(images) > 1:
        labelled = [row for row in rows if row.mask and bool(read_mask(row.mask).any())]
        samples.n_slices_left_out += len(rows) - len(labelled)
        return labelled
    return rows


def _volume(path: Path) -> Volume:
    if not split_slice(path)[0].exists():  # a mask that is still to be written
        return Volume(path, path.stem, (path,))
    (volume,) = list_volumes(path)
    return volume


def _reason(path: Path) -> str:
    try:
        open_image(path)
    except DataError as error:
        return str(error).removeprefix(f"{path} ")
    return "no volume"


def _name(samples: SampleListing) -> None:
    """Give every row an id: the file's stem, with its folders before it where stems are not unique."""
    rows = samples.rows
    n_rows = Counter(stem_of(row.image).casefold() for row in rows)
    ids = [stem_of(row.image) if n_rows[stem_of(row.image).casefold()] == 1 else _long_id(row) for row in rows]
    of_id = defaultdict(list)
    for row, sample_id in zip(rows, ids, strict=True):
        of_id[sample_id.casefold()].append(row)
    samples.problems += [
        f"{len(same)} images have the id {sample_id!r}: {', '.join(str(row.image) for row in same[:3])}; rename them"
        for sample_id, same in of_id.items()
        if len(same) > 1
    ]
    samples.problems += [
        problem for row, sample_id in zip(rows, ids, strict=True) for problem in bad_id(sample_id, str(row.image))
    ]
    samples.rows = [
        replace(row, id=sample_id, group=row.group or sample_id) for row, sample_id in zip(rows, ids, strict=True)
    ]


def _long_id(row: ManifestSample) -> str:
    return "_".join((*row.file.folders, stem_of(row.image))).replace(" ", "_")


def _add_texts_of_groups(samples: SampleListing, matched: MatchedTexts) -> None:
    """Give the text of a row that names a patient to all of the patient's samples that have none."""
    by_group = {row.name: row for row in matched.unmatched if "text" in row.values}
    used = {row.group for row in samples.rows if row.group in by_group and not row.text}
    samples.rows = [
        replace(row, text=by_group[row.group].values["text"]) if row.group in used and not row.text else row
        for row in samples.rows
    ]
    matched.unmatched = [row for row in matched.unmatched if row.name not in used]
    if used:
        matched.loose["the patient's name"] = len(used)


def unread_patients(rows: Sequence[ManifestSample]) -> str:
    """A hint where names hold patients that are in several groups; "" for none."""
    for origin, pattern in PATIENT_NAMES.items():
        groups = defaultdict(set)
        for row in rows:
            if found := re.search(pattern, row.file.name):
                groups[found[0]].add(row.group)
        several = [patient for patient, names in groups.items() if len(names) > 1]
        if several:
            return (
                f"{len(several)} patients seem to be in several groups, by names as of {origin} ({several[0]}): "
                f"keep each whole with --group-pattern '{pattern}'"
            )
    return ""
