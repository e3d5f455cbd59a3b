"""`fit.json`: settings, decisions and steps of a fit, so that the same command goes on where it stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...cache.format.decoding import decode_json
from ...cache.storage.atomic import TEMPORARY_SUFFIX, write_json
from ...errors import RunError
from ..config.fitting import FitConfig
from ..config.validation import flag
from ..config.values import to_dict

RECORD, CHECK = "fit.json", "check.html"
NOT_SETTINGS = ("out", "device", "offline")
"""Fields of `FitConfig` that change nothing in the result."""


@dataclass(frozen=True)
class Decision:
    """A setting that the fit chose."""

    name: str
    value: Any
    """As JSON."""
    reason: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.shown}; {self.reason}"

    @property
    def shown(self) -> str:
        """The value in words."""
        if isinstance(self.value, dict):
            return ", ".join(f"{name} {','.join(map(str, numbers))}" for name, numbers in self.value.items())
        return "none" if self.value is None else str(self.value)


@dataclass
class Step:
    """One command of a fit."""

    name: str
    line: str
    """The command as for a shell."""
    seconds: float = 0.0
    """Wall time, that of interrupted tries included."""


@dataclass
class FitRecord:
    """Content of `fit.json`."""

    settings: dict[str, Any]
    decisions: list[Decision] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Wall time of all steps so far."""
        return sum(step.seconds for step in self.steps)

    def has_decided(self, name: str) -> bool:
        """Whether a decision was made."""
        return any(decision.name == name for decision in self.decisions)

    def decided(self, name: str) -> Any:  # noqa: ANN401
        """The value of a decision that was made."""
        return next(decision.value for decision in self.decisions if decision.name == name)

    def step(self, name: str, line: str) -> Step:
        """The step of that name, which is begun if it was not."""
        step = next((step for step in self.steps if step.name == name), None)
        if step is None:
            step = Step(name, line)
            self.steps.append(step)
        return step

    def keep(self, out: Path) -> None:
        """Write the record into the fit's folder."""
        write_json(out / RECORD, asdict(self))


def open_record(config: FitConfig) -> FitRecord:
    """The record of a fit that was begun, or a new one.

    Raises:
        RunError: if the folder holds something else, or a fit with other settings.
    """
    wanted = {name: value for name, value in to_dict(config).items() if name not in NOT_SETTINGS}
    wanted = {name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items()}
    wanted["data"] = str(config.data.resolve())
    path = config.out / RECORD
    if not path.exists():
        _refuse_foreign(config.out)
        return FitRecord(wanted)
    repair = "give another folder, or remove this one to fit anew"
    record = decode_json(path.read_bytes(), FitRecord, path, what="the record of a fit", repair=repair, error=RunError)
    _refuse_other_settings(path, record.settings, wanted)
    return record


def _refuse_foreign(out: Path) -> None:
    ours = {name + suffix for name in (CHECK, RECORD) for suffix in ("", TEMPORARY_SUFFIX)}  # of a fit killed early
    if out.exists() and (not out.is_dir() or any(path.name not in ours for path in out.iterdir())):
        raise RunError(f"{out}: holds other files than a fit; give a folder that is empty or does not exist")


def _refuse_other_settings(path: Path, begun: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = [
        f"  - {flag(name)}: the fit has {begun.get(name)}, this command says {wanted.get(name)}"
        for name in sorted(begun.keys() | wanted.keys())
        if begun.get(name) != wanted.get(name)
    ]
    if differing:
        raise RunError(
            f"{path}: the fit was begun with other settings:\n"
            + "\n".join(differing)
            + "\nrepeat the command that began it, or give another folder"
        )
