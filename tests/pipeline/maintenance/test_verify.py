"""Every changed byte is found and named, and a resumed extraction mends exactly that."""

import random
from dataclasses import replace

import pytest

from textdiff.cache.format.manifest import COPY, MANIFEST, read_manifest
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage.locks import hold_lock
from textdiff.errors import CacheBusyError, CacheCorruptError, CacheError, CacheIncompleteError, CacheNotFoundError
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.stages.unet.recorder import UNetRecorder


@pytest.fixture
def n_forwards(monkeypatch):
    """Lists the images and timesteps of every forward."""
    seen, record = [], UNetRecorder.record

    def counting(self, image, timesteps, noise, prompts=None):
        seen.append((len(image), tuple(timesteps)))
        return record(self, image, timesteps, noise, prompts)

    monkeypatch.setattr(UNetRecorder, "record", counting)
    return seen


def flip(path, place=-1):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def test_a_sound_cache_has_no_problems(tiny_cache):
    found = verify_cache(tiny_cache)
    assert found.problems == ()
    assert found.n_shards == sum(path.is_file() for path in tiny_cache.glob("**/c/**/0"))
    assert "every byte is as it was written" in found.lines()[0]


@pytest.mark.parametrize(
    ("path", "place", "problem", "samples"),
    [
        ("features/3/50/c/1/0/0/0", 0, "the bytes of row 0 are not those written", ("train2",)),
        ("features/1/150/c/1/0/0/0", -20, "cut short or damaged: the index", ("train2", "train3")),
        ("labels/c/3/0/0", 3, "the bytes of row 0 are not those written", ("test0",)),
        ("texts/tokens/c/0/0/0", 0, "the bytes of row 0 are not those written", ("train2", "val1")),
        (MANIFEST, 700, "", ()),
        (COPY, 700, "differs from manifest.json", ()),
        ("samples.json", 90, "changed since it was written", ()),
        ("features/1/zarr.json", 5, "changed since it was written", ()),
    ],
)
def test_a_changed_byte_is_found_named_and_mended(
    tiny_cache, extraction, n_forwards, folder_bytes, path, place, problem, samples
):
    before = folder_bytes(tiny_cache)
    flip(tiny_cache / path, place)
    found = verify_cache(tiny_cache)
    assert [damage.path for damage in found.damaged] == [path]
    assert problem in found.damaged[0].problem
    assert found.samples == samples
    assert found.foreign == ()
    assert "--resume" in found.lines()[-1]
    n_forwards.clear()
    extract_features(replace(extraction, resume=True))
    assert n_forwards == ([(2, (50, 150))] if path.startswith("features/") and "/c/" in path else [])
    assert folder_bytes(tiny_cache) == before
    assert verify_cache(tiny_cache).problems == ()


def test_many_problems_at_once_and_foreign_files_are_named_and_left(tiny_cache, extraction, folder_bytes):
    before = folder_bytes(tiny_cache)
    flip(tiny_cache / "images/c/0/0/0/0", 7)
    (tiny_cache / "filters/c/2/0/0/0").unlink()
    (tiny_cache / MANIFEST).unlink()
    (tiny_cache / "features" / "notes.txt").write_text("mine")
    (tiny_cache / ".lock").write_text("x")
    found = verify_cache(tiny_cache)
    assert [damage.path for damage in found.damaged] == ["filters/c/2/0/0/0", "images/c/0/0/0/0", MANIFEST, ".lock"]
    assert found.foreign == ("features/notes.txt",)
    assert any("filters/c/2/0/0/0: absent; samples val0, val1" in line for line in found.lines())
    with pytest.raises(CacheCorruptError, match=r"manifest.json: absent; repeat .* --resume, which restores it"):
        FeatureReader(tiny_cache)
    with pytest.raises(CacheCorruptError, match="absent"):
        extract_features(extraction)
    extract_features(replace(extraction, resume=True))
    (left,) = verify_cache(tiny_cache).problems
    assert left.startswith("features/notes.txt: foreign")
    assert folder_bytes(tiny_cache) == before | {"features/notes.txt": b"mine"}


def test_units_of_several_requests_are_done_again_as_they_were(tiny_cache, extraction, n_forwards, folder_bytes):
    extract_features(replace(extraction, timesteps=(250,), blocks=(0, 1)))
    before = folder_bytes(tiny_cache)
    flip(tiny_cache / "features/1/50/c/0/0/0/0")
    flip(tiny_cache / "features/0/250/c/0/0/0/0")
    n_forwards.clear()
    extract_features(replace(extraction, resume=True))  # asks for neither block 0 nor timestep 250
    assert sorted(n_forwards) == [(2, (50, 150)), (2, (250,))]
    assert folder_bytes(tiny_cache) == before


def test_a_shard_of_another_place_is_found_though_it_is_whole_in_itself(tiny_cache):
    other = tiny_cache / "images/c/1/0/0/0"
    (tiny_cache / "images/c/0/0/0/0").write_bytes(other.read_bytes())
    (problem,) = verify_cache(tiny_cache).problems
    assert "images/c/0/0/0/0: whole in itself, but not what the manifest recorded; samples train0, train1" in problem


def test_projections_are_fitted_again_or_refused(extraction, folder_bytes):
    extraction = replace(extraction, pca=4)
    extract_features(extraction)
    before, path = folder_bytes(extraction.cache), extraction.cache / "projections/3/150/c/0/0"
    flip(path, 9)
    assert [damage.path for damage in verify_cache(extraction.cache).damaged] == ["projections/3/150/c/0/0"]
    extract_features(replace(extraction, resume=True))
    assert folder_bytes(extraction.cache) == before
    flip(path, 9)
    lines = extraction.data.read_text(encoding="utf-8").replace("train0,train0.png", "train0,spare.png")
    extraction.data.write_text(lines, encoding="utf-8")
    with pytest.raises(CacheError, match=r"cannot be made again as they were.*projections/3/150.*Nothing was written"):
        extract_features(replace(extraction, resume=True))


def test_what_neither_manifest_nor_copy_tells_is_said(tiny_cache, extraction):
    flip(tiny_cache / MANIFEST, 50)
    flip(tiny_cache / COPY, 50)
    for command in (lambda: verify_cache(tiny_cache), lambda: extract_features(replace(extraction, resume=True))):
        with pytest.raises(CacheCorruptError, match=r"restore one of the two from a backup, or extract into a new"):
            command()


def test_what_is_no_whole_cache_is_refused(tiny_cache, tmp_path):
    with pytest.raises(CacheNotFoundError, match="no feature cache here"):
        verify_cache(tmp_path / "none")
    with hold_lock(tiny_cache), pytest.raises(CacheBusyError, match="another process"):
        verify_cache(tiny_cache)
    (tiny_cache / "journal").mkdir()
    (tiny_cache / MANIFEST).rename(tiny_cache / "journal/plan.json")
    (tiny_cache / COPY).unlink()
    with pytest.raises(CacheIncompleteError, match="--resume, which checks what is there and goes on"):
        verify_cache(tiny_cache)


def test_any_changed_byte_of_the_manifest_is_refused_by_readers(tiny_cache):
    content, rng = (tiny_cache / MANIFEST).read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tiny_cache / MANIFEST).write_bytes(damaged)
        with pytest.raises(CacheError, match=r"manifest\.json: (not a manifest|changed since|format)"):
            read_manifest(tiny_cache)
