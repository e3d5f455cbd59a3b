"""Masks for an image, or for a folder of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt
from PIL import Image

from ..cache.durable import write_durably, write_json
from ..errors import DataError
from .head_config import PredictConfig
from .images import list_images
from .progress import Progress
from .segmenter import Segmenter
from .tables import read_table

RECORD = "predictions.json"


@dataclass(frozen=True)
class PredictSummary:
    """What was written."""

    out: str
    masks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"out": self.out, "n": len(self.masks), "masks": list(self.masks)}

    def lines(self) -> list[str]:
        """For the terminal."""
        return [f"{len(self.masks)} masks in {self.out}"]


def predict(config: PredictConfig, progress: Progress | None = None) -> PredictSummary:
    """Segment an image, or every image of a folder, and write `NAME.png` into the folder `out` for each.

    `predictions.json` there says which run and which texts the masks are of.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        RunError: if the run is absent, unfinished or damaged.
        SourceError: if the UNet or the text encoder cannot be loaded, or are not those of the training.
        DataError: if images or the table of texts cannot be used.
    """
    progress = progress or Progress()
    segmenter = Segmenter.load(config.run, unet=config.unet, text_encoder=config.text_encoder, device=config.device)
    paths = list_images(config.images)
    _refuse_same_names(paths)
    text_of = _texts_of(paths, config.texts) if config.texts else dict.fromkeys(paths, config.text)
    _claim(config.out, text_of, config.run)
    written = []
    with progress.task("predict", len(paths), "images") as task:
        for path in paths:
            prediction = segmenter.predict(path, text_of[path], sample_id=path.stem)
            written.append(str(config.out / f"{path.stem}.png"))
            write_mask(config.out / f"{path.stem}.png", prediction.mask)
            if config.probabilities:
                _write_array(config.out / f"{path.stem}.npy", prediction.probabilities.astype(np.float16))
            task.advance()
    return PredictSummary(str(config.out), tuple(written))


def write_mask(path: Path, mask: UInt[np.ndarray, "y x"]) -> None:
    """Write a grey PNG durably."""
    buffer = BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    write_durably(path, [buffer.getbuffer()])


def _write_array(path: Path, array: np.ndarray) -> None:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_durably(path, [buffer.getbuffer()])


def _texts_of(paths: Sequence[Path], table_path: Path) -> Mapping[Path, str | None]:
    """Each image's text, by file name with or without its ending."""
    table = read_table(table_path)
    missing = [name for name in ("image", "description") if name not in table.columns]
    if missing:
        raise DataError(f"{table_path} lacks columns {', '.join(missing)}; expected Image and Description")
    by_name = {row.cells["image"]: row.cells["description"] for row in table.rows}
    found = {path: by_name.get(path.name) or by_name.get(path.stem) for path in paths}
    problems = [*table.problems, *(f"no text for {path.name}" for path, text in found.items() if not text)]
    if problems:
        raise DataError(f"{table_path} does not give every image a text; add rows, or leave --texts out:", problems)
    return found


def _claim(out: Path, text_of: Mapping[Path, str | None], run: Path) -> None:
    """Note in `out` what its masks are of; files of the masks' names that are not ours are never replaced."""
    taken = [str(target) for path in text_of if (target := out / f"{path.stem}.png").exists()]
    if taken and not (out / RECORD).exists():
        raise DataError(f"{out}: masks would replace files that stand there; give another folder:", taken)
    write_json(out / RECORD, {"run": str(run), "texts": {path.name: text for path, text in text_of.items()}})


def _refuse_same_names(paths: Sequence[Path]) -> None:
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise DataError("masks are named after images, and these names stand for several images; rename them:", twice)
