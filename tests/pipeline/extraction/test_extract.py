"""The central promise: nothing in the cache is ever computed again, and nothing interrupted is taken for whole."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from textdiff.cache.building.journal import read_derived
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.reader import FeatureReader
from textdiff.errors import (
    CacheBusyError,
    CacheError,
    CacheIncompleteError,
    CacheMismatchError,
    ConfigError,
    DataError,
)
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.extraction import dataset_rows, feature_extractor, unit_work
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.image_files.reading import read_image
from textdiff.pipeline.images.resizing import resize_image
from textdiff.stages.text.loading import load_text_encoder
from textdiff.stages.unet.noise import draw_noise
from textdiff.stages.unet.recorder import UNetRecorder, load_unet


@pytest.fixture
def n_forwards(monkeypatch):
    """Counts images × timesteps that go through any UNet."""
    seen = []
    record = UNetRecorder.record

    def counting(self, image, timesteps, noise, prompts=None):
        seen.append((len(image), tuple(timesteps), self.blocks))
        return record(self, image, timesteps, noise, prompts)

    monkeypatch.setattr(UNetRecorder, "record", counting)
    return seen


def edit_manifest(config, old, new):
    text = config.data.read_text(encoding="utf-8")
    assert old in text
    config.data.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def feature_files(folder_bytes):
    """Gives the shards of the features with their content."""
    return lambda cache: {n: content for n, content in folder_bytes(cache).items() if "features/" in n and "/c/" in n}


def test_the_cache_of_these_tests_is_what_an_extraction_makes(tiny_cache, extraction, folder_bytes):
    copied = folder_bytes(tiny_cache)
    shutil.rmtree(tiny_cache)
    extract_features(extraction)
    assert folder_bytes(tiny_cache) == copied


def test_cached_features_are_the_recorders_on_the_same_batch(tiny_cache, extraction):
    reader, frozen = FeatureReader(tiny_cache), load_unet(extraction.unet)
    pair = [sample for sample in reader.samples if sample.row in (0, 1)]
    images = np.stack([resize_image(read_image(Path(reader.table.root) / sample.image), (16, 16)) for sample in pair])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    noise = draw_noise((3, 16, 16), seed=40, kind="shared", sample_ids=[])[0]
    live = UNetRecorder(frozen, (1, 3), reader.manifest.features.precision).record(x, (50, 150), noise)
    for block in (1, 3):
        for place, timestep in enumerate((50, 150)):
            for row in (0, 1):
                expected = live[block][place, row].permute(1, 2, 0).half().numpy()
                np.testing.assert_array_equal(reader.features(block, timestep, row), expected)


def test_features_that_other_conditions_made_are_named_before_new_ones_join_them(
    tiny_cache, extraction, monkeypatch, caplog
):
    conditions = feature_extractor.conditions_of("cpu")
    monkeypatch.setattr(feature_extractor, "conditions_of", lambda _: conditions | {"device": "NVIDIA H100"})
    extract_features(replace(extraction, dry_run=True))
    assert not any("conditions" in line for line in caplog.messages)  # nothing is to be made
    extract_features(replace(extraction, timesteps=(50, 150, 250), dry_run=True))
    assert [line for line in caplog.messages if "conditions" in line] == [
        "features of the UNet are there that were made under other conditions, and new ones may differ from "
        "them in last bits: device cpu, now NVIDIA H100"
    ]


def test_zarr_python_reads_the_whole_cache(tiny_cache):
    group, reader = zarr.open_group(tiny_cache, mode="r"), FeatureReader(tiny_cache)
    for block in (1, 3):
        for timestep in (50, 150):
            whole = group[f"features/{block}/{timestep}"][:]
            assert whole.shape[0] == 7
            np.testing.assert_array_equal(whole[2], reader.features(block, timestep, 2))
    np.testing.assert_array_equal(group["labels"][6], reader.labels(6))
    np.testing.assert_array_equal(group["images"][6], reader.image(6))
    np.testing.assert_array_equal(group["texts/tokens"][:], reader.texts()[0])
    np.testing.assert_array_equal(group["texts/mask"][:], reader.texts()[1])


def test_texts_are_stored_once_each_with_their_mask(tiny_cache, extraction):
    reader = FeatureReader(tiny_cache)
    tokens, mask = reader.texts()
    assert len(reader.table.texts) == 3
    encoded = load_text_encoder(extraction.text_encoder).encode(reader.table.texts)
    np.testing.assert_array_equal(tokens, encoded.tokens.numpy().astype(np.float16))
    np.testing.assert_array_equal(mask, encoded.mask.numpy())
    by_id = {sample.id: sample for sample in reader.samples}
    assert by_id["train3"].text is None
    assert reader.table.texts[by_id["train1"].text] == "the nuclei are not round"


def test_labels_and_images_are_those_of_the_files(tiny_cache):
    reader = FeatureReader(tiny_cache)
    sample = next(sample for sample in reader.samples if sample.id == "val1")
    native = read_image(Path(reader.table.root) / sample.image)
    np.testing.assert_array_equal(reader.image(sample.row), resize_image(native, (16, 16)))
    assert sample.size == (20, 24)
    assert set(np.unique(reader.labels(sample.row))) == {0, 1}


def test_each_file_is_read_once_for_the_model_and_all_that_is_derived(extraction, monkeypatch):
    opened = []

    def counted(function):
        return lambda path, **settings: opened.append(path) or function(path, **settings)

    for name in ("open_source", "open_mask"):
        monkeypatch.setattr(dataset_rows, name, counted(getattr(dataset_rows, name)))
    extract_features(extraction)
    samples = read_dataset(extraction.data).samples
    assert sorted(opened) == sorted(path for one in samples for path in (one.image, one.mask) if path)


def test_images_labels_and_filters_are_made_beside_the_units_and_not_again(extraction, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            extract_features(extraction)
    names = {"filters": "0/0/0", "images": "0/0/0", "labels": "0/0"}
    expected = [f"{name}/c/{shard}/{end}" for name, end in names.items() for shard in range(4)]
    assert [one.shard.path for one in read_derived(extraction.cache)] == expected
    monkeypatch.setattr(unit_work, "image_filters", None)
    extract_features(replace(extraction, resume=True))
    assert FeatureReader(extraction.cache).manifest.has_filters


def test_a_second_run_runs_nothing_and_changes_no_byte(tiny_cache, extraction, n_forwards, folder_bytes):
    before = folder_bytes(tiny_cache)
    assert extract_features(extraction).n_forwards == 0
    assert n_forwards == []
    assert folder_bytes(tiny_cache) == before


def test_a_changed_text_encodes_texts_and_leaves_the_features(tiny_cache, extraction, n_forwards, feature_files):
    before = feature_files(tiny_cache)
    edit_manifest(extraction, "the nuclei are not round", "not malignant")
    extract_features(extraction)
    reader = FeatureReader(tiny_cache)
    assert n_forwards == []
    assert feature_files(tiny_cache) == before
    assert "not malignant" in reader.table.texts
    assert len(reader.texts()[0]) == 3


def test_a_changed_mask_rewrites_labels_and_leaves_the_features(tiny_cache, extraction, n_forwards, feature_files):
    from PIL import Image

    before, digests = feature_files(tiny_cache), FeatureReader(tiny_cache).manifest.digests
    Image.new("L", (24, 20), 255).save(extraction.data.parent / "train1_mask.png")
    extract_features(extraction)
    reader = FeatureReader(tiny_cache)
    sample = next(sample for sample in reader.samples if sample.id == "train1")
    assert n_forwards == []
    assert feature_files(tiny_cache) == before
    assert reader.labels(sample.row).min() == 1
    changed = {name for name, value in reader.manifest.digests.items() if value != digests[name]}
    assert changed == {"labels", "samples"}


def test_new_images_run_alone(tiny_cache, extraction, n_forwards, feature_files):
    before = feature_files(tiny_cache)
    with extraction.data.open("a") as manifest:
        manifest.write("new,spare.png,spare_mask.png,the nuclei are round,train\n")
    assert extract_features(extraction).n_forwards == 1
    assert n_forwards == [(1, (50, 150), (1, 3))]
    after = feature_files(tiny_cache)
    assert {name: after[name] for name in before} == before
    assert len(FeatureReader(tiny_cache).samples) == 8


def test_a_new_timestep_runs_alone(tiny_cache, extraction, n_forwards, feature_files):
    before = feature_files(tiny_cache)
    extract_features(replace(extraction, timesteps=(50, 150, 250)))
    assert n_forwards == [(2, (250,), (1, 3)), (2, (250,), (1, 3)), (2, (250,), (1, 3)), (1, (250,), (1, 3))]
    after = feature_files(tiny_cache)
    assert {name: after[name] for name in before} == before
    assert FeatureReader(tiny_cache).timesteps == (50, 150, 250)


def test_fewer_images_keep_their_rows_and_run_nothing(tiny_cache, extraction, n_forwards):
    lines = extraction.data.read_text(encoding="utf-8").splitlines(keepends=True)
    extraction.data.write_text("".join(line for line in lines if not line.startswith("train1,")))
    extract_features(extraction)
    assert n_forwards == []
    assert len(FeatureReader(tiny_cache).samples) == 6


def without(config, name):
    """Take a sample out of the manifest; gives what puts it back."""
    before = config.data.read_text(encoding="utf-8")
    lines = before.splitlines(keepends=True)
    config.data.write_text("".join(line for line in lines if not line.startswith(f"{name},")))
    return lambda: config.data.write_text(before)


def test_a_sample_that_left_and_came_back_has_its_image_and_its_labels(
    tiny_cache, extraction, n_forwards, folder_bytes
):
    before = folder_bytes(tiny_cache)
    put_back = without(extraction, "train1")
    extract_features(extraction)
    put_back()
    extract_features(extraction)
    reader = FeatureReader(tiny_cache)
    assert n_forwards == []
    assert [reader.image(sample.row).shape for sample in reader.samples] == [(16, 16, 3)] * 7
    assert {name: c for name, c in folder_bytes(tiny_cache).items() if "/c/" in name} == {
        name: c for name, c in before.items() if "/c/" in name
    }


def test_a_mask_put_back_after_a_crash_in_publishing_is_the_one_that_is_cached(tiny_cache, extraction, monkeypatch):
    from PIL import Image

    from textdiff.cache.building import writer

    path = extraction.data.parent / "train1_mask.png"
    mask, labels = path.read_bytes(), FeatureReader(tiny_cache).labels(1).copy()
    Image.new("L", (24, 20), 255).save(path)
    with monkeypatch.context() as crash:
        crash.setattr(writer, "write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract_features(extraction)
    path.write_bytes(mask)
    extract_features(replace(extraction, resume=True))
    np.testing.assert_array_equal(FeatureReader(tiny_cache).labels(1), labels)


def test_new_images_with_fewer_timesteps_hide_the_others_aloud(tiny_cache, extraction, caplog):
    with extraction.data.open("a") as manifest:
        manifest.write("new,spare.png,spare_mask.png,the nuclei are round,train\n")
    extract_features(replace(extraction, timesteps=(50,)))
    assert [line for line in caplog.messages if "not every sample has block 1 at 150, block 3 at 150" in line]
    assert FeatureReader(tiny_cache).timesteps == (50,)
    extract_features(extraction)
    assert FeatureReader(tiny_cache).timesteps == (50, 150)


def test_averaged_draws_are_the_mean_of_single_ones(extraction):
    config = replace(extraction, noise="per-sample", noise_draws=2, dtype="float32", precision="float32", batch_size=1)
    extract_features(config)
    reader, frozen = FeatureReader(config.cache), load_unet(config.unet)
    sample = reader.samples[2]
    x = torch.from_numpy(reader.image(sample.row)).permute(2, 0, 1)[None].float() / 127.5 - 1
    noises = draw_noise((3, 16, 16), seed=40, kind="per-sample", sample_ids=[sample.id], n_draws=2)
    recorded = [UNetRecorder(frozen, (3,)).record(x, (150,), noise)[3][0, 0] for noise in noises]
    mean = ((recorded[0] + recorded[1]) / 2).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(reader.features(3, 150, sample.row), mean, atol=1e-5)


def test_other_features_are_refused_and_nothing_is_touched(tiny_cache, extraction, folder_bytes):
    before = folder_bytes(tiny_cache)
    with pytest.raises(CacheMismatchError, match="seed: the cache has 40, this request needs 41"):
        extract_features(replace(extraction, seed=41))
    assert folder_bytes(tiny_cache) == before


def test_a_dry_run_writes_nothing_and_says_how_much(extraction):
    summary = extract_features(replace(extraction, dry_run=True))
    assert not extraction.cache.exists()
    assert summary.n_forwards == 7
    per_image = 2 * 2 * (8 * 8 * 8 + 16 * 16 * 8) + 16 * 16 * 4
    reader_free = summary.added_bytes
    extract_features(extraction)
    shards = [s for s in FeatureReader(extraction.cache).manifest.shards() if not s.path.startswith("texts/")]
    overhead = sum(4 + 16 * 2 for _ in shards) + sum(4 for _ in range(7 * 6))
    assert abs(sum(shard.size_bytes for shard in shards) - reader_free) <= overhead + 7 * per_image * 0.01


def test_too_little_space_is_an_error_before_anything_is_written(extraction, monkeypatch):

    monkeypatch.setattr(
        "textdiff.cache.storage.location.shutil.disk_usage", lambda _: type("usage", (), {"free": 1000})()
    )
    with pytest.raises(CacheError, match=r"GB are free; choose fewer blocks"):
        extract_features(extraction)
    assert not extraction.cache.exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"timesteps": (1000,)}, ConfigError, r"timesteps \[1000\] are out of range"),
        ({"blocks": (6,)}, ConfigError, r"no decoder blocks \[6\]"),
        ({"image_size": 18}, ConfigError, "must be multiples of 4"),
        ({"text_encoder": None}, ConfigError, "3 texts were found and no --text-encoder was given"),
        ({"data": Path("nowhere")}, DataError, "nowhere does not exist"),
    ],
)
def test_wrong_settings_leave_no_cache_behind(extraction, change, error, message):
    with pytest.raises(error, match=message):
        extract_features(replace(extraction, **change))
    assert not (extraction.cache / "manifest.json").exists()
    extract_features(extraction)


def test_over_long_texts_are_an_error_or_a_warning_with_the_samples_id(extraction, caplog):
    edit_manifest(extraction, "the nuclei are not round", "round " * 40)
    with pytest.raises(DataError, match="longer than the 32 tokens"):
        extract_features(extraction)
    extract_features(replace(extraction, truncate_texts=True))
    assert [line for line in caplog.messages if "val0: its text has 42 tokens and is cut to 32" in line]


def test_activations_that_float16_cannot_hold_are_reported_and_not_stored(extraction, monkeypatch):
    record = UNetRecorder.record
    monkeypatch.setattr(
        UNetRecorder, "record", lambda self, *args: {b: a * 1e7 for b, a in record(self, *args).items()}
    )
    with pytest.raises(CacheError, match=r"NaN or infinite in float16:\n  - block 1, timestep 50, sample train0"):
        extract_features(extraction)
    with pytest.raises(CacheIncompleteError):
        FeatureReader(extraction.cache)


def test_a_second_writer_is_refused(tiny_cache, extraction):
    from textdiff.cache.storage.locks import hold_lock

    with hold_lock(tiny_cache), pytest.raises(CacheBusyError, match="another process is writing"):
        extract_features(extraction)


def test_the_manifest_names_every_shard_and_its_size(tiny_cache, folder_bytes):
    manifest = json.loads((tiny_cache / "manifest.json").read_bytes())
    named = {s["path"]: s["size_bytes"] for unit in manifest["units"] for s in unit["shards"]}
    named |= {s["shard"]["path"]: s["shard"]["size_bytes"] for s in manifest["derived_shards"]}
    on_disk = {name: len(content) for name, content in folder_bytes(tiny_cache).items() if "/c/" in name}
    assert named == on_disk
    assert all(unit["conditions"]["threads"] >= 1 for unit in manifest["units"])


def test_no_cache_is_an_error_that_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no feature cache here"):
        FeatureReader(tmp_path)
