"""Items of a GPU list and their results: one JSON file, written anew after each item, and a table of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ground import Ground

NAME = "gpu-list.json"


@dataclass(frozen=True)
class Item:
    """One thing to find out."""

    name: str
    seconds: float
    """Estimate for one H100; an item that needs more than is left is skipped."""
    find: Callable[[Ground], dict[str, Any]]


class NotHere(Exception):  # noqa: N818
    """An item has no meaning on this machine or with this version; the message says why."""


def read_results(folder: Path) -> dict[str, Any]:
    """Item → its result, of an earlier call; empty where there was none."""
    path = folder / NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write all results, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{NAME}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / NAME)


def is_done(result: Mapping[str, Any] | None) -> bool:
    """Whether an item need not be done again: what failed or was skipped for want of time is tried again."""
    return result is not None and not {"error", "skipped"} & result.keys()


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """A table: item, figure, value."""
    yield "| item | figure | value |"
    yield "| --- | --- | --- |"
    for item, result in results.items():
        for name, value in flattened(result):
            yield f"| {item} | {name} | {shown(value)} |"


def flattened(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Figures of a result, those of mappings within it under joined names."""
    for name, one in value.items():
        if isinstance(one, Mapping):
            yield from flattened(one, f"{before}{name}, ")
        else:
            yield f"{before}{name}", one


def shown(value: object) -> str:
    """A figure for a cell."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")[:200]
