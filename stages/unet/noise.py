"""The forward diffusion, x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, and the draws of eps.

eps is always drawn on the CPU, so the same seed means the same noise on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import ConfigError
from ..seeds import named_seed

NoiseKind = Literal["shared", "per-sample"]


def draw_noise(
    shape: tuple[int, int, int], *, seed: int, kind: NoiseKind, sample_ids: Sequence[str], n_draws: int = 1
) -> Float[Tensor, "draw batch channel y x"]:
    """Draw standard normal noise, float32 on the CPU.

    Args:
        shape: (channel, y, x) of one image.
        seed: from which every draw follows.
        kind: `shared` gives one eps for all samples (batch axis of size 1), as the official code draws it;
            `per-sample` gives each its own, seeded by its id, whatever else is in the batch.
        sample_ids: ids of the batch's samples in order; unused for `shared`.
        n_draws: number of independent draws; the first of many is the same as the only one.

    Raises:
        ConfigError: `kind` is unknown or `n_draws` below 1.
    """
    if kind not in get_args(NoiseKind):
        raise ConfigError(f"unknown noise kind {kind!r}; expected one of {', '.join(get_args(NoiseKind))}")
    if n_draws < 1:
        raise ConfigError(f"noise draws must be at least 1, got {n_draws}")
    seeds = [seed] if kind == "shared" else [named_seed(seed, sample_id) for sample_id in sample_ids]
    if not seeds:
        return torch.empty(n_draws, 0, *shape)
    return torch.stack([_draws(shape, one, n_draws) for one in seeds], dim=1)


def _draws(shape: tuple[int, int, int], seed: int, n_draws: int) -> Float[Tensor, "draw channel y x"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(n_draws)])


def add_noise(
    image: Float[Tensor, "batch channel y x"],
    noise: Float[Tensor, "#batch channel y x"],
    timesteps: Sequence[int],
    alphas_cumprod: Float[Tensor, " T"],
) -> Float[Tensor, "timestep batch channel y x"]:
    """x_t at each timestep, as diffusers' `DDPMScheduler.add_noise` gives it (Ho et al. 2020, eq. 4).

    Args:
        image: x_0 in [-1, 1].
        noise: eps, one a sample or one for all.
        timesteps: each within 0..T-1, in any order; 0 is the least noise, not none.
        alphas_cumprod: alpha_bar of the scheduler that the UNet was trained with.

    Raises:
        ConfigError: there are no timesteps, or some are out of range.
    """
    check_timesteps(timesteps, len(alphas_cumprod))
    return noised(image, noise, alphas_cumprod[list(timesteps)].to(image))


def noised(
    image: Float[Tensor, "batch channel y x"],
    noise: Float[Tensor, "#batch channel y x"],
    alpha_bar: Float[Tensor, " timestep"],
) -> Float[Tensor, "timestep batch channel y x"]:
    """As `add_noise`, of the timesteps' alpha_bar on the image's device."""
    alpha_bar = alpha_bar.reshape(-1, 1, 1, 1, 1)
    x_t: Tensor = alpha_bar**0.5 * image + (1 - alpha_bar) ** 0.5 * noise
    return x_t


def check_timesteps(timesteps: Sequence[int], n_timesteps: int) -> None:
    """Raise a ConfigError that names every timestep outside 0..`n_timesteps`-1, or says that there are none."""
    outside = [t for t in timesteps if not 0 <= t < n_timesteps]
    if outside or not timesteps:
        wrong = f"timesteps {outside} are out of range" if outside else "no timesteps were given"
        raise ConfigError(f"{wrong}; the UNet's scheduler has timesteps 0 to {n_timesteps - 1}")
