"""Everything that reads files, with the sound files that `fuzz.py` changes for it."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from export_seeds import SIZE
from fuzz_seeds import training_of
from small_models import extraction_of

from textdiff import Segmenter, cache_verify, check_data, extract_features, make_manifest, train_head
from textdiff.components import (
    FeatureReader,
    list_volumes,
    load_encoder,
    load_unet,
    read_annotations,
    read_image,
    read_mask,
)
from textdiff.errors import TextdiffError

CONTENTS: tuple[Any, ...] = ("values", "indices", "colours", "grey", "alpha", "instances")
"""Ways of reading a mask."""


@dataclass(frozen=True)
class Target:
    """A reader, and the sound files that it is given after mutations."""

    name: str
    files: tuple[Path, ...]
    """Mutated one at a time; the other files that the reader needs lie beside them."""
    read: Callable[[Path], object]
    """From the mutated file's path."""


def _each(*reads: Callable[[], object]) -> None:
    """Do all of them, whichever are refused; if all are, so is the file."""
    refusals = []
    for read in reads:
        try:
            read()
        except TextdiffError as refusal:
            refusals.append(refusal)
    if len(refusals) == len(reads):
        raise refusals[-1]


def _images(path: Path) -> None:
    masks = (partial(read_mask, path, content) for content in CONTENTS)
    _each(lambda: read_image(path, (0, 255)), *masks)


def _volume(path: Path) -> None:
    for volume in list_volumes(path):
        for one in volume.slices[:3]:
            _images(one)


def _export(path: Path) -> None:
    """Of a file or of the folder that holds it: every mask of classes and of objects."""
    annotations = read_annotations(path, {"a.png": SIZE, "task-1.png": SIZE})
    for name in annotations.images:
        _each(partial(annotations.draw, name), partial(annotations.draw_objects, name))


def _folder(path: Path) -> None:
    out = path.parents[1] / "out"
    shutil.rmtree(out, ignore_errors=True)
    make_manifest(path.parent, out=out / "data.csv", split=(1.0, 0.0, 0.0))


def _workbook(path: Path) -> None:
    """Packed again, so that the zip's checksums are right."""
    root = next(folder for folder in path.parents if folder.name == "workbook")
    packed = root.with_suffix(".xlsx")
    with zipfile.ZipFile(packed, "w") as archive:
        for part in filter(Path.is_file, root.rglob("*")):
            archive.write(part, part.relative_to(root).as_posix())
    check_data(packed)


def _ngff(path: Path) -> None:
    root = next(folder for folder in path.parents if folder.name.endswith(".ome.zarr"))
    _images(root)
    _images(root.with_name(f"{root.name}#c=0,level=1"))


def _slide(path: Path) -> None:
    _images(path)
    _images(path.with_name(f"{path.name}#level=1"))


def _cache(path: Path) -> None:
    root = next(folder for folder in path.parents if (folder / ".lock").exists())
    _each(lambda: _read_cache(root), lambda: cache_verify(root))
    if path.suffix == ".json":
        path.write_bytes(_sealed(path.read_bytes()))  # so that the fields behind the checksum are read
        _each(lambda: _read_cache(root), lambda: cache_verify(root))


def _sealed(content: bytes) -> bytes:
    """A table of the cache with the checksum that its other bytes have (cache/FORMAT.md)."""

    def with_checksum(checksum: str) -> bytes:
        return re.sub(rb'"checksum": "[0-9a-f]{64}"', f'"checksum": "{checksum}"'.encode(), content, count=1)

    return with_checksum(hashlib.sha256(with_checksum("0" * 64)).hexdigest())


def _resume(path: Path) -> None:
    path.write_bytes(_sealed(path.read_bytes()))
    config = extraction_of(path.parents[1], path.parent, image_size=16, timesteps=(50,))
    extract_features(replace(config, resume=True, dry_run=True))


def _read_cache(root: Path) -> None:
    reader = FeatureReader(root)
    rows = [sample.row for sample in reader.samples]
    reader.read(reader.blocks, reader.timesteps, rows, layers=reader.layers)
    reader.texts()
    for row in rows:
        reader.labels(row), reader.image(row), reader.filters(row)


def _run(path: Path) -> None:
    run = path.parent
    _each(
        lambda: Segmenter.load(run, device="cpu"),
        lambda: train_head(replace(training_of(run.parent), resume=True)),  # is finished: reads its summary
    )


def make_targets(seeds: Path) -> list[Target]:
    """Every reader with its seeds."""

    def files(pattern: str) -> tuple[Path, ...]:
        return tuple(sorted(path for path in seeds.glob(pattern) if path.is_file() and path.name != ".lock"))

    exports = [
        Target(kind, files(f"exports/{kind}/*"), _export) for kind in ("geojson", "coco", "label_studio", "cvat")
    ]
    images = [Target(kind, files(f"{kind}/*"), _images) for kind in ("png", "jpeg", "tiff", "plain", "dicom", "nifti")]
    return [
        *images,
        Target("volumes", files("volumes/*"), _volume),
        *exports,
        Target("label_studio_masks", files("exports/label_studio_masks/*"), lambda path: _export(path.parent)),
        Target("cvat_masks", files("exports/cvat_masks/SegmentationClass/*"), lambda path: _export(path.parents[1])),
        Target("labelmap", files("exports/cvat_masks/labelmap.txt"), lambda path: _export(path.parent)),
        Target("ngff", files("ngff/**/*"), _ngff),
        Target("slide", files("slide/*"), _slide),
        Target("manifest", files("data/manifest.*"), check_data),
        Target("workbook", files("workbook/**/*"), _workbook),
        Target("texts", files("lvit/*/*_text.*"), lambda path: check_data(path.parents[1])),
        Target("folder", files("folders/nnunet/dataset.json") + files("folders/series/*"), _folder),
        Target("classes", files("data/classes.json"), lambda path: check_data(path.parent)),
        Target("cache", files("cache/**/*"), _cache),
        Target("resume", files("cache/*.json"), _resume),
        Target("run", files("run/*.json") + files("run/*.safetensors"), _run),
        Target(
            "checkpoint",
            files("checkpoint/*"),
            lambda path: load_unet(f"guided-diffusion:{path}", config=seeds / "adm_flags.json"),
        ),
        Target("image_encoder", files("image_encoder/*"), lambda path: load_encoder(f"hf:{path.parent}")),
        Target("weights", files("weights/*"), lambda path: load_encoder(f"timm:test_efficientnet@{path}")),
        Target(
            "unet",
            files("unet/unet/*") + files("unet/scheduler/*"),
            lambda path: load_unet(f"diffusers:{path.parents[1]}"),
        ),
    ]
