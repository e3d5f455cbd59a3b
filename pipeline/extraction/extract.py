"""`extract-features`: stage one from data to cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from ...cache.building.plan import read_state, refuse_foreign
from ...cache.storage.location import Location, on_disk
from ...cache.storage.locks import hold_lock, refuse_if_locked
from ..config.extraction import ExtractConfig
from ..config.validation import one_file, refuse
from ..maintenance.verify import damaged_shards
from ..runtime.folders import no_empty_folder
from ..runtime.progress import Progress
from ..runtime.ray_session import require_ray
from .extraction import Extraction
from .shared import extract_part
from .summary import ExtractSummary


def extract_features(config: ExtractConfig, progress: Progress | None = None) -> ExtractSummary:
    """Make the cache, or bring it up to date, running the UNet on nothing that is cached already.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        DataError: with everything that is wrong with the data.
        SourceError: if a model cannot be loaded.
        ConfigError: if settings do not fit the UNet, or a batch does not fit the device's memory.
        CacheError: if the cache holds other features, is being written to, did not finish, or does not fit the disk.
    """
    progress = progress or Progress()
    refuse(one_file(config.cache))
    refuse_foreign(config.cache)
    if config.engine == "ray":
        require_ray()
    if config.num_parts is not None:
        return extract_part(config, progress)
    with _looking(config.cache) if config.dry_run else _writing(config.cache):
        state = read_state(config.cache, resume=config.resume or config.dry_run)
        extraction = Extraction.open(config, state, progress)
        damaged = damaged_shards(config.cache, state, progress) if config.resume and state else ()
        plan = extraction.plan(state, damaged)
        summary = extraction.estimate(plan)
        if not config.dry_run:
            extraction.run(plan)
    return summary


@contextmanager
def _looking(root: Location) -> Iterator[None]:
    refuse_if_locked(root)
    yield


@contextmanager
def _writing(root: Location) -> Iterator[None]:
    """Hold the cache's lock; a new folder stays only if something came into it."""
    new = None if root.exists() else on_disk(root)
    with hold_lock(root), no_empty_folder(new) if new else nullcontext():
        yield
