"""True labels of samples from their mask files, at native size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...errors import ConfigError, DataError
from ..data.classes import Classes
from ..image_files.paths import file_digest, split_place
from ..image_files.reading import open_mask
from .truth import LabelsOf, ObjectsOf

COLUMNS_AT_ONCE = 8192
"""Width of the pieces that are read of a mask file: slides are too wide for one piece."""


def labels_of_files(reader: FeatureReader, samples: Sequence[SampleRow]) -> LabelsOf:
    """Labels from the mask files.

    Raises:
        ConfigError: if the cache does not name them.
        DataError: if some are gone or changed.
    """
    if not reader.table.root:
        raise ConfigError(
            f"--at native needs the mask files, which {reader.root} does not name, since its ids are hashed; score "
            "--at model, or extract features of these samples without --hash-ids into a cache of their own"
        )
    paths = dict(zip((sample.parent for sample in samples), _mask_files(reader, samples), strict=True))
    classes = Classes.from_dict(reader.manifest.classes)
    opened = lru_cache(1)(partial(open_mask, content=classes.content))

    def read(rows: Sequence[SampleRow], top: int, height: int) -> UInt8[np.ndarray, "y x"]:
        width = rows[0].size[1]
        source = opened(paths[rows[0].parent])
        parts = [(left, min(COLUMNS_AT_ONCE, width - left)) for left in range(0, width, COLUMNS_AT_ONCE)]
        return np.concatenate([classes.labels(source.read(top, left, height, n)) for left, n in parts], 1)

    return read


def objects_of_files(reader: FeatureReader, samples: Sequence[SampleRow]) -> ObjectsOf | None:
    """Instances by their numbers or colours in the mask files; `None` where masks do not tell instances apart.

    Raises:
        DataError: if mask files are gone or changed.
    """
    classes = Classes.from_dict(reader.manifest.classes)
    if classes.reading != "instances":
        return None
    paths = dict(zip((sample.parent for sample in samples), _mask_files(reader, samples), strict=True))
    return lambda row: open_mask(paths[row.parent], classes.content).read_whole().astype(np.int64)


def _mask_files(reader: FeatureReader, samples: Sequence[SampleRow]) -> list[Path]:
    paths = [Path(reader.table.root) / (sample.mask or "") for sample in samples]
    problems = []
    for sample, path in zip(samples, paths, strict=True):
        if not split_place(path)[0].exists():
            problems.append(f"{sample.parent}: {path} is gone")
        elif file_digest(path) != sample.mask_digest:
            problems.append(f"{sample.parent}: {path} changed since the cache was made; run extract-features again")
    if problems:
        raise DataError("--at native compares with the mask files, and some are gone or changed:", problems)
    return paths
