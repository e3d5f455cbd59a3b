"""Cheap checks of settings: each gives a problem in words, or `None`."""

from __future__ import annotations

from collections.abc import Sequence

from ...cache.storage.location import Location
from ...errors import ConfigError


def refuse(*problems: str | None) -> None:
    """Raise one ConfigError of all the problems that are not `None`."""
    found = [problem for problem in problems if problem]
    if found:
        raise ConfigError("\n".join(found))


def not_distinct(flag: str, values: Sequence[int]) -> str | None:
    """A problem unless the numbers are distinct, at least 0, and at least one."""
    if values and len(set(values)) == len(values) and min(values) >= 0:
        return None
    return f"{flag} got {','.join(map(str, values)) or 'nothing'}; expected distinct numbers of at least 0"


def below(flag: str, value: int, least: int) -> str | None:
    """A problem if the number is below the least."""
    return f"{flag} got {value}; expected at least {least}" if value < least else None


def outside(flag: str, value: float, least: float, most: float) -> str | None:
    """A problem unless the number is from `least` to `most`."""
    return None if least <= value <= most else f"{flag} got {value}; expected a number from {least} to {most}"


def not_among(flag: str, value: str, choices: Sequence[str]) -> str | None:
    """A problem unless the value is one of the choices."""
    return None if value in choices else f"{flag} got {value!r}; expected one of {', '.join(choices)}"


def not_divisible(flag: str, value: int, of: str, divisor: int) -> str | None:
    """A problem unless the number is a positive multiple of the divisor, which `of` names."""
    if divisor >= 1 and value >= 1 and value % divisor == 0:
        return None
    return f"{flag} got {value}; expected a positive multiple of {of} {divisor}"


def one_file(cache: Location) -> str | None:
    """A problem if the cache's name is that of one file, which can be read and not written to."""
    if cache.suffix.lower() not in (".zip", ".h5", ".hdf5"):
        return None
    return (
        f"{cache}: a cache in one file is only read. Extract into a folder, and then: textdiff cache export FOLDER "
        f"{cache}. One that is to grow is brought back first: textdiff cache export {cache} FOLDER --to zarr"
    )


def bad_window(window: tuple[int, int] | None) -> str | None:
    """A problem unless the window is two increasing numbers of 16 bits, signed or not."""
    if window is None or -32768 <= window[0] < window[1] <= 65535:
        return None
    return f"--window got {window[0]},{window[1]}; expected LOW,HIGH with -32768 <= LOW < HIGH <= 65535"


def bad_parts(num_parts: int | None, part_id: int | None) -> list[str]:
    """Problems unless both are absent, or they name one part of at least one."""
    if num_parts is None and part_id is None:
        return []
    if num_parts is None or part_id is None:
        there, absent = ("--num-parts", "--part-id") if part_id is None else ("--part-id", "--num-parts")
        return [f"{there} was given without {absent}; give both"]
    if num_parts < 1:
        return [f"--num-parts got {num_parts}; expected at least 1"]
    if not 0 <= part_id < num_parts:
        return [f"--part-id got {part_id}; expected a number from 0 to {num_parts - 1}, as there are {num_parts} parts"]
    return []


def bad_workers(engine: str, workers: int | None) -> list[str | None]:
    """Problems unless the engine is known, and workers are at least one and Ray's."""
    return [
        not_among("--engine", engine, ("local", "ray")),
        below("--workers", workers, 1) if workers is not None else None,
        "--workers was given without --engine ray; give both" if workers is not None and engine == "local" else None,
    ]
