"""What a writer writes and refuses, unit by unit, on made-up activations of one block of the UNet and two images."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from textdiff.cache.building.journal import read_journal
from textdiff.cache.building.plan import plan_work, read_state
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format import shard as shards
from textdiff.cache.format.layout import features_layout, scales_layout
from textdiff.cache.format.manifest import RowKey
from textdiff.cache.format.maps import StoredMaps
from textdiff.cache.format.projections import projection_digest, read_projections
from textdiff.cache.format.shard import read_rows
from textdiff.cache.format.spec import FeatureSpec
from textdiff.errors import CacheCorruptError, CacheError

SPEC = FeatureSpec(
    unet="diffusers:a", unet_digest="d", prediction_type="epsilon", noise="shared", noise_draws=1, seed=40,
    image_size=8, window=None, dtype="float16", rows_per_shard=2,
)  # fmt: skip
UNET_SHAPES = {3: (4, 5, 6)}
KEYS = [RowKey("a", "digest of a"), RowKey("b", "digest of b")]


def plan_for(root, resume=True, timesteps=(50,), **settings):
    return plan_work(read_state(root, resume=resume), replace(SPEC, **settings), KEYS, UNET_SHAPES, timesteps)


def writer_of(root, plan):
    return CacheWriter(root, plan.manifest, plan.unfitted, plan.lost)


@pytest.fixture
def floats():
    return np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32)


@pytest.fixture
def quantised(floats):
    scales = np.abs(floats).max((1, 2)) / 127
    return StoredMaps(np.rint(floats / scales[:, None, None]).astype(np.int8), scales)


@pytest.fixture
def projection():
    return np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)


def test_values_and_scales_are_one_unit(tmp_path, quantised):
    plan = plan_for(tmp_path, dtype="int8")
    CacheWriter(tmp_path, plan.manifest).write_unit(plan.pending[0], {(3, 50): quantised}, {})
    (unit,) = read_journal(tmp_path)
    assert [shard.path for shard in unit.shards] == ["features/3/50/c/0/0/0/0", "scales/3/50/c/0/0"]
    assert sum((tmp_path / shard.path).stat().st_size for shard in unit.shards) == sum(
        shard.size_bytes for shard in unit.shards
    )
    values, scales = np.empty_like(quantised.values), np.empty_like(quantised.scales)
    read_rows(tmp_path / features_layout(3, 50, (4, 5, 6), "int8", 2).shard_path(0), dict(enumerate(values)), 2)
    read_rows(tmp_path / scales_layout(3, 50, 6, 2).shard_path(0), dict(enumerate(scales)), 2)
    np.testing.assert_array_equal(values, quantised.values)
    np.testing.assert_array_equal(scales, quantised.scales)


@pytest.mark.parametrize(
    ("value", "told"), [(70000.0, "0 NaN, 1 beyond ±65504, the largest float16"), (np.nan, "1 NaN, 0 beyond ±65504")]
)
def test_what_float16_cannot_hold_is_reported_and_nothing_is_stored(tmp_path, floats, value, told):
    floats[1, 2, 3, 4] = value
    with np.errstate(over="ignore"):
        stored = StoredMaps(floats.astype(np.float16))
    plan = plan_for(tmp_path)
    with pytest.raises(CacheError, match=rf"NaN or infinite in float16:\n  - block 3, timestep 50, sample b: {told}"):
        CacheWriter(tmp_path, plan.manifest).write_unit(plan.pending[0], {(3, 50): stored}, {})
    assert not (tmp_path / "features").exists()
    assert read_journal(tmp_path) == ()


def test_what_was_not_finite_before_it_was_quantised_is_reported(tmp_path, quantised):
    quantised.scales[0, 2] = np.inf
    plan = plan_for(tmp_path, dtype="int8")
    with pytest.raises(CacheError, match="timestep 50, sample a: NaN or infinite before it was quantised"):
        CacheWriter(tmp_path, plan.manifest).write_unit(plan.pending[0], {(3, 50): quantised}, {})


def test_arrays_of_another_shape_or_dtype_are_a_bug(tmp_path, floats):
    plan = plan_for(tmp_path)
    with pytest.raises(AssertionError, match=r"features/3/50: got float32 \(2, 4, 5, 6\) for 2 rows"):
        CacheWriter(tmp_path, plan.manifest).write_unit(plan.pending[0], {(3, 50): StoredMaps(floats)}, {})


def test_a_unit_waits_for_its_projections(tmp_path, floats, projection):
    plan = plan_for(tmp_path, pca=2)
    assert (plan.unfitted, plan.manifest.block_shapes) == (((3, 50),), {3: (4, 5, 2)})
    writer, stored = writer_of(tmp_path, plan), StoredMaps(floats[..., :2].astype(np.float16))
    with pytest.raises(CacheError, match="no projection was written yet for block 3, timestep 50"):
        writer.write_unit(plan.pending[0], {(3, 50): stored}, {})
    writer.write_projections({(3, 50): projection})
    writer.write_unit(plan.pending[0], {(3, 50): stored}, {})
    assert len(read_journal(tmp_path)) == 1


def test_a_projection_of_another_size_is_a_bug(tmp_path, projection):
    with pytest.raises(AssertionError, match="block 3, timestep 50 needs no projection of 3 rows"):
        writer_of(tmp_path, plan_for(tmp_path, pca=3)).write_projections({(3, 50): projection})


def test_a_block_with_few_channels_has_no_projection(tmp_path):
    plan = plan_for(tmp_path, pca=6)
    assert (plan.unfitted, plan.manifest.block_shapes) == ((), {3: (4, 5, 6)})


def test_projections_that_are_there_are_used_as_they_are(tmp_path, projection):
    writer_of(tmp_path, plan_for(tmp_path, pca=2)).write_projections({(3, 50): projection})
    resumed = plan_for(tmp_path, pca=2, timesteps=(50, 150))
    assert resumed.unfitted == ((3, 150),)
    writer_of(tmp_path, resumed).write_projections({(3, 150): projection + 1})
    assert plan_for(tmp_path, pca=2, timesteps=(50, 150)).unfitted == ()
    records = read_state(tmp_path, resume=True).projections
    assert [(record.pair, record.shape) for record in records] == [((3, 50), (3, 6)), ((3, 150), (3, 6))]
    assert [record.digest for record in records] == [projection_digest(projection), projection_digest(projection + 1)]
    found = read_projections(tmp_path, records)
    np.testing.assert_array_equal(found[3, 50], projection)
    np.testing.assert_array_equal(found[3, 150], projection + 1)


def test_a_projection_is_on_the_disk_before_it_is_recorded(tmp_path, projection, monkeypatch):
    writer = writer_of(tmp_path, plan_for(tmp_path, pca=2))
    monkeypatch.setattr(
        "textdiff.cache.building.writer.write_plan", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        writer.write_projections({(3, 50): projection})
    assert (tmp_path / "projections/3/50/c/0/0").exists()
    assert json.loads((tmp_path / "journal/plan.json").read_bytes())["projections"] == []
    assert plan_for(tmp_path, pca=2).unfitted == ((3, 50),)


def test_a_damaged_projection_is_found(tmp_path, projection):
    writer_of(tmp_path, plan_for(tmp_path, pca=2)).write_projections({(3, 50): projection})
    path = tmp_path / "projections/3/50/c/0/0"
    path.write_bytes(path.read_bytes().replace(projection[1].tobytes(), projection[2].tobytes()))
    with pytest.raises(CacheCorruptError, match="bytes of row 1 are not those"):
        read_projections(tmp_path, read_state(tmp_path, resume=True).projections)


def test_the_estimate_counts_every_byte_of_int8_and_components(tmp_path):
    plan = plan_for(tmp_path, dtype="int8", pca=2)
    assert plan.size_bytes == 2 * (4 * 5 * 2 + 2 * 4 + 8 * 8 * 4)


def test_shards_of_a_unit_are_recorded_in_order_whatever_thread_ends_first(tmp_path, floats, monkeypatch):
    write = shards.write_durably

    def slow_first(path, pieces):
        if "/50/" in str(path):
            time.sleep(0.05)
        return write(path, pieces)

    monkeypatch.setattr(shards, "write_durably", slow_first)
    plan = plan_for(tmp_path, timesteps=(50, 150, 250))
    stored = StoredMaps(floats.astype(np.float16))
    CacheWriter(tmp_path, plan.manifest).write_unit(
        plan.pending[0], dict.fromkeys([(3, 250), (3, 50), (3, 150)], stored), {}
    )
    (unit,) = read_journal(tmp_path)
    assert [shard.path.split("/")[2] for shard in unit.shards] == ["50", "150", "250"]
