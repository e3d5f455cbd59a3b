"""COCO's JSON of objects with run lengths; the id of a category is the class's value in masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cache.storage.atomic import canonical_json, write_durably
from .objects import Objects
from .run_lengths import box_of, object_runs, pack


class CocoDataset:
    """Images and their objects, collected one image after the other."""

    def __init__(self, classes: Mapping[int, str]) -> None:
        """Of class value → name, without the background."""
        self._categories = [{"id": value, "name": name} for value, name in sorted(classes.items())]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file_name: str, objects: Objects) -> None:
        """Add an image's objects. Ids of images and objects count from 1, in the order of adding."""
        height, width = objects.labels.shape
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for number, counts in object_runs(objects.labels):
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(objects.classes[number - 1]),
                    "segmentation": {"size": [height, width], "counts": pack(counts)},
                    "area": int(counts[1::2].sum()),
                    "bbox": [*box_of(counts, height)],
                    "iscrowd": 0,
                }
            )

    def write(self, path: Path) -> None:
        """Write the file durably; equal content gives equal bytes."""
        content = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        write_durably(path, [canonical_json(content)])
