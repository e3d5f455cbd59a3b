"""Sections and sentences that several reports share."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from ... import __version__
from ...cache.reader import FeatureReader
from ..config.command_line import command_line
from ..config.training import HEAD_DEFAULTS, TrainConfig
from ..maintenance.info import describe
from .page import Chart, Commands, Facts, KeyFigure, Section

FEW_SAMPLES = 10
_PACKAGES = ("torch", "numpy", "zarr", "matplotlib")


def figure(label: str, value: float | None, interval: Sequence[float] | None, note: str = "") -> KeyFigure:
    """A share in [0, 1] with its 95 % interval."""
    if value is None:
        return KeyFigure(label, "none", note)
    if interval is None:
        return KeyFigure(label, f"{value:.3f}", note, (value, value, value))
    low, high = interval
    ends = f"95 % interval {low:.3f} to {high:.3f}"
    return KeyFigure(label, f"{value:.3f}", f"{ends}; {note}" if note else ends, (value, low, high))


def cache_section(reader: FeatureReader) -> Section:
    """Content of the cache, as `textdiff cache info` prints it."""
    head, *rest = describe(reader).lines()
    facts = [(line[:11].strip(), line[11:].strip()) for line in rest]
    return Section("cache", "Cache", (Facts((("cache", head), *facts)),))


def commands_section(*commands: tuple[str, str], file: str) -> Section:
    """Commands that reproduce the results, the first also as a file, and the versions that computed them."""
    return Section("commands", "Reproduce", (Commands(commands, file), Facts(tuple(versions()))))


def versions() -> Iterator[tuple[str, str]]:
    """Versions of the software that computed the figures."""
    yield "textdiff", __version__
    yield "Python", platform.python_version()
    for name in _PACKAGES:
        yield name, version(name)


def train_command(config: TrainConfig) -> str:
    """Command that trains a run, from its resolved settings."""
    defaults = asdict(HEAD_DEFAULTS[config.head])
    own: dict[str, Any] = {name: None for name, value in defaults.items() if getattr(config, name) == value}
    return command_line("train-head", replace(config, **own), without=("resume", "log"))


def few(n: int, of: str) -> str:
    """A warning where figures are of few samples, else ""."""
    return f"Only {n} {of}: another {n} could give other figures." if n < FEW_SAMPLES else ""


def spread_chart(svg: str, dice: Sequence[float]) -> Chart:
    """Chart of the drawing of `charts.spread`."""
    low, high = min(dice), max(dice)
    return Chart(svg, f"Dice of {len(dice)} samples, from {low:.3f} to {high:.3f}", "Dice of every sample")
