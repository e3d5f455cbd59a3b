"""Settings of `ablate-timesteps`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from ...cache.storage.location import Location
from .training import TextMode
from .validation import CommandConfig, Count, Distinct, at_least, ray_amiss

Over = Literal["timesteps", "blocks", "text", "sources"]
Grid = Literal["singles", "pairs", "leave-one-out", "forward"]

FIXED: dict[str, str] = {
    "text": "true, none and shuffled texts",
    "sources": "the UNet, each encoder, all of them and the filters alone",
}
"""Variables whose variants are not chosen."""


@dataclass(frozen=True)
class AblateConfig(CommandConfig):
    """Settings of `ablate-timesteps`."""

    cache: Location
    """The feature cache to compare on."""
    out: Path
    """The folder for the table (CSV, JSON) and the plot. It keeps finished heads: the same command continues, and other
    settings add to them."""
    over: Over = "timesteps"
    """The variable that is compared: timesteps, blocks, the text (true, none and shuffled), or the sources (the UNet,
    each encoder, all of them, and the filter bank alone)."""
    subsets: tuple[Distinct, ...] | None = None
    """Sets of timesteps (with `--over blocks`, of blocks) to compare; `None`: those of `--grid`, and without it each
    one alone, and all together."""
    grid: Grid | None = None
    """Subsets to compare: each one alone; each pair; all but one, and all; or greedy forward selection, which begins
    with the best one and repeatedly adds the one that helps most."""
    seeds: Distinct = (0, 1, 2)
    """Seeds; a head is trained for each subset with each of them."""
    folds: Annotated[int, at_least(2)] | None = None
    """Folds of a cross-validation over the groups of the training split; each head is scored after its last epoch on
    the fold held out, and the validation split is not opened. `None`: split as `train-head` does."""
    timesteps: Distinct | None = None
    """Timesteps to compare; `None`: all that are cached."""
    blocks: Distinct | None = None
    """Blocks to compare; `None`: all that are cached."""
    text: TextMode | None = None
    """As for `train-head`; `None`: true. `--over text` compares them."""
    epochs: Count | None = None
    """As for `train-head`."""
    engine: Literal["local", "ray"] = "local"
    """`ray`: train heads in processes that Ray starts, each a head at a time on one thread (extra `ray`)."""
    workers: Count | None = None
    """Ray's processes; `None`: one for each GPU, or as many as torch has threads."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`. On the CPU as many heads are trained at once as torch has threads
    (`OMP_NUM_THREADS`), on one thread each."""

    # The state after an interrupt, for the command line's message.
    unfinished: ClassVar[str] = "finished heads are kept: repeat the command to go on"

    def contradictions(self) -> Iterator[str | None]:
        """Subsets that are named twice, and settings that exclude each other."""
        named = [tuple(sorted(subset)) for subset in self.subsets or ()]
        if twice := sorted({subset for subset in named if named.count(subset) > 1}):
            shown = ";".join(",".join(map(str, subset)) for subset in twice)
            yield f"--subsets names {shown} more than once; name each subset once"
        if self.subsets is not None and self.grid is not None:
            yield "--subsets and --grid were both given, and both say what to compare; give one of them"
        if self.over in FIXED:
            for name in ("subsets", "grid", *(["text"] if self.over == "text" else [])):
                if getattr(self, name) is not None:
                    yield f"--over {self.over} compares {FIXED[self.over]}; leave --{name} out"
        elif self.subsets is not None and getattr(self, self.over, None) is not None:
            yield f"--subsets says which {self.over} to look at; leave --{self.over} out"
        yield from ray_amiss(self.engine, self.workers, self.device)
