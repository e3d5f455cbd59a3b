"""Training jobs as Ray's tasks, a head in each, on one thread; the driver keeps the journal of finished jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ...errors import RunError, TextdiffError
from ..config.ablation import AblateConfig
from ..runtime.process import prepare_process
from ..runtime.ray_session import choose_workers, ray_session
from .jobs import Outcome, TrainingJob, train_job

RETRIES = 2
"""Of a job whose worker is lost."""


def train_in_ray(config: AblateConfig, device: str, jobs: Sequence[TrainingJob]) -> Iterator[Outcome]:
    """Train the jobs, each in a task.

    Args:
        config: settings.
        device: on which heads are trained.
        jobs: of `JobFactory.jobs_of`.

    Yields:
        The outcomes as they come.

    Raises:
        TextdiffError: of a task.
        RunError: if a task's worker was lost again and again.
    """
    n_threads = torch.get_num_threads()
    with ray_session(config.workers, n_threads) as ray:
        chosen = choose_workers(ray, config.workers, device, n_threads)
        task = ray.remote(_train).options(**chosen.resources, max_retries=RETRIES)
        calls = [task.remote(job) for job in jobs]
        while calls:
            done, calls = ray.wait(calls, num_returns=1)
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, TextdiffError):
                    raise cause from error
                reason = str(cause or error).strip().splitlines()[-1]
                raise RunError(
                    f"{config.out}: a head could not be trained in a worker: {reason}; finished heads are kept: "
                    "remove the cause and repeat the command"
                ) from error


def _train(job: TrainingJob) -> Outcome:
    prepare_process()
    return train_job(job)
