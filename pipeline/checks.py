"""Cheap checks of settings: each gives a problem in words, or `None`."""

from __future__ import annotations

from collections.abc import Sequence

from ..cache.location import Location
from ..errors import ConfigError


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
