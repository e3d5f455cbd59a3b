"""Stage one from data to cache: one process alone, or one part of several."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path

from ...cache.building.plan import read_state
from ...cache.storage.locks import hold_lock
from ..config.extraction import ExtractConfig
from ..config.validation import one_file, refuse
from ..maintenance.verify import damaged_shards
from ..runtime.folders import no_empty_folder
from ..runtime.progress import Progress
from ..runtime.ray_session import require_ray
from .steps import announce, carry_out, open_extraction, plan_job, summarise
from .summary import ExtractSummary


def extract_features(config: ExtractConfig, progress: Progress | None = None) -> ExtractSummary:
    """Make the cache, or bring it up to date, running the UNet on nothing that is already there.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        DataError: with everything that is wrong with the data.
        SourceError: if a model cannot be loaded.
        ConfigError: if settings do not fit the UNet, or a batch does not fit the device's memory.
        CacheError: if the cache holds other features, is being written to, did not finish, or does not fit the disk.
    """
    progress = progress or Progress()
    refuse(one_file(config.cache))
    if config.engine == "ray":
        require_ray()
    if config.num_parts is not None:
        from .shared import extract_part

        return extract_part(config, progress)
    inputs = open_extraction(config, progress)
    with ExitStack() as stack:
        if not config.dry_run:
            new = config.cache if isinstance(config.cache, Path) and not config.cache.exists() else None
            stack.enter_context(hold_lock(config.cache))
            stack.enter_context(no_empty_folder(new) if new else nullcontext())
        state = read_state(config.cache, resume=config.resume or config.dry_run)
        damaged = damaged_shards(config.cache, state, progress) if config.resume and state else ()
        job = plan_job(config, inputs, state, damaged)
        summary = summarise(job)
        announce(job, summary, progress)
        if not config.dry_run:
            carry_out(job, progress)
    return summary
