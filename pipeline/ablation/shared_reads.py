"""What heads that learn from the same pixels read: gathered once for all of them, of which each takes its columns.

Heads of one seed draw the same pixels of the same images, whatever they see of them. No result depends on it: who asks
for pixels that nobody else asked for gathers them, and what was gathered beside other timesteps is the same bit for
bit, since the map of each timestep is interpolated on its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields

from jaxtyping import Float, Int
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...stages.features.sampling import gather
from ..head_inputs.inputs import CachedFeatures

KEPT_BYTES = 2**30
"""Of gathered activations: a step of 8 images × 512 pixels on the paper's four blocks at 3 timesteps has 65 MB."""


class SharedReads:
    """The latest pixels that were gathered, for all heads of one device; threads may share it.

    Args:
        data: the blocks and timesteps that any of the heads sees.
        kept_bytes: what is held at most; the pixels that were not asked for the longest go first.
    """

    def __init__(self, data: CachedFeatures, kept_bytes: int = KEPT_BYTES) -> None:
        self._data, self._kept_bytes, self._size_bytes = data, kept_bytes, 0
        self._kept: OrderedDict[tuple[int, int, bytes], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def columns(
        self, block: int, timesteps: Sequence[int], sample: SampleRow, pixels: Int[Tensor, "pixel"]
    ) -> Float[Tensor, "pixel channel"]:
        """A block's activations at some of the timesteps, side by side, as `CachedFeatures.gather` gives them."""
        places = [self._data.timesteps.index(timestep) for timestep in timesteps]
        gathered = self._gathered(block, sample, pixels)
        each = gathered.unflatten(-1, (len(self._data.timesteps), -1))
        return each[:, places].flatten(1)

    def _gathered(self, block: int, sample: SampleRow, pixels: Tensor) -> Float[Tensor, "pixel all"]:
        key = (block, sample.row, pixels.cpu().numpy().tobytes())
        with self._lock:  # who wants the same waits here for the first, in place of gathering it again
            if key not in self._kept:
                self._keep(key, gather(self._data.only(block).maps(sample), pixels, self._data.size)[block])
            self._kept.move_to_end(key)
            return self._kept[key]

    def _keep(self, key: tuple[int, int, bytes], gathered: Tensor) -> None:
        self._kept[key] = gathered
        self._size_bytes += gathered.nbytes
        while self._size_bytes > self._kept_bytes and len(self._kept) > 1:
            self._size_bytes -= self._kept.popitem(last=False)[1].nbytes


@dataclass(frozen=True, kw_only=True)
class SharedHeadData(CachedFeatures):
    """A cache as one of several heads sees it that read together."""

    reads: SharedReads

    @classmethod
    def of(cls, data: CachedFeatures, reads: SharedReads) -> SharedHeadData:
        """What a head would see alone, without filters, read through `reads`."""
        return cls(**{field.name: getattr(data, field.name) for field in fields(data)}, reads=reads)

    def gather(self, sample: SampleRow, pixels: Int[Tensor, "pixel"]) -> dict[int, Float[Tensor, "pixel channel"]]:
        """The head's own columns of what is read for all."""
        return {block: self.reads.columns(block, self.timesteps, sample, pixels) for block in self.blocks}
