"""Unit of distances between surfaces: mm where every image states its pixels' size, else pixels; never both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...cache.format.samples import SampleRow
from ...cache.format.spec import FeatureSpec
from ...cache.reader import FeatureReader
from ..image_files.paths import split_place
from ..image_files.spacing import pixel_spacing

NAMED = 5
"""Samples that a line names."""


@dataclass(frozen=True)
class DistanceUnit:
    """Unit of the distances of one evaluation."""

    name: Literal["mm", "px"]
    spacing: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Sample → mm from one pixel's centre to the next along y and x, at the size that is compared at."""
    remark: str = ""
    """Reason for pixels where mm were to be expected, or the samples whose distances are at the detector."""

    def of(self, row: SampleRow) -> tuple[float, float]:
        """Spacing of a sample's pixels in this unit."""
        return self.spacing.get(row.parent, (1.0, 1.0))


def distance_unit(reader: FeatureReader, samples: Sequence[SampleRow], at: Literal["model", "native"]) -> DistanceUnit:
    """The unit in which the distances of these samples can be averaged.

    Image files are asked, since a cache does not say: pixels also where they are gone or the cache does not name them.
    """
    if not reader.table.root:
        return DistanceUnit(
            "px", remark="the cache does not name its image files (--hash-ids): distances are in pixels"
        )
    files = {row.parent: Path(reader.table.root) / row.image for row in samples}
    stated = {parent: found for parent, file in files.items() if (found := pixel_spacing(file))}
    lacking = [parent for parent in files if parent not in stated]
    if lacking:
        odd = stated or not all(split_place(files[parent])[0].exists() for parent in lacking)
        some = f"{_named(lacking)} of {len(samples)} images state no pixel size or are gone: distances are in pixels"
        return DistanceUnit("px", remark=some if odd else "")
    spec = reader.manifest.features
    spacing = {row.parent: _at_size(stated[row.parent].mm, row, at, spec) for row in samples}
    at_detector = [parent for parent, found in stated.items() if found.at_detector]
    remark = (
        f"{_named(at_detector)} of {len(samples)} images state the pixel size at the detector alone "
        "(ImagerPixelSpacing): in the patient their distances are shorter"
    )
    return DistanceUnit("mm", spacing, remark if at_detector else "")


def _at_size(mm: tuple[float, float], row: SampleRow, at: str, spec: FeatureSpec) -> tuple[float, float]:
    """At the model's size an image is resized to a square: its pixels cover other lengths along y than along x."""
    if at == "native" or spec.tile is not None:
        return mm
    return mm[0] * row.size[0] / spec.image_size, mm[1] * row.size[1] / spec.image_size


def _named(ids: Sequence[str]) -> str:
    more = ", ..." if len(ids) > NAMED else ""
    return f"{len(ids)} ({', '.join(ids[:NAMED])}{more})"
