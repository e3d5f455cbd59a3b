"""Tiles, smaller caches, precision and conditions: each is exactly what it says, and the cache stays extensible."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format.samples import IGNORE
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.image_files.reading import read_image
from textdiff.pipeline.images.resizing import resize_image
from textdiff.stages.unet.noise import draw_noise
from textdiff.stages.unet.recorder import UNetRecorder, load_unet


@pytest.fixture
def tiled(extraction):
    """Tiles of 16 pixels with an overlap of 4 of images of 20×24: tops 0 and 4, lefts 0 and 8."""
    return replace(extraction, tile=16, tile_overlap=4, image_size=None, batch_size=4)


def test_tiles_are_rows_with_their_offset_and_their_parents_text_and_group(tiled):
    summary = extract_features(tiled)
    reader = FeatureReader(tiled.cache)
    of_first = [sample for sample in reader.samples if sample.parent == "train0"]
    assert (summary.n_samples, summary.n_rows, summary.n_forwards) == (7, 28, 28)
    assert [sample.tile for sample in of_first] == [(0, 0), (0, 8), (4, 0), (4, 8)]
    assert [sample.id for sample in of_first] == ["train0@0,0", "train0@0,8", "train0@4,0", "train0@4,8"]
    assert {(sample.group, sample.split, sample.text, sample.size) for sample in of_first} == {
        ("train0", "train", of_first[0].text, (20, 24))
    }


def test_a_tiles_image_labels_and_features_are_those_of_its_part_of_the_image(tiled):
    extract_features(tiled)
    reader = FeatureReader(tiled.cache)
    whole, mask = read_image(tiled.data.parent / "val1.png"), Image.open(tiled.data.parent / "val1_mask.png")
    sample = next(sample for sample in reader.samples if sample.id == "val1@4,8")
    part = whole[4:20, 8:24]
    assert np.array_equal(reader.image(sample.row), part)
    assert np.array_equal(reader.labels(sample.row), np.array(mask)[4:20, 8:24] // 255)
    frozen = load_unet(tiled.unet)
    x = torch.from_numpy(part).permute(2, 0, 1)[None].float().div(127.5).sub(1)
    noise = draw_noise((3, 16, 16), seed=40, kind="shared", sample_ids=())[0]
    recorder = UNetRecorder(frozen, (3,), reader.manifest.features.precision)
    expected = recorder.record(x, (50,), noise)[3][0, 0].permute(1, 2, 0).float().numpy()
    tolerance = {"float32": 2e-3, "bfloat16": 2e-2}[recorder.precision]  # the cache's batches are larger
    np.testing.assert_allclose(reader.features(3, 50, sample.row), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_a_tile_larger_than_the_image_is_mirrored_and_not_labelled_beyond_it(extraction):
    config = replace(extraction, tile=32, image_size=None)
    assert extract_features(config).n_rows == 7
    reader = FeatureReader(config.cache)
    sample = reader.samples[0]
    whole = read_image(config.data.parent / "train0.png")
    assert np.array_equal(reader.image(sample.row)[:20, :24], whole)
    assert np.array_equal(reader.image(sample.row)[20:, :24], whole[:7:-1])
    assert (reader.labels(sample.row)[20:] == IGNORE).all()
    assert (reader.labels(sample.row)[:20, :24] != IGNORE).all()


def test_tiles_of_another_size_than_the_model_are_resized(extraction):
    config = replace(extraction, tile=20, image_size=16)
    extract_features(config)
    reader = FeatureReader(config.cache)
    sample = next(sample for sample in reader.samples if sample.id == "test0@0,4")
    part = read_image(config.data.parent / "test0.png")[:, 4:]
    assert np.array_equal(reader.image(sample.row), resize_image(part, (16, 16)))


@pytest.mark.slow
def test_another_overlap_runs_the_new_tiles_alone(tiled):
    extract_features(tiled)
    # Tops 0 and 4 as before; lefts 0, 6 and 8, of which 6 is new.
    assert extract_features(replace(tiled, tile_overlap=10)).n_forwards == 7 * 2
    assert FeatureReader(tiled.cache).manifest.features.tile_overlap == 10


def test_tiles_do_not_go_into_a_cache_of_whole_images(tiled, tiny_cache, folder_bytes):
    before = folder_bytes(tiny_cache)
    with pytest.raises(CacheMismatchError, match="tile: the cache has None, this request needs 16"):
        extract_features(replace(tiled, batch_size=2))
    assert folder_bytes(tiny_cache) == before


@pytest.mark.slow
def test_int8_is_off_by_at_most_half_a_step_of_its_scale(extraction, tmp_path):
    exact = replace(extraction, cache=tmp_path / "float32", dtype="float32")
    small = replace(extraction, cache=tmp_path / "int8", dtype="int8")
    extract_features(exact)
    extract_features(small)
    truth, reader = FeatureReader(exact.cache), FeatureReader(small.cache)
    for sample in reader.samples:
        maps = reader.stored(3, 150, sample.row)
        assert maps.values.dtype == np.int8
        error = np.abs(maps.activations - truth.features(3, 150, sample.row))
        assert (error <= maps.scales * 0.5001 + 1e-7).all()
        assert np.abs(maps.values).max((0, 1)).min() == 127
    assert extract_features(small).n_forwards == 0


@pytest.mark.slow
def test_pca_stores_the_components_of_what_the_unet_gives(extraction, tmp_path):
    exact = replace(extraction, cache=tmp_path / "float32", dtype="float32")
    small = replace(extraction, cache=tmp_path / "pca", dtype="float32", pca=5)
    extract_features(exact)
    extract_features(small)
    truth, reader = FeatureReader(exact.cache), FeatureReader(small.cache)
    rows = reader.projections([(3, 150)])[3, 150]
    mean, components = rows[0], rows[1:]
    np.testing.assert_allclose(components @ components.T, np.eye(5), atol=1e-5)
    for sample in reader.samples:
        expected = (truth.features(3, 150, sample.row) - mean) @ components.T
        np.testing.assert_allclose(reader.features(3, 150, sample.row), expected, atol=1e-4)


@pytest.mark.slow
def test_a_cache_with_pca_keeps_its_projections_and_fits_new_timesteps_alone(extraction, folder_bytes):
    config = replace(extraction, pca=5)
    extract_features(config)
    before = folder_bytes(config.cache)
    assert extract_features(replace(config, timesteps=(50, 250))).n_forwards == 7
    after = folder_bytes(config.cache)
    projections = {name for name in before if name.startswith("projections/") and "/c/" in name}
    assert len(projections) == 4
    assert all(after[name] == before[name] for name in projections)
    assert len({name for name in after if name.startswith("projections/") and "/c/" in name}) == 6


def test_blocks_with_fewer_channels_than_components_stay_as_they_are(extraction):
    config = replace(extraction, pca=10)
    extract_features(config)
    reader = FeatureReader(config.cache)
    assert sorted(reader.projections(reader.pairs)) == [(1, 50), (1, 150)]
    assert [reader.features(block, 50, 0).shape[-1] for block in (1, 3)] == [10, 8]


def test_as_many_components_as_channels_are_refused_and_leave_nothing(extraction):
    with pytest.raises(ConfigError, match="--pca got 16; expected fewer components than there are channels"):
        extract_features(replace(extraction, pca=16))
    extract_features(extraction)


@pytest.mark.slow
def test_an_interrupted_cache_with_pca_is_resumed_to_the_same_bytes(extraction, folder_bytes, tmp_path, monkeypatch):
    config = replace(extraction, pca=5, dtype="int8")
    whole, broken = replace(config, cache=tmp_path / "whole"), replace(config, cache=tmp_path / "broken")
    extract_features(whole)
    write, done = CacheWriter.write_unit, []

    def fail_at_the_third(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        write(*arguments)
        done.append(1)

    with monkeypatch.context() as patched:
        patched.setattr(CacheWriter, "write_unit", fail_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            extract_features(broken)
    extract_features(replace(broken, resume=True))
    assert folder_bytes(broken.cache) == folder_bytes(whole.cache)


@pytest.mark.slow
def test_pca_without_training_images_is_refused_and_leaves_nothing(extraction):
    table = extraction.data.read_text(encoding="utf-8").replace(",train\n", ",val\n")
    extraction.data.write_text(table, encoding="utf-8")
    with pytest.raises(ConfigError, match="--pca is fitted on images of the training split, and the data has none"):
        extract_features(replace(extraction, pca=5))
    assert extract_features(extraction).n_forwards == 7  # nothing of the refused extraction is in the way


def test_precision_is_stored_and_an_open_one_follows_the_cache(extraction):
    lower = replace(extraction, precision="bfloat16")
    assert extract_features(lower).precision == "bfloat16"
    more = replace(extraction, timesteps=(250,))
    assert extract_features(more).precision == "bfloat16"
    with pytest.raises(CacheMismatchError, match="precision: the cache has bfloat16, this request needs float32"):
        extract_features(replace(extraction, precision="float32"))


def test_bfloat16_changes_the_activations_by_its_rounding(extraction, tmp_path):
    exact, lower = (
        replace(extraction, cache=tmp_path / name, dtype="float32", precision=name) for name in ("float32", "bfloat16")
    )
    extract_features(exact)
    extract_features(lower)
    ours, truth = (FeatureReader(config.cache).features(3, 150, 0) for config in (lower, exact))
    error = np.linalg.norm(ours - truth) / np.linalg.norm(truth)
    assert 1e-5 < error < 0.05


def latent(extraction, pipeline, **changes):
    settings = {"image_size": 32, "blocks": (0, 1), **changes}
    return replace(extraction, unet=f"stable-diffusion:{pipeline}", **settings)


@pytest.mark.slow
def test_a_latent_unet_is_told_the_empty_prompt_whatever_the_texts_say(extraction, tiny_stable_diffusion, folder_bytes):
    config = latent(extraction, tiny_stable_diffusion)
    extract_features(config)
    before = {name: content for name, content in folder_bytes(config.cache).items() if "features/" in name}
    assert FeatureReader(config.cache).manifest.features.condition == "empty"
    table = extraction.data.read_text(encoding="utf-8").replace("the nuclei are round", "spindle nuclei")
    extraction.data.write_text(table, encoding="utf-8")
    assert extract_features(config).n_forwards == 0
    after = {name: content for name, content in folder_bytes(config.cache).items() if "features/" in name}
    assert after == before


def test_a_unet_that_is_told_the_samples_own_text_runs_again_when_it_changes(extraction, tiny_stable_diffusion):
    config = latent(extraction, tiny_stable_diffusion, condition="own")
    table = extraction.data.read_text(encoding="utf-8")
    for long, short in (("the nuclei are round", "in a"), ("the nuclei are not round", "in b")):
        table = table.replace(long, short)
    extraction.data.write_text(table.replace("spindle nuclei in the upper half", "in c"), encoding="utf-8")
    assert extract_features(config).n_forwards == 7
    n_changed = table.count("in a")
    text = extraction.data.read_text(encoding="utf-8").replace("in a", "in d")
    extraction.data.write_text(text, encoding="utf-8")
    assert extract_features(config).n_forwards == n_changed


def test_a_unet_that_is_told_the_text_is_told_the_views_own(extraction, tiny_stable_diffusion):
    for text in ("the nuclei are round", "the nuclei are not round", "spindle nuclei in the upper half"):
        table = extraction.data.read_text(encoding="utf-8").replace(text, "in left")
        extraction.data.write_text(table, encoding="utf-8")
    config = latent(extraction, tiny_stable_diffusion, condition="own", views=2)
    assert extract_features(config).n_forwards == 7 + 4
    digests = {row.id: row.text_digest for row in FeatureReader(config.cache).manifest.rows if row}
    expected = [hashlib.sha256(text).hexdigest() for text in (b"in left", b"in right", b"")]
    assert [digests[name] for name in ("train0", "train0~1", "train3~1")] == expected


def test_a_unet_without_text_cannot_be_told_one(extraction):
    with pytest.raises(ConfigError, match="reads no text; leave it out"):
        extract_features(replace(extraction, condition="own"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile_overlap": 4}, "--tile-overlap got 4 without --tile"),
        ({"tile": 16, "tile_overlap": 16}, "--tile-overlap got 16; expected a number from 0 to 15"),
        ({"tile": 4}, "--tile got 4; expected at least 8"),
        ({"pca": 0}, "--pca got 0; expected at least 1"),
        ({"dtype": "int4"}, "--dtype got 'int4'; expected one of float16, float32, int8"),
        ({"precision": "half"}, "--precision got 'half'; expected one of auto, float32, bfloat16, float16"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(extraction, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(extraction, **change)


def test_the_side_of_the_input_is_the_tiles_unless_it_is_given(extraction):
    assert replace(extraction, image_size=None).side == 256
    assert replace(extraction, image_size=None, tile=64).side == 64
    assert replace(extraction, image_size=32, tile=64).side == 32


def test_a_unet_pretrained_on_other_colours_is_warned_of(extraction, tmp_path, caplog):
    unet = tmp_path / "unet"
    shutil.copytree(extraction.unet.removeprefix("diffusers:"), unet)
    (unet / "pretraining.json").write_text(json.dumps({"settings": {"colours": "standardised"}}))
    own = replace(extraction, unet=f"diffusers:{unet}", cache=tmp_path / "own", dry_run=True)
    extract_features(own)
    assert any("was pretrained with --colours standardised" in line for line in caplog.messages)
    caplog.clear()
    extract_features(replace(own, colours="standardised"))
    assert not any("pretrained" in line for line in caplog.messages)


def test_standardised_colours_reach_the_cache(extraction, tmp_path):
    standardised = replace(extraction, cache=tmp_path / "standardised", colours="standardised")
    extract_features(standardised)
    reader = FeatureReader(standardised.cache)
    assert reader.manifest.features.colours == "standardised"
    assert reader.image(0).mean((0, 1)) == pytest.approx([128] * 3, abs=2)  # resized after
    with pytest.raises(CacheMismatchError, match="colours: the cache has standardised, this request needs own"):
        extract_features(replace(standardised, colours="own"))


def test_texts_that_are_left_out_need_no_encoder_and_can_be_added_later(extraction):
    extract_features(replace(extraction, text_encoder=None, texts=False))
    reader = FeatureReader(extraction.cache)
    assert (reader.table.texts, reader.manifest.texts) == ((), None)
    assert extract_features(extraction).n_forwards == 0
    assert len(FeatureReader(extraction.cache).table.texts) == 3
