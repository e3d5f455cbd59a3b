"""Configs from plain values, of Python or of JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from ...cache.storage.location import Location
from .presets import PRESETS, preset_settings, takes_presets
from .validation import CommandConfig, converted, flag, refuse

Config = TypeVar("Config", bound=CommandConfig)

PRESET = "preset"
"""Beside the fields of a config: named settings for those that are not given."""


def read_config(config: type[Config], values: Mapping[str, Any]) -> Config:
    """A config from plain values.

    Args:
        config: the command's dataclass.
        values: as of `read_values`.

    Raises:
        ConfigError: with a line for each value of another type, or for each that the config refuses.
    """
    return config(**read_values(config, values))


def read_values(config: type[CommandConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value as a config has it, of some fields or all.

    Args:
        config: the command's dataclass.
        values: field → value; `preset` → its name, where presets concern the command.

    Raises:
        ConfigError: with a line for each unknown field, or for each value of another type.
    """
    given, preset = dict(values), None
    if takes_presets(config):
        preset = given.pop(PRESET, None)
        refuse(*[f"--preset got {preset!r}; expected one of {', '.join(PRESETS)}"] * (preset not in (None, *PRESETS)))
    found, problems = converted(config, given)
    known = {field.name for field in fields(config)}
    refuse(*(f"{flag(name)} is no setting of this command" for name in given if name not in known), *problems)
    return {**preset_settings(preset, config), **found} if preset else found


def to_dict(config: CommandConfig) -> dict[str, Any]:
    """A config as plain JSON values, paths and URLs as text."""
    return {name: _plain(value) for name, value in asdict(config).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [*map(_plain, value)]
    return str(value) if isinstance(value, Location) else value
