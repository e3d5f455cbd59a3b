"""The configuration of a run: what its head needs to be used, and to be trained again. No pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from ...cache.format.blocks import Block, Pair, arrays_of, is_block
from ...cache.format.decoding import decode_json
from ...cache.format.spec import EncoderSpec, FeatureSpec, TextSpec
from ...cache.storage.atomic import canonical_json, parse_json, write_json
from ...cache.storage.location import Location, location
from ...errors import RunError
from ...stages.features.sampling import FILTERS
from ...stages.heads.base import HeadSpec
from ..config.training import FILTERS_SOURCE, UNET, TextMode, TextSetting, TrainConfig
from ..config.values import read_config
from ..data.classes import Classes

HEAD, CONFIG, METRICS, SUMMARY, RESUME, PROJECTIONS = (
    "head.safetensors",
    "config.json",
    "metrics.jsonl",
    "summary.json",
    "resume.safetensors",
    "projections.safetensors",
)
CANDIDATES = "candidates"
"""The folder of the runs of which `--head auto` keeps the best."""
FORMAT = 1
"""Version of a run's files. A higher one is refused; tests/data/ has a run of each released one."""
SETTINGS_SINCE: Mapping[str, Any] = {}
"""Setting of `train-head` that a later release added to this format → its value in runs from before, which lack it."""
NOT_SETTINGS = ("run", "resume", "log", "minutes")
"""Fields of `TrainConfig` that change nothing in the head."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that a trained head needs to be used, and to be trained again."""

    train: Mapping[str, Any]
    """Fields of `TrainConfig`, resolved, without `NOT_SETTINGS`; `cache` is `None` in a run that was handed on without
    it."""
    head: HeadSpec
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    features: FeatureSpec
    """Stage one, with the source of the UNet, if the head sees that."""
    texts: TextSpec | None
    """The text encoder, with its source; `None`: the cache had no texts."""
    classes: Mapping[str, Any]
    digests: Mapping[str, str]
    """Of the cache."""
    samples: Mapping[str, tuple[str, ...]]
    """Ids of the samples that were trained on (`train`) and that chose the epoch (`val`); empty in a run that was
    handed on without them."""
    projections: Mapping[str, str]
    """`block/timestep` → digest of the principal components; empty where all channels are the models' own."""
    layers: tuple[str, ...] = ()
    """Layers of encoders that the head sees."""
    encoders: Mapping[str, EncoderSpec] = field(default_factory=dict)
    """Those encoders by name, with their sources."""
    uses_texts: bool | None = None
    """Decision of `--text auto`, after the training; `None`: there was none."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Refuse values that no run has.

        Raises:
            ValueError: with the first of them.
        """
        object.__setattr__(self, "train", {**SETTINGS_SINCE, **self.train})
        self.train_config(Path(), self.train.get("cache") or Path())
        Classes.from_dict(self.classes)
        sizes = {
            "n_classes": self.head.n_classes,
            "text_dim": self.head.text_dim,
            "n_attention_heads": self.head.n_attention_heads,
        }
        sizes |= {"width": self.head.width, **{f"channels of {block}": n for block, n in self.head.channels.items()}}
        wrong = [f"{name} is {size}" for name, size in sizes.items() if size < 1]
        wrong += [f"{name!r} is no layer of an encoder" for name in self.layers if not self._is_layer(name)]
        if wrong:
            raise ValueError(", ".join(wrong))

    def _is_layer(self, name: str) -> bool:
        return is_block(name) and name.partition("/")[0] in self.encoders

    @property
    def blocks_and_layers(self) -> tuple[Block, ...]:
        """Blocks of the UNet, then layers of encoders."""
        return (*self.blocks, *self.layers)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Blocks at each timestep, then layers: the arrays of a cache that the head sees."""
        return arrays_of(self.blocks, self.timesteps, self.layers)

    @property
    def sources(self) -> tuple[str, ...]:
        """The models as `--sources` names them."""
        return (*([UNET] if self.blocks else []), *self.layers) or (FILTERS_SOURCE,)

    @property
    def text(self) -> TextMode:
        """Text that the head is made for: the setting, or as `--text auto` decided."""
        chosen: TextSetting = self.train["text"]
        if chosen != "auto":
            return chosen
        return "none" if self.uses_texts is False else "true"

    @property
    def filters(self) -> bool:
        """Whether the head sees filters of the images."""
        return FILTERS in self.head.channels

    def own_cache(self, run: Path) -> Location:
        """The cache of the training.

        Args:
            run: the run's folder, for the message.

        Raises:
            RunError: if the run was handed on without it.
        """
        if self.train["cache"] is None:
            raise RunError(f"{run}: handed on without its cache; give cache=... (--cache CACHE)")
        return location(self.train["cache"])

    def train_config(self, run: Path, cache: Location | str) -> TrainConfig:
        """The settings with which `train-head` makes the same run in another folder.

        Args:
            run: the folder.
            cache: that is trained on.

        Raises:
            ValueError: if `train` has other fields, or values that `train-head` refuses.
        """
        expected = {field.name for field in fields(TrainConfig)} - {*NOT_SETTINGS}
        if differing := sorted(expected ^ self.train.keys()):
            raise ValueError(f"settings of train that are missing or unknown: {', '.join(differing)}")
        return read_config(TrainConfig, {**self.train, "cache": cache, "run": run})

    def to_dict(self) -> dict[str, Any]:
        """The content of `config.json`."""
        values = asdict(self)
        values["head"]["channels"] = {str(block): n for block, n in self.head.channels.items()}
        if self.uses_texts is None:
            del values["uses_texts"]
        return values

    def write(self, run: Path) -> None:
        """Write `config.json`."""
        write_json(run / CONFIG, self.to_dict())

    @classmethod
    def read(cls, run: Path) -> RunConfig:
        """Read `config.json`.

        Raises:
            RunError: if there is none, it is of a later format, or it has other fields or values than a run's.
        """
        path = run / CONFIG
        if not path.exists():
            raise RunError(f"{run}: no run here ({CONFIG} is missing); make one with `textdiff train-head CACHE {run}`")
        content, repair = path.read_bytes(), "restore the file, or train again"
        config = _decode(content, cls, path, repair)
        known = parse_json(content)
        known = {"format": FORMAT, **known, "train": {**SETTINGS_SINCE, **known["train"]}}
        if known != parse_json(canonical_json(config.to_dict())):
            raise RunError(f"{path}: not the configuration of a run (it has fields that no run has); {repair}")
        return config


@dataclass(frozen=True)
class _Header:
    format: int = FORMAT


def _decode(content: bytes, kind: type[RunConfig], path: Path, repair: str) -> RunConfig:
    decode = partial(decode_json, content, file=path, what="the configuration of a run", repair=repair, error=RunError)
    if (version := decode(kind=_Header).format) > FORMAT:
        raise RunError(
            f"{path}: format {version}, this textdiff reads formats up to {FORMAT}: use the textdiff that trained it, "
            "or a later one"
        )
    return decode(kind=kind)


def first_line(error: Exception) -> str:
    """A library's message, without the list that may follow."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(":")
