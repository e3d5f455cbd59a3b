"""Work in Ray's processes: the same bytes, whatever happens to them; the bookkeeping on a stand-in for Ray."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from textdiff.cache.format.manifest import Unit, WorkUnit
from textdiff.errors import CacheError, ConfigError, SourceError
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.extraction import ray_workers as ray_units
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.runtime.ray_session import n_workers_for, require_ray, threads_per_worker

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray (the extra ray) is not installed")
UNITS = [WorkUnit((row,), (50,), (1,)) for row in range(8)]
JOB = SimpleNamespace(
    plan=SimpleNamespace(pending=UNITS),
    config=SimpleNamespace(cache="cache"),
    row_at={row: SimpleNamespace(id=f"image{row}") for row in range(8)},
)


class RayError(Exception):
    """Ray's own, of a call that did not return."""

    cause = None


class StandIn:
    """Ray in one process: calls end in the order in which they were made, as `ends(worker, unit)` says."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, ends):
        self.ends, self.n_hired, self.killed, self.called = ends, 0, [], []

    def remote(self, cls):
        assert cls is ray_units.UnitWorker
        return self

    def options(self, **options):
        return SimpleNamespace(remote=self.hire)

    def hire(self, order):
        name, self.n_hired = self.n_hired, self.n_hired + 1
        return SimpleNamespace(name=name, make=SimpleNamespace(remote=lambda unit, _: self.call(name, unit)))

    def call(self, name, unit):
        self.called.append((name, unit.rows[0]))
        return name, unit, len(self.called)

    def wait(self, calls, num_returns):
        return calls[:1], calls[1:]

    def get(self, call):
        name, unit, _ = call
        if name in self.killed:
            raise RayError("actor died")
        return self.ends(name, unit)

    def kill(self, worker):
        self.killed.append(worker.name)


def done(unit):
    return Unit(unit.rows, unit.timesteps, unit.blocks, {}, ())


def rows_made(ray, n_workers=2):
    crew = ray_units._Crew(ray, None, {})
    for _ in range(n_workers):
        crew.hire()
    return [unit.rows[0] for unit in ray_units._made(crew, JOB, Progress())]


def test_every_unit_is_handed_out_once_and_no_worker_has_more_than_three():
    ray = StandIn(lambda _, unit: done(unit))
    assert sorted(rows_made(ray)) == list(range(8))
    assert sorted(row for _, row in ray.called) == list(range(8))
    assert [name for name, _ in ray.called[:6]] == [0, 1, 0, 1, 0, 1]


def test_what_a_lost_worker_had_in_hand_is_handed_out_again():
    def ends(name, unit):
        if name == 0 and unit.rows[0] == 2:
            raise RayError("killed")
        return done(unit)

    ray = StandIn(ends)
    assert sorted(rows_made(ray)) == list(range(8))
    assert (ray.killed, ray.n_hired) == ([0], 3)
    of_lost = {row for name, row in ray.called if name == 0}
    assert {row for _, row in ray.called if [r for _, r in ray.called].count(row) == 2} == of_lost - {0}


def test_a_unit_that_fails_three_times_stops_the_extraction():
    def ends(_, unit):
        if unit.rows[0] == 5:
            raise RayError("first line\nno space left")
        return done(unit)

    ray = StandIn(ends)
    with pytest.raises(
        CacheError, match=r"the unit of image5 failed 3 times, the last time with: no space left; .*--resume"
    ):
        rows_made(ray)
    assert [row for _, row in ray.called].count(5) == 3


def test_what_textdiff_itself_refuses_is_not_tried_again():
    def ends(_, unit):
        error = RayError("task failed")
        error.cause = SourceError("a worker's stage one differs")
        raise error

    ray = StandIn(ends)
    with pytest.raises(SourceError, match="a worker's stage one differs"):
        rows_made(ray)
    assert ray.n_hired == 2


def test_without_ray_the_engine_is_refused_before_anything_is_read(extraction, tmp_path, monkeypatch):
    from textdiff.pipeline.ablation.ablate import ablate_timesteps
    from textdiff.pipeline.extraction.extract import extract_features

    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"--engine ray needs Ray, which is not installed: pip install 'textdiff\[ray\]'"
    with pytest.raises(ConfigError, match=message):
        require_ray()
    with pytest.raises(ConfigError, match=message):
        extract_features(replace(extraction, engine="ray", data=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=message):
        ablate_timesteps(AblateConfig(tmp_path / "nowhere", tmp_path / "out", engine="ray"))


def test_threads_are_those_of_a_process_alone_where_they_are_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_worker(2) == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert [threads_per_worker(n) for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert [n_workers_for(None, "cpu"), n_workers_for(None, "cpu", 8), n_workers_for(5, "cpu")] == [1, 8, 5]


EXTRACTION = """
    import os, signal
    from pathlib import Path, PosixPath
    from textdiff.cache.building.writer import CacheWriter
    from textdiff.pipeline.config.extraction import ExtractConfig
    from textdiff.pipeline.extraction.extract import extract_features

    def workers():
        parents = {{}}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    told = (folder / "stat").read_text().rpartition(")")[2].split()
                    parents[int(folder.name)] = int(told[1]), (folder / "cmdline").read_bytes()
                except OSError:
                    continue
        def is_ours(pid):
            while pid in parents and pid != os.getpid():
                pid = parents[pid][0]
            return pid == os.getpid()
        return [pid for pid, (_, line) in parents.items() if line.startswith(b"ray::UnitWorker") and is_ours(pid)]

    record, killed = CacheWriter.record, []
    def kill_one(self, unit):
        record(self, unit)
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)
    CacheWriter.record = kill_one
    extract_features({config!r})
    print("killed", len(killed))
"""


@needs_ray
@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one_process(extraction, tmp_path, folder_bytes):
    from textdiff.pipeline.extraction.extract import extract_features

    alone = replace(extraction, batch_size=1, filters=False)
    in_ray = replace(alone, cache=tmp_path / "ray", engine="ray", workers=2)
    program = textwrap.dedent(EXTRACTION.format(config=in_ray))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "killed 1\n"), ran.stderr
    extract_features(alone)
    assert folder_bytes(in_ray.cache) == folder_bytes(alone.cache)


ABLATION = """
    from pathlib import Path, PosixPath
    from textdiff.pipeline.ablation.ablate import ablate_timesteps
    from textdiff.pipeline.config.ablation import AblateConfig
    ablate_timesteps({config!r})
"""


@needs_ray
@pytest.mark.slow
def test_cells_in_ray_come_out_as_those_trained_here(tiny_cache, tmp_path):
    from textdiff.pipeline.ablation.ablate import ablate_timesteps

    here = AblateConfig(tiny_cache, tmp_path / "here", seeds=(0,), epochs=1, device="cpu")
    in_ray = replace(here, out=tmp_path / "ray", engine="ray", workers=2)
    program = textwrap.dedent(ABLATION.format(config=in_ray))
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    ablate_timesteps(here)
    assert (in_ray.out / "ablation.csv").read_bytes() == (here.out / "ablation.csv").read_bytes()
    assert sorted((in_ray.out / "cells.jsonl").read_text().splitlines()) == sorted(
        (here.out / "cells.jsonl").read_text().splitlines()
    )
