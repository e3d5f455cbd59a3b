"""Text-guided segmentation of medical images from few labels, on cached diffusion features.

Stage one (`extract_features`) runs a frozen diffusion UNet and a frozen text encoder once and writes a cache; stage
two (`train_head`) trains a light head from the cache; `ablate_timesteps` compares heads on subsets of it; `Segmenter`
applies a trained head to new images, `explain` says what a text's words did there. Names are imported on first use,
so `import textdiff` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline.ablation.ablate import ablate_timesteps
    from .pipeline.config.ablation import AblateConfig
    from .pipeline.config.extraction import ExtractConfig
    from .pipeline.config.prediction import ExplainConfig
    from .pipeline.config.training import TrainConfig
    from .pipeline.explanation.explain import explain
    from .pipeline.extraction.extract import extract_features
    from .pipeline.prediction.segmenter import Segmenter
    from .pipeline.training.train import train_head

__version__ = "0.1.0"
__all__ = [
    "AblateConfig",
    "ExplainConfig",
    "ExtractConfig",
    "Segmenter",
    "TrainConfig",
    "ablate_timesteps",
    "explain",
    "extract_features",
    "train_head",
]

_HOMES = {
    "AblateConfig": "config.ablation",
    "ExplainConfig": "config.prediction",
    "ExtractConfig": "config.extraction",
    "Segmenter": "prediction.segmenter",
    "TrainConfig": "config.training",
    "ablate_timesteps": "ablation.ablate",
    "explain": "explanation.explain",
    "extract_features": "extraction.extract",
    "train_head": "training.train",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'textdiff' has no attribute {name!r}")
    return getattr(import_module(f".pipeline.{_HOMES[name]}", __name__), name)
