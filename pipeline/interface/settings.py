"""Functions that take the fields of a command's config as arguments, or a ready config."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from inspect import Parameter, Signature
from typing import Any, Protocol, TypeVar

from ..config.presets import takes_presets
from ..config.validation import CommandConfig
from ..config.values import PRESET, read_config
from ..runtime.progress import Progress, progress_of
from ..runtime.results import Result

Config = TypeVar("Config", bound=CommandConfig)
Made = TypeVar("Made", bound=Result)
Given_co = TypeVar("Given_co", bound=Result, covariant=True)
PRESET_HELP = "Named settings for those that are not given; one name for all steps (docs/tutorial.md#presets)."
PROGRESS_HELP = "Whether to show the progress; by default in notebooks alone."


class CommandFunction(Protocol[Given_co]):
    """A function that is also a command."""

    __name__: str
    __doc__: str | None
    config: type[CommandConfig]
    """The dataclass of its settings."""
    summary: str
    """Its purpose, in a sentence."""

    def __call__(self, *arguments: Any, progress: Progress | bool | None = None, **settings: Any) -> Given_co:  # noqa: ANN401
        """Carry it out."""


def takes_settings(config: type[Config]) -> Callable[[Callable[[Config, Progress], Made]], CommandFunction[Made]]:
    """Give a function of a config and a progress the config's fields as parameters.

    What has no default, and what comes before it, may be given by position; paths as text, as paths, or as the cache
    or run that lies there; tuples as lists. The docstring's arguments are made from the docstrings of the fields.

    Args:
        config: the dataclass of the command's settings.
    """

    def decorate(carry_out: Callable[[Config, Progress], Made]) -> CommandFunction[Made]:
        signature = _signature(config)

        @functools.wraps(carry_out)
        def function(*arguments: Any, progress: Progress | bool | None = None, **settings: Any) -> Made:  # noqa: ANN401
            given = [*arguments, *settings.values()]
            ready = next((one for one in given if isinstance(one, config)), None)
            if ready is None:
                ready = read_config(config, _bound(carry_out.__name__, signature, arguments, settings))
            elif len(given) > 1 or settings.keys() - {"config"}:
                raise TypeError(
                    f"{carry_out.__name__}() takes a ready {config.__name__} alone; for others of its settings give "
                    "dataclasses.replace(config, ...)"
                )
            return carry_out(ready, progress_of(progress))

        function.config, function.summary = config, inspect.getdoc(carry_out)  # type: ignore[attr-defined]
        function.__signature__ = signature  # type: ignore[attr-defined]
        function.__doc__ = _docstring(inspect.getdoc(carry_out) or "", config)
        return function  # type: ignore[return-value]

    return decorate


def field_docstrings(config: type[Any]) -> dict[str, str]:
    """Field → the docstring under it, from the source, since Python does not keep them."""
    return {name: text for one in filter(is_dataclass, reversed(config.__mro__)) for name, text in _docstrings_in(one)}


@functools.cache
def _docstrings_in(config: type[Any]) -> tuple[tuple[str, str], ...]:
    found = []
    body = ast.parse(inspect.getsource(config)).body[0].body  # type: ignore[attr-defined]
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as written)):
                found.append((name, inspect.cleandoc(written)))
    return tuple(found)


def _signature(config: type[Any]) -> Signature:
    """Fields in their order, the last one without a default and what comes before it also by position."""
    own_first = sorted(fields(config), key=lambda field: field.kw_only is True)  # a base's are keyword-only
    parameters = []
    n_required = sum(field.default is MISSING for field in own_first)
    for i, field in enumerate(own_first):
        by_position = i < max(n_required, 1) and field.kw_only is not True
        kind = Parameter.POSITIONAL_OR_KEYWORD if by_position else Parameter.KEYWORD_ONLY
        default = Parameter.empty if field.default is MISSING else field.default
        parameters.append(Parameter(field.name, kind, default=default, annotation=field.type))
    if takes_presets(config):
        parameters.append(Parameter(PRESET, Parameter.KEYWORD_ONLY, default=None, annotation="str | None"))
    parameters.append(Parameter("progress", Parameter.KEYWORD_ONLY, default=None, annotation="bool | None"))
    return Signature(parameters)


def _bound(
    name: str, signature: Signature, arguments: tuple[Any, ...], settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Parameter → its argument; raises TypeError as Python does for a call that does not fit."""
    for unknown in settings.keys() - signature.parameters.keys():
        meant = get_close_matches(unknown, signature.parameters, 1)
        hint = f"; did you mean {meant[0]!r}?" if meant else f"; see help(textdiff.{name})"
        raise TypeError(f"{name}() got an unexpected keyword argument {unknown!r}{hint}")
    try:
        return signature.bind(*arguments, **settings).arguments
    except TypeError as error:
        raise TypeError(f"{name}() {error}; see help(textdiff.{name})") from None


def _docstring(summary: str, config: type[Any]) -> str:
    texts = field_docstrings(config)
    texts |= {PRESET: PRESET_HELP} if takes_presets(config) else {}
    texts["progress"] = PROGRESS_HELP
    lines = [f"    {name}: {' '.join(text.split())}" for name, text in texts.items()]
    raises = "Raises:\n    TextdiffError: the kind that says what was wrong with the input (`textdiff.errors`)."
    ready = f"Or one argument, `config`: a ready `{config.__name__}`."
    return "\n".join([summary, "", ready, "", "Args:", *lines, "", raises])
