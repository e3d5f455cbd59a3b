"""Runs of caches in eight bits and with principal components: what they keep, and what they refuse."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from textdiff.cache.building.derived import TextArrays, row_loader
from textdiff.cache.building.plan import plan_work
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format.maps import StoredMaps
from textdiff.cache.reader import FeatureReader
from textdiff.errors import RunError
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.runs import run_config
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.projections import load_projections, projection_differences
from textdiff.pipeline.runs.run_config import FORMAT, RunConfig
from textdiff.pipeline.training.train import train_head
from textdiff.stages.features.compression import fit_projection, quantise
from textdiff.stages.features.sampling import gather

N_COMPONENTS = 6


def compress(source, root, n_pixels=200):
    """A float16 cache once more: 6 components of its channels, fitted on some pixels, in eight bits."""
    spec = replace(source.manifest.features, dtype="int8", pca=N_COMPONENTS)
    plan = plan_work(None, spec, source.manifest.rows, source.manifest.block_shapes, source.timesteps)
    writer, projections = CacheWriter(root, plan.manifest, plan.unfitted), {}
    for block, timestep in plan.unfitted:
        every = source.read((block,), (timestep,), range(4))[block, timestep].values
        flat = torch.from_numpy(every.reshape(-1, every.shape[-1])).float()
        projections[block, timestep] = fit_projection(flat[:n_pixels], N_COMPONENTS)
    writer.write_projections({pair: projection.to_rows().numpy() for pair, projection in projections.items()})
    for unit in plan.pending:
        found = source.read(unit.blocks, unit.timesteps, unit.rows)
        writer.write_unit(unit, {pair: small(maps, projections.get(pair)) for pair, maps in found.items()}, {})
    texts, classes = TextArrays(source.manifest.texts, *source.texts()), source.manifest.classes
    load = row_loader(images=source.image, labels=source.labels)
    writer.publish(source.table, classes, texts, filters=False, load=load)
    return root


def small(maps, projection):
    activations = torch.from_numpy(maps.values).float()
    values, scales = quantise(projection.apply(activations) if projection else activations)
    return StoredMaps(values.numpy(), scales.numpy())


@pytest.fixture
def cache(tiny_cache, tmp_path):
    return compress(FeatureReader(tiny_cache), tmp_path / "compressed")


@pytest.fixture
def training(cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    return TrainConfig(cache, tmp_path / "run", head="pixel", text="true", epochs=12, device="cpu", **sizes, **rates)


@pytest.mark.slow
def test_a_head_learns_from_few_channels_of_eight_bits(training):
    summary = train_head(training).summary
    everything = 2 * 64 / (64 + 20 * 24)  # the Dice of marking every pixel
    assert summary.val_dice > 2 * everything
    config = RunConfig.read(training.run)
    assert config.head.channels == {1: 2 * N_COMPONENTS, 3: 2 * N_COMPONENTS}


def test_sampled_and_dense_pixels_of_eight_bits_give_the_same_logits(training):
    train_head(replace(training, epochs=1, precision="float32"))
    data = open_head_data(FeatureReader(training.cache), blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    head, sample = load_head(training.run, RunConfig.read(training.run), "cpu"), data.reader.samples[0]
    pixels, (tokens, mask) = torch.arange(256), data.texts([sample])
    features = {block: found[None] for block, found in gather(data.maps(sample), pixels, (16, 16)).items()}
    sampled = head(head.inputs(features), pixels[None], (16, 16), tokens, mask)[0]
    (x,) = data.inputs([sample])
    (whole,) = head.segment(x)
    torch.testing.assert_close(whole.flatten(1).T, sampled, atol=1e-4, rtol=1e-4)


def test_a_run_keeps_the_projections_of_its_own_pairs_and_their_digests(training):
    train_head(replace(training, epochs=1, timesteps=(50,)))
    config, reader = RunConfig.read(training.run), FeatureReader(training.cache)
    records = {record.pair: record for record in reader.manifest.projections}
    assert config.projections == {"1/50": records[1, 50].digest, "3/50": records[3, 50].digest}
    kept = load_projections(training.run, config, "cpu")
    assert kept.keys() == {(1, 50), (3, 50)}
    for pair, array in reader.projections([(1, 50), (3, 50)]).items():
        np.testing.assert_array_equal(kept[pair].to_rows(), array)


def test_a_run_without_components_keeps_none(training, tiny_cache):
    train_head(replace(training, epochs=1, cache=tiny_cache))
    assert not (training.run / "projections.safetensors").exists()
    assert load_projections(training.run, RunConfig.read(training.run), "cpu") == {}


def test_projections_that_are_gone_or_not_the_runs_are_refused(training):
    train_head(replace(training, epochs=1))
    config, path = RunConfig.read(training.run), training.run / "projections.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "1/50": tensors["1/50"] + 1}, path)
    with pytest.raises(RunError, match=r"not the projections of .*config\.json; restore the file"):
        load_projections(training.run, config, "cpu")
    path.unlink()
    with pytest.raises(RunError, match=r"projections\.safetensors: cannot be read"):
        load_projections(training.run, config, "cpu")


def test_a_cache_projected_on_something_else_is_told_apart(training, tiny_cache, tmp_path):
    train_head(replace(training, epochs=1, timesteps=(50,)))
    config, same = RunConfig.read(training.run), FeatureReader(training.cache).manifest
    assert projection_differences(config, same) == []
    other = FeatureReader(compress(FeatureReader(tiny_cache), tmp_path / "other", n_pixels=100)).manifest
    assert other.features.differences(same.features) == []
    assert other.digests["features"] != same.digests["features"]
    differences = projection_differences(config, other)
    assert [line.split(":")[0] for line in differences] == [
        "projection of block/timestep 1/50",
        "projection of block/timestep 3/50",
    ]
    here, there = config.projections["1/50"][:12], other.projections[0].digest[:12]
    assert differences[0].endswith(f"the run has {here}, the cache has {there} (fitted on other images)")


def test_a_config_gives_back_the_settings_of_the_training(training):
    training = replace(training, precision="float32")
    train_head(training)
    config = RunConfig.read(training.run)
    resolved = {"blocks": (1, 3), "timesteps": (50, 150), "filters": False, "sources": ("unet",), "text_dropout": 0.1}
    assert config.train_config(training.run, training.cache) == replace(training, **resolved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["train"].pop("ensemble"), "settings of train that are missing or unknown: ensemble"),
        (lambda values: values["train"].update(momentum=0.9), "missing or unknown: momentum"),
        (lambda values: values["train"].update(seed="nine"), "--seed got 'nine'; expected a whole number"),
        (lambda values: values.pop("projections"), "missing required field `projections`"),
        (lambda values: values["head"].update(depth=3), "it has fields that no run has"),
        (lambda values: values["head"].pop("fine"), "it has fields that no run has"),
    ],
)
def test_a_config_is_read_strictly(training, change, message):
    train_head(replace(training, epochs=1))
    path = training.run / "config.json"
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=message) as caught:
        RunConfig.read(training.run)
    assert str(caught.value).startswith(f"{path}: not the configuration of a run (")
    assert str(caught.value).endswith("; restore the file, or train again")


def test_a_run_of_a_later_format_is_refused_before_its_fields_are_looked_at(training):
    train_head(replace(training, epochs=1))
    path = training.run / "config.json"
    values = json.loads(path.read_bytes())
    assert values["format"] == FORMAT == 1
    path.write_text(json.dumps({**values, "format": 2, "train": "in other words"}))
    with pytest.raises(RunError, match="format 2, this textdiff reads formats up to 1: use the textdiff that trained"):
        RunConfig.read(training.run)


def test_a_setting_that_was_added_has_its_former_value_in_a_run_that_lacks_it(training, monkeypatch):
    train_head(replace(training, epochs=1))
    path = training.run / "config.json"
    values = json.loads(path.read_bytes())
    text_dropout = values["train"].pop("text_dropout")
    del values["format"]  # as runs had it before the first release
    path.write_text(json.dumps(values))
    monkeypatch.setattr(run_config, "SETTINGS_SINCE", {"text_dropout": 0.5, "seed": 7})
    config = RunConfig.read(training.run).train_config(training.run, training.cache)
    assert (config.text_dropout, config.seed) == (0.5, training.seed)
    assert text_dropout != 0.5
