"""`cache merge`: one cache from parts that were made in folders of their own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cache.building.merge import MergePlan, merge_parts, plan_merge, refuse_other_folder
from ...cache.storage.location import free_bytes
from ...cache.storage.locks import hold_lock
from ...errors import CacheError
from ..config.cache import MergeConfig
from ..runtime.progress import Progress
from ..runtime.results import Result


@dataclass(frozen=True)
class MergeSummary(Result):
    """Result of a merge."""

    cache: str
    n_parts: int
    n_samples: int
    n_shards: int
    size_bytes: int
    """Of the shards."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        return [
            f"{self.cache} is whole: {self.n_samples} samples from {self.n_parts} folders; {self.n_shards} shards, "
            f"{self.size_bytes / 1e9:.3f} GB copied and checked"
        ]


def merge_caches(config: MergeConfig, progress: Progress | None = None) -> MergeSummary:
    """Put the parts of one extraction together.

    Raises:
        CacheError: if a folder is no part, parts are missing or differ, a shard is damaged, or the disk is too small.
    """
    merge = plan_merge(config.parts)
    refuse_other_folder(config.out, merge)
    _refuse_too_large(config.out, merge)
    progress = progress or Progress()
    with hold_lock(config.out), progress.task("copy", len(merge.places), "shards") as task:
        manifest = merge_parts(config.out, merge, lambda _: task.advance())
    return MergeSummary(
        cache=str(config.out),
        n_parts=len(config.parts),
        n_samples=len({sample.parent for sample in merge.table.samples}),
        n_shards=len(list(manifest.shards())),
        size_bytes=merge.size_bytes,
    )


def _refuse_too_large(out: Path, merge: MergePlan) -> None:
    free = free_bytes(out)
    if free is not None and merge.size_bytes > free:
        raise CacheError(
            f"{out}: needs {merge.size_bytes / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; choose another disk. "
            "Nothing was written"
        )
