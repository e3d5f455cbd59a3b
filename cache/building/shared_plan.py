"""The plan that the parts of an extraction share: one request and one list of units, fixed by the first to begin.

Part K of N makes units K, K + N, K + 2N, ... of the list, whenever it starts: the journal says which are finished, and
that changes nothing in who makes which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CacheMismatchError
from ..format.manifest import Unit, WorkUnit, read_manifest
from ..format.sealed_json import read_sealed, sealed_json
from ..format.spec import FORMAT
from ..storage.atomic import write_durably
from ..storage.location import Location
from ..storage.locks import Share
from .journal import PARTS, read_journal

SHOWN = 72
"""Characters of a value in a message."""

Request = Mapping[str, Any]
"""Settings and data of an extraction, by names; JSON values and objects of them."""


@dataclass(frozen=True)
class SharedPlan:
    """The content of `journal/parts.json`."""

    request: Request
    """All settings that parts must have alike."""
    units: tuple[WorkUnit, ...]
    """All units of the extraction, finished ones included."""

    def of(self, part: Share) -> tuple[WorkUnit, ...]:
        """The units of one part."""
        return self.units[part.id :: part.n_parts]


def write_shared_plan(root: Location, plan: SharedPlan) -> None:
    """Fix the plan, durably."""
    write_durably(root / PARTS, [sealed_json({"format": FORMAT, **vars(plan)})])


def read_shared_plan(root: Location) -> SharedPlan | None:
    """The plan, or `None` where no part began yet.

    Raises:
        CacheError: if another version of textdiff wrote it.
        CacheCorruptError: if it is not as it was written.
    """
    repair = "remove this file: the next part makes it anew"
    return read_sealed(root / PARTS, SharedPlan, what="a plan of parts", repair=repair)


def refuse_other_request(root: Location, begun: Request, asked: Request) -> None:
    """Refuse a part whose settings or data differ from those of the first.

    Raises:
        CacheMismatchError: with every field that differs.
    """
    lines = differences(begun, asked)
    if lines:
        raise CacheMismatchError(
            f"{root}: its parts were begun with other settings or data than this one has:\n"
            + "\n".join(f"  - {line}" for line in lines)
            + "\ngive all parts the same, or extract into a new cache"
        )


def differences(begun: Request, asked: Request) -> list[str]:
    """One line for each name under which the two differ, long values cut; objects are compared name by name."""
    first, this = dict(_flat(begun)), dict(_flat(asked))
    names = [name for name in {**first, **this} if first.get(name) != this.get(name)]
    return [f"{name}: begun with {_short(first.get(name))}, this part has {_short(this.get(name))}" for name in names]


def missing_units(units: Sequence[WorkUnit], finished: Sequence[Unit]) -> tuple[WorkUnit, ...]:
    """Those of the units that are not finished."""
    keys = {unit.key for unit in finished}
    return tuple(unit for unit in units if unit.key not in keys)


def units_left(root: Location) -> int | None:
    """How many units of a shared extraction no part has finished; `None`: it was published.

    Right without a lock: publishing removes the shared plan before it removes records of units.
    """
    plan = read_shared_plan(root)
    if plan is None:
        return None
    published = read_manifest(root)
    left = missing_units(plan.units, [*(published.units if published else ()), *read_journal(root)])
    return len(left) if (root / PARTS).exists() else None


def _flat(request: Request, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in request.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
