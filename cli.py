"""The command line: a config from flags, one function of the pipeline, one summary.

A command's flags are the fields of its config: their names, types, defaults and docstrings are those of the dataclass.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Protocol, get_type_hints

import typer

from .cache.storage.location import Location, location
from .errors import TextdiffError
from .pipeline import config as configs
from .pipeline.runtime import error_messages, interrupts
from .pipeline.runtime import progress as progresses
from .pipeline.runtime.process import prepare_process

if TYPE_CHECKING:
    from .pipeline.runtime.progress import Progress

app = typer.Typer(
    name="textdiff",
    help="Segment medical images from few labelled examples: extract features once, learn in seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cache_app = typer.Typer(
    help="Look at a feature cache, check it, bring it into another form, put it together.", no_args_is_help=True
)
app.add_typer(cache_app, name="cache")


class Summary(Protocol):
    """What a command shows."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""

    def lines(self) -> list[str]:
        """For the terminal."""


def main() -> None:
    """Run the command line: 0 done, 1 a problem that was explained, 2 wrong usage, 130 interrupted, 143 terminated."""
    prepare_process()
    app()


def command(
    config_class: type[Any], app: typer.Typer = app, name: str | None = None
) -> Callable[[Callable[[Any, Progress], Summary]], Callable[[Any, Progress], Summary]]:
    """Make a command of a function that takes a config and a progress and returns a summary."""

    def decorate(function: Callable[[Any, Progress], Summary]) -> Callable[[Any, Progress], Summary]:
        @functools.wraps(function)
        def run(**given: Any) -> None:  # noqa: ANN401
            as_json = given.pop("as_json")
            try:
                with interrupts.terminations_raised():
                    summary = function(_build(config_class, given), progresses.for_stderr())
            except (Exception, KeyboardInterrupt) as error:
                told = error_messages.describe(error, config_class)
                if told is None:
                    raise
                _stop(*told)
            _show(summary, as_json=as_json)

        parameters = [*_parameters(config_class), _JSON]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name or function.__name__.replace("_", "-"))(run)
        return function

    return decorate


_JSON = inspect.Parameter(
    "as_json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")],
)

_PRESET = inspect.Parameter(
    "preset",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Literal[tuple(configs.PRESETS)] | None,
        typer.Option(help="Named settings, for what is not given.", show_default=False),
    ],
)


def _parameters(config_class: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(config_class)
    # Rich takes brackets for markup.
    told = {name: text.replace("[", r"\[") for name, text in _field_docstrings(config_class).items()}
    parameters = [_parameter(field, hints[field.name], told[field.name]) for field in fields(config_class)]
    if config_class is configs.ExtractConfig:
        parameters.append(_PRESET)
    return parameters


def _parameter(field: Field[Any], hint: Any, told: str) -> inspect.Parameter:  # noqa: ANN401
    required = field.default is MISSING
    annotation: Any
    default: Any
    if hint is bool:
        flag = field.name.replace("_", "-")
        about = typer.Option(f"--{flag}/--no-{flag}" if field.default is True else f"--{flag}", help=told)
        annotation, default = Annotated[bool, about], field.default
    elif required and hint in (Path, _PATHS, Location):
        # An URL must come as it is written: a Path would make one slash of two.
        kind = {Path: Path, _PATHS: list[Path], Location: str}[hint]
        annotation, default = Annotated[kind, typer.Argument(help=told)], inspect.Parameter.empty
    else:
        # The config's default is shown, but not passed on: so a preset can tell what was not given.
        shown = _as_flag(field.default) if not required and field.default is not None else False
        about = typer.Option(help=told, show_default=shown, metavar=_METAVARS.get(hint))
        parsed = str if hint in _METAVARS else hint
        annotation = Annotated[parsed if required else parsed | None, about]
        default = inspect.Parameter.empty if required else None
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PATHS = tuple[Path, ...]
_NUMBERS, _PAIR, _SUBSETS = tuple[int, ...], tuple[int, int], tuple[tuple[int, ...], ...]
_METAVARS: dict[Any, str] = {
    Location: "PATH_OR_URL",
    Location | None: "PATH_OR_URL",
    _NUMBERS: "N,N,...",
    _NUMBERS | None: "N,N,...",
    _PAIR | None: "LOW,HIGH",
    _SUBSETS | None: "N;N,N;...",
}


def _build(config_class: type[Any], given: dict[str, Any]) -> Any:  # noqa: ANN401
    hints = get_type_hints(config_class)
    preset = given.pop("preset", None)
    values = dict(configs.PRESETS[preset]) if preset else {}
    problems = []
    for name, value in given.items():
        try:
            if value is not None:
                values[name] = _parse(value, hints[name]) if hints[name] in _METAVARS else _frozen(value)
        except TextdiffError:
            raise
        except ValueError:
            problems.append(f"--{name.replace('_', '-')} got {value!r}; expected {_METAVARS[hints[name]]}")
    if problems:
        raise typer.BadParameter("; ".join(problems))
    return config_class(**values)


def _frozen(value: Any) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


def _parse(text: str, hint: Any) -> Any:  # noqa: ANN401
    if hint in (Location, Location | None):
        return location(text)
    if hint == _SUBSETS | None:
        return tuple(_parse(subset, _NUMBERS) for subset in text.split(";"))
    numbers = tuple(int(number) for number in text.split(","))
    if hint == _PAIR | None and len(numbers) != 2:
        raise ValueError(text)
    return numbers


def _as_flag(value: Any) -> str:  # noqa: ANN401
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _field_docstrings(config_class: type[Any]) -> dict[str, str]:
    """Field → the docstring under it, from the source: Python itself forgets them."""
    definition = ast.parse(inspect.getsource(config_class)).body[0]
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(told.value.value)
        for field, told in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(told, ast.Expr)
        and isinstance(told.value, ast.Constant)
        and isinstance(told.value.value, str)
    }


def _show(summary: Summary, *, as_json: bool) -> None:
    found = summary.to_dict()
    typer.echo(json.dumps(found) if as_json else "\n".join(summary.lines()))
    if found.get("problems"):
        raise typer.Exit(1)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)


@command(configs.DemoConfig)
def demo(config: configs.DemoConfig, progress: Progress) -> Summary:
    """Go the whole way in a few minutes, on images that the program draws itself."""
    from .pipeline.demo.demo import run_demo

    return run_demo(config, progress)


@command(configs.CheckConfig)
def check_data(config: configs.CheckConfig, progress: Progress) -> Summary:
    """Say what was found in a data set and everything that is wrong with it; exit code 1 if anything is."""
    from .pipeline.data.check import check_data

    del progress
    return check_data(config.data, config.window)


@command(configs.ExtractConfig)
def extract_features(config: configs.ExtractConfig, progress: Progress) -> Summary:
    """Stage one: run the frozen models once and write their features to a cache, or bring a cache up to date."""
    from .pipeline.extraction.extract import extract_features

    return extract_features(config, progress)


@command(configs.TrainConfig)
def train_head(config: configs.TrainConfig, progress: Progress) -> Summary:
    """Stage two: train a light head from a cache; the frozen models are not loaded."""
    from .pipeline.training.train import train_head

    return train_head(config, progress)


@command(configs.AblateConfig)
def ablate_timesteps(config: configs.AblateConfig, progress: Progress) -> Summary:
    """Compare heads on subsets of the cached timesteps or blocks, or on texts: a table (CSV, JSON) and a plot."""
    from .pipeline.ablation.ablate import ablate_timesteps

    return ablate_timesteps(config, progress)


@command(configs.EvaluateConfig)
def evaluate(config: configs.EvaluateConfig, progress: Progress) -> Summary:
    """Score a trained head on labelled samples of a cache: overlap, calibration; on request outlines and objects."""
    from .pipeline.evaluation.evaluate import evaluate

    return evaluate(config, progress)


@command(configs.CompareConfig)
def compare(config: configs.CompareConfig, progress: Progress) -> Summary:
    """Say whether one run is better than another on the same samples: paired Dice with interval and test."""
    from .pipeline.evaluation.compare import compare

    return compare(config, progress)


@command(configs.SuggestConfig)
def suggest(config: configs.SuggestConfig, progress: Progress) -> Summary:
    """Say which unlabelled samples of a cache to label next: uncertain ones, unlike the labelled and one another."""
    from .pipeline.evaluation.suggest import suggest

    return suggest(config, progress)


@command(configs.PredictConfig)
def predict(config: configs.PredictConfig, progress: Progress) -> Summary:
    """Segment new images with a trained head; runs stage one itself."""
    from .pipeline.prediction.predict import predict

    return predict(config, progress)


@command(configs.ExplainConfig)
def explain(config: configs.ExplainConfig, progress: Progress) -> Summary:
    """Say what each word of a text did to an image's mask, and what another text would make of it."""
    from .pipeline.explanation.explain import explain

    return explain(config, progress)


@command(configs.PretrainConfig)
def pretrain_unet(config: configs.PretrainConfig, progress: Progress) -> Summary:
    """Train a small diffusion UNet (DDPM) on unlabelled images, for those who have no checkpoint."""
    from .pipeline.unets.pretrain import pretrain_unet

    return pretrain_unet(config, progress)


@command(configs.ConvertConfig)
def convert_unet(config: configs.ConvertConfig, progress: Progress) -> Summary:
    """Turn a checkpoint of OpenAI's guided-diffusion into a diffusers folder, exactly."""
    from .pipeline.unets.convert import convert_unet

    return convert_unet(config, progress)


@command(configs.CacheInfoConfig, app=cache_app, name="info")
def cache_info(config: configs.CacheInfoConfig, progress: Progress) -> Summary:
    """Say what a cache holds."""
    from .pipeline.maintenance.info import cache_info

    del progress
    return cache_info(config.cache)


@command(configs.CacheVerifyConfig, app=cache_app, name="verify")
def cache_verify(config: configs.CacheVerifyConfig, progress: Progress) -> Summary:
    """Compare every byte of a cache with what was written, name the samples concerned; exit code 1 if one differs."""
    from .pipeline.maintenance.verify import verify_cache

    return verify_cache(config.cache, progress)


@command(configs.CacheExportConfig, app=cache_app, name="export")
def cache_export(config: configs.CacheExportConfig, progress: Progress) -> Summary:
    """Copy a cache into one file (HDF5 or ZIP), or back into a folder, checking every byte; also from and to an URL."""
    from .pipeline.maintenance.export import export_cache

    return export_cache(config, progress)


@command(configs.MergeConfig, app=cache_app, name="merge")
def cache_merge(config: configs.MergeConfig, progress: Progress) -> Summary:
    """Put parts that `extract-features --num-parts` made in folders of their own together to one cache."""
    from .pipeline.maintenance.merge import merge_caches

    return merge_caches(config, progress)
