"""Frozen image encoders in a cache: beside the UNet or in its place, and each model run on nothing that is there."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format.manifest import read_manifest
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError, SourceError
from textdiff.pipeline.config.cache import CacheExportConfig, MergeConfig
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.extraction import feature_extractor
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.export import export_cache
from textdiff.pipeline.maintenance.info import cache_info
from textdiff.pipeline.maintenance.merge import merge_caches
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.stages.encoders.loading import load_encoder

LAYERS = ("tiny_dinov2/0", "tiny_dinov2/2")


@pytest.fixture
def alone(extraction, tiny_dinov2):
    """The small extraction with two layers of an encoder in the UNet's place."""
    return replace(extraction, unet=None, encoder=(f"hf:{tiny_dinov2}",), encoder_layers=((0, 2),))


@pytest.fixture
def beside(extraction, alone):
    """The same beside the UNet."""
    return replace(alone, unet=extraction.unet)


@pytest.fixture
def ran(monkeypatch):
    """The models that record a batch, in order: "unet" or an encoder's name."""
    names, record = [], feature_extractor.FeatureExtractor.record

    def remember(self, batch, timesteps, blocks):
        names.append(feature_extractor.encoder_of(blocks[0]) or "unet")
        return record(self, batch, timesteps, blocks)

    monkeypatch.setattr(feature_extractor.FeatureExtractor, "record", remember)
    return names


def features(cache):
    """The bytes of every shard of activations, by path."""
    paths = [path for folder in ("features", "encoders") for path in (cache / folder).rglob("c/*/0/0/0")]
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in paths}


def test_layers_are_stored_as_the_encoder_gives_them(alone, tiny_dinov2):
    summary = extract_features(alone)
    reader, encoder = FeatureReader(alone.cache), load_encoder(f"hf:{tiny_dinov2}")
    assert (reader.blocks, reader.timesteps, reader.layers) == ((), (), LAYERS)
    assert (summary.blocks, summary.layers, summary.n_forwards) == ((), LAYERS, 7)
    for sample in reader.samples:
        image = torch.from_numpy(np.array(reader.image(sample.row)))
        for number, activations in encoder.record(image[None], [0, 2]).items():
            stored = reader.features(f"tiny_dinov2/{number}", 0, sample.row)
            np.testing.assert_allclose(stored, activations[0].numpy(), atol=2e-3, rtol=2e-3)


@pytest.mark.usefixtures("tiny_cache")
def test_an_encoder_comes_to_a_cache_without_the_unet(beside, ran, folder_bytes):
    before = features(beside.cache)
    extract_features(beside)
    assert set(ran) == {"tiny_dinov2"}
    assert before.items() <= features(beside.cache).items()
    other = replace(beside, cache=beside.cache.with_name("at-once"))
    extract_features(other)
    assert folder_bytes(beside.cache) == folder_bytes(other.cache)
    assert verify_cache(beside.cache).problems == ()


@pytest.mark.slow
def test_a_unet_comes_to_a_cache_of_an_encoder_without_it(alone, beside, ran, folder_bytes):
    extract_features(alone)
    assert read_manifest(alone.cache).features.unet is None
    ran.clear()
    extract_features(beside)
    assert set(ran) == {"unet"}
    other = replace(beside, cache=beside.cache.with_name("at-once"))
    extract_features(other)
    assert folder_bytes(beside.cache) == folder_bytes(other.cache)


def test_a_second_encoder_and_more_layers_run_nothing_that_is_there(beside, tiny_timm, ran):
    extract_features(beside)
    ran.clear()
    extract_features(replace(beside, unet=None, encoder=(*beside.encoder, tiny_timm), encoder_layers=((0, 2), (1,))))
    assert set(ran) == {"test_efficientnet"}
    ran.clear()
    summary = extract_features(replace(beside, unet=None, encoder_layers=((1, 2),)))
    assert (set(ran), summary.n_forwards) == ({"tiny_dinov2"}, 7)
    reader = FeatureReader(beside.cache)
    assert reader.layers == ("test_efficientnet/1", *LAYERS[:1], "tiny_dinov2/1", *LAYERS[1:])
    assert (reader.blocks, reader.timesteps) == ((1, 3), (50, 150))


@pytest.mark.slow
def test_changed_weights_and_names_that_clash_are_refused(alone, tiny_dinov2, tmp_path):
    extract_features(alone)
    for name in ("moved", "changed"):
        (tmp_path / name).mkdir()
        shutil.copytree(tiny_dinov2, tmp_path / name / "tiny_dinov2")
    colours = tmp_path / "changed" / "tiny_dinov2" / "preprocessor_config.json"
    colours.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}), encoding="utf-8")
    moved, changed = (f"hf:{tmp_path / name / 'tiny_dinov2'}" for name in ("moved", "changed"))
    assert extract_features(replace(alone, encoder=(moved,))).n_forwards == 0
    assert read_manifest(alone.cache).encoders["tiny_dinov2"].source == moved
    with pytest.raises(CacheMismatchError, match=r"encoder tiny_dinov2: digest: the cache has \w+, this request needs"):
        extract_features(replace(alone, encoder=(changed,)))
    with pytest.raises(ConfigError, match=r"would both be called tiny_dinov2 in the cache; rename one"):
        extract_features(replace(alone, encoder=(moved, changed)))


@pytest.mark.slow
def test_views_tiles_components_and_eight_bits_are_as_of_blocks(beside, folder_bytes):
    small = replace(beside, views=2, tile=12, image_size=16, pca=5, dtype="int8", noise="per-sample")
    extract_features(small)
    reader = FeatureReader(small.cache)
    row = next(sample for sample in reader.samples if sample.view)
    stored = reader.stored(LAYERS[0], 0, row.row)
    assert (stored.values.shape, stored.values.dtype, stored.scales.shape) == ((4, 4, 5), np.int8, (5,))
    assert {record.block for record in reader.manifest.projections} == {1, 3, *LAYERS}
    rows = reader.read([1], [50], [row.row], layers=LAYERS)
    np.testing.assert_array_equal(rows[LAYERS[0], 0].values[0], stored.values)
    assert reader.stored(LAYERS[1], 0, row.row).values.any()


@pytest.mark.slow
def test_parts_give_the_bytes_of_one_process(beside, folder_bytes):
    extract_features(beside)
    shared = replace(beside, cache=beside.cache.with_name("shared"))
    for part in range(2):
        extract_features(replace(shared, num_parts=2, part_id=part))
    assert folder_bytes(shared.cache) == folder_bytes(beside.cache)


@pytest.mark.slow
def test_parts_in_folders_of_their_own_merge_and_export_to_the_bytes_of_one_process(beside, folder_bytes):
    extract_features(beside)
    folders = [beside.cache.with_name(name) for name in ("first", "second")]
    for part, folder in enumerate(folders):
        extract_features(replace(beside, cache=folder, num_parts=2, part_id=part))
    merged, packed, unpacked = (beside.cache.with_name(name) for name in ("merged", "packed.h5", "unpacked"))
    merge_caches(MergeConfig(merged, tuple(folders)))
    export_cache(CacheExportConfig(merged, packed))
    export_cache(CacheExportConfig(packed, unpacked))
    assert folder_bytes(merged) == folder_bytes(unpacked) == folder_bytes(beside.cache)


def test_a_damaged_layer_is_made_again_by_its_encoder(beside, folder_bytes):
    extract_features(beside)
    whole = folder_bytes(beside.cache)
    shard = beside.cache / "encoders" / LAYERS[0] / "c/0/0/0/0"
    content = bytearray(shard.read_bytes())
    content[3] ^= 1
    shard.write_bytes(content)
    (problem,) = verify_cache(beside.cache).problems
    assert problem.startswith("encoders/tiny_dinov2/0/c/0/0/0/0: ")
    with pytest.raises(ConfigError, match=r"made again by models that this request leaves out; add --encoder hf:"):
        extract_features(replace(beside, encoder=(), encoder_layers=None, resume=True))
    extract_features(replace(beside, resume=True))
    assert folder_bytes(beside.cache) == whole


def test_layers_by_default_and_one_list_for_all(alone, tiny_timm):
    extract_features(replace(alone, encoder=(*alone.encoder, tiny_timm), encoder_layers=((1,),)))
    extract_features(replace(alone, encoder=(tiny_timm,), encoder_layers=None))
    assert FeatureReader(alone.cache).layers == (*(f"test_efficientnet/{i}" for i in range(4)), "tiny_dinov2/1")


def test_info_names_encoders_and_layers(beside):
    extract_features(beside)
    lines = "\n".join(cache_info(beside.cache).lines())
    assert "layers     tiny_dinov2/0 (4×4×16), tiny_dinov2/2 (4×4×16)" in lines
    assert f"encoder    {beside.encoder[0]} (" in lines
    assert "at 16 px" in lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": ()}, "--unet and --encoder are both absent; give at least one frozen model"),
        ({"class_label": 1}, "--class-label was given without --unet; give both"),
        ({"condition": "own"}, "--condition own was given without --unet; give both"),
        ({"encoder": ("timm:a", "timm:a")}, "--encoder names a source more than once"),
        ({"encoder_layers": ((0,), (1,))}, "--encoder-layers got 2 lists for 1 encoders; expected one for all"),
        ({"encoder_layers": ((0, 0),)}, "--encoder-layers got 0,0; expected distinct numbers of at least 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(alone, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(alone, **change)


def test_layers_and_models_that_do_not_exist_are_refused(alone):
    with pytest.raises(ConfigError, match=r"has no layers 7; it has 0 to 2"):
        extract_features(replace(alone, encoder_layers=((0, 7),)))
    with pytest.raises(SourceError, match="unknown kind 'diffusers'"):
        extract_features(replace(alone, encoder=("diffusers:somewhere",)))
    assert not alone.cache.exists()


def test_the_settings_need_no_unet(tmp_path):
    config = ExtractConfig(tmp_path / "data", tmp_path / "cache", encoder=("timm:a",))
    assert (config.unet, config.encoder_layers) == (None, None)


@pytest.mark.slow
def test_an_interrupted_addition_goes_on_whatever_is_asked_for_then(
    tiny_cache, extraction, beside, folder_bytes, monkeypatch
):
    def end(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "publish", end)
        with pytest.raises(KeyboardInterrupt):
            extract_features(beside)
    assert FeatureReader(tiny_cache).layers == ()
    extract_features(replace(extraction, resume=True))
    assert FeatureReader(tiny_cache).layers == LAYERS
    other = replace(beside, cache=tiny_cache.with_name("at-once"))
    extract_features(other)
    assert folder_bytes(tiny_cache) == folder_bytes(other.cache)
