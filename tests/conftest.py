"""Small data, a cache of them, and what looks into folders; models and pages are in modules of their own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from accelerators import asks_for_gpu, hide

# Before torch is imported: the tests' models are too small for several threads, which would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test cuts the power, and killed processes lose nothing that they wrote.
os.fsync = lambda descriptor: None

pytest_plugins = ["tiny_models", "pages", "browsers", "label_server", "label_page", "fake_hub"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cuda", help="device of tests/gpu; cpu: try them where there is no GPU")


def pytest_configure(config: pytest.Config) -> None:
    if not asks_for_gpu(config.option.markexpr):
        hide()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: what is left when one of two workers ends is quick, and is divided anew."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _write_image(path: Path, seed: int = 0, size: tuple[int, int] = (6, 8)) -> None:
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def _write_mask(path: Path, values: Sequence[int] = (0, 255), size: tuple[int, int] = (6, 8)) -> None:
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), size)).save(path)


def _write_table(path: Path, rows: Sequence[tuple]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def _problems_of(data: Path, window: tuple[int, int] | None = None) -> tuple[str, ...]:
    from textdiff.pipeline.data.dataset import scan_dataset

    return scan_dataset(data, window)[1]


@pytest.fixture
def write_image() -> Callable[..., None]:
    """Gives `write_image(path, seed=0, size=(6, 8))`, which writes noise in RGB."""
    return _write_image


@pytest.fixture
def write_mask() -> Callable[..., None]:
    """Gives `write_mask(path, values=(0, 255), size=(6, 8))`, which writes a mask whose pixels are `values` in turn."""
    return _write_mask


@pytest.fixture
def write_table() -> Callable[..., None]:
    """Gives `write_table(path, rows)`, which writes an XLSX file."""
    return _write_table


@pytest.fixture
def problems_of() -> Callable[..., tuple[str, ...]]:
    """Gives `problems_of(data, window=None)`: the problems that a scan of the data finds."""
    return _problems_of


@pytest.fixture
def assert_one_problem() -> Callable[[Path, str], None]:
    """Gives `assert_one_problem(data, pattern)`: a scan finds a single problem, of one line, and it matches."""

    def check(data: Path, pattern: str) -> None:
        problems = _problems_of(data)
        assert len(problems) == 1, problems
        assert re.search(pattern, problems[0]), problems[0]
        assert "\n" not in problems[0]

    return check


def _write_lvit(root: Path) -> None:
    for i, (split, names) in enumerate({"Train": "ab", "Val": "c", "Test": "d"}.items()):
        folder = root / f"{split}_Folder"
        for j, name in enumerate(names):
            _write_image(folder / "img" / f"{name}.png", seed=10 * i + j)
            _write_mask(folder / "labelcol" / f"{name}.png")
        rows = [(f"{name}.png", f"text of {name}") for name in names]
        _write_table(folder / f"{split}_text.xlsx", [("Image", "Description"), *rows])


@pytest.fixture(scope="session")
def write_lvit() -> Callable[[Path], None]:
    """Gives `write_lvit(folder)`: two training samples and one of each other split, in LViT's layout."""
    return _write_lvit


@pytest.fixture
def lvit(tmp_path) -> Path:
    """What `write_lvit` writes."""
    _write_lvit(tmp_path / "data")
    return tmp_path / "data"


def _write_tiny_data(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    texts = ["the nuclei are round", "the nuclei are not round", "spindle nuclei in the upper half"]
    rows = ["id,image,mask,text,split"]
    for place, name in enumerate(["train0", "train1", "train2", "train3", "val0", "val1", "test0", "spare"]):
        top, left = int(rng.integers(2, 10)), int(rng.integers(2, 14))
        image, mask = rng.integers(20, 60, (20, 24, 3), dtype=np.uint8), np.zeros((20, 24), np.uint8)
        mask[top : top + 8, left : left + 8] = 255
        image[mask > 0] += 150
        Image.fromarray(image).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
        shown = "" if name == "train3" else texts[place % 3]
        rows.append(f"{name},{name}.png,{name}_mask.png,{shown},{name[:-1]}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows[:-1]) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def write_tiny_data() -> Callable[[Path], Path]:
    """Gives `write_tiny_data(folder)`: a manifest of 7 images of 20×24 pixels (4 train, 2 val, 1 test), into a folder.

    Each is a bright square on dark, and the mask is the square. All have texts but the last training image; there are 3
    different ones. `spare.png` and its mask are not listed.
    """
    return _write_tiny_data


@pytest.fixture
def tiny_data(tmp_path) -> Path:
    """What `write_tiny_data` writes."""
    folder = tmp_path / "data"
    folder.mkdir()
    return _write_tiny_data(folder)


def _extraction(data: Path, cache: Path, tiny_unet: Path, tiny_encoder: Path):
    from textdiff.pipeline.config.extraction import ExtractConfig

    return ExtractConfig(
        data=data,
        cache=cache,
        unet=f"diffusers:{tiny_unet}",
        text_encoder=f"hf:{tiny_encoder}",
        timesteps=(50, 150),
        blocks=(1, 3),
        image_size=16,
        batch_size=2,
        device="cpu",
    )


@pytest.fixture
def extraction(tiny_data, tiny_unet, tiny_encoder, tmp_path):
    """The settings of a small extraction: blocks 1 and 3 at timesteps 50 and 150, 2 images a shard."""
    return _extraction(tiny_data, tmp_path / "cache", tiny_unet, tiny_encoder)


@pytest.fixture(scope="session")
def _extracted(tmp_path_factory, tiny_unet, tiny_encoder):
    """A small extraction of the tiny data, carried out once."""
    from textdiff.pipeline.extraction.extract import extract_features

    folder = tmp_path_factory.mktemp("extracted")
    (folder / "data").mkdir()
    config = _extraction(_write_tiny_data(folder / "data"), folder / "cache", tiny_unet, tiny_encoder)
    extract_features(config)
    return config


def _as_if_extracted_from(data: Path, cache: Path) -> None:
    """Have the cache's table name another folder of the same data."""
    from textdiff.cache.format.manifest import COPY, MANIFEST, read_manifest, write_manifest
    from textdiff.cache.format.samples import TABLE, read_samples, write_table

    write_table(cache, replace(read_samples(cache), root=str(data)))
    manifest = read_manifest(cache)
    digests = {**manifest.digests, "samples": hashlib.sha256((cache / TABLE).read_bytes()).hexdigest()}
    for name in (MANIFEST, COPY):
        write_manifest(cache, replace(manifest, digests=digests), name)


@pytest.fixture
def tiny_cache(extraction, _extracted) -> Path:
    """The cache that `extraction` makes, byte for byte (extraction/test_extract.py); copied where it is known."""
    from textdiff.pipeline.extraction.extract import extract_features

    settings = replace(extraction, data=_extracted.data, cache=_extracted.cache)
    if settings == _extracted and _folder_bytes(extraction.data.parent) == _folder_bytes(_extracted.data.parent):
        shutil.copytree(_extracted.cache, extraction.cache)
        _as_if_extracted_from(extraction.data.parent, extraction.cache)
    else:
        extract_features(extraction)
    return extraction.cache


def _folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Gives every file below a folder with its content."""
    return _folder_bytes


@pytest.fixture
def run_bytes(folder_bytes) -> Callable[[Path], dict[str, bytes]]:
    """As `folder_bytes`, of a run; its own name, which its report and command tell, is left out."""

    from textdiff.pipeline.config.command_line import COMMAND

    def read(run: Path) -> dict[str, bytes]:
        found = folder_bytes(run)
        report = found["report.html"].decode().replace(str(run), "")
        for tag in ("<title>", "<h1>"):
            assert tag + run.name in report
            report = report.replace(tag + run.name, tag)
        commands = {name: content.replace(str(run).encode(), b"") for name, content in found.items() if COMMAND in name}
        return found | {"report.html": report.encode()} | commands

    return read
