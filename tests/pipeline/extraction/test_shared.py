"""Parts of one extraction: disjoint, in any order, and in the end the bytes of one process."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from textdiff.cache.building.journal import read_journal
from textdiff.cache.building.shared_plan import read_shared_plan
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage.locks import Share, hold_lock
from textdiff.errors import CacheBusyError, CacheError, CacheIncompleteError, CacheMismatchError, ConfigError
from textdiff.pipeline.extraction import shared as parts
from textdiff.pipeline.extraction import unit_work
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.runtime.progress import Progress
from textdiff.stages.unet.recorder import UNetRecorder


@pytest.fixture
def extraction(extraction):
    """Without filters, which take the longest."""
    return replace(extraction, filters=False)


@pytest.fixture
def part(extraction, tmp_path):
    """Gives a function that makes a part of the same extraction in another folder."""
    shared = replace(extraction, cache=tmp_path / "shared")
    return lambda part_id, num_parts=3, **changes: extract_features(
        replace(shared, num_parts=num_parts, part_id=part_id, **changes)
    )


@pytest.fixture
def shared(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def edit(extraction):
    def edit(old, new):
        text = extraction.data.read_text(encoding="utf-8")
        assert old in text
        extraction.data.write_text(text.replace(old, new), encoding="utf-8")

    return edit


@pytest.mark.slow
def test_parts_one_after_another_give_the_bytes_of_one_process(part, shared, tiny_cache, folder_bytes):
    second = part(1)
    assert (second.part, second.n_units, second.n_units_left, second.whole) == ("1-of-3", 1, 3, False)
    assert "3 units are left to other parts" in second.lines()[0]
    with pytest.raises(CacheIncompleteError):
        FeatureReader(shared)
    assert [part(n).n_units_left for n in (2, 0)] == [2, 0]
    assert folder_bytes(shared) == folder_bytes(tiny_cache)


def test_the_last_part_says_that_the_cache_is_whole(part, shared):
    part(0, 2)
    last = part(1, 2)
    assert (last.whole, last.n_units_left, last.n_forwards) == (True, 0, 3)
    assert last.lines()[0].startswith(f"{shared} is whole: 7 samples")


def test_each_part_makes_every_nth_unit_whatever_others_have_done(part, shared):
    part(2, 4)
    units = read_shared_plan(shared).units
    assert [unit.rows for unit in units] == [(0, 1), (2, 3), (4, 5), (6,)]
    assert [unit.rows for unit in read_journal(shared)] == [(4, 5)]
    part(0, 4)
    assert [unit.rows for unit in read_journal(shared)] == [(0, 1), (4, 5)]
    assert read_shared_plan(shared).units == units
    assert read_shared_plan(shared).of(Share(1, 4)) == units[1:2]


def test_images_labels_and_filters_are_shared_too(part, shared, monkeypatch):
    made, of_part, image_filters = [], [], unit_work.image_filters
    monkeypatch.setattr(unit_work, "image_filters", lambda image: made.append(1) or image_filters(image))
    for part_id in (1, 0, 2):
        part(part_id, filters=True)
        of_part.append(len(made))
        made.clear()
    assert of_part == [2, 3, 2]
    assert FeatureReader(shared).manifest.has_filters


@pytest.mark.slow
def test_a_part_that_was_killed_is_done_again_by_the_same_command(part, shared, tiny_cache, folder_bytes, monkeypatch):
    write = parts.CacheWriter.write_shards

    def die(self, pending, *args):
        if pending.rows == (6,):
            raise KeyboardInterrupt
        return write(self, pending, *args)

    with monkeypatch.context() as patch:
        patch.setattr(parts.CacheWriter, "write_shards", die)
        with pytest.raises(KeyboardInterrupt):
            part(0)
    assert [unit.rows for unit in read_journal(shared)] == [(0, 1)]
    assert part(2).n_units_left == 2
    again = part(0)
    assert (again.n_units, again.n_units_left) == (1, 1)
    assert part(1).whole
    assert folder_bytes(shared) == folder_bytes(tiny_cache)


@pytest.mark.slow
def test_a_resumed_part_makes_its_damaged_units_again(part, shared, tiny_cache, folder_bytes):
    part(0)
    for group in (0, 3):
        path = shared / f"features/3/50/c/{group}/0/0/0"
        path.write_bytes(path.read_bytes()[:-1])
    assert part(0, resume=True).n_units == 2
    part(1)
    part(2)
    assert folder_bytes(shared) == folder_bytes(tiny_cache)


@pytest.mark.slow
def test_the_number_of_parts_may_change_while_none_is_at_work(part, shared, tiny_cache, folder_bytes):
    part(1, 3)
    with hold_lock(shared, Share(0, 3)), pytest.raises(CacheBusyError, match="parts 0-of-3 are at work, which would"):
        part(1, 2)
    assert part(1, 2).n_units == 1  # the other of its two units, (2, 3), is there
    part(0, 2)
    assert folder_bytes(shared) == folder_bytes(tiny_cache)


def test_one_process_finishes_what_parts_began(part, extraction, shared, tiny_cache, folder_bytes):
    part(1)
    with pytest.raises(CacheIncompleteError, match=r"did not finish \(1 units are done\); add --resume"):
        extract_features(replace(extraction, cache=shared))
    assert extract_features(replace(extraction, cache=shared, resume=True)).n_units == 3
    assert folder_bytes(shared) == folder_bytes(tiny_cache)


@pytest.mark.slow
def test_parts_extend_a_cache(part, extraction, tiny_cache, folder_bytes):
    extended = replace(extraction, timesteps=(50, 150, 250))
    before = folder_bytes(tiny_cache)
    first = extract_features(replace(extended, num_parts=2, part_id=1))
    assert (first.n_units, first.n_units_left) == (2, 2)
    now = folder_bytes(tiny_cache)
    assert {name: now[name] for name in before} == before
    assert FeatureReader(tiny_cache).timesteps == (50, 150)
    assert extract_features(replace(extended, num_parts=2, part_id=0)).whole
    assert FeatureReader(tiny_cache).timesteps == (50, 150, 250)


@pytest.mark.slow
def test_what_a_part_adds_to_a_whole_cache_is_not_foreign_there(extraction, tiny_cache):
    with extraction.data.open("a", encoding="utf-8") as file:
        file.write("spare,spare.png,spare_mask.png,,train\n")
    assert extract_features(replace(extraction, num_parts=2, part_id=1)).n_units_left == 1
    assert extract_features(replace(extraction, num_parts=1, part_id=0, dry_run=True)).n_units == 1
    assert verify_cache(tiny_cache).problems == ()
    added = extract_features(replace(extraction, num_parts=2, part_id=0))
    assert (added.whole, added.n_units) == (True, 1)
    assert verify_cache(tiny_cache).problems == ()
    assert len(FeatureReader(tiny_cache).samples) == 8


def test_a_part_of_a_whole_cache_runs_nothing_and_changes_nothing(extraction, tiny_cache, folder_bytes, monkeypatch):
    before = folder_bytes(tiny_cache)
    monkeypatch.setattr(UNetRecorder, "record", None)
    again = extract_features(replace(extraction, num_parts=2, part_id=1))
    assert (again.whole, again.n_units) == (True, 0)
    assert folder_bytes(tiny_cache) == before


def test_a_part_with_other_settings_or_data_is_refused_with_every_difference(part, shared, edit, folder_bytes):
    part(1)
    before = folder_bytes(shared)
    edit("the nuclei are not round", "the nuclei are round")
    with pytest.raises(CacheMismatchError) as caught:
        part(0, timesteps=(50,), filters=True)
    message = str(caught.value)
    assert "its parts were begun with other settings or data" in message
    assert "  - timesteps: begun with [50, 150], this part has [50]" in message
    assert "  - filters: begun with False, this part has True" in message
    assert "  - samples: begun with " in message
    assert "blocks" not in message
    with pytest.raises(CacheMismatchError, match="seed: the cache has 40, this request needs 41"):
        part(0, seed=41)
    assert folder_bytes(shared).items() >= before.items()


def test_another_process_on_the_same_part_is_refused(part, shared, tmp_path):
    with hold_lock(shared, Share(1, 3)):
        with pytest.raises(CacheBusyError, match="part 1-of-3 is being made by another process"):
            part(1)
        assert part(0).n_units == 2
    with hold_lock(shared), pytest.raises(CacheBusyError, match="another process is writing to this cache"):
        part(2)


@pytest.mark.slow
def test_projections_are_fitted_by_part_0_and_waited_for_by_none(part, extraction, shared, folder_bytes):
    with pytest.raises(CacheError, match="part 1-of-3 needs the principal components that part 0 fits"):
        part(1, pca=3)
    assert not shared.exists()
    with hold_lock(shared, Share(2, 3)), pytest.raises(CacheError, match="part 1-of-3 needs"):
        part(1, pca=3)
    assert not (shared / "journal" / "plan.json").exists()
    assert shared.exists()  # another part is at work there
    for part_id in (0, 2, 1):
        part(part_id, pca=3)
    alone = replace(extraction, pca=3)
    extract_features(alone)
    assert folder_bytes(shared) == folder_bytes(alone.cache)


def test_a_missing_encoder_is_met_before_the_first_unit(part, shared):
    with pytest.raises(ConfigError, match="3 texts were found and no --text-encoder was given"):
        part(1, text_encoder=None)
    assert not (shared / "journal" / "plan.json").exists()


def test_a_dry_run_tells_of_the_part_and_writes_nothing(part, shared):
    told = part(0, dry_run=True)
    assert (told.n_units, told.n_forwards, told.whole) == (2, 3, False)
    assert told.lines()[0].startswith(f"{shared} would be written")
    assert not shared.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_parts": 3}, "--num-parts was given without --part-id; give both"),
        ({"part_id": 0}, "--part-id was given without --num-parts; give both"),
        ({"num_parts": 0, "part_id": 0}, "--num-parts got 0; expected at least 1"),
        ({"num_parts": 3, "part_id": 3}, "--part-id got 3; expected a number from 0 to 2"),
        ({"num_parts": 3, "part_id": -1}, "--part-id got -1"),
        ({"workers": 2}, "--workers was given without --engine ray"),
        ({"engine": "ray", "workers": 0}, "--workers got 0; expected at least 1"),
        ({"engine": "spark"}, "--engine got 'spark'; expected one of local, ray"),
        ({"engine": "ray", "num_parts": 2, "part_id": 0}, "--engine ray got --num-parts too; give one of them"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(extraction, settings, message):
    with pytest.raises(ConfigError, match=message):
        replace(extraction, **settings)


@pytest.mark.slow
def test_parts_at_the_same_time_publish_once_and_give_the_bytes_of_one_process(
    extraction, shared, tiny_cache, folder_bytes
):
    program = textwrap.dedent("""
        from pathlib import Path, PosixPath
        from textdiff.pipeline.config.extraction import ExtractConfig
        from textdiff.pipeline.extraction.extract import extract_features
        print(extract_features({!r}).whole)
    """)
    configs = [replace(extraction, cache=shared, num_parts=3, part_id=part_id) for part_id in range(3)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program.format(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for config in configs
    ]
    told = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], told
    assert "True\n" in {out for out, _ in told}
    assert folder_bytes(shared) == folder_bytes(tiny_cache)


@pytest.mark.slow
def test_who_finds_another_part_at_work_leaves_publishing_to_it(part, shared):
    part(0, 2)
    with hold_lock(shared, Share(0, 2)):
        last = part(1, 2)
    assert (last.n_units_left, last.whole) == (0, False)
    assert "another part that is still at work makes the cache whole" in last.lines()[0]
    assert part(0, 2).whole
    assert FeatureReader(shared).timesteps == (50, 150)


def test_two_that_end_together_publish_once(part, shared, monkeypatch):
    """The other part publishes between this one's last look and its lock."""
    part(0, 2)
    carried, left = [], parts.units_left

    def publish_first(root):
        found = left(root)
        if found == 0 and not carried:
            carried.append(1)
            part(0, 2)
        return found

    monkeypatch.setattr(parts, "units_left", publish_first)
    monkeypatch.setattr(Progress, "say", lambda *_: None)
    assert part(1, 2).whole
    assert carried == [1]
    assert not (shared / "journal").exists()
