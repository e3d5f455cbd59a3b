"""Ray, where it is installed: a session on this machine or on the cluster that RAY_ADDRESS names.

Workers are started with `process.WORKER_ENVIRONMENT`: a call runs in a thread of its own, whose heap
`keep_freed_memory` would come too late for. Without it Ray's workers took a third longer for a unit than processes of
their own (measured).

Imported lazily: Ray is an extra. On this machine it opens no dashboard, sends no usage statistics and stays quiet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import ModuleType

import torch

from ...errors import ConfigError
from .device import resolve_device
from .process import WORKER_ENVIRONMENT

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
OBJECT_STORE_BYTES = 128 * 2**20
"""Between driver and workers go ids, records and heads' figures, never activations."""


def require_ray() -> ModuleType:
    """Import Ray.

    Raises:
        ConfigError: if it is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "--engine ray needs Ray, which is not installed: pip install 'textdiff[ray]', or leave --engine out"
        ) from error
    return ray


@contextmanager
def ray_session(workers: int | None, on_cpu: int = 1) -> Iterator[ModuleType]:
    """Ray with room for the workers of `choose_workers`, stopped at the end where it was started here."""
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        ray.init(address, runtime_env={"env_vars": WORKER_ENVIRONMENT}, **quiet)
    else:
        os.environ.update(WORKER_ENVIRONMENT)  # inherited by the workers; a `runtime_env` takes 3 s more to begin
        n_cpus = workers or max(on_cpu, torch.cuda.device_count())
        here = {"num_cpus": n_cpus, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        ray.init("local", **here, **quiet)
    with redirect_stdout(sys.stderr):  # Ray reports lost workers on stdout, which is for results alone
        try:
            yield ray
        finally:
            ray.shutdown()


def threads_per_worker(n_workers: int) -> int:
    """OMP_NUM_THREADS where it is set, so that a worker computes as a process alone does; else a share of them."""
    n_threads = os.environ.get("OMP_NUM_THREADS")
    return int(n_threads) if n_threads else max(1, torch.get_num_threads() // n_workers)


@dataclass(frozen=True)
class Workers:
    """Workers of a command."""

    n_workers: int
    device: str
    """As a worker names it: a GPU of its own is `cuda`."""

    @property
    def resources(self) -> dict[str, int]:
        """Reserved in Ray for each worker."""
        return {"num_cpus": 1, "num_gpus": int(self.device == "cuda")}


def choose_workers(ray: ModuleType, workers: int | None, device: str, on_cpu: int = 1) -> Workers:
    """Workers that `--workers` and `--device` ask for, of what Ray has: the driver's machine may have no GPU.

    Args:
        ray: with a session.
        workers: as many; `None`: one for each GPU, `on_cpu` where there is none.
        device: `auto`: GPUs where Ray has some, else the best device of this machine.
        on_cpu: workers where there is no GPU.

    Raises:
        ConfigError: if there are too few GPUs: workers would wait for one without end.
    """
    n_gpus = int(ray.cluster_resources().get("GPU", 0))
    if device == "auto":
        device = "cuda" if n_gpus else resolve_device(device)
    if device != "cuda":
        return Workers(workers or on_cpu, device)
    if (workers or 1) > n_gpus:
        raise ConfigError(
            f"--workers got {workers or 1}; Ray has {n_gpus} GPUs, and a worker needs one of its own: give fewer, or "
            "--device cpu"
        )
    return Workers(workers or n_gpus, device)
