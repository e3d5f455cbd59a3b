"""What the parts of a shared extraction agree on: one request and one list of units, fixed by the first to begin.

Part K of N makes units K, K + N, K + 2N, ... of the list, whenever it starts: what is finished is told by the journal,
and changes nothing in who makes what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CacheMismatchError
from ..format.manifest import Unit, read_manifest
from ..format.sealed_json import read_sealed, sealed_json
from ..format.spec import FORMAT
from ..storage.atomic import write_durably
from ..storage.location import Location
from ..storage.locks import Share
from .journal import PARTS, read_journal
from .plan import PendingUnit

SHOWN = 72
"""Characters of a value in a message."""

Request = Mapping[str, Any]
"""What is asked for, by names; JSON values and objects of them."""


@dataclass(frozen=True)
class SharedPlan:
    """The content of `journal/parts.json`."""

    request: Request
    """All that parts must be told alike."""
    units: tuple[PendingUnit, ...]
    """All units of the extraction, finished ones included."""

    def of(self, part: Share) -> tuple[PendingUnit, ...]:
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
    """Refuse a part that was told other things than the first.

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
    there, here = dict(_flat(begun)), dict(_flat(asked))
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return [f"{name}: begun with {_short(there.get(name))}, this part has {_short(here.get(name))}" for name in names]


def missing_units(units: Sequence[PendingUnit], finished: Sequence[Unit]) -> tuple[PendingUnit, ...]:
    """Those of the units that are not finished."""
    there = {(unit.rows, unit.timesteps, unit.blocks) for unit in finished}
    return tuple(unit for unit in units if (unit.rows, unit.timesteps, unit.blocks) not in there)


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
