"""An extraction: its data and model, planned against the cache's state, estimated, run and published."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Self

from ...cache.building.derived import DerivedShard, LoadShard, TextArrays, unpublished, wanted_shards
from ...cache.building.plan import WorkPlan, plan_work
from ...cache.building.writer import CacheWriter
from ...cache.format.blocks import NO_NOISE, Block, Pair, describe, in_order, pairs_in_order
from ...cache.format.layout import FILTERS_ARRAY
from ...cache.format.manifest import Manifest
from ...cache.format.samples import SampleTable
from ...cache.storage.location import free_bytes
from ...errors import CacheError, ConfigError, DataError
from ...stages.features.compression import Projection
from ..config.extraction import ExtractConfig
from ..data.dataset import Dataset, read_dataset
from ..data.masks.lost_classes import LabelSize
from ..data.oddities import named_languages
from ..data.pseudonyms import hashed_names, refuse_hashed
from ..data.warnings import SETTINGS_FILE, read_silenced
from ..runtime.conditions import differences
from ..runtime.progress import Progress
from ..unets.record import colours_learnt
from ..views.languages import ENGLISH, language_of
from .dataset_rows import (
    Augmentation,
    DatasetRow,
    RowReader,
    dataset_rows,
    distinct_texts,
    sample_table,
    views_left_out,
)
from .feature_extractor import FeatureExtractor
from .loading import load_stage_one
from .local import run_locally
from .pca import cached_projections, fit_projections
from .ray_workers import WorkerOrder, run_in_ray
from .summary import ExtractSummary
from .text_features import EncoderSettings, encode_texts
from .unit_work import derived_loader, unit_works

TEXTS_NAMED = 10
"""In the warning about views that are left out."""


@dataclass(frozen=True)
class Extraction:
    """An extraction by one process. `run` needs the cache's lock; all else only reads."""

    config: ExtractConfig
    progress: Progress
    dataset: Dataset
    """Under the names that the cache is to have."""
    keep_names: Callable[[], None]
    """Records whom hashed names stand for, before anything is stored under them."""
    stage_one: FeatureExtractor

    @classmethod
    def open(cls, config: ExtractConfig, state: Manifest | None, progress: Progress) -> Self:
        """Read the data and load the models.

        Args:
            config: settings.
            state: of the cache, as `read_state` gives it.
            progress: where to warn of oddities.
        """
        dataset, keep_names = _named_dataset(config, state)
        _refuse_views_of_other_languages(config, dataset)
        _warn_of_data(config, dataset, progress)
        return cls(config, progress, dataset, keep_names, load_stage_one(config, state.features if state else None))

    @cached_property
    def rows(self) -> tuple[DatasetRow, ...]:
        """All rows of the data."""
        return dataset_rows(self.dataset.samples, self.stage_one.spec, _augmentation(self.config))

    @cached_property
    def reader(self) -> RowReader:
        """Reader of rows from the files."""
        return RowReader(self.stage_one.spec, self.dataset.classes)

    @property
    def encoder(self) -> EncoderSettings:
        """The text encoder asked for."""
        config = self.config
        return EncoderSettings(config.text_encoder, config.device, config.truncate_texts, config.offline)

    def plan(self, state: Manifest | None, damaged: Collection[str] = ()) -> WorkPlan:
        """Work that the cache's `state` leaves to do; `damaged` shards of it are to be written again."""
        config, spec = self.config, self.stage_one.spec
        shapes = self.stage_one.shapes
        if config.pca and config.pca >= max(channel for _, _, channel in shapes.values()):
            n_channels = ", ".join(f"{channel} of {_named(block)}" for block, (_, _, channel) in shapes.items())
            raise ConfigError(
                f"--pca got {config.pca}; expected fewer components than there are channels ({n_channels})"
            )
        keys = [row.key(text_conditioned=spec.condition == "own") for row in self.rows]
        encoders = {name: one.spec for name, one in self.stage_one.encoders.items()}
        plan = plan_work(
            state, spec, keys, shapes, config.timesteps, encoders=encoders, filters=config.filters, damaged=damaged
        )
        self._refuse_absent_models(plan)
        return plan

    def estimate(self, plan: WorkPlan) -> ExtractSummary:
        """Report the size of the work.

        Raises:
            CacheError: if it does not fit the disk.
        """
        summary = self.summarise(plan)
        self.progress.say(summary.estimate)
        self._warn_of_hidden_features(plan)
        self._warn_of_other_conditions(plan)
        free = summary.free_bytes
        if free is not None and summary.added_bytes > free:
            raise CacheError(
                f"{summary.cache}: needs {summary.added_bytes / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; choose "
                "fewer blocks or timesteps, --no-filters, a smaller --image-size, or another disk. Nothing was written"
            )
        return summary

    def run(self, plan: WorkPlan) -> None:
        """Make what the plan lacks, and publish; while the lock of the whole cache is held."""
        self.keep_names()
        texts, table = self.encode_texts(plan), self.table(plan)
        writer, stage_one = self.begin(plan)
        derived = self.derived_shards(plan, table)
        self.make_units(plan, unpublished(self.config.cache, derived), writer, stage_one)
        with self.shard_loader(plan, writer.missing(derived)) as load:
            writer.publish(table, self.dataset.classes.to_dict(), texts, filters=self.config.filters, load=load)

    def make_units(
        self, plan: WorkPlan, derived: Iterable[DerivedShard], writer: CacheWriter, stage_one: FeatureExtractor
    ) -> None:
        """Make the plan's units, and beside them those of the unpublished `derived` shards that have their rows."""
        works = list(unit_works(plan.pending, writer.missing(derived), self._row_at(plan)))
        with self.counted("extract", sum(len(work.rows) for work in works)) as advance:
            if self.config.engine == "ray":
                stage_one.leave_device()
                run_in_ray(works, self._order(), writer, self.config.workers, advance)
            else:
                run_locally(works, self.reader, stage_one, writer, advance)

    def encode_texts(self, plan: WorkPlan) -> TextArrays | None:
        """Embeddings of the distinct texts, unless the cache has them already."""
        silenced = read_silenced(self.dataset.root)
        return encode_texts(self.encoder, self.rows, plan.manifest, self.progress, silenced)

    def begin(self, plan: WorkPlan, *, begins: bool = True) -> tuple[CacheWriter, FeatureExtractor]:
        """Try the largest batch, fit the projections that the cache lacks, and only then write.

        Args:
            plan: the work.
            begins: whether to record the plan in the journal.

        Returns:
            The writer, and stage one with the cache's projections.
        """
        self._try_largest_batch(plan)
        fitted = self._fit(plan)
        writer = CacheWriter(self.config.cache, plan.manifest, plan.unfitted, plan.lost, begins=begins)
        if fitted:
            writer.write_projections({pair: projection.to_rows().numpy() for pair, projection in fitted.items()})
        known = cached_projections(self.config.cache, plan.manifest)
        return writer, self.stage_one.projected({**known, **fitted})

    def table(self, plan: WorkPlan) -> SampleTable:
        """The cache's table of rows."""
        return sample_table(self.dataset, self.rows, plan.rows)

    def derived_shards(self, plan: WorkPlan, table: SampleTable) -> list[DerivedShard]:
        """The shards of images, labels and filters that the cache is to have."""
        spec, classes = plan.manifest.features, self.dataset.classes.to_dict()
        return list(wanted_shards(spec, table.samples, classes, filters=self.config.filters))

    def summarise(self, plan: WorkPlan) -> ExtractSummary:
        """Summary of the extraction, as if all of the plan were done."""
        config, blocks = self.config, in_order(self.stage_one.shapes)
        return ExtractSummary(
            cache=str(config.cache),
            n_samples=len(self.dataset.samples),
            n_rows=len(self.rows),
            n_turned=sum(row.view != 0 for row in self.rows),
            n_texts=len(distinct_texts(self.rows)),
            blocks=tuple(block for block in blocks if isinstance(block, int)),
            timesteps=tuple(sorted(config.timesteps)) if config.unet else (),
            layers=tuple(block for block in blocks if isinstance(block, str)),
            n_forwards=sum(len(unit.rows) for unit in plan.pending),
            added_bytes=plan.size_bytes,
            free_bytes=free_bytes(config.cache),
            precision=self.stage_one.spec.precision,
            dry_run=config.dry_run,
            n_units=len(plan.pending),
            whole=not config.dry_run,
        )

    @contextmanager
    def counted(self, label: str, n_images: int) -> Iterator[Callable[[int], None]]:
        """Show the progress of work on images, unless there are none; yields the function that counts them."""
        with (self.progress if n_images else Progress()).task(label, n_images, "images") as task:
            yield task.advance

    @contextmanager
    def shard_loader(self, plan: WorkPlan, missing: Iterable[DerivedShard]) -> Iterator[LoadShard]:
        """Loader of the missing shards of images, labels and filters from the files; filters are counted."""
        row_at = self._row_at(plan)
        unfiltered = sum(len(shard.rows) for shard in missing if shard.layout.name == FILTERS_ARRAY)
        with self.counted("filter", unfiltered) as advance:
            yield derived_loader(lambda row: self.reader.image(row_at[row]), self.reader, row_at, advance)

    def _row_at(self, plan: WorkPlan) -> dict[int, DatasetRow]:
        return dict(zip(plan.rows, self.rows, strict=True))

    def _order(self) -> WorkerOrder:
        config, classes = self.config, self.dataset.classes
        return WorkerOrder(config.cache.resolve(), classes, config.device, config.offline, config.compile)

    def _warn_of_hidden_features(self, plan: WorkPlan) -> None:
        """A pair of block and timestep counts as cached when every sample has it: name those that new samples lack."""
        blocks, timesteps = self.stage_one.shapes.keys(), self.config.timesteps
        asked = {(block, t) for block in blocks for t in (timesteps if isinstance(block, int) else [NO_NOISE])}
        coverage = plan.manifest.coverage()
        missing = (pair for pair, rows in coverage.items() if pair not in asked and not rows.issuperset(plan.rows))
        if hidden := pairs_in_order(missing):
            pairs = ", ".join(f"block {b} at {t}" if isinstance(b, int) else describe(b, t) for b, t in hidden)
            self.progress.warn(f"not every sample has {pairs}; heads do not see these until all have them")

    def _warn_of_other_conditions(self, plan: WorkPlan) -> None:
        """Units that are there may differ from new ones in last bits."""
        for encoder in sorted({unit.encoder for unit in plan.pending}, key=str):
            now = self.stage_one.conditions(encoder)
            of_units = (differences(unit.conditions, now) for unit in plan.manifest.units if unit.encoder == encoder)
            for other in dict.fromkeys(filter(None, of_units)):
                self.progress.warn(
                    f"features of {encoder or 'the UNet'} are there that were made under other conditions, "
                    f"and new ones may differ from them in last bits: {other}"
                )

    def _try_largest_batch(self, plan: WorkPlan) -> None:
        """Meet "out of memory" before anything is written; on the CPU there is no such error to catch."""
        if self.stage_one.device == "cpu":
            return
        for name in {unit.encoder for unit in plan.pending}:
            units = (unit for unit in plan.pending if unit.encoder == name)
            unit = max(units, key=lambda unit: len(unit.rows) * len(unit.timesteps))
            self.stage_one.try_unit(len(unit.rows), unit.timesteps, unit.blocks)

    def _refuse_absent_models(self, plan: WorkPlan) -> None:
        """Damaged units are made again as they were, by the models that made them."""
        absent = {unit.encoder for unit in plan.pending if not self.stage_one.has(unit.encoder)}
        if absent:
            known, unet = plan.manifest.encoders, plan.manifest.features.unet
            flags = [f"--encoder {known[name].source}" if name else f"--unet {unet}" for name in absent]
            raise ConfigError(
                f"{self.config.cache}: damaged features are to be made again by models that this request leaves out; "
                f"add {' '.join(sorted(flags))}"
            )

    def _fit(self, plan: WorkPlan) -> Mapping[Pair, Projection]:
        """The projections that the cache lacks."""
        if not plan.unfitted:
            return {}
        self.progress.say(f"fitting {self.config.pca} principal components on training images")
        upright = [row for row in self.rows if row.view == 0]  # so that views change no projection
        lost = {record.pair for record in plan.lost}
        # A lost projection is fitted with all known ones: one forward of more timesteps has other last bits.
        before = pairs_in_order(lost | {record.pair for record in plan.manifest.projections}) if lost else ()
        new = [pair for pair in plan.unfitted if pair not in lost]
        fitted = [fit_projections(self.stage_one, self.reader, upright, pairs) for pairs in (before, new) if pairs]
        return {pair: one[pair] for one in fitted for pair in one if pair in plan.unfitted}


def _named(block: Block) -> str:
    return f"block {block}" if isinstance(block, int) else describe(block, NO_NOISE)


def _augmentation(config: ExtractConfig) -> Augmentation:
    return Augmentation(config.views, all_splits=config.views_of == "all")


def _named_dataset(config: ExtractConfig, state: Manifest | None) -> tuple[Dataset, Callable[[], None]]:
    """The data under the names that the cache is to have, and what records whom hashed names stand for."""
    dataset = read_dataset(config.data, config.window, LabelSize(config.side, config.tile, config.tile_overlap))
    if not config.texts:
        dataset = replace(dataset, samples=tuple(replace(sample, text="") for sample in dataset.samples))
    cached = [key.id for key in state.rows if key] if state else []
    if not config.hash_ids:
        refuse_hashed(config.cache, cached)
        return dataset, lambda: None
    names = hashed_names(config.cache, cached, config.hash_key, make_key=not config.dry_run)
    return names.applied(dataset), partial(names.keep, dataset.samples)


def _refuse_views_of_other_languages(config: ExtractConfig, dataset: Dataset) -> None:
    """Sides are rewritten in English alone: elsewhere an image would be mirrored, and its text would not."""
    if "other-language" in read_silenced(dataset.root):
        return
    views = _augmentation(config)
    texts = {sample.text for sample in dataset.samples if sample.text and len(views.views_of(sample)) > 1}
    foreign = sorted(text for text in texts if language_of(text) != ENGLISH)
    if foreign:
        raise DataError(
            f"--views {config.views} turns images and rewrites the sides in their texts in English alone, and "
            f"{len(foreign)} of {len(texts)} texts seem not to be in English ({named_languages(foreign)}); give "
            "--views 1, write the texts in English, or, if turned images may keep them, say so in "
            f'{SETTINGS_FILE} beside the data: {{"silence": {{"other-language": "the reason"}}}}'
        )


def _warn_of_data(config: ExtractConfig, dataset: Dataset, progress: Progress) -> None:
    for warning in dataset.warnings:
        progress.warn(str(warning))
    learnt = colours_learnt(config.unet) if config.unet else None
    if learnt not in (None, config.colours):
        progress.warn(
            f"{config.unet} was pretrained with --colours {learnt}, and is shown images with --colours "
            f"{config.colours}; give the same to both"
        )
    left_out = views_left_out(dataset.samples, _augmentation(config))
    if left_out:
        progress.warn(
            "left out, since words of side in these texts cannot be rewritten (docs/views.md says which can): "
            + "; ".join(left_out[:TEXTS_NAMED])
            + (f"; and those of {len(left_out) - TEXTS_NAMED} more texts" if len(left_out) > TEXTS_NAMED else "")
        )
