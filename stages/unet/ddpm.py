"""Training of a small DDPM on unlabelled images, for those without a checkpoint (Ho et al. 2020, arXiv 2006.11239).

The one idea: every random choice of step s comes from a generator named after s, so that a training put back to any
finished step goes on exactly as if it had never stopped.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..precision import Precision, arithmetic
from ..seeds import named_generator

N_TRAIN_TIMESTEPS = 1000
NORM_GROUPS = 8
WARMUP_SHARE = 0.1
"""Share of all steps in which the learning rate rises to its peak."""
MAX_GRADIENT_NORM = 1.0
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's two running means of each parameter's gradient, by their names in torch."""


def build_unet(crop: int, channels: Sequence[int], layers: int, seed: int) -> UNet2DModel:
    """Make an untrained UNet with `len(channels) * (layers + 1)` decoder blocks.

    It is convolutional but for one attention in the middle, so it takes images larger than the crops it learns from.

    Args:
        crop: side in pixels of the crops, and of the images that the folder's pipeline samples.
        channels: channels of each level from full resolution down, multiples of `NORM_GROUPS`.
        layers: residual blocks in each level of the encoder.
        seed: seed of the initial weights; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=crop,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * len(channels),
            up_block_types=("UpBlock2D",) * len(channels),
            attention_head_dim=math.gcd(32, channels[-1]),
            norm_num_groups=NORM_GROUPS,
        )


def random_crops(
    images: UInt8[Tensor, "image y x 3"], crop: int, batch_size: int, generator: torch.Generator
) -> Float[Tensor, "batch 3 crop crop"]:
    """Cut random squares from random images, each in one of the square's eight orientations; values in [-1, 1]."""
    n_images, height, width, _ = images.shape
    ranges = (n_images, height - crop + 1, width - crop + 1, 4, 2)
    drawn = (torch.randint(n, (batch_size,), generator=generator).tolist() for n in ranges)
    crops = []
    for image, y, x, quarter_turns, flipped in zip(*drawn, strict=True):
        turned = torch.rot90(images[image, y : y + crop, x : x + crop], quarter_turns, (0, 1))
        crops.append(turned.flip(1) if flipped else turned)
    return torch.stack(crops).permute(0, 3, 1, 2).float() / 127.5 - 1


def learning_rate_factor(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` (from 0): a linear rise, then half a cosine down to zero."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Pretraining:
    """A UNet that learns to predict the noise, its averaged weights, its optimiser, and the number of finished steps.

    Args:
        unet: the untrained UNet, from `build_unet`; moved to `device` and trained in place.
        crop: side in pixels of the random crops.
        batch_size: crops in one step.
        steps: optimiser steps in all, over which the learning rate's schedule spans.
        learning_rate: AdamW's peak.
        ema_decay: decay of the averaged weights; it starts lower, as (1 + n) / (10 + n) after n steps.
        seed: with the step's number, the seed of its random choices.
        device: where to compute.
        precision: of the UNet's arithmetic; weights, loss and optimiser stay in float32.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        *,
        crop: int,
        batch_size: int,
        steps: int,
        learning_rate: float,
        ema_decay: float,
        seed: int,
        device: str,
        precision: Precision = "float32",
    ) -> None:
        self.step = 0
        self.scheduler = DDPMScheduler(num_train_timesteps=N_TRAIN_TIMESTEPS)
        # Channels last costs a sixth less time on a CPU (measured).
        self._unet = unet.to(device, memory_format=torch.channels_last).train()
        self._ema = EMAModel(self._unet.parameters(), decay=ema_decay, foreach=True)
        self._optimizer = torch.optim.AdamW(self._unet.parameters(), lr=learning_rate, fused=True)
        self._crop, self._batch_size, self._steps = crop, batch_size, steps
        self._learning_rate, self._seed, self._device = learning_rate, seed, device
        self._precision: Precision = precision

    @property
    def n_parameters(self) -> int:
        """Weights of the UNet."""
        return sum(weight.numel() for weight in self._unet.parameters())

    def advance(self, images: UInt8[Tensor, "image y x 3"]) -> float:
        """Do one step: predict the noise in noisy crops of `images`; returns the mean squared error."""
        x_t, t, noise = self._draw_batch(images)
        with arithmetic(self._precision, self._device):
            predicted = self._unet(x_t, t).sample
        loss = nn.functional.mse_loss(predicted.float(), noise)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._unet.parameters(), MAX_GRADIENT_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * learning_rate_factor(self.step, self._steps)
        self._optimizer.step()
        self._ema.step(self._unet.parameters())
        self.step += 1
        return loss.item()

    def state(self) -> dict[str, Tensor]:
        """Everything that a step changes, by name, on the CPU: weights, averaged weights, moments."""
        tensors: dict[str, Tensor] = {}
        for (name, weight), average in zip(self._unet.named_parameters(), self._ema.shadow_params, strict=True):
            tensors |= {f"unet/{name}": weight.detach(), f"ema/{name}": average}
            if self.step:  # before its first step the optimiser has no moments
                tensors |= {f"{moment}/{name}": self._optimizer.state[weight][moment] for moment in MOMENTS}
        return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Put back what `state` gave when `step` steps (at least 1) were finished."""
        for (name, weight), average in zip(self._unet.named_parameters(), self._ema.shadow_params, strict=True):
            weight.data.copy_(state[f"unet/{name}"])
            average.copy_(state[f"ema/{name}"])
            # The fused AdamW walks through memory: moments must lie as the weight lies, channels last.
            moments = {moment: torch.empty_like(weight).copy_(state[f"{moment}/{name}"]) for moment in MOMENTS}
            self._optimizer.state[weight] = {"step": torch.tensor(float(step), device=self._device), **moments}
        self._ema.optimization_step = self.step = step

    def averaged_unet(self) -> UNet2DModel:
        """A copy of the UNet with the averaged weights, on the CPU, ready to be saved."""
        averaged = copy.deepcopy(self._unet).to("cpu", memory_format=torch.contiguous_format)
        self._ema.copy_to(averaged.parameters())
        return averaged.eval()

    def _draw_batch(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        generator = named_generator(self._seed, "pretrain", self.step)
        x_0 = random_crops(images, self._crop, self._batch_size, generator)
        t = torch.randint(N_TRAIN_TIMESTEPS, (self._batch_size,), generator=generator)
        noise = torch.randn(x_0.shape, generator=generator)
        x_t = self.scheduler.add_noise(x_0, noise, t)
        return x_t.to(self._device, memory_format=torch.channels_last), t.to(self._device), noise.to(self._device)
