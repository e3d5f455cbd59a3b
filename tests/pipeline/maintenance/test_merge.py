"""Parts made in folders of their own become one cache, with the bytes of one process."""

import json
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from textdiff.cache.building import merge as merging
from textdiff.cache.storage.locks import Share, hold_lock
from textdiff.cli import app
from textdiff.errors import CacheBusyError, CacheCorruptError, CacheError, CacheMismatchError, ConfigError
from textdiff.pipeline.config.cache import MergeConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.merge import merge_caches


@pytest.fixture
def part(extraction, tmp_path):
    """Gives a function that makes one of two parts in its own folder, and gives the folder."""

    def make(part_id, **changes):
        cache = tmp_path / f"part{part_id}"
        extract_features(replace(extraction, cache=cache, num_parts=2, part_id=part_id, **changes))
        return cache

    return make


@pytest.fixture
def merge(tmp_path):
    return lambda *folders: merge_caches(MergeConfig(tmp_path / "merged", tuple(folders)))


@pytest.mark.parametrize("settings", [{}, {"filters": False}])
def test_merged_parts_have_the_bytes_of_one_process(part, merge, extraction, tmp_path, folder_bytes, settings):
    folders = [part(part_id, **settings) for part_id in (1, 0)]
    before = [folder_bytes(folder) for folder in folders]
    summary = merge(*folders)
    extract_features(replace(extraction, **settings))
    assert folder_bytes(tmp_path / "merged") == folder_bytes(extraction.cache)
    assert [folder_bytes(folder) for folder in folders] == before
    n_files = len([name for name in folder_bytes(extraction.cache) if "/c/" in name])
    assert (summary.n_parts, summary.n_samples, summary.n_shards) == (2, 7, n_files)


def test_parts_with_projections_begin_with_a_copy_of_part_0s(part, merge, extraction, tmp_path, folder_bytes):
    first = part(0, pca=3)
    other = tmp_path / "part1"
    for name in ("journal/plan.json", "projections"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (first / name).is_dir() else shutil.copy)(first / name, other / name)
    merge(first, part(1, pca=3))
    extract_features(alone := replace(extraction, pca=3))
    assert folder_bytes(tmp_path / "merged") == folder_bytes(alone.cache)


def test_an_interrupted_merge_goes_on(part, merge, extraction, tmp_path, folder_bytes, monkeypatch):
    folders = [part(0), part(1)]
    write, copied = merging.write_durably, []

    def dying(path, pieces):
        if len(copied) == 9:
            raise KeyboardInterrupt
        copied.append(path)
        return write(path, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(merging, "COPIERS", 1)
        patch.setattr(merging, "write_durably", dying)
        with pytest.raises(KeyboardInterrupt):
            merge(*folders)
    again = []
    monkeypatch.setattr(merging, "write_durably", lambda path, pieces: again.append(path) or write(path, pieces))
    merge(*folders)
    assert not set(copied) & set(again)
    extract_features(extraction)
    assert folder_bytes(tmp_path / "merged") == folder_bytes(extraction.cache)


def test_what_is_missing_is_told_all_at_once(part, merge, tmp_path):
    first, other = part(0), part(1)
    with pytest.raises(CacheError, match=r"part0: 8 things are missing: rows 2 to 3, rows 6 to 6, images/c/1/0/0/0"):
        merge(first)
    with pytest.raises(CacheError, match="part1: part 0, which has the table and the texts, is none of these"):
        merge(other)
    assert not (tmp_path / "merged").exists()


def test_other_settings_and_data_are_refused_with_every_difference(part, merge, extraction):
    first = part(0)
    extraction.data.write_text(extraction.data.read_text().replace("are not round", "are round"))
    with pytest.raises(CacheMismatchError) as caught:
        merge(first, part(1, seed=41, timesteps=(50,)))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(f"not parts of the same extraction as {first}:")
    named = {line.split("part1: ")[1].split(":")[0] for line in lines[1:-1]}
    assert named == {"features.seed", "timesteps", "samples", "units"}
    assert "seed: begun with 40, this part has 41" in lines[1]


def test_folders_that_are_no_parts_are_named_together(part, merge, tiny_cache, tmp_path):
    with pytest.raises(CacheError) as caught:
        merge(tiny_cache, tmp_path / "nowhere", part(0))
    whole, nowhere = str(caught.value).splitlines()
    assert whole.startswith(f"{tiny_cache}: holds a whole cache")
    assert nowhere.startswith(f"{tmp_path / 'nowhere'}: no part of an extraction")


def test_a_damaged_shard_is_named_and_not_published(part, merge, tmp_path):
    folders = [part(0), part(1)]
    path = folders[1] / "features/3/50/c/1/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheCorruptError, match=r"part1/features/3/50/c/1/0/0/0: has \d+ bytes where \d+ were written"):
        merge(*folders)
    path.unlink()
    with pytest.raises(CacheCorruptError, match=r"part1/features/3/50/c/1/0/0/0: absent; repeat the command that made"):
        merge(*folders)
    assert not (tmp_path / "merged" / "manifest.json").exists()


def test_what_stands_at_the_target_is_not_touched(part, merge, tmp_path, folder_bytes):
    folders = [part(0), part(1)]
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "photo.png").write_bytes(b"x")
    with pytest.raises(CacheError, match="merged: exists and is not an unfinished merge of these parts"):
        merge(*folders)
    assert folder_bytes(tmp_path / "merged") == {"photo.png": b"x"}
    shutil.rmtree(tmp_path / "merged")
    merge(*folders)
    with pytest.raises(CacheError, match="exists and is not an unfinished merge"):
        merge(*folders)


def test_a_part_at_work_is_waited_for(part, merge):
    first, other = part(0), part(1)
    with hold_lock(other, Share(1, 2)), pytest.raises(CacheBusyError, match="another process is writing"):
        merge(first, other)


def test_too_small_a_disk_is_met_before_anything_is_written(part, merge, tmp_path, monkeypatch):
    folders = [part(0), part(1)]
    monkeypatch.setattr(
        "textdiff.cache.storage.location.shutil.disk_usage", lambda _: type("usage", (), {"free": 1000})()
    )
    with pytest.raises(CacheError, match=r"GB are free; choose another disk. Nothing was written"):
        merge(*folders)
    assert not (tmp_path / "merged").exists()


def test_a_folder_named_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"the same folder was given twice: .*/a; give each once"):
        MergeConfig(tmp_path / "out", (tmp_path / "a", tmp_path / "b" / ".." / "a"))


def test_the_command_takes_any_number_of_folders(part, tmp_path):
    folders = [str(part(0)), str(part(1))]
    result = CliRunner().invoke(app, ["cache", "merge", str(tmp_path / "merged"), *folders, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_parts"] == 2
