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
from textdiff.pipeline.runtime.ray_session import Workers, choose_workers, require_ray, threads_per_worker

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray (the extra ray) is not installed")
WORKS = [UnitWork(WorkUnit((row,), (50,), (1,)), [SimpleNamespace(id=f"image{row}")]) for row in range(8)]


class RayError(Exception):
    """Ray's own, of a call that did not return."""

    cause = None


class StandIn:
    """Ray in one process: a call ends as `ends(unit)` says."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, ends=None, n_gpus=0):
        self.ends, self.hired, self.n_gpus = ends, [], n_gpus
        self.util = SimpleNamespace(ActorPool=self.pool)

    def remote(self, cls):
        assert cls is ray_workers.UnitWorker
        return self

    def options(self, **options):
        self.chosen = options
        return SimpleNamespace(remote=self.hire)

    def cluster_resources(self):
        return {"CPU": 8.0, **({"GPU": float(self.n_gpus)} if self.n_gpus else {})}

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

    def run(ray, n_workers=2, device="cpu"):
        monkeypatch.setattr(ray_workers, "ray_session", lambda _: nullcontext(ray))
        order = WorkerOrder("cache", None, device, offline=True, compiled=False)
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


@pytest.mark.parametrize(
    ("n_gpus", "workers", "device", "expected"),
    [
        (0, None, "cpu", Workers(1, "cpu")),
        (0, 5, "auto", Workers(5, "cpu")),
        (4, None, "cpu", Workers(1, "cpu")),
        (4, None, "auto", Workers(4, "cuda")),  # of a cluster whose driver has no GPU
        (4, 2, "cuda", Workers(2, "cuda")),
    ],
)
def test_workers_are_as_many_as_there_are_gpus_and_reserve_one_each(monkeypatch, n_gpus, workers, device, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    chosen = choose_workers(StandIn(n_gpus=n_gpus), workers, device)
    assert chosen == expected
    assert chosen.resources == {"num_cpus": 1, "num_gpus": int(expected.device == "cuda")}


@pytest.mark.parametrize(("n_gpus", "workers", "got"), [(0, None, "1; Ray has 0"), (2, 3, "3; Ray has 2")])
def test_workers_without_a_gpu_of_their_own_are_refused(n_gpus, workers, got):
    with pytest.raises(ConfigError, match=rf"^--workers got {got} GPUs, and a worker needs one of its own"):
        choose_workers(StandIn(n_gpus=n_gpus), workers, "cuda")


def test_a_worker_is_told_cuda_and_never_auto(run):
    ray = StandIn(done, n_gpus=2)
    run(ray, None, "auto")
    assert [worker.order.device for worker in ray.hired] == ["cuda", "cuda"]
    assert ray.chosen["num_gpus"] == 1


def test_a_gpu_by_its_number_is_refused_where_workers_see_one_each(extraction, tmp_path):
    message = r"--device got cuda:1 with --engine ray, .*; give --device cuda, and choose GPUs by CUDA_VISIBLE_DEVICES"
    with pytest.raises(ConfigError, match=message):
        replace(extraction, engine="ray", device="cuda:1")
    with pytest.raises(ConfigError, match=message):
        AblateConfig(tmp_path / "cache", tmp_path / "out", engine="ray", device="cuda:1")


def test_the_driver_leaves_the_device_before_workers_start(extraction, monkeypatch):
    from textdiff.pipeline.extraction import extraction as driver
    from textdiff.pipeline.extraction.extract import extract_features
    from textdiff.pipeline.extraction.feature_extractor import FeatureExtractor

    happened = []
    monkeypatch.setattr(FeatureExtractor, "leave_device", lambda self: happened.append("left"))
    monkeypatch.setattr(driver, "run_in_ray", lambda works, *_: happened.append(len(works)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract_features(replace(extraction, engine="ray"))
    assert happened == ["left", 4]


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


@pytest.mark.soak
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
