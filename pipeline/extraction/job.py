"""An extraction that is about to be carried out: its settings, what it works from, and what is left to do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from ...cache.building.plan import WorkPlan
from ...cache.format.manifest import WorkUnit
from ...cache.format.spec import FeatureSpec
from ..config.extraction import ExtractConfig
from ..data.classes import Classes
from ..data.dataset import Dataset
from ..data.pseudonyms import Pseudonyms
from ..images.stain import open_source
from .dataset_rows import Batch, DatasetRow, RowReader, read_batch
from .feature_extractor import FeatureExtractor


@dataclass(frozen=True)
class Inputs:
    """What an extraction works from."""

    dataset: Dataset
    """Under the names that the cache is to have."""
    pseudonyms: Pseudonyms | None
    """Where these are hashed."""
    stage_one: FeatureExtractor


@dataclass(frozen=True)
class Job:
    """What is to be done, with what."""

    config: ExtractConfig
    inputs: Inputs
    rows: tuple[DatasetRow, ...]
    plan: WorkPlan

    @property
    def dataset(self) -> Dataset:
        """What the rows are of."""
        return self.inputs.dataset

    @property
    def stage_one(self) -> FeatureExtractor:
        """The frozen UNet and all that its activations depend on."""
        return self.inputs.stage_one

    def keep_pseudonyms(self) -> None:
        """Bring the table of hashed names up to date, before anything is under them."""
        if self.inputs.pseudonyms:
            self.inputs.pseudonyms.keep()

    @cached_property
    def reader(self) -> RowReader:
        """Reads rows from the files."""
        return row_reader(self.stage_one.spec, self.dataset.classes)

    @cached_property
    def row_at(self) -> dict[int, DatasetRow]:
        """Row in the cache's arrays → row of the data set."""
        return dict(zip(self.plan.rows, self.rows, strict=True))

    def batch(self, unit: WorkUnit) -> Batch:
        """A unit's images, read from the files."""
        return read_batch(self.reader, [self.row_at[row] for row in unit.rows])


def row_reader(spec: FeatureSpec, classes: Classes) -> RowReader:
    """Reader of rows from the files."""
    return RowReader(spec, partial(open_source, window=spec.window, colours=spec.colours), classes)
