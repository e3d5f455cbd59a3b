"""The manifest that a session writes: a data set that every command takes as it stands."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ....cache.storage.atomic import write_durably
from ...data.manifest import COLUMNS, path_from
from .images import ImageEntry


def write_manifest(
    path: Path, images: Sequence[ImageEntry], texts: Mapping[str, str], masks: Mapping[str, Path]
) -> None:
    """Write a manifest whole.

    Args:
        path: the file, from whose folder images and masks are named.
        images: its rows.
        texts: id → text, of every image.
        masks: id → mask, of those that have one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS.all())
    for one in images:
        cells = {
            "id": one.id,
            "image": path_from(one.path, path.parent),
            "mask": path_from(masks[one.id], path.parent) if one.id in masks else "",
            "text": texts[one.id],
            "split": one.split,
            "group": one.group,
            "stratum": one.stratum,
            "weight": f"{one.weight:g}",
        }
        writer.writerow([cells[name] for name in COLUMNS.all()])
    write_durably(path, [text.getvalue().encode()])
