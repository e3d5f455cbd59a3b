"""Cells of an ablation as Ray's tasks: each trains one head on one thread and returns its figures.

A head comes out the same bit for bit wherever it is trained; the driver keeps the record of finished cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ...cache.reader import FeatureReader
from ...cache.storage.location import absolute
from ...errors import RunError, TextdiffError
from ..config.ablation import AblateConfig
from ..runtime.process import prepare_process
from ..runtime.ray_session import n_workers_for, ray_session
from .jobs import JobFactory, Outcome, TrainingJob
from .variants import Variant

RETRIES = 2
"""Of a cell whose worker is lost."""


def train_in_ray(
    config: AblateConfig, everything: Variant, device: str, cells: Sequence[TrainingJob]
) -> Iterator[Outcome]:
    """Train the cells, each in a task.

    Args:
        config: settings.
        everything: what the variants are parts of.
        device: where heads are trained.
        cells: of `JobFactory.of`.

    Yields:
        The outcomes as they come.

    Raises:
        TextdiffError: what a task raises.
        RunError: if a task's worker was lost again and again.
    """
    if not cells:
        return
    n_workers = min(n_workers_for(config.workers, device, torch.get_num_threads()), len(cells))
    with ray_session(n_workers) as ray:
        options = {"num_cpus": 1, "num_gpus": int(device.startswith("cuda")), "max_retries": RETRIES}
        task = ray.remote(train_cell).options(**options)
        told = ray.put((replace(config, cache=absolute(config.cache)), everything, device))
        calls = [task.remote(told, cell) for cell in cells]
        while calls:
            done, calls = ray.wait(calls, num_returns=1)
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, TextdiffError):
                    raise cause from error
                why = str(cause or error).strip().splitlines()[-1]
                raise RunError(
                    f"{config.out}: a head could not be trained in a worker: {why}; finished heads are kept: mend the "
                    "cause and repeat the command"
                ) from error


def train_cell(told: tuple[AblateConfig, Variant, str], cell: TrainingJob) -> Outcome:
    """What a task does: one head, alone."""
    config, everything, device = told
    prepare_process()
    torch.set_num_threads(1)
    cells = JobFactory(config, FeatureReader(config.cache), everything, device)
    (outcome,) = (event for event in cells.train([cell]) if isinstance(event, Outcome))
    return outcome
