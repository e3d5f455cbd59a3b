"""Noise schedules of a UNet's training, from the scheduler's config in diffusers' folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import SourceError
from ..sources.loading import loading, read_model_config

_SCHEDULE_SETTINGS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)

_PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The noise of a UNet's training, by its scheduler."""

    alphas_cumprod: Float[Tensor, " T"]
    """alpha_bar, float32 on the CPU; exactly 0 at the end where the signal-to-noise ratio there is zero."""

    prediction_type: str
    """Target of the UNet's predictions: `epsilon`, `v_prediction` or `sample`."""

    settings: dict[str, Any]
    """All that alpha_bar follows from."""


def load_scheduler(source: str, folders: Sequence[Path]) -> Any:  # noqa: ANN401
    """The scheduler from the first of the folders that has a `scheduler_config.json`.

    Raises:
        SourceError: none has one, or it is of a class without discrete noise levels.
    """
    import diffusers

    path = next((p / "scheduler_config.json" for p in folders if (p / "scheduler_config.json").is_file()), None)
    if path is None:
        raise SourceError(
            f"{source}: no scheduler_config.json in {', '.join(map(str, folders))}; expected the noise schedule that "
            "the UNet was trained with: save its scheduler there with save_pretrained"
        )
    config = read_model_config(source, path)
    scheduler_class = getattr(diffusers, str(config.get("_class_name")), None)
    with loading(source):
        scheduler = scheduler_class.from_config(config) if scheduler_class is not None else None
    if not hasattr(scheduler, "alphas_cumprod"):
        raise SourceError(
            f"{source}: {path} is of class {config.get('_class_name')}, which has no alphas_cumprod; "
            "expected a discrete noise schedule such as DDPMScheduler's"
        )
    return scheduler


def noise_schedule(source: str, scheduler: Any) -> NoiseSchedule:  # noqa: ANN401
    """The noise schedule of a scheduler of any of diffusers' discrete classes.

    Euler's and other solvers' schedulers put 2**-24 in place of a last alpha_bar of zero, since they divide by it;
    DDPMScheduler, which does not, computes it from the same settings.

    Raises:
        SourceError: the class makes something else of these settings than DDPMScheduler does, or the UNet was not
            trained on x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.
    """
    from diffusers import DDPMScheduler

    prediction_type = scheduler.config.get("prediction_type", "epsilon")
    if prediction_type not in _PREDICTION_TYPES:
        raise SourceError(
            f"{source}: the UNet predicts {prediction_type!r}; expected {', '.join(_PREDICTION_TYPES)}: others are "
            "trained on another kind of noising"
        )
    settings = {name: scheduler.config.get(name) for name in _SCHEDULE_SETTINGS}
    settings["rescale_betas_zero_snr"] = bool(settings["rescale_betas_zero_snr"])
    stated = {name: value for name, value in settings.items() if value is not None}
    with loading(source):
        alpha_bar = DDPMScheduler(**stated).alphas_cumprod.float()
        is_complete = torch.allclose(alpha_bar, scheduler.alphas_cumprod.float(), rtol=1e-4, atol=1e-6)
    if not is_complete:
        raise SourceError(
            f"{source}: {type(scheduler).__name__} does not make its noise levels from {', '.join(settings)} alone; "
            "expected those of DDPMScheduler: save that, with the settings that the UNet was trained with"
        )
    if not (len(alpha_bar) and ((alpha_bar >= 0) & (alpha_bar <= 1)).all()):
        raise SourceError(
            f"{source}: the noise levels of its scheduler are not within 0 to 1; correct num_train_timesteps, "
            "beta_start and beta_end in scheduler_config.json"
        )
    return NoiseSchedule(alpha_bar, prediction_type, settings)
