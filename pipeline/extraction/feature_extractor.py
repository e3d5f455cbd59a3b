"""Stage one for a batch of images: noise, one forward, activations as they are stored; for extraction and prediction.

On a CUDA device the copies to the host run beside the next forward: `store` queues them and gives a function that waits
for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from ...cache.format.maps import StoredMaps
from ...cache.format.spec import FeatureSpec
from ...errors import ConfigError
from ...stages.features.compression import Projection, quantise
from ...stages.unet.noise import NoiseKind, draw_noise
from ...stages.unet.recorder import FrozenUNet, UNetRecorder

Pair = tuple[int, int]
"""A block and a timestep."""


@dataclass(frozen=True)
class Batch:
    """Rows that go through the UNet together."""

    images: UInt8[ndarray, "image y x 3"]
    """RGB, at the model's size."""
    ids: Sequence[str]
    """Of the rows; they name the noise where it is per sample."""
    texts: Sequence[str]
    """Of the rows; the UNet's prompts where the spec's condition is `own`, else not looked at."""


@dataclass(frozen=True)
class FeatureExtractor:
    """A frozen UNet with everything that its stored activations depend on."""

    frozen: FrozenUNet
    recorder: UNetRecorder
    spec: FeatureSpec
    device: str
    projections: Mapping[Pair, Projection] = field(default_factory=dict)
    """(block, timestep) → projection of its channels on the spec's `pca` components; absent: the channels stay."""

    def projected(self, projections: Mapping[Pair, Projection]) -> FeatureExtractor:
        """The same with these projections, on its device."""
        return replace(self, projections={pair: one.to(self.device) for pair, one in projections.items()})

    def record(
        self, batch: Batch, timesteps: Sequence[int], blocks: Sequence[int]
    ) -> dict[Pair, Float[Tensor, "image y x channel"]]:
        """The UNet's activations on the device, the mean over the noise draws, before anything is made smaller.

        Args:
            batch: the images.
            timesteps: noise levels.
            blocks: among the recorder's.

        Raises:
            ConfigError: if the batch does not fit the device's memory.
        """
        x = self._to_device(torch.from_numpy(batch.images)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        prompts = batch.texts if self.spec.condition == "own" else None
        recorder, noises = self._recorder(blocks), self._noises(batch.ids)
        maps: dict[int, Tensor] = {}
        try:
            for noise in noises:
                for block, activations in recorder.record(x, timesteps, noise, prompts).items():
                    share = activations if len(noises) == 1 else activations.float() / len(noises)
                    maps[block] = maps[block] + share if block in maps else share
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"{len(batch.images)} images at {len(timesteps)} timesteps do not fit the memory of {self.device}; "
                "give a smaller --batch-size or fewer --timesteps at a time"
            ) from error
        return {
            (block, timestep): activations[index].permute(0, 2, 3, 1)
            for block, activations in maps.items()
            for index, timestep in enumerate(timesteps)
        }

    def store(self, maps: Mapping[Pair, Float[Tensor, "image y x channel"]]) -> Callable[[], dict[Pair, StoredMaps]]:
        """Bring recorded activations into the spec's form and begin their copies to the host; the result waits."""
        stored = {pair: self._store(pair, activations) for pair, activations in maps.items()}
        arrived = self._copies.record_event() if self._copies else None

        def wait() -> dict[Pair, StoredMaps]:
            if arrived:
                arrived.synchronize()
            return {
                pair: StoredMaps(values.numpy(), None if scales is None else scales.numpy())
                for pair, (values, scales) in stored.items()
            }

        return wait

    def conditions(self) -> dict[str, str | int]:
        """Runtime settings that last bits depend on, recorded beside each unit."""
        import diffusers

        name = torch.cuda.get_device_name(self.device) if self.device.startswith("cuda") else self.device
        return {
            "device": name,
            "threads": torch.get_num_threads(),
            "compiled": self.recorder.compiled,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability() if self.device == "cpu" else os.name,
        }

    def _recorder(self, blocks: Sequence[int]) -> UNetRecorder:
        if set(blocks) == set(self.recorder.blocks):
            return self.recorder
        return UNetRecorder(self.frozen, blocks, self.recorder.precision, compiled=self.recorder.compiled)

    def _noises(self, ids: Sequence[str]) -> Float[Tensor, "draw #image channel y x"]:
        return draw_noise(
            self.recorder.noise_shape(self.spec.image_size),
            seed=self.spec.seed,
            kind=cast("NoiseKind", self.spec.noise),
            sample_ids=ids,
            n_draws=self.spec.noise_draws,
        )

    def _store(self, pair: Pair, activations: Float[Tensor, "image y x channel"]) -> tuple[Tensor, Tensor | None]:
        """In the spec's form, on the host or on the way there."""
        if pair in self.projections:
            activations = self.projections[pair].apply(activations)
        if self.spec.dtype == "int8":
            values, scales = quantise(activations)
            return self._to_host(values), self._to_host(scales)
        return self._to_host(activations.to(getattr(torch, self.spec.dtype)).contiguous()), None

    def _to_device(self, images: Tensor) -> Tensor:
        return images.pin_memory().to(self.device, non_blocking=True) if self._copies else images.to(self.device)

    def _to_host(self, tensor: Tensor) -> Tensor:
        if self._copies is None:
            return tensor.cpu()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._copies.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self._copies):
            host.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._copies)
        return host

    @cached_property
    def _copies(self) -> torch.cuda.Stream | None:
        """The stream of copies to the host, which run beside the next forward."""
        return torch.cuda.Stream(self.device) if self.device.startswith("cuda") else None
