"""Stage one for a batch of images: the UNet on noised images, encoders on the images, activations as they are stored.

On a CUDA device the copies to the host run beside the next forward: `store` queues them and gives a function that waits
for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from ...cache.format.blocks import NO_NOISE, Block, Pair, encoder_of, layer_name, layer_number
from ...cache.format.maps import StoredMaps
from ...cache.format.spec import EncoderSpec, FeatureSpec
from ...errors import ConfigError
from ...stages.encoders.encoder import ImageEncoder
from ...stages.features.compression import Projection, quantise
from ...stages.precision import Precision
from ...stages.unet.noise import NoiseKind, draw_noise
from ...stages.unet.recorder import UNetRecorder
from ..runtime.conditions import conditions_of
from ..runtime.transfer import to_device

UNITS_IN_FLIGHT = 2
"""In the device's memory: one is computed while the one before is copied to the host."""


@dataclass(frozen=True)
class Batch:
    """Rows that go through a model together."""

    images: UInt8[ndarray, "image y x 3"]
    """RGB, at the model's size."""
    ids: Sequence[str]
    """Of the rows; they name the noise where it is per sample."""
    texts: Sequence[str]
    """Of the rows; the UNet's prompts where the spec's condition is `own`, else not looked at."""

    def padded(self, n_rows: int) -> Batch:
        """With the last row repeated, up to so many rows."""
        rows = [min(row, len(self.images) - 1) for row in range(max(n_rows, len(self.images)))]
        return Batch(self.images[rows], [self.ids[row] for row in rows], [self.texts[row] for row in rows])


@dataclass(frozen=True)
class EncoderRecorder:
    """A frozen encoder, and those of its layers that are recorded."""

    encoder: ImageEncoder
    layers: tuple[int, ...]
    spec: EncoderSpec


@dataclass(frozen=True)
class FeatureExtractor:
    """Frozen models with everything that their stored activations depend on."""

    recorder: UNetRecorder | None
    """`None`: no UNet was asked for."""
    encoders: Mapping[str, EncoderRecorder]
    """By name."""
    spec: FeatureSpec
    device: str
    projections: Mapping[Pair, Projection] = field(default_factory=dict)
    """(block, timestep) → projection of its channels on the spec's `pca` components; absent: the channels stay."""

    def projected(self, projections: Mapping[Pair, Projection]) -> FeatureExtractor:
        """The same with these projections, on its device."""
        return replace(self, projections={pair: one.to(self.device) for pair, one in projections.items()})

    @cached_property
    def shapes(self) -> dict[Block, tuple[int, int, int]]:
        """Block or layer that is recorded → (y, x, channel) as the model gives it."""
        side, shapes = self.spec.image_size, dict[Block, tuple[int, int, int]]()
        for block, (channel, y, x) in (self.recorder.shapes(side) if self.recorder else {}).items():
            shapes[block] = (y, x, channel)
        for name, one in self.encoders.items():
            for number, shape in one.encoder.shapes(side, one.layers).items():
                shapes[layer_name(name, number)] = shape
        return shapes

    def has(self, encoder: str | None) -> bool:
        """Whether the encoder of this name is there; `None`: the UNet."""
        return self.recorder is not None if encoder is None else encoder in self.encoders

    def make(
        self, batch: Batch, timesteps: Sequence[int], blocks: Sequence[Block]
    ) -> Callable[[], dict[Pair, StoredMaps]]:
        """A unit: `record` and `store`; arguments and errors as of `record`."""
        with self._memory_explained(batch, timesteps):
            return self.store(self.record(batch, timesteps, blocks))

    def try_unit(self, n_rows: int, timesteps: Sequence[int], blocks: Sequence[Block]) -> None:
        """Make a unit of blank images, and another while its copies are on the way, to see whether memory suffices.

        Projections that are not fitted yet are blank too.

        Raises:
            ConfigError: as `make`.
        """
        side, blank = self.spec.image_size, [""] * n_rows
        batch = Batch(np.zeros((n_rows, side, side, 3), np.uint8), blank, blank)
        trial = self.projected(self._blank_projections(timesteps, blocks))
        for wait in [trial.make(batch, timesteps, blocks) for _ in range(UNITS_IN_FLIGHT)]:
            wait()

    def _blank_projections(self, timesteps: Sequence[int], blocks: Sequence[Block]) -> dict[Pair, Projection]:
        n_components, channels = self.spec.pca or 0, {block: self.shapes[block][2] for block in blocks}
        return {
            (block, timestep): Projection(torch.zeros(n), torch.zeros(n_components, n))
            for block, n in channels.items()
            for timestep in timesteps
            if 0 < n_components < n
        }

    def record_all(
        self, batch: Batch, timesteps: Sequence[int], blocks: Sequence[Block]
    ) -> dict[Pair, Float[Tensor, "image y x channel"]]:
        """As `record`, for blocks of the UNet at all of the timesteps and layers of any encoders."""
        maps: dict[Pair, Tensor] = {}
        for name in dict.fromkeys(map(encoder_of, blocks)):
            own = [block for block in blocks if encoder_of(block) == name]
            maps |= self.record(batch, timesteps if name is None else [NO_NOISE], own)
        return maps

    def record(
        self, batch: Batch, timesteps: Sequence[int], blocks: Sequence[Block]
    ) -> dict[Pair, Float[Tensor, "image y x channel"]]:
        """One model's activations on the device, before anything is made smaller; the mean over the noise draws.

        Args:
            batch: the images.
            timesteps: noise levels; of an encoder `NO_NOISE`.
            blocks: among the recorder's, or layers of one encoder.

        Raises:
            ConfigError: if the batch does not fit the device's memory.
        """
        with self._memory_explained(batch, timesteps):
            if (encoder := encoder_of(blocks[0])) is not None:
                return self._encode(encoder, batch, blocks)
            return self._record(batch, timesteps, [layer_number(block) for block in blocks])

    @contextmanager
    def _memory_explained(self, batch: Batch, timesteps: Sequence[int]) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of CUDA OutOfMemoryError; MPS and pinned memory have no class of their own
            if "out of memory" not in str(error):
                raise
            raise ConfigError(
                f"{len(batch.images)} images at {len(timesteps)} timesteps do not fit the memory of {self.device}; "
                "give a smaller --batch-size or fewer --timesteps at a time"
            ) from error

    def _encode(self, name: str, batch: Batch, layers: Sequence[Block]) -> dict[Pair, Tensor]:
        images, numbers = (
            to_device(torch.from_numpy(batch.images), self.device),
            [layer_number(layer) for layer in layers],
        )
        maps = self.encoders[name].encoder.record(images, numbers, cast("Precision", self.spec.precision))
        return {(layer_name(name, number), NO_NOISE): map_ for number, map_ in maps.items()}

    def _record(self, batch: Batch, timesteps: Sequence[int], blocks: Sequence[int]) -> dict[Pair, Tensor]:
        recorder, n_images = self._recorder(blocks), len(batch.images)
        if recorder.compiled:  # a graph of its own for each shape, with other last bits
            batch = batch.padded(self.spec.rows_per_shard)
        x = to_device(torch.from_numpy(batch.images), self.device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        prompts = batch.texts if self.spec.condition == "own" else None
        noises, maps = self._noises(batch.ids), dict[int, Tensor]()
        for noise in noises:
            for block, activations in recorder.record(x, timesteps, noise, prompts).items():
                share = activations if len(noises) == 1 else activations.float() / len(noises)
                maps[block] = maps[block] + share if block in maps else share
        return {
            (block, timestep): activations[index, :n_images].permute(0, 2, 3, 1)
            for block, activations in maps.items()
            for index, timestep in enumerate(timesteps)
        }

    def store(self, maps: Mapping[Pair, Float[Tensor, "image y x channel"]]) -> Callable[[], dict[Pair, StoredMaps]]:
        """Bring recorded activations into the spec's form and begin their copies to the host; the result waits."""
        stored = {
            pair: (self._to_host(values), None if scales is None else self._to_host(scales))
            for pair, (values, scales) in self.compressed(maps)
        }
        arrived = self._copies.record_event() if self._copies else None

        def wait() -> dict[Pair, StoredMaps]:
            if arrived:
                arrived.synchronize()
            return {
                pair: StoredMaps(values.numpy(), None if scales is None else scales.numpy())
                for pair, (values, scales) in stored.items()
            }

        return wait

    def compressed(
        self, maps: Mapping[Pair, Float[Tensor, "image y x channel"]]
    ) -> Iterator[tuple[Pair, tuple[Tensor, Float[Tensor, "image channel"] | None]]]:
        """Recorded activations in the spec's form, on the device: values and, for int8, scales; one pair at a time."""
        for pair, activations in maps.items():
            shortened = self.projections[pair].apply(activations) if pair in self.projections else activations
            if self.spec.dtype == "int8":
                yield pair, quantise(shortened)
            else:
                yield pair, (shortened.to(getattr(torch, self.spec.dtype)).contiguous(), None)

    def leave_device(self) -> None:
        """Move the models to the CPU's memory, so that other processes have the device's; nothing is recorded then."""
        if self.recorder is not None:
            self.recorder.to("cpu")
        for one in self.encoders.values():
            one.encoder.to("cpu")
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def conditions(self, encoder: str | None = None) -> dict[str, str | int]:
        """Runtime settings that last bits depend on, recorded beside each unit of an encoder; `None`: of the UNet."""
        library = "diffusers" if encoder is None else self.encoders[encoder].encoder.library
        compiled = encoder is None and self.recorder is not None and self.recorder.compiled
        return {**conditions_of(self.device), "compiled": compiled, library: version(library)}

    @property
    def _unet(self) -> UNetRecorder:
        if self.recorder is None:
            raise AssertionError("blocks are to be recorded without a UNet")
        return self.recorder

    def _recorder(self, blocks: Sequence[int]) -> UNetRecorder:
        own, key = self._unet, tuple(sorted(blocks))
        if key == own.blocks:
            return own
        if key not in self._others:
            self._others[key] = UNetRecorder(own.frozen, key, own.precision, compiled=own.compiled)
        return self._others[key]

    @cached_property
    def _others(self) -> dict[tuple[int, ...], UNetRecorder]:
        """Recorders of other blocks than all that were asked for: kept, since each is compiled anew."""
        return {}

    def _noises(self, ids: Sequence[str]) -> Float[Tensor, "draw #image channel y x"]:
        """On the device; one for all samples stays there."""
        return self._shared_noises if self.spec.noise == "shared" else to_device(self._drawn(ids), self.device)

    @cached_property
    def _shared_noises(self) -> Float[Tensor, "draw 1 channel y x"]:
        return to_device(self._drawn(()), self.device)

    def _drawn(self, ids: Sequence[str]) -> Float[Tensor, "draw #image channel y x"]:
        return draw_noise(
            self._unet.noise_shape(self.spec.image_size),
            seed=self.spec.seed,
            kind=cast("NoiseKind", self.spec.noise),
            sample_ids=ids,
            n_draws=self.spec.noise_draws,
        )

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
