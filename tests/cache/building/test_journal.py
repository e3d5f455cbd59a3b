"""The journal: a file a unit, whole or absent, in any order and from several writers."""

from dataclasses import replace

import pytest

from textdiff.cache.building.journal import read_journal, record_unit, remove_journal, unit_path, write_plan
from textdiff.cache.building.plan import read_state
from textdiff.cache.format.manifest import Manifest, Unit
from textdiff.cache.format.shard import ShardRecord
from textdiff.cache.format.spec import FeatureSpec

SPEC = FeatureSpec(
    unet="diffusers:a", unet_digest="d", prediction_type="epsilon", noise="shared", noise_draws=1, seed=40,
    image_size=8, window=None, dtype="float16", rows_per_shard=2,
)  # fmt: skip
UNITS = tuple(
    Unit(rows, steps, (3,), {"threads": 1}, (ShardRecord(f"features/3/50/c/{rows[0]}/0/0/0", 7, "0" * 8),))
    for rows in ((0, 1), (2, 3), (10,))
    for steps in ((50,), (50, 150))
)


@pytest.fixture
def root(tmp_path):
    write_plan(tmp_path, Manifest(SPEC, (), {}))
    return tmp_path


def test_units_are_read_in_the_order_of_their_rows_whatever_order_they_came_in(root):
    for unit in reversed(UNITS):
        record_unit(root, unit)
    assert read_journal(root) == UNITS
    assert len({unit_path(unit) for unit in UNITS}) == 6
    assert unit_path(UNITS[4]).name.startswith("10-")


def test_a_unit_done_again_takes_the_place_of_the_first(root):
    again = replace(UNITS[0], conditions={"threads": 2})
    record_unit(root, UNITS[0])
    record_unit(root, again)
    assert read_journal(root) == (again,)


@pytest.mark.parametrize("damage", [lambda old: old[:-9], lambda old: old.replace(b"7", b"8", 1), lambda _: b"[]"])
def test_a_damaged_record_is_of_a_unit_that_is_not_finished(root, damage):
    for unit in UNITS[:2]:
        record_unit(root, unit)
    path = root / unit_path(UNITS[0])
    path.write_bytes(damage(path.read_bytes()))
    assert read_journal(root) == UNITS[1:2]


def test_a_record_under_a_temporary_name_is_not_read(root):
    record_unit(root, UNITS[0])
    path = root / unit_path(UNITS[0])
    path.rename(path.with_name(path.name + ".tmp"))
    assert read_journal(root) == ()


def test_a_journal_that_is_removed_leaves_nothing(root):
    record_unit(root, UNITS[0])
    assert read_state(root, resume=True).units == UNITS[:1]
    remove_journal(root)
    assert list(root.iterdir()) == []
