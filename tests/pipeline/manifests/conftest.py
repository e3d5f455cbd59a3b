"""Small folders of images and masks, and `make-manifest` with `check-data` behind it."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.config.data import ManifestConfig
from textdiff.pipeline.manifests.make import make_manifest

MASK = np.kron([[0, 255], [255, 0]], np.ones((4, 4))).astype(np.uint8)


@pytest.fixture
def save():
    """Gives `save(path, seed=None, mask=MASK)`: an image of noise, or a mask where there is no seed."""

    def save(path, seed=None, mask=MASK):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = mask if seed is None else np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)

    return save


@pytest.fixture
def copy_of(save):
    """Gives `copy_of(root, *names)`: files below the root, masks where a name begins with `=`."""

    def copy_of(root, *names):
        for seed, name in enumerate(names):
            save(root / name.removeprefix("="), None if name.startswith("=") else seed)
        return root

    return copy_of


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "data.csv"


@pytest.fixture
def make(out):
    """Makes a manifest, which has to pass `check-data`; returns it: `rows`, id → cells, and `summary`."""

    def make(images, **settings):
        summary = make_manifest(ManifestConfig(images, out, **settings))
        assert check_data(out).problems == ()
        json.dumps(summary.to_dict())
        with out.open(newline="", encoding="utf-8") as file:
            rows = {row["id"]: row for row in csv.DictReader(file)}
        return SimpleNamespace(
            rows=rows,
            summary=summary,
            masks={name: row["mask"].rpartition("/")[2] for name, row in rows.items()},
            texts={name: row["text"] for name, row in rows.items()},
            splits={name: row["split"] for name, row in rows.items()},
            groups={name: row["group"] for name, row in rows.items()},
        )

    return make


@pytest.fixture
def save_volume():
    """Gives `save_volume(path, seed=None, n_slices=3)`: NIfTI of 8-bit noise, or a mask of a square in slice 1."""
    nibabel = pytest.importorskip("nibabel")

    def save_volume(path, seed=None, n_slices=3):
        path.parent.mkdir(parents=True, exist_ok=True)
        voxels = np.zeros((8, 8, n_slices), np.uint8)
        voxels[2:5, 2:5, 1:2] = 1
        if seed is not None:
            voxels = np.random.default_rng(seed).integers(0, 256, voxels.shape, dtype=np.uint8)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), path)

    return save_volume
