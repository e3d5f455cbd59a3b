"""The commands as functions: each takes its settings or its config, and returns its result.

The command line is made from these functions. What carries them out is imported when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import config as configs
from ..runtime.progress import Progress
from ..runtime.results import Result
from .settings import CommandFunction, takes_settings

if TYPE_CHECKING:
    from ..ablation.result import AblationSummary
    from ..checking.result import DataReport
    from ..demo.demo import DemoSummary
    from ..evaluation.compare import Comparison
    from ..evaluation.result import Evaluation
    from ..evaluation.suggest import SuggestSummary
    from ..explanation.explain import ExplainSummary
    from ..fitting.result import FitSummary
    from ..labelling.label import LabelSummary
    from ..labelling.merge import MergeLabelsSummary
    from ..maintenance.export import ExportSummary
    from ..maintenance.info import CacheInfo
    from ..maintenance.merge import MergeSummary
    from ..maintenance.verify import VerifySummary
    from ..manifests.result import ManifestSummary
    from ..prediction.predict import PredictSummary
    from ..runs.export_head import HeadExport
    from ..unets.convert import ConvertSummary
    from ..unets.pretrain import PretrainSummary
    from .caches import Cache
    from .runs import Run


@takes_settings(configs.DemoConfig)
def demo(config: configs.DemoConfig, progress: Progress) -> DemoSummary:
    """Run every step in a few minutes, on images that the program draws itself."""
    from ..demo.demo import run_demo

    return run_demo(config, progress)


@takes_settings(configs.FitConfig)
def fit(config: configs.FitConfig, progress: Progress) -> FitSummary:
    """Go the whole way from data to a scored head: check, features, training, evaluation and a report."""
    from ..fitting import fit

    return fit.fit(config, progress)


@takes_settings(configs.ManifestConfig)
def make_manifest(config: configs.ManifestConfig, progress: Progress) -> ManifestSummary:
    """Write a manifest from folders as they are: which mask, text, patient and split belong to which image."""
    from ..manifests import make

    return make.make_manifest(config, progress)


@takes_settings(configs.CheckConfig)
def check_data(config: configs.CheckConfig, progress: Progress) -> DataReport:
    """List what a data set holds and everything that is wrong with it; exit code 1 if anything is."""
    from ..checking import check

    return check.check(config)


@takes_settings(configs.ExtractConfig)
def extract_features(config: configs.ExtractConfig, progress: Progress) -> Cache:
    """Stage one: run the frozen models once and write their features to a cache, or bring a cache up to date."""
    from ..extraction import extract
    from .caches import Cache

    return Cache(config.cache, extract.extract_features(config, progress))


@takes_settings(configs.TrainConfig)
def train_head(config: configs.TrainConfig, progress: Progress) -> Run:
    """Stage two: train a light head from a cache; the frozen models are not loaded."""
    from ..training import train
    from .runs import Run

    return Run(config.run, train.train_head(config, progress))


@takes_settings(configs.AblateConfig)
def ablate_timesteps(config: configs.AblateConfig, progress: Progress) -> AblationSummary:
    """Compare heads on subsets of the cached timesteps or blocks, texts or models: a table (CSV, JSON) and a plot."""
    from ..ablation import ablate

    return ablate.ablate_timesteps(config, progress)


@takes_settings(configs.EvaluateConfig)
def evaluate(config: configs.EvaluateConfig, progress: Progress) -> Evaluation:
    """Score a trained head on labelled samples of a cache: overlap, calibration; boundaries and instances."""
    from ..evaluation import evaluate

    return evaluate.evaluate(config, progress)


@takes_settings(configs.CompareConfig)
def compare(config: configs.CompareConfig, progress: Progress) -> Comparison:
    """Test whether one run is better than another on the same samples: paired Dice with interval and p value."""
    from ..evaluation import compare

    return compare.compare(config, progress)


@takes_settings(configs.SuggestConfig)
def suggest(config: configs.SuggestConfig, progress: Progress) -> SuggestSummary:
    """Choose unlabelled samples to label next (active learning): uncertain, unlike the labelled and one another."""
    from ..evaluation import suggest

    return suggest.suggest(config, progress)


@takes_settings(configs.LabelConfig)
def label(config: configs.LabelConfig, progress: Progress) -> LabelSummary:
    """Draw labels in the browser while a head learns from them, and hand on a data set and a trained head."""
    from ..labelling import label

    return label.label(config, progress)


@takes_settings(configs.MergeLabelsConfig)
def merge_labels(config: configs.MergeLabelsConfig, progress: Progress) -> MergeLabelsSummary:
    """Put several annotators' labels of the same images together, and show how far they agree."""
    from ..labelling import merge

    return merge.merge_labels(config, progress)


@takes_settings(configs.PredictConfig)
def predict(config: configs.PredictConfig, progress: Progress) -> PredictSummary:
    """Segment new images with a trained head; runs stage one itself."""
    from ..prediction import predict

    return predict.predict(config, progress)


@takes_settings(configs.ExplainConfig)
def explain(config: configs.ExplainConfig, progress: Progress) -> ExplainSummary:
    """Show what each word of a text did to an image's mask, and what another text would do."""
    from ..explanation import explain

    return explain.explain(config, progress)


@takes_settings(configs.ExportHeadConfig)
def export_head(config: configs.ExportHeadConfig, progress: Progress) -> HeadExport:
    """Write a trained head as one ONNX file for other programs, compared with the head under onnxruntime."""
    from ..runs import export_head

    return export_head.export_head(config)


@takes_settings(configs.PretrainConfig)
def pretrain_unet(config: configs.PretrainConfig, progress: Progress) -> PretrainSummary:
    """Train a small diffusion UNet (DDPM) on unlabelled images, for those who have no checkpoint."""
    from ..unets import pretrain

    return pretrain.pretrain_unet(config, progress)


@takes_settings(configs.ConvertConfig)
def convert_unet(config: configs.ConvertConfig, progress: Progress) -> ConvertSummary:
    """Turn a checkpoint of OpenAI's guided-diffusion into a diffusers folder, exactly."""
    from ..unets import convert

    return convert.convert_unet(config, progress)


@takes_settings(configs.CacheInfoConfig)
def cache_info(config: configs.CacheInfoConfig, progress: Progress) -> CacheInfo:
    """List what a cache holds."""
    from ..maintenance import info

    return info.cache_info(config.cache, config.out)


@takes_settings(configs.CacheVerifyConfig)
def cache_verify(config: configs.CacheVerifyConfig, progress: Progress) -> VerifySummary:
    """Compare every byte of a cache with what was written, name the samples concerned; exit code 1 if one differs."""
    from ..maintenance import verify

    return verify.verify_cache(config.cache, progress)


@takes_settings(configs.CacheExportConfig)
def cache_export(config: configs.CacheExportConfig, progress: Progress) -> ExportSummary:
    """Copy a cache to an HDF5 file (OUT.h5) and back, or to a folder or a URL, checking every byte."""
    from ..maintenance import export

    return export.export_cache(config, progress)


@takes_settings(configs.MergeConfig)
def cache_merge(config: configs.MergeConfig, progress: Progress) -> MergeSummary:
    """Join the parts that `extract-features --num-parts` made in folders of their own to one cache."""
    from ..maintenance import merge

    return merge.merge_caches(config, progress)


COMMANDS: tuple[CommandFunction[Result], ...] = (
    demo,
    fit,
    make_manifest,
    check_data,
    extract_features,
    train_head,
    ablate_timesteps,
    evaluate,
    compare,
    suggest,
    label,
    merge_labels,
    predict,
    explain,
    export_head,
    pretrain_unet,
    convert_unet,
    cache_info,
    cache_verify,
    cache_export,
    cache_merge,
)
"""Every command, in the order in which `--help` lists them."""


def command_name(function: CommandFunction[Result]) -> str:
    """Its words after `textdiff`: those that begin with `cache` are in a group of their own."""
    name = function.__name__
    return name.replace("cache_", "cache ") if name.startswith("cache_") else name.replace("_", "-")
