"""The command line: a config from flags, one function of the pipeline, one summary.

A command's flags are the fields of its config: their names, types, defaults and docstrings are those of the dataclass.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import json
import operator
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, Protocol, get_args, get_type_hints

import typer

from .cache.storage.location import Location, location
from .errors import TextdiffError
from .pipeline import config as configs
from .pipeline.config import presets
from .pipeline.config.validation import REPEATED, flag
from .pipeline.runtime import error_messages, interrupts, terminal
from .pipeline.runtime.process import prepare_process
from .pipeline.runtime.progress import Progress


class Summary(Protocol):
    """Result of a command."""

    def to_dict(self) -> dict[str, Any]:
        """The values that `--json` prints."""

    def lines(self) -> list[str]:
        """The lines for the terminal."""


Call = Callable[[Callable[..., Summary], Any, Progress], Summary]


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    """Its words after `textdiff`."""
    config: type[Any]
    """The dataclass of its settings."""
    target: str
    """MODULE:FUNCTION below `pipeline`, imported when the command runs: `--help` answers quickly."""
    help: str
    call: Call = lambda function, config, progress: function(config, progress)
    """How the function takes the config."""
    announces: bool = False
    """Whether the function takes `announce` too, which shows a line on stdout while it runs."""


COMMANDS = (
    Command("demo", configs.DemoConfig, "demo.demo:run_demo",
        "Run every step in a few minutes, on images that the program draws itself."),
    Command("fit", configs.FitConfig, "fitting.fit:fit",
        "Go the whole way from data to a scored head: check, features, training, evaluation and a report."),
    Command("make-manifest", configs.ManifestConfig, "manifests.make:make_manifest",
        "Write a manifest from folders as they are: which mask, text, patient and split belong to which image."),
    Command("check-data", configs.CheckConfig, "checking.check:check",
        "List what a data set holds and everything that is wrong with it; exit code 1 if anything is.",
        lambda function, config, _: function(config)),
    Command("extract-features", configs.ExtractConfig, "extraction.extract:extract_features",
        "Stage one: run the frozen models once and write their features to a cache, or bring a cache up to date."),
    Command("train-head", configs.TrainConfig, "training.train:train_head",
        "Stage two: train a light head from a cache; the frozen models are not loaded."),
    Command("ablate-timesteps", configs.AblateConfig, "ablation.ablate:ablate_timesteps",
        "Compare heads on subsets of the cached timesteps or blocks, texts or models: a table (CSV, JSON) and a plot."),
    Command("evaluate", configs.EvaluateConfig, "evaluation.evaluate:evaluate",
        "Score a trained head on labelled samples of a cache: overlap, calibration; boundaries and instances."),
    Command("compare", configs.CompareConfig, "evaluation.compare:compare",
        "Test whether one run is better than another on the same samples: paired Dice with interval and p value."),
    Command("suggest", configs.SuggestConfig, "evaluation.suggest:suggest",
        "Choose unlabelled samples to label next (active learning): uncertain, unlike the labelled and one another."),
    Command("label", configs.LabelConfig, "labelling.label:label",
        "Draw labels in the browser while a head learns from them, and hand on a data set and a trained head.",
        announces=True),
    Command("merge-labels", configs.MergeLabelsConfig, "labelling.merge:merge_labels",
        "Put several annotators' labels of the same images together, and show how far they agree."),
    Command("predict", configs.PredictConfig, "prediction.predict:predict",
        "Segment new images with a trained head; runs stage one itself."),
    Command("explain", configs.ExplainConfig, "explanation.explain:explain",
        "Show what each word of a text did to an image's mask, and what another text would do."),
    Command("export-head", configs.ExportHeadConfig, "runs.export_head:export_head",
        "Write a trained head as one ONNX file for other programs, compared with the head under onnxruntime.",
        lambda function, config, _: function(config)),
    Command("pretrain-unet", configs.PretrainConfig, "unets.pretrain:pretrain_unet",
        "Train a small diffusion UNet (DDPM) on unlabelled images, for those who have no checkpoint."),
    Command("convert-unet", configs.ConvertConfig, "unets.convert:convert_unet",
        "Turn a checkpoint of OpenAI's guided-diffusion into a diffusers folder, exactly."),
    Command("cache info", configs.CacheInfoConfig, "maintenance.info:cache_info",
        "List what a cache holds.",
        lambda function, config, _: function(config.cache)),
    Command("cache verify", configs.CacheVerifyConfig, "maintenance.verify:verify_cache",
        "Compare every byte of a cache with what was written, name the samples concerned; exit code 1 if one differs.",
        lambda function, config, progress: function(config.cache, progress)),
    Command("cache export", configs.CacheExportConfig, "maintenance.export:export_cache",
        "Copy a cache to an HDF5 file (OUT.h5) and back, or to a folder or a URL, checking every byte."),
    Command("cache merge", configs.MergeConfig, "maintenance.merge:merge_caches",
        "Join the parts that `extract-features --num-parts` made in folders of their own to one cache."),
)  # fmt: skip

PANELS = {
    "Models": "encoder_layers unet_config class_label condition offline precision compile noise noise_draws",
    "Images and texts": "crop window colours tile_overlap views views_of filters texts truncate_texts",
    "Storage": "dtype pca hash_ids hash_key",
    "Several processes": "engine workers num_parts part_id",
    "Architecture": "channels layers width n_attention_heads position",
    "Optimisation": "batch_size images_per_step pixels_per_image learning_rate weight_decay text_dropout ema_decay",
}
"""Panel of `--help` → fields of any command; fields in none are the everyday ones, which are shown first."""
PRESET_HELP = "Named settings for the flags that are not given; one name for all steps (docs/tutorial.md#presets)."
_PANEL_OF = {field: panel for panel, names in PANELS.items() for field in names.split()}

_PATHS = tuple[Path, ...]
_NUMBERS, _PAIR, _SUBSETS = tuple[int, ...], tuple[int, int], tuple[tuple[int, ...], ...]
_FORMATS = tuple[configs.MaskFormat, ...]
_SHARES, _NAMES = tuple[float, float, float], tuple[str, str]
_SOURCES = tuple[str, ...]
_METAVARS: dict[Any, str] = {
    Location: "PATH_OR_URL",
    _NUMBERS: "N,N,...",
    _PAIR: "LOW,HIGH",
    _SUBSETS: "N;N,N;...",
    _FORMATS: "FORMAT,FORMAT,...",
    _SHARES: "TRAIN,VAL,TEST",
    _NAMES: "NAME,TEXT",
    _SOURCES: "NAME,NAME,...",
}
"""Types that are parsed here → what `--help` shows for a value."""
# An URL must come as it is written: a Path would make one slash of two.
_ARGUMENTS: dict[Any, Any] = {Path: Path, _PATHS: list[Path], Location: str}
"""Types of required fields that are arguments → typer's."""


def main() -> None:
    """Run the command line: 0 done, 1 an explained problem, 2 wrong usage, 130 interrupted, 143 terminated."""
    prepare_process()
    terminal.prepare_streams()
    if line := terminal.unreadable_arguments(sys.argv[1:]):
        _stop(line, error_messages.EXPLAINED)
    with terminal.output_explained():
        app()


def build_app() -> typer.Typer:
    """All commands, those of `cache` in a group of their own."""
    about = "Segment medical images from few labelled examples: extract features once, learn in seconds."
    whole = typer.Typer(
        name="textdiff", help=about, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
    )
    about = "Describe, check, export or merge feature caches."
    group = typer.Typer(help=about, no_args_is_help=True)
    for command in COMMANDS:
        name = command.name.removeprefix("cache ")
        (whole if name == command.name else group).command(name, help=command.help)(_callback(command))
    whole.add_typer(group, name="cache")
    return whole


def _callback(command: Command) -> Callable[..., None]:
    def run(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401
        try:
            with interrupts.terminations_raised():
                config = _build(command.config, given)
                module, _, function = command.target.partition(":")
                target = getattr(importlib.import_module(f".pipeline.{module}", __package__), function)
                if command.announces:
                    # With --json stdout holds the result alone.
                    target = functools.partial(target, announce=functools.partial(typer.echo, err=as_json))
                summary = command.call(target, config, Progress(shown=True))
        except (Exception, KeyboardInterrupt) as error:
            message = error_messages.describe(error, command.config)
            if message is None:
                raise
            _stop(*message)
        _show(summary, as_json=as_json)

    parameters = _parameters(command.config)
    run.__doc__ = command.help
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(config_class: type[Any]) -> list[inspect.Parameter]:
    """The command's arguments and options, as typer reads them from a signature."""
    kinds, texts = _kinds(config_class), field_docstrings(config_class)
    own_first = sorted(fields(config_class), key=lambda field: field.kw_only is True)  # a base's are keyword-only
    parameters = [_parameter(field, kinds[field.name], texts[field.name]) for field in own_first]
    if presets.takes_presets(config_class):
        about = typer.Option(help=PRESET_HELP, show_default=False)
        parameters.append(_keyword("preset", Literal[tuple(presets.PRESETS)] | None, about, None))
    about = typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    return [*parameters, _keyword("as_json", bool, about, False)]


def _parameter(field: Field[Any], kind: Any, text: str) -> inspect.Parameter:  # noqa: ANN401
    required, absent = field.default is MISSING, inspect.Parameter.empty
    about: dict[str, Any] = {"rich_help_panel": _PANEL_OF.get(field.name)}
    about["help"] = text.replace("[", r"\[")  # brackets are rich's markup
    if required and kind in _ARGUMENTS:
        return _keyword(field.name, _ARGUMENTS[kind], typer.Argument(**about), absent)
    if field.metadata.get(REPEATED):
        option = typer.Option(flag(field.name), show_default=False, metavar="SOURCE", **about)
        return _keyword(field.name, list[str] | None, option, None)
    # The config's default is shown, but not passed on: so a preset can tell what was not given.
    if kind is bool:
        on = flag(field.name)
        flags, shown = (f"{on}/--no{on[1:]}", on) if field.default else (on, False)
        return _keyword(field.name, bool | None, typer.Option(flags, show_default=shown, **about), None)
    shown = False if required or field.default is None else _as_flag(field.default)
    option = typer.Option(show_default=shown, metavar=_METAVARS.get(kind), **about)
    taken = str if kind in _METAVARS else kind
    return _keyword(field.name, taken if required else taken | None, option, absent if required else None)


def _keyword(name: str, kind: Any, about: Any, default: Any) -> inspect.Parameter:  # noqa: ANN401
    annotation = Annotated[kind, about]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _kinds(config_class: type[Any]) -> dict[str, Any]:
    """Field → its type, without the rules and without `None`."""
    kinds = get_type_hints(config_class)
    for name, hint in kinds.items():
        if NoneType in get_args(hint):
            kinds[name] = functools.reduce(operator.or_, (part for part in get_args(hint) if part is not NoneType))
    return kinds


def _build(config_class: type[Any], given: dict[str, Any]) -> Any:  # noqa: ANN401
    kinds = _kinds(config_class)
    preset = given.pop("preset", None) if presets.takes_presets(config_class) else None
    values, problems = presets.preset_settings(preset, config_class) if preset else {}, []
    for name, value in given.items():
        try:
            if value is not None:
                written = isinstance(value, str) and kinds[name] in _METAVARS
                values[name] = parse(value, kinds[name]) if written else _frozen(value)
        except TextdiffError:
            raise
        except ValueError:
            problems.append(f"{flag(name)} got {value!r}; expected {_METAVARS[kinds[name]]}")
    if problems:
        raise typer.BadParameter("; ".join(problems))
    return config_class(**values)


def _frozen(value: Any) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


def parse(text: str, kind: Any) -> Any:  # noqa: ANN401
    """The value that a flag's text stands for.

    Args:
        text: as written.
        kind: among `_METAVARS`.

    Raises:
        ValueError: if it has another form.
    """
    if kind == Location:
        return location(text)
    if kind == _SUBSETS:
        return tuple(parse(subset, _NUMBERS) for subset in text.split(";"))
    part = {_SHARES: float, _NAMES: str, _FORMATS: str, _SOURCES: str}.get(kind, int)
    values = tuple(part(value.strip()) for value in text.split(","))
    if kind in (_PAIR, _SHARES, _NAMES) and len(values) != len(get_args(kind)):
        raise ValueError(text)
    return values


def _as_flag(value: Any) -> str:  # noqa: ANN401
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def field_docstrings(config_class: type[Any]) -> dict[str, str]:
    """Field → the docstring under it, from the source, since Python does not keep them."""
    texts: dict[str, str] = {}
    for one in filter(is_dataclass, reversed(config_class.__mro__)):
        body = ast.parse(inspect.getsource(one)).body[0].body  # type: ignore[attr-defined]
        for field, text in itertools.pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as written)):
                    texts[name] = inspect.cleandoc(written)
    return texts


def _show(summary: Summary, *, as_json: bool) -> None:
    values = summary.to_dict()
    typer.echo(json.dumps(values) if as_json else "\n".join(summary.lines()))
    if values.get("problems"):
        raise typer.Exit(1)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)


app = build_app()
