"""What is left to do, worked out by hand for caches of two images a shard."""

import time
from dataclasses import replace

import pytest

from textdiff.cache.building.plan import plan_work, read_state
from textdiff.cache.format.manifest import DerivedShardRecord, RowKey, Unit, WorkUnit
from textdiff.cache.format.shard import ShardRecord
from textdiff.cache.format.spec import FeatureSpec
from textdiff.errors import CacheError, CacheMismatchError

SPEC = FeatureSpec(
    unet="diffusers:a", unet_digest="d", prediction_type="epsilon", noise="shared", noise_draws=1, seed=40,
    image_size=8, window=None, dtype="float16", rows_per_shard=2,
)  # fmt: skip
SHAPES = {3: (4, 4, 6), 5: (8, 8, 2)}


def keys(*ids):
    return [RowKey(name, f"digest of {name}") for name in ids]


def carry_out(plan):
    """The manifest after the plan's work is done."""
    units = tuple(Unit(unit.rows, unit.timesteps, unit.blocks, {}, ()) for unit in plan.pending)
    return replace(plan.manifest, units=plan.manifest.units + units)


@pytest.fixture
def three_images():
    return plan_work(None, SPEC, keys("a", "b", "c"), SHAPES, (50, 150))


def test_a_new_cache_needs_every_shard(three_images):
    assert three_images.rows == (0, 1, 2)
    assert three_images.pending == (WorkUnit((0, 1), (50, 150), (3, 5)), WorkUnit((2,), (50, 150), (3, 5)))


def test_the_estimate_counts_every_byte_of_the_arrays(three_images):
    an_image = 2 * 2 * (4 * 4 * 6 + 8 * 8 * 2) + 8 * 8 * (3 + 1)
    assert three_images.size_bytes == 3 * an_image


def test_filters_are_wanted_of_the_rows_whose_shard_is_not_recorded(three_images):
    filters = [DerivedShardRecord(ShardRecord("filters/c/0/0/0/0", 1, "0"), "any")]
    there = replace(carry_out(three_images), derived_shards=tuple(filters))
    plan = plan_work(there, SPEC, keys("a", "b", "c", "d"), SHAPES, (50, 150), filters=True)
    assert plan.unfiltered == (2, 4)
    without = plan_work(there, SPEC, keys("a", "b", "c", "d"), SHAPES, (50, 150))
    assert without.unfiltered == ()
    assert plan.size_bytes - without.size_bytes == 2 * 8 * 8 * 60 * 2


def test_nothing_is_done_twice(three_images):
    again = plan_work(carry_out(three_images), SPEC, keys("c", "a", "b"), SHAPES, (150, 50))
    assert (again.pending, again.rows, again.size_bytes) == ((), (2, 0, 1), 0)


def test_a_new_image_begins_a_new_shard(three_images):
    plan = plan_work(carry_out(three_images), SPEC, keys("a", "b", "c", "d"), SHAPES, (50, 150))
    assert plan.rows == (0, 1, 2, 4)
    assert plan.manifest.rows[3] is None
    assert plan.pending == (WorkUnit((4,), (50, 150), (3, 5)),)


def test_a_new_timestep_runs_alone_on_the_old_images(three_images):
    plan = plan_work(carry_out(three_images), SPEC, keys("a", "b", "c"), SHAPES, (50, 150, 250))
    assert plan.pending == (WorkUnit((0, 1), (250,), (3, 5)), WorkUnit((2,), (250,), (3, 5)))
    assert plan.size_bytes == 3 * 2 * (4 * 4 * 6 + 8 * 8 * 2)


def test_a_new_block_and_a_new_timestep_make_two_units_a_shard(three_images):
    shapes = {**SHAPES, 4: (8, 8, 1)}
    plan = plan_work(carry_out(three_images), SPEC, keys("a", "b"), shapes, (50, 250))
    assert plan.pending == (WorkUnit((0, 1), (50,), (4,)), WorkUnit((0, 1), (250,), (3, 4, 5)))


def test_a_changed_image_gets_a_row_of_its_own(three_images):
    changed = [*keys("a", "b"), RowKey("c", "another digest")]
    plan = plan_work(carry_out(three_images), SPEC, changed, SHAPES, (50, 150))
    assert plan.rows == (0, 1, 4)
    assert plan.pending == (WorkUnit((4,), (50, 150), (3, 5)),)


def test_an_image_that_left_and_came_back_keeps_its_row(three_images):
    without_b = plan_work(carry_out(three_images), SPEC, keys("a", "c"), SHAPES, (50, 150))
    assert without_b.rows == (0, 2)
    back = plan_work(carry_out(without_b), SPEC, keys("a", "b", "c"), SHAPES, (50, 150))
    assert (back.rows, back.pending) == ((0, 1, 2), ())


def test_an_image_that_missed_a_timestep_while_away_is_made_anew(three_images):
    without_b = plan_work(carry_out(three_images), SPEC, keys("a", "c"), SHAPES, (50, 150, 250))
    assert without_b.pending[0] == WorkUnit((0,), (250,), (3, 5))
    back = plan_work(carry_out(without_b), SPEC, keys("a", "b", "c"), SHAPES, (50, 150, 250))
    assert back.rows == (0, 4, 2)
    assert back.pending == (WorkUnit((4,), (50, 150, 250), (3, 5)),)


def test_other_features_are_refused_with_every_field_that_differs(three_images):
    other = replace(SPEC, unet_digest="e", seed=41, unet="diffusers:elsewhere")
    with pytest.raises(CacheMismatchError) as caught:
        plan_work(carry_out(three_images), other, keys("a"), SHAPES, (50,))
    message = str(caught.value)
    assert "unet_digest: the cache has d, this request needs e" in message
    assert "seed: the cache has 40, this request needs 41" in message
    assert "elsewhere" not in message


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(CacheError, match="exists and is not a feature cache"):
        read_state(tmp_path, resume=True)
    assert read_state(tmp_path / "new", resume=False) is None


def test_a_large_cache_is_planned_in_a_moment():
    """10,000 shards of 8 images: what compares every row with every unit takes minutes."""
    names = [f"image{i}" for i in range(80_000)]
    spec = replace(SPEC, rows_per_shard=8)
    state = carry_out(plan_work(None, spec, keys(*names), SHAPES, (50,)))
    started = time.process_time()
    assert plan_work(state, spec, keys(*names), SHAPES, (50,)).pending == ()
    assert time.process_time() - started < 10
