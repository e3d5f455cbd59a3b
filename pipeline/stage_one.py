"""Stage one for a batch of images: noise, one forward, activations channels last; for extraction and prediction."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from ..cache.spec import FeatureSpec
from ..stages.noise import NoiseKind, draw_noise
from ..stages.unet import FrozenUNet, UNetRecorder


@dataclass(frozen=True)
class StageOne:
    """A frozen UNet with everything that its activations depend on."""

    frozen: FrozenUNet
    recorder: UNetRecorder
    spec: FeatureSpec
    device: str

    def features(
        self, images: npt.NDArray[np.uint8], ids: Sequence[str], timesteps: Sequence[int], blocks: Sequence[int]
    ) -> dict[tuple[int, int], npt.NDArray[Any]]:
        """Activations of a batch.

        Args:
            images: [image, y, x, 3], RGB, at the model's size.
            ids: of the samples, which name the noise where it is per sample.
            timesteps: noise levels.
            blocks: among the recorder's.

        Returns:
            (block, timestep) → [image, y, x, channel] in the spec's dtype, the mean over the noise draws.
        """
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        kind = cast("NoiseKind", self.spec.noise)
        shape = (x.shape[1], x.shape[2], x.shape[3])
        noises = draw_noise(shape, seed=self.spec.seed, kind=kind, sample_ids=ids, n_draws=self.spec.noise_draws)
        recorder = self.recorder if set(blocks) == set(self.recorder.blocks) else UNetRecorder(self.frozen, blocks)
        total: dict[int, torch.Tensor] = {}
        for noise in noises:
            for block, activations in recorder.record(x, timesteps, noise.to(self.device)).items():
                total[block] = total[block] + activations if block in total else activations
        return {
            (block, timestep): self._stored(activations[index] / len(noises))
            for block, activations in total.items()
            for index, timestep in enumerate(timesteps)
        }

    def _stored(self, activations: torch.Tensor) -> npt.NDArray[Any]:
        dtype = getattr(torch, self.spec.dtype)
        return activations.permute(0, 2, 3, 1).to(dtype).contiguous().cpu().numpy()

    def __post_init__(self) -> None:
        """Prepare the process for large activations on the CPU."""
        if self.device == "cpu":
            _keep_freed_memory()

    def conditions(self) -> dict[str, str | int]:
        """What else last bits depend on: recorded beside each unit."""
        import diffusers

        name = torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else self.device
        return {
            "device": name,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability() if self.device == "cpu" else os.name,
        }


def _keep_freed_memory() -> None:
    """Tell glibc to reuse the memory of freed activations in place of giving it back to the kernel.

    By default every large tensor is mapped and faulted in anew: half of stage one's CPU time here, measured at 256
    pixels and 8 images a batch (docs/results.md). Elsewhere than on glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
        mallopt(m_top_pad, 2**28)
