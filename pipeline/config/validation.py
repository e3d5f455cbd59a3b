"""Settings converted and checked by their annotations: a field's type says which values it may have.

    epochs: Annotated[int, at_least(1)] = 40
    at: Literal["model", "native"] = "model"
    subsets: tuple[Distinct, ...] | None = None

Rules hold for a value that is not `None`, and inside tuples for each element.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ...cache.storage.location import Location, location
from ...errors import ConfigError
from ..image_files.paths import undecoded
from ..views.symmetries import VIEW_COUNTS


@dataclass(frozen=True)
class Rule:
    """A condition on a field's value, for use in `Annotated`."""

    expected: str
    """The condition in words, after "expected"."""
    allows: Callable[[Any], bool]
    """Whether a value meets it."""

    def problem(self, field: str, value: Any) -> str | None:  # noqa: ANN401
        """A line on a field's value that does not meet it."""
        return None if self.allows(value) else f"{flag(field)} got {_shown(value)}; expected {self.expected}"


def at_least(least: int) -> Rule:
    """The rule for a number without an upper bound."""
    return Rule(f"at least {least}", lambda value: value >= least)


def between(least: float, most: float) -> Rule:
    """The rule for a number with two bounds, both included."""
    return Rule(f"a number from {least} to {most}", lambda value: least <= value <= most)


def multiple_of(divisor: int, of: str) -> Rule:
    """The rule for a positive number that `divisor`, which `of` names, divides."""
    divides = lambda value: divisor >= 1 and value >= 1 and value % divisor == 0  # noqa: E731
    return Rule(f"a positive multiple of {of} {divisor}", divides)


REPEATED = "repeated"
"""Of a field's metadata: its flag may be given several times."""
_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
}


def _is_distinct(values: tuple[int, ...]) -> bool:
    return bool(values) and len(set(values)) == len(values) and min(values) >= 0


Count = Annotated[int, at_least(1)]
Distinct = Annotated[tuple[int, ...], Rule("distinct numbers of at least 0", _is_distinct)]
ViewCount = Annotated[int, Rule("1, 2, 4 or 8", lambda n_views: n_views in VIEW_COUNTS)]
TrainingPrecision = Literal["auto", "float32", "bfloat16"]
"""Float16 has too small a range for gradients."""
SomeText = Annotated[str, Rule("at least one word", lambda text: bool(text.strip()))]
Window = Annotated[
    tuple[int, int],
    Rule(
        "LOW,HIGH with -32768 <= LOW < HIGH <= 65535",  # of 16 bits, signed or not
        lambda window: -32768 <= window[0] < window[1] <= 65535,
    ),
]


def repeated() -> Any:  # noqa: ANN401
    """A field of several values, none by default, whose flag is given once for each."""
    return field(default=(), metadata={REPEATED: True})


def refuse(*problems: str | None) -> None:
    """Raise one ConfigError of all the problems that are not `None`."""
    if lines := [problem for problem in problems if problem]:
        raise ConfigError("\n".join(lines))


@dataclass(frozen=True)
class CommandConfig:
    """Base of every command's frozen dataclass: takes plain values, and refuses what its annotations do not allow."""

    def __post_init__(self) -> None:
        """Bring the fields to their types, check them one by one, then against each other.

        Raises:
            ConfigError: with a line for each value of another type, or for each that breaks a rule.
        """
        values, problems = converted(type(self), vars(self))
        refuse(*problems)
        vars(self).update(values)  # frozen for everybody else
        hints = annotations_of(type(self))
        broken = (line for name, hint in hints.items() for line in problems_of(name, getattr(self, name), hint))
        undecodable = (line for name in hints for line in _undecodable(name, getattr(self, name)))
        refuse(*undecodable, *broken, *self.contradictions())

    def contradictions(self) -> Iterable[str | None]:
        """Problems between fields, which may have values that their annotations do not allow."""
        return ()


def kinds_of(config: type[Any]) -> dict[str, Any]:
    """Field → its type, without the rules and without `None`."""
    return {
        name: functools.reduce(operator.or_, (part for part in get_args(hint) if part is not NoneType))
        if NoneType in get_args(hint)
        else hint
        for name, hint in hints_of(config).items()
    }


def hints_of(config: type[Any]) -> dict[str, Any]:
    """Field → its type, without the rules."""
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in fields(config)}


def in_words(kind: Any) -> str:  # noqa: ANN401
    """A type of field as a message names it."""
    if kind == Location:
        return "a path or URL"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        of, *rest = get_args(kind)
        return f"{len(rest) + 1} values" if rest and rest != [...] else f"several values, each {in_words(of)}"
    return _WORDS.get(kind, str(kind))


def converted(config: type[Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Field → its value as the config's rules expect it, and a line for each value of another type.

    Paths may be text, tuples may be lists or arrays, numbers may be NumPy's, and a flag that may be repeated may have
    one text for its only value.

    Args:
        config: the command's dataclass.
        values: of some of its fields or all.
    """
    kinds, found, problems = kinds_of(config), {}, []
    for one in fields(config):
        if one.name in values:
            value = values[one.name]
            try:
                found[one.name] = _converted(one, kinds[one.name], value)
            except TypeError:
                problems.append(f"{flag(one.name)} got {value!r}; expected {in_words(kinds[one.name])}")
    return found, problems


def _converted(field: Field[Any], kind: Any, value: Any) -> Any:  # noqa: ANN401
    if value is None:
        if field.default is None:
            return None
        raise TypeError
    if field.metadata.get(REPEATED) and isinstance(value, str):
        return (value,)
    return _of_kind(kind, value)


def _of_kind(kind: Any, value: Any) -> Any:  # noqa: ANN401
    """The value, of the kind; raises TypeError."""
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays, which may not be hashable
        value = value.tolist()
    if kind == Location:
        return location(value)
    if kind is Path:
        return Path(os.fspath(value))
    if get_origin(kind) is Literal and isinstance(value, str | int):
        return value  # the annotation's rule says which
    if get_origin(kind) is tuple:
        return tuple(_elements(get_args(kind), value))
    number = {int: Integral, float: Real}.get(kind, kind)
    if not isinstance(number, type) or not isinstance(value, number) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return kind(value)


def _elements(kinds: tuple[Any, ...], values: Any) -> Iterator[Any]:  # noqa: ANN401
    if not isinstance(values, list | tuple | range):
        raise TypeError
    of = [kinds[0]] * len(values) if kinds[-1] is ... else [*kinds]
    if len(of) != len(values):
        raise TypeError
    yield from map(_of_kind, of, values)


def annotations_of(config: type[Any]) -> dict[str, Any]:
    """Field → its annotation, rules included."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in fields(config)}


def problems_of(field: str, value: Any, hint: Any) -> Iterator[str | None]:  # noqa: ANN401
    """A line for each rule of an annotation that a field's value breaks; `None` for those that it meets."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is Literal and value not in arguments:
        yield f"{flag(field)} got {value!r}; expected one of {', '.join(map(str, arguments))}"
    elif kind in (Union, UnionType) and value is not None:
        for part in arguments:
            yield from problems_of(field, value, part)
    elif kind is tuple:
        for element in value:
            yield from problems_of(field, element, arguments[0])
    elif kind is Annotated:
        yield from problems_of(field, value, arguments[0])
        yield from (rule.problem(field, value) for rule in arguments[1:] if isinstance(rule, Rule))


def _undecodable(field: str, value: Any) -> Iterator[str]:  # noqa: ANN401
    """A line for each path and text that no JSON file could hold."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, str | Path) and (shown := undecoded(str(part))):
            yield f"{flag(field)} got {shown}; expected UTF-8: rename the file or folder, or correct the text"


def ray_amiss(engine: str, workers: int | None, device: str) -> Iterator[str]:
    """Problems if workers are named and the engine has none, or a GPU by its number and workers see one each."""
    if workers is not None and engine == "local":
        yield "--workers was given without --engine ray; give both"
    if engine == "ray" and ":" in device:
        yield (
            f"--device got {device} with --engine ray, whose workers have a GPU each and see no other; give --device "
            f"{device.partition(':')[0]}, and choose GPUs by CUDA_VISIBLE_DEVICES"
        )


def one_file(cache: Location) -> str | None:
    """A problem if the cache's name is that of an HDF5 file, which only `cache export` writes."""
    if not hdf5_name(cache):
        return None
    return (
        f"{cache}: extract into a folder, and then: textdiff cache export FOLDER {cache}. An existing file is brought "
        f"back to a folder first: textdiff cache export {cache} FOLDER"
    )


def hdf5_name(cache: Location) -> bool:
    """Whether the name is that of an HDF5 file."""
    return cache.suffix.lower() in (".h5", ".hdf5")


def flag(field: str) -> str:
    """The field's flag on the command line."""
    return "--" + field.replace("_", "-")


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "nothing"
    return repr(value) if isinstance(value, str) else str(value)
