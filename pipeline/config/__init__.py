"""Settings of every command, as frozen dataclasses; imports neither torch nor numpy."""

from .ablation import AblateConfig
from .cache import CacheExportConfig, CacheInfoConfig, CacheVerifyConfig, MergeConfig
from .data import CheckConfig, DemoConfig, ManifestConfig
from .evaluation import CompareConfig, EvaluateConfig, SuggestConfig
from .extraction import ExtractConfig
from .fitting import FitConfig
from .labelling import LabelConfig, MergeLabelsConfig
from .prediction import ExplainConfig, ExportHeadConfig, MaskFormat, PredictConfig
from .training import TrainConfig
from .unets import ConvertConfig, PretrainConfig

__all__ = [
    "AblateConfig",
    "CacheExportConfig",
    "CacheInfoConfig",
    "CacheVerifyConfig",
    "CheckConfig",
    "CompareConfig",
    "ConvertConfig",
    "DemoConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "ExportHeadConfig",
    "ExtractConfig",
    "FitConfig",
    "LabelConfig",
    "ManifestConfig",
    "MaskFormat",
    "MergeConfig",
    "MergeLabelsConfig",
    "PredictConfig",
    "PretrainConfig",
    "SuggestConfig",
    "TrainConfig",
]
