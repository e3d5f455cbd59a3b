"""Work in Ray's processes: the same bytes, whatever happens to them; errors on a stand-in for Ray."""

import subprocess
import sys
import textwrap
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from textdiff.cache.format.manifest import Unit, WorkUnit
from textdiff.errors import CacheError, ConfigError, SourceError
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.extraction import ray_workers
from textdiff.pipeline.extraction.ray_workers import WorkerOrder, run_in_ray
from textdiff.pipeline.extraction.unit_work import UnitWork
from textdiff.pipeline.runtime.ray_session import n_workers_for, require_ray, threads_per_worker

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray (the extra ray) is not installed")
WORKS = [UnitWork(WorkUnit((row,), (50,), (1,)), [SimpleNamespace(id=f"image{row}")]) for row in range(8)]


class RayError(Exception):
    """Ray's own, of a call that did not return."""

    cause = None


class StandIn:
    """Ray in one process: a call ends as `ends(unit)` says."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, ends):
        self.ends, self.hired = ends, []
        self.util = SimpleNamespace(ActorPool=self.pool)

    def remote(self, cls):
        assert cls is ray_workers.UnitWorker
        return self

    def options(self, **options):
        self.chosen = options
        return SimpleNamespace(remote=self.hire)

    def put(self, order):
        return order

    def hire(self, order):
        make = SimpleNamespace(remote=lambda work: (self.ends(work.unit), ()))
        self.hired.append(SimpleNamespace(order=order, make=make))
        return self.hired[-1]

    def pool(self, actors):
        self.actors = actors
        return SimpleNamespace(map_unordered=lambda call, items: (call(actors[0], item) for item in items))


@pytest.fixture
def run(monkeypatch):
    """Runs the units on a stand-in; gives the rows that were recorded, in their order."""

    def run(ray, n_workers=2):
        monkeypatch.setattr(ray_workers, "ray_session", lambda _: nullcontext(ray))
        order = WorkerOrder("cache", None, "cpu", offline=True, compiled=False)
        recorded, counted = [], []
        writer = SimpleNamespace(record=lambda unit, _: recorded.append(unit.rows[0]))
        run_in_ray(WORKS, order, writer, n_workers, counted.append)
        assert counted == [1] * len(recorded)
        return recorded

    return run


def done(unit):
    return Unit(unit.rows, unit.timesteps, unit.blocks, {}, ())


def test_every_unit_is_handed_out_and_recorded_once_and_no_worker_has_more_than_three(run):
    ray = StandIn(done)
    assert run(ray) == list(range(8))
    assert len(ray.hired) == 2
    assert [ray.actors.count(worker) for worker in ray.hired] == [3, 3]
    assert ray.chosen["max_concurrency"] == 3
    assert (ray.chosen["max_restarts"], ray.chosen["max_task_retries"]) == (-1, 2)


def test_there_are_no_more_workers_than_units_and_none_without_units(run, monkeypatch):
    ray = StandIn(done)
    run(ray, 20)
    assert len(ray.hired) == 8
    monkeypatch.setattr(ray_workers, "ray_session", None)
    run_in_ray([], None, None, 2, None)


def test_a_worker_that_fails_stops_the_extraction(run):
    def ends(unit):
        if unit.rows[0] == 5:
            raise RayError("first line\nno space left")
        return done(unit)

    with pytest.raises(CacheError, match=r"cache: a worker failed: no space left; finished units are kept: .*--resume"):
        run(StandIn(ends))


def test_errors_of_textdiff_come_as_they_are(run):
    def ends(_):
        error = RayError("task failed")
        error.cause = SourceError("not the UNet that made the cached features")
        raise error

    with pytest.raises(SourceError, match=r"^not the UNet that made"):
        run(StandIn(ends))


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
    def kill_one(self, *made):
        record(self, *made)
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)
    CacheWriter.record = kill_one
    extract_features({config!r})
    print("killed", len(killed))
"""


@needs_ray
@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one_process(
    extraction, tiny_dinov2, tmp_path, folder_bytes
):
    from textdiff.pipeline.extraction.extract import extract_features

    alone = replace(extraction, encoder=(f"hf:{tiny_dinov2}",), batch_size=1)
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
    assert sorted((in_ray.out / "heads.jsonl").read_text().splitlines()) == sorted(
        (here.out / "heads.jsonl").read_text().splitlines()
    )
