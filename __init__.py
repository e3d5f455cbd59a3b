"""Text-guided segmentation of medical images from few labels, on cached diffusion features.

    import textdiff as td

    cache = td.extract_features("data/", "cache", unet="diffusers:unet")
    run = td.train_head(cache, "run")
    prediction = td.Segmenter.load(run).predict("image.png", "round nuclei")

Stage one (`extract_features`) runs a frozen diffusion UNet and a frozen text encoder once and writes a cache; stage
two (`train_head`) trains a light head from the cache; `Segmenter` applies a trained head to new images. Each function
is the command of the same name (docs/cli.md): it takes the command's settings, or a ready config of `textdiff.config`,
and returns its result. Names are imported on first use, so `import textdiff` is cheap; their types are in
`__init__.pyi`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import errors as errors

__version__ = "0.1.0"

_FUNCTIONS = """
    ablate_timesteps cache_export cache_info cache_merge cache_verify check_data compare convert_unet demo evaluate
    explain export_head extract_features fit label make_manifest merge_labels predict pretrain_unet suggest train_head
"""
_MODULES = {"components": "components", "config": "config", "plot": "pipeline.interface.plot"}
_HOMES = {
    **dict.fromkeys(_FUNCTIONS.split(), "pipeline.interface.functions"),
    "Cache": "pipeline.interface.caches",
    "HeadClassifier": "pipeline.interface.classifier",
    "Run": "pipeline.interface.runs",
    "Segmenter": "pipeline.interface.segmenter",
    "open_cache": "pipeline.interface.caches",
    "open_run": "pipeline.interface.runs",
}
"""Public name → the module that defines it."""

__all__ = sorted([*_HOMES, *_MODULES, "errors"])  # noqa: PLE0605 - of the two tables above


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'textdiff' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
