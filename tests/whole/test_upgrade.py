"""Caches and runs of earlier releases are read, checked, scored, extended and predicted with by this version.

tests/data/ has what a release wrote, made by tests/make_release_files.py. The newest is also compared with what this
version writes: whoever changes a format has to give it a new number, and to store an archive of it.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from make_release_files import EXTRACTION, MODELS, TRAINING
from safetensors import safe_open

import textdiff as td
from textdiff.cache.format.spec import FORMAT as CACHE_FORMAT
from textdiff.pipeline.runs import run_config

ARCHIVES = sorted((Path(__file__).resolve().parents[1] / "data").glob("release_*.zip"))
MEND = (
    "the format changed: raise FORMAT (cache/format/spec.py or pipeline/runs/run_config.py), read the former one too, "
    "and store an archive of the new version (tests/make_release_files.py; docs/compatibility.md)"
)


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def release(request, tmp_path, monkeypatch) -> dict:
    """What a release wrote, unpacked into the working folder, and what it gave."""
    unpack(request.param, tmp_path)
    monkeypatch.chdir(tmp_path)
    return json.loads(Path("expected.json").read_bytes())


@pytest.fixture(scope="module")
def newest(tmp_path_factory) -> Path:
    """The newest archive's files; below `now` the same cache and run as this version writes them."""
    folder = tmp_path_factory.mktemp("newest")
    unpack(ARCHIVES[-1], folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        td.extract_features("data/manifest.csv", "now/cache", **EXTRACTION)
        td.train_head("now/cache", "now/run", **TRAINING)
        td.evaluate("now/run", "now/cache", split="test", device="cpu")
    return folder


def unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def test_there_is_an_archive():
    assert ARCHIVES


def test_a_cache_is_whole_and_a_run_is_scored_as_it_was(release):
    assert not td.cache_verify("cache").problems
    assert td.evaluate("run", "cache", split="test", device="cpu").to_dict()["dice"] == pytest.approx(release["dice"])


def test_a_run_predicts_what_it_predicted(release):
    segmenter = td.Segmenter.load("run", **MODELS)
    mask = segmenter.predict("data/test0.png", "the nuclei are round").mask
    assert np.mean(mask == np.array(release["mask"])) > 0.99  # a pixel on the edge may turn with a CPU's last bits
    assert mask.any()


def test_a_cache_takes_a_new_timestep_and_keeps_the_shards_that_it_has(release, folder_bytes):
    before = folder_bytes(Path("cache/features"))
    cache = td.extract_features("data/manifest.csv", "cache", **{**EXTRACTION, "timesteps": [50, 150]})
    after = folder_bytes(Path("cache/features"))
    assert cache.timesteps == (50, 150)
    assert {name: after[name] for name in before} == before
    assert not td.cache_verify("cache").problems
    assert td.evaluate("run", "cache", split="test", device="cpu").to_dict()["dice"] == pytest.approx(release["dice"])


@pytest.mark.slow
def test_a_run_is_trained_again_with_its_settings(release):
    again = td.train_head(run_config.RunConfig.read(Path("run")).train_config(Path("again"), Path("cache")))
    assert again.summary.n_train == 4


@pytest.mark.slow
def test_archives_are_of_the_formats_in_use(newest):
    assert json.loads((newest / "cache" / "manifest.json").read_bytes())["format"] == CACHE_FORMAT, MEND
    assert json.loads((newest / "run" / "config.json").read_bytes())["format"] == run_config.FORMAT, MEND


@pytest.mark.parametrize("kind", ["cache", "run"])
def test_this_version_writes_the_files_of_the_newest_release(newest, kind):
    assert files(newest / "now" / kind) == files(newest / kind), MEND


@pytest.mark.parametrize(
    "file",
    ["cache/manifest.json", "cache/samples.json", "run/config.json", "run/summary.json", "run/metrics.jsonl"],
)
def test_this_version_writes_the_fields_of_the_newest_release(newest, file):
    added = {f"train.{name}" for name in run_config.SETTINGS_SINCE} if file == "run/config.json" else set()
    assert keys(newest / "now" / file) - added == keys(newest / file) - added, MEND


def test_this_version_writes_the_arrays_of_the_newest_release(newest):
    for path in sorted((newest / "cache").rglob("zarr.json")):
        now = newest / "now" / path.relative_to(newest)
        assert array_settings(now) == array_settings(path), f"{path}: {MEND}"
    for name in ("labels", "images"):
        for path in (newest / "cache" / name).rglob("*"):
            if path.is_file():
                assert (newest / "now" / path.relative_to(newest)).read_bytes() == path.read_bytes(), f"{path}: {MEND}"


def test_this_version_writes_the_weights_of_the_newest_release(newest):
    assert shapes(newest / "now/run/head.safetensors") == shapes(newest / "run/head.safetensors"), MEND


def files(folder: Path) -> set[str]:
    """Names of all files; an evaluation's ends in a digest of its settings."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name.rpartition("-")[0] if name.startswith("evaluations/") else name for name in found}


def keys(file: Path) -> set[str]:
    """Paths of all fields of a JSON file, or of the lines of one; places in lists are left out."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_bytes()]
    return {name for line in lines for name in paths(json.loads(line))}


def paths(value: object, above: str = "") -> set[str]:
    if isinstance(value, dict):
        named = {f"{above}.{name}".lstrip("."): inner for name, inner in value.items()}
        return set(named) | {name for key, inner in named.items() for name in paths(inner, key)}
    return {name for inner in value for name in paths(inner, above)} if isinstance(value, list) else set()


def array_settings(path: Path) -> dict:
    values = json.loads(path.read_bytes())
    return {name: values.get(name) for name in ("shape", "data_type", "chunk_grid", "codecs", "dimension_names")}


def shapes(path: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(path, "np") as tensors:
        parts = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
        return {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}
