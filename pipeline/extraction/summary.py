"""Result of an extraction, or of one part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..runtime.results import Result


@dataclass(frozen=True)
class ExtractSummary(Result):
    """Result of an extraction."""

    cache: str
    n_samples: int
    n_rows: int
    """Views of tiles of all samples; as many as samples where images are taken whole and as they are."""
    n_turned: int
    """Rows that show a flip or rotation."""
    n_texts: int
    """Distinct texts, rewritten ones included."""
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    """Both of the UNet; none without one."""
    layers: tuple[str, ...]
    """Of encoders."""
    n_forwards: int
    """Rows that went through a model here, each through each: 0 where everything was there already."""
    added_bytes: int
    """Bytes that this request, or this part of it, adds to the disk: with filters, without texts."""
    free_bytes: int | None
    """Free space on the cache's disk before; `None`: unknown, as of an object store."""
    precision: str
    """Arithmetic of the models."""
    dry_run: bool
    n_units: int
    """Units that this process made."""
    n_units_left: int = 0
    """Units of other parts that were not finished when this one ended."""
    part: str | None = None
    """Which part this process was, `K-of-N`; `None`: all of it."""
    whole: bool = True
    """Whether the cache is whole now; of parts, the last one to end makes it so."""

    @property
    def rows_in_words(self) -> str:
        """Rows beside one for each sample: turned ones and tiles."""
        n_upright = self.n_rows - self.n_turned
        tiles = f" in {n_upright} tiles" if n_upright > self.n_samples else ""
        return tiles + (f" and {self.n_turned} flips and rotations of them" if self.n_turned else "")

    @property
    def estimate(self) -> str:
        """Estimate of the work, before it begins."""
        return (
            f"{self.n_samples} samples{self.rows_in_words}, {self.n_texts} distinct texts; "
            f"{self.n_forwards} images to run through {self._models} in {self.precision}, "
            f"{self.added_bytes / 1e9:.3f} GB to write, {self._free}" + (f" (part {self.part})" if self.part else "")
        )

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        done = f"{self.n_forwards} images through {self._models}, {self.added_bytes / 1e9:.3f} GB added"
        if self.part and not (self.whole or self.dry_run):
            return [f"{self.cache}: part {self.part} is finished: {done}; {self._left}"]
        what = "would be written" if self.dry_run else "is whole"
        return [
            f"{self.cache} {what}: {self.n_samples} samples{self.rows_in_words}, {', '.join(self._features)}; {done}"
        ]

    @property
    def _models(self) -> str:
        return "the UNet" if not self.layers else "the UNet and encoders" if self.blocks else "encoders"

    @property
    def _features(self) -> list[str]:
        of_unet = [f"blocks {_list(self.blocks)}", f"timesteps {_list(self.timesteps)}"] if self.blocks else []
        return [*of_unet, *([f"layers {' '.join(self.layers)}"] if self.layers else [])]

    @property
    def _free(self) -> str:
        return "how much fits there is not known" if self.free_bytes is None else f"{self.free_bytes / 1e9:.1f} GB free"

    @property
    def _left(self) -> str:
        if self.n_units_left:
            return f"{self.n_units_left} units are left to other parts, the last of which makes the cache whole"
        return "all units are there, and another part that is still at work makes the cache whole"


def _list(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
