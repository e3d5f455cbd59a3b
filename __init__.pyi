# Made by `make docs` from the configs and the functions: not to be edited.
from collections.abc import Sequence
from os import PathLike
from typing import Literal, overload

from . import components as components
from . import config as config
from . import errors as errors
from .pipeline.ablation.result import AblationSummary
from .pipeline.checking.result import DataReport
from .pipeline.demo.demo import DemoSummary
from .pipeline.evaluation.compare import Comparison
from .pipeline.evaluation.result import Evaluation
from .pipeline.evaluation.suggest import SuggestSummary
from .pipeline.explanation.explain import ExplainSummary
from .pipeline.fitting.result import FitSummary
from .pipeline.interface import plot as plot
from .pipeline.interface.caches import Cache as Cache
from .pipeline.interface.caches import open_cache as open_cache
from .pipeline.interface.classifier import HeadClassifier as HeadClassifier
from .pipeline.interface.runs import Run as Run
from .pipeline.interface.runs import open_run as open_run
from .pipeline.interface.segmenter import Segmenter as Segmenter
from .pipeline.labelling.label import LabelSummary
from .pipeline.labelling.merge import MergeLabelsSummary
from .pipeline.maintenance.export import ExportSummary
from .pipeline.maintenance.info import CacheInfo
from .pipeline.maintenance.merge import MergeSummary
from .pipeline.maintenance.verify import VerifySummary
from .pipeline.manifests.result import ManifestSummary
from .pipeline.prediction.predict import PredictSummary
from .pipeline.runs.export_head import HeadExport
from .pipeline.unets.convert import ConvertSummary
from .pipeline.unets.pretrain import PretrainSummary

_Path = str | PathLike[str]
__version__: str

@overload
def demo(config: config.DemoConfig, *, progress: bool | None = None) -> DemoSummary: ...
@overload
def demo(out: _Path = ..., *, progress: bool | None = None) -> DemoSummary: ...
@overload
def fit(config: config.FitConfig, *, progress: bool | None = None) -> FitSummary: ...
@overload
def fit(
    data: _Path,
    out: _Path,
    *,
    unet: str | None = None,
    encoder: Sequence[str] = ...,
    text_encoder: str | None = None,
    preset: Literal["histology", "fluorescence", "xray", "skin"] | None = None,
    image_size: int | None = None,
    window: Sequence[int] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    offline: bool = False,
    progress: bool | None = None,
) -> FitSummary: ...
@overload
def make_manifest(config: config.ManifestConfig, *, progress: bool | None = None) -> ManifestSummary: ...
@overload
def make_manifest(
    images: _Path,
    *,
    out: _Path = ...,
    leave_out: str | None = None,
    masks: _Path | None = None,
    texts: _Path | None = None,
    text_columns: Sequence[str] | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    group_pattern: str | None = None,
    slices: Literal["all", "labelled"] = "all",
    progress: bool | None = None,
) -> ManifestSummary: ...
@overload
def check_data(config: config.CheckConfig, *, progress: bool | None = None) -> DataReport: ...
@overload
def check_data(
    data: _Path,
    *,
    window: Sequence[int] | None = None,
    image_size: int = 256,
    text_encoder: str | None = None,
    out: _Path | None = None,
    progress: bool | None = None,
) -> DataReport: ...
@overload
def extract_features(config: config.ExtractConfig, *, progress: bool | None = None) -> Cache: ...
@overload
def extract_features(
    data: _Path,
    cache: _Path,
    *,
    unet: str | None = None,
    text_encoder: str | None = None,
    timesteps: Sequence[int] = ...,
    blocks: Sequence[int] = ...,
    encoder: Sequence[str] = ...,
    encoder_layers: Sequence[Sequence[int]] | None = None,
    unet_config: _Path | None = None,
    class_label: int | None = None,
    condition: Literal["empty", "own"] = "empty",
    image_size: int | None = None,
    tile: int | None = None,
    tile_overlap: int = 0,
    views: int = 1,
    views_of: Literal["train", "all"] = "train",
    dtype: Literal["float16", "float32", "int8"] = "float16",
    pca: int | None = None,
    precision: Literal["auto", "float32", "bfloat16", "float16", "bfloat16-weights"] = "auto",
    compile: bool = False,
    noise: Literal["shared", "per-sample"] = "shared",
    noise_draws: int = 1,
    seed: int = 40,
    window: Sequence[int] | None = None,
    colours: Literal["own", "standardised"] = "own",
    filters: bool = True,
    batch_size: int = 8,
    texts: bool = True,
    truncate_texts: bool = False,
    offline: bool = False,
    num_parts: int | None = None,
    part_id: int | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    device: str = "auto",
    hash_ids: bool = False,
    hash_key: _Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    preset: Literal["histology", "fluorescence", "xray", "skin", "demo", "monuseg", "qata"] | None = None,
    progress: bool | None = None,
) -> Cache: ...
@overload
def train_head(config: config.TrainConfig, *, progress: bool | None = None) -> Run: ...
@overload
def train_head(
    cache: _Path,
    run: _Path,
    *,
    head: Literal["auto", "pixel", "context", "paper"] = "auto",
    minutes: float | None = None,
    ensemble: int = 1,
    timesteps: Sequence[int] | None = None,
    blocks: Sequence[int] | None = None,
    sources: Sequence[str] | None = None,
    filters: bool = True,
    position: bool = True,
    text: Literal["auto", "true", "none", "shuffled"] = "auto",
    n_labelled: int | None = None,
    val_fraction: float = 0.2,
    hold_out: bool = False,
    seed: int = 0,
    epochs: int | None = None,
    images_per_step: int | None = None,
    pixels_per_image: int = 512,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    width: int | None = None,
    n_attention_heads: int = 8,
    text_dropout: float | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    resume: bool = False,
    log: Literal["tensorboard", "mlflow"] | None = None,
    preset: Literal["histology", "fluorescence", "xray", "skin", "demo", "monuseg", "qata"] | None = None,
    progress: bool | None = None,
) -> Run: ...
@overload
def ablate_timesteps(config: config.AblateConfig, *, progress: bool | None = None) -> AblationSummary: ...
@overload
def ablate_timesteps(
    cache: _Path,
    out: _Path,
    *,
    over: Literal["timesteps", "blocks", "text", "sources"] = "timesteps",
    subsets: Sequence[Sequence[int]] | None = None,
    grid: Literal["singles", "pairs", "leave-one-out", "forward"] | None = None,
    seeds: Sequence[int] = ...,
    folds: int | None = None,
    timesteps: Sequence[int] | None = None,
    blocks: Sequence[int] | None = None,
    text: Literal["true", "none", "shuffled"] | None = None,
    epochs: int | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> AblationSummary: ...
@overload
def evaluate(config: config.EvaluateConfig, *, progress: bool | None = None) -> Evaluation: ...
@overload
def evaluate(
    run: _Path,
    cache: _Path,
    *,
    text: Literal["true", "none", "shuffled"] | None = None,
    surface: bool = False,
    tolerance: float | None = None,
    instances: bool = False,
    words: bool = False,
    offline: bool = False,
    split: Literal["train", "val", "test"] = "test",
    at: Literal["model", "native"] = "model",
    tta: int = 1,
    device: str = "auto",
    progress: bool | None = None,
) -> Evaluation: ...
@overload
def compare(config: config.CompareConfig, *, progress: bool | None = None) -> Comparison: ...
@overload
def compare(
    run_a: _Path,
    run_b: _Path,
    *,
    cache: _Path | None = None,
    split: Literal["train", "val", "test"] = "val",
    at: Literal["model", "native"] = "model",
    tta: int = 1,
    device: str = "auto",
    progress: bool | None = None,
) -> Comparison: ...
@overload
def suggest(config: config.SuggestConfig, *, progress: bool | None = None) -> SuggestSummary: ...
@overload
def suggest(
    cache: _Path,
    run: _Path,
    *,
    n: int = 10,
    split: Literal["train", "val", "test"] = "train",
    out: _Path | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> SuggestSummary: ...
@overload
def label(config: config.LabelConfig, *, progress: bool | None = None) -> LabelSummary: ...
@overload
def label(
    data: _Path,
    *,
    out: _Path = ...,
    run: _Path | None = None,
    annotator: str = "me",
    unet: str | None = None,
    encoder: Sequence[str] = ...,
    text_encoder: str | None = None,
    image_size: int | None = None,
    tile: int | None = None,
    window: Sequence[int] | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    browser: bool = True,
    device: str = "auto",
    offline: bool = False,
    progress: bool | None = None,
) -> LabelSummary: ...
@overload
def merge_labels(config: config.MergeLabelsConfig, *, progress: bool | None = None) -> MergeLabelsSummary: ...
@overload
def merge_labels(
    data: Sequence[_Path], *, out: _Path | None = None, progress: bool | None = None
) -> MergeLabelsSummary: ...
@overload
def predict(config: config.PredictConfig, *, progress: bool | None = None) -> PredictSummary: ...
@overload
def predict(
    run: _Path,
    images: _Path,
    out: _Path,
    *,
    formats: Sequence[Literal["png", "nifti", "dicom-seg", "ome-zarr", "geojson", "coco"]] | None = None,
    objects: bool = False,
    text: str | None = None,
    texts: _Path | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    tta: int = 1,
    unet: str | None = None,
    unet_config: _Path | None = None,
    encoder: Sequence[str] = ...,
    text_encoder: str | None = None,
    offline: bool = False,
    device: str = "auto",
    progress: bool | None = None,
) -> PredictSummary: ...
@overload
def explain(config: config.ExplainConfig, *, progress: bool | None = None) -> ExplainSummary: ...
@overload
def explain(
    run: _Path,
    image: _Path,
    text: str,
    *,
    versus: str | None = None,
    target: str | None = None,
    mask: _Path | None = None,
    out: _Path | None = None,
    arrays: bool = False,
    unet: str | None = None,
    unet_config: _Path | None = None,
    encoder: Sequence[str] = ...,
    text_encoder: str | None = None,
    offline: bool = False,
    device: str = "auto",
    progress: bool | None = None,
) -> ExplainSummary: ...
@overload
def export_head(config: config.ExportHeadConfig, *, progress: bool | None = None) -> HeadExport: ...
@overload
def export_head(
    run: _Path, out: _Path, *, to: Literal["onnx"] = "onnx", progress: bool | None = None
) -> HeadExport: ...
@overload
def pretrain_unet(config: config.PretrainConfig, *, progress: bool | None = None) -> PretrainSummary: ...
@overload
def pretrain_unet(
    images: _Path,
    out: _Path,
    *,
    image_size: int = 256,
    crop: int = 32,
    steps: int = 500,
    batch_size: int = 8,
    channels: Sequence[int] = ...,
    layers: int = 1,
    learning_rate: float = 0.002,
    ema_decay: float = 0.99,
    save_every: int = 100,
    window: Sequence[int] | None = None,
    colours: Literal["own", "standardised"] = "own",
    seed: int = 0,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    resume: bool = False,
    preset: Literal["histology", "fluorescence", "xray", "skin", "demo", "monuseg", "qata"] | None = None,
    progress: bool | None = None,
) -> PretrainSummary: ...
@overload
def convert_unet(config: config.ConvertConfig, *, progress: bool | None = None) -> ConvertSummary: ...
@overload
def convert_unet(
    checkpoint: _Path, out: _Path, *, config: _Path | None = None, progress: bool | None = None
) -> ConvertSummary: ...
@overload
def cache_info(config: config.CacheInfoConfig, *, progress: bool | None = None) -> CacheInfo: ...
@overload
def cache_info(cache: _Path, *, out: _Path | None = None, progress: bool | None = None) -> CacheInfo: ...
@overload
def cache_verify(config: config.CacheVerifyConfig, *, progress: bool | None = None) -> VerifySummary: ...
@overload
def cache_verify(cache: _Path, *, progress: bool | None = None) -> VerifySummary: ...
@overload
def cache_export(config: config.CacheExportConfig, *, progress: bool | None = None) -> ExportSummary: ...
@overload
def cache_export(cache: _Path, out: _Path, *, progress: bool | None = None) -> ExportSummary: ...
@overload
def cache_merge(config: config.MergeConfig, *, progress: bool | None = None) -> MergeSummary: ...
@overload
def cache_merge(out: _Path, parts: Sequence[_Path], *, progress: bool | None = None) -> MergeSummary: ...
