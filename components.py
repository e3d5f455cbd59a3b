"""Parts of textdiff for research: readers, inputs of heads, trainers, models and statistics, for programs of one's own.

What `textdiff` itself exports stays as it is from version to version; these names follow the code
(docs/architecture.md) and may change with each. Importing this module imports torch.
"""

from .cache.building.arrays import write_features
from .cache.format.samples import SampleRow
from .cache.reader import FeatureReader
from .cache.storage.location import location
from .pipeline.demo.phantom import write_phantom
from .pipeline.evaluation.suggest import rank_samples
from .pipeline.exchange.importing import read_annotations
from .pipeline.explanation.result import Explanation
from .pipeline.head_inputs.inputs import CachedFeatures, open_head_data
from .pipeline.head_inputs.splits import Split, divide_into_folds
from .pipeline.image_files.reading import read_image, read_mask
from .pipeline.image_files.volumes import list_volumes
from .pipeline.images.resizing import resize_labels
from .pipeline.labelling.learner.live_trainer import LiveTrainer
from .pipeline.runtime.device import resolve_precision
from .pipeline.scoring.intervals import bootstrap_intervals, mean_intervals
from .pipeline.training.trainer import Trainer
from .stages.encoders.loading import load_encoder
from .stages.heads.loss import segmentation_loss
from .stages.metrics.instances import split_objects
from .stages.unet import UNetRecorder, load_unet

__all__ = [
    "CachedFeatures",
    "Explanation",
    "FeatureReader",
    "LiveTrainer",
    "SampleRow",
    "Split",
    "Trainer",
    "UNetRecorder",
    "bootstrap_intervals",
    "divide_into_folds",
    "list_volumes",
    "load_encoder",
    "load_unet",
    "location",
    "mean_intervals",
    "open_head_data",
    "rank_samples",
    "read_annotations",
    "read_image",
    "read_mask",
    "resize_labels",
    "resolve_precision",
    "segmentation_loss",
    "split_objects",
    "write_features",
    "write_phantom",
]
