"""Caches whose classes are not the background and one other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import textdiff as td


@pytest.fixture
def with_classes(extraction, tmp_path) -> Callable[..., td.Cache]:
    """Gives `with_classes(classes, of_square, ignore=None)`: a cache of the tiny data, whose classes are these.

    The upper half of each square has the first value of `of_square`, the lower half the second.
    """

    def extract(
        classes: Mapping[str, str], of_square: tuple[object, object], ignore: int | str | None = None
    ) -> td.Cache:
        folder: Path = extraction.data.parent
        (folder / "classes.json").write_text(json.dumps({"classes": classes, "ignore": ignore}), encoding="utf-8")
        for path in folder.glob("*_mask.png"):
            square = np.asarray(Image.open(path)) > 0
            middle = np.flatnonzero(square.any(1))[4]
            drawn = np.zeros((*square.shape, *np.shape(of_square[0])), np.uint8)
            drawn[square] = of_square[1]
            drawn[:middle][square[:middle]] = of_square[0]
            Image.fromarray(drawn).save(path)
        return td.extract_features(replace(extraction, cache=tmp_path / "with-classes"))

    return extract
