"""Stores data, models, a cache and a run as this version writes them: `python tests/make_release_files.py`.

Once for each format: whole/test_upgrade.py reads them with every later version. tests/data/ keeps one archive a release
that changed a format; they are never made again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from conftest import _write_tiny_data
from tiny_models import write_encoder, write_unet

import textdiff as td

FOLDER = Path(__file__).parent / "data"
TIME = (2026, 1, 1, 0, 0, 0)
"""Of every file in an archive, so that its bytes depend on nothing but the files'."""


MODELS = {"unet": "diffusers:unet", "text_encoder": "hf:encoder", "device": "cpu"}
EXTRACTION = {**MODELS, "timesteps": [50], "blocks": [1, 3], "image_size": 8, "batch_size": 2, "precision": "float32"}
TRAINING = {"head": "pixel", "epochs": 12, "text": "true", "width": 16, "n_attention_heads": 2}
TRAINING |= {"device": "cpu", "precision": "float32", "seed": 0}


def write_release(folder: Path) -> None:
    """Fill a folder, which must be the working folder: a run names its models by the paths that it was given."""
    (folder / "data").mkdir()
    _write_tiny_data(folder / "data")
    write_unet(folder / "unet", (4, 4, 4))
    write_encoder(folder / "encoder")
    cache = td.extract_features("data/manifest.csv", "cache", **EXTRACTION)
    run = td.train_head(cache, "run", **TRAINING)
    evaluation = td.evaluate(run, cache, split="test", device="cpu").to_dict()
    prediction = run.segmenter(device="cpu").predict("data/test0.png", "the nuclei are round")
    expected = {"dice": evaluation["dice"], "mask": prediction.mask.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


def main() -> None:
    """Write the archive of this version; refuse to replace one."""
    target = FOLDER / f"release_{td.__version__}.zip"
    if target.exists():
        sys.exit(f"{target} exists: it is what that version wrote, and stays")
    FOLDER.mkdir(exist_ok=True)
    work = Path(tempfile.gettempdir(), f"textdiff-{td.__version__}")  # which the run's config.json names
    work.mkdir()
    try:
        os.chdir(work)
        write_release(work)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in Path().rglob("*") if path.is_file()):
                archive.writestr(zipfile.ZipInfo(path.as_posix(), TIME), path.read_bytes(), zipfile.ZIP_DEFLATED)
    finally:
        shutil.rmtree(work)
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
