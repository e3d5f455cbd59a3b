"""Text-guided segmentation of medical images from few labels, on cached diffusion features.

Stage one (`extract_features`) runs a frozen diffusion UNet and a frozen text encoder once and writes a cache; stage
two (`train_head`) trains a light head from the cache; `Segmenter` applies a trained head to new images. The other
functions are the commands of the same names (docs/cli.md): each takes its config and returns its result. Names are
imported on first use, so `import textdiff` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from .cache.building.arrays import write_features
    from .cache.format.samples import SampleRow
    from .cache.reader import FeatureReader
    from .cache.storage.location import location
    from .pipeline.ablation.ablate import ablate_timesteps
    from .pipeline.checking.check import check_data
    from .pipeline.config.ablation import AblateConfig
    from .pipeline.config.cache import CacheExportConfig, MergeConfig
    from .pipeline.config.data import DemoConfig, ManifestConfig
    from .pipeline.config.evaluation import CompareConfig, EvaluateConfig, SuggestConfig
    from .pipeline.config.extraction import ExtractConfig
    from .pipeline.config.fitting import FitConfig
    from .pipeline.config.prediction import ExplainConfig, ExportHeadConfig, PredictConfig
    from .pipeline.config.training import TrainConfig
    from .pipeline.config.unets import ConvertConfig, PretrainConfig
    from .pipeline.demo.demo import run_demo
    from .pipeline.demo.phantom import write_phantom
    from .pipeline.evaluation.compare import compare
    from .pipeline.evaluation.evaluate import evaluate
    from .pipeline.evaluation.suggest import rank_samples, suggest
    from .pipeline.exchange.importing import read_annotations
    from .pipeline.explanation.explain import explain, explain_image
    from .pipeline.explanation.result import Explanation
    from .pipeline.extraction.extract import extract_features
    from .pipeline.fitting.fit import fit
    from .pipeline.head_inputs.inputs import CachedFeatures, open_head_data
    from .pipeline.head_inputs.splits import Split, divide_into_folds
    from .pipeline.image_files.reading import read_image, read_mask
    from .pipeline.image_files.volumes import list_volumes
    from .pipeline.images.resizing import resize_labels
    from .pipeline.labelling.learner.live_trainer import LiveTrainer
    from .pipeline.maintenance.export import export_cache
    from .pipeline.maintenance.info import cache_info
    from .pipeline.maintenance.merge import merge_caches
    from .pipeline.maintenance.verify import verify_cache
    from .pipeline.manifests.make import make_manifest
    from .pipeline.prediction.predict import predict
    from .pipeline.prediction.segmenter import Segmenter
    from .pipeline.runs.export_head import export_head
    from .pipeline.runtime.device import resolve_precision
    from .pipeline.scoring.intervals import bootstrap_intervals, mean_intervals
    from .pipeline.training.train import train_head
    from .pipeline.training.trainer import Trainer
    from .pipeline.unets.convert import convert_unet
    from .pipeline.unets.pretrain import pretrain_unet
    from .stages.encoders.loading import load_encoder
    from .stages.heads.loss import segmentation_loss
    from .stages.metrics.instances import split_objects
    from .stages.unet import UNetRecorder, load_unet

__version__ = "0.1.0"
__all__ = [
    "AblateConfig",
    "CacheExportConfig",
    "CachedFeatures",
    "CompareConfig",
    "ConvertConfig",
    "DemoConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "Explanation",
    "ExportHeadConfig",
    "ExtractConfig",
    "FeatureReader",
    "FitConfig",
    "LiveTrainer",
    "ManifestConfig",
    "MergeConfig",
    "PredictConfig",
    "PretrainConfig",
    "SampleRow",
    "Segmenter",
    "Split",
    "SuggestConfig",
    "TrainConfig",
    "Trainer",
    "UNetRecorder",
    "ablate_timesteps",
    "bootstrap_intervals",
    "cache_info",
    "check_data",
    "compare",
    "convert_unet",
    "divide_into_folds",
    "errors",
    "evaluate",
    "explain",
    "explain_image",
    "export_cache",
    "export_head",
    "extract_features",
    "fit",
    "list_volumes",
    "load_encoder",
    "load_unet",
    "location",
    "make_manifest",
    "mean_intervals",
    "merge_caches",
    "open_head_data",
    "predict",
    "pretrain_unet",
    "rank_samples",
    "read_annotations",
    "read_image",
    "read_mask",
    "resize_labels",
    "resolve_precision",
    "run_demo",
    "segmentation_loss",
    "split_objects",
    "suggest",
    "train_head",
    "verify_cache",
    "write_features",
    "write_phantom",
]

_HOMES = {
    "AblateConfig": "pipeline.config.ablation",
    "CacheExportConfig": "pipeline.config.cache",
    "CachedFeatures": "pipeline.head_inputs.inputs",
    "CompareConfig": "pipeline.config.evaluation",
    "ConvertConfig": "pipeline.config.unets",
    "DemoConfig": "pipeline.config.data",
    "EvaluateConfig": "pipeline.config.evaluation",
    "ExplainConfig": "pipeline.config.prediction",
    "Explanation": "pipeline.explanation.result",
    "ExportHeadConfig": "pipeline.config.prediction",
    "ExtractConfig": "pipeline.config.extraction",
    "FeatureReader": "cache.reader",
    "FitConfig": "pipeline.config.fitting",
    "ManifestConfig": "pipeline.config.data",
    "MergeConfig": "pipeline.config.cache",
    "PredictConfig": "pipeline.config.prediction",
    "PretrainConfig": "pipeline.config.unets",
    "SampleRow": "cache.format.samples",
    "Segmenter": "pipeline.prediction.segmenter",
    "Split": "pipeline.head_inputs.splits",
    "SuggestConfig": "pipeline.config.evaluation",
    "LiveTrainer": "pipeline.labelling.learner.live_trainer",
    "TrainConfig": "pipeline.config.training",
    "Trainer": "pipeline.training.trainer",
    "UNetRecorder": "stages.unet",
    "ablate_timesteps": "pipeline.ablation.ablate",
    "bootstrap_intervals": "pipeline.scoring.intervals",
    "cache_info": "pipeline.maintenance.info",
    "check_data": "pipeline.checking.check",
    "compare": "pipeline.evaluation.compare",
    "convert_unet": "pipeline.unets.convert",
    "divide_into_folds": "pipeline.head_inputs.splits",
    "evaluate": "pipeline.evaluation.evaluate",
    "explain": "pipeline.explanation.explain",
    "explain_image": "pipeline.explanation.explain",
    "export_cache": "pipeline.maintenance.export",
    "export_head": "pipeline.runs.export_head",
    "extract_features": "pipeline.extraction.extract",
    "fit": "pipeline.fitting.fit",
    "list_volumes": "pipeline.image_files.volumes",
    "load_encoder": "stages.encoders.loading",
    "load_unet": "stages.unet",
    "location": "cache.storage.location",
    "make_manifest": "pipeline.manifests.make",
    "mean_intervals": "pipeline.scoring.intervals",
    "merge_caches": "pipeline.maintenance.merge",
    "open_head_data": "pipeline.head_inputs.inputs",
    "predict": "pipeline.prediction.predict",
    "pretrain_unet": "pipeline.unets.pretrain",
    "rank_samples": "pipeline.evaluation.suggest",
    "read_annotations": "pipeline.exchange.importing",
    "read_image": "pipeline.image_files.reading",
    "read_mask": "pipeline.image_files.reading",
    "resize_labels": "pipeline.images.resizing",
    "resolve_precision": "pipeline.runtime.device",
    "run_demo": "pipeline.demo.demo",
    "segmentation_loss": "stages.heads.loss",
    "split_objects": "stages.metrics.instances",
    "suggest": "pipeline.evaluation.suggest",
    "train_head": "pipeline.training.train",
    "verify_cache": "pipeline.maintenance.verify",
    "write_features": "cache.building.arrays",
    "write_phantom": "pipeline.demo.phantom",
}
"""Public name → the module that defines it."""


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'textdiff' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
