"""The run folder: what a trained head consists of on disk, and what resuming its training needs. No pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...cache.format.spec import FeatureSpec, TextSpec
from ...cache.storage.atomic import parse_json, write_json
from ...errors import RunError
from ...stages.features.sampling import FILTERS
from ...stages.heads.base import HeadSpec
from ..data.classes import Classes

HEAD, CONFIG, METRICS, SUMMARY, RESUME, PROJECTIONS = (
    "head.safetensors",
    "config.json",
    "metrics.jsonl",
    "summary.json",
    "resume.safetensors",
    "projections.safetensors",
)
PLACES = "apart"
"""Heads take places in the whole image and scale them apart from activations. Before, `image`: scaled together."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that a trained head needs to be used, and to be trained again."""

    train: Mapping[str, Any]
    """The settings, resolved, the kind of head among them; neither the run's own path nor whether it was resumed."""
    head: HeadSpec
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    features: FeatureSpec
    """Stage one, with the place where the UNet was found."""
    texts: TextSpec | None
    """The text encoder, with the place where it was found; `None`: the cache had no texts."""
    classes: Mapping[str, Any]
    digests: Mapping[str, str]
    """Of the cache."""
    samples: Mapping[str, tuple[str, ...]]
    """Ids of the samples that were trained on and that chose the epoch."""
    projections: Mapping[str, str] = field(default_factory=dict)
    """`block/timestep` → digest of what its channels were projected on; nothing where they are the UNet's own."""
    places: str = PLACES
    """How the head takes pixels' places; another value: in the way of an older version."""

    @property
    def filters(self) -> bool:
        """Whether the head sees filters of the images."""
        return FILTERS in self.head.channels

    def write(self, run: Path) -> None:
        """Write `config.json`."""
        write_json(run / CONFIG, asdict(self))

    @classmethod
    def read(cls, run: Path) -> RunConfig:
        """Read `config.json`.

        Raises:
            RunError: if there is none, or it is not one.
        """
        path = run / CONFIG
        if not path.exists():
            raise RunError(f"{run}: no run here ({CONFIG} is missing); make one with `textdiff train-head CACHE {run}`")
        try:
            return _run_config(parse_json(path.read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}: not the configuration of a run ({error!r}); restore the file, or train again"
            ) from error


def _first_line(error: Exception) -> str:
    """What a library said, without the list that may follow."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(":")


def _run_config(values: Mapping[str, Any]) -> RunConfig:
    channels = {int(block): n for block, n in values["head"]["channels"].items()}
    head = {**values["head"], "channels": channels, "fine": tuple(values["head"].get("fine", ()))}
    features = FeatureSpec.from_dict(values["features"])
    train = {"ensemble": 1, "filters": False, "place": True} | values["train"]  # not told by runs from before them
    spec = HeadSpec(**head)
    _refuse_no_sizes(
        {"ensemble": train["ensemble"], "n_classes": spec.n_classes, "text_dim": spec.text_dim, "width": spec.width}
        | {"n_heads": spec.n_heads, **{f"channels of {block}": n for block, n in channels.items()}}
    )
    Classes.from_dict(values["classes"])  # refuses what are none
    return RunConfig(
        train=train,
        head=spec,
        blocks=tuple(values["blocks"]),
        timesteps=tuple(values["timesteps"]),
        features=features,
        texts=None if values["texts"] is None else TextSpec(**values["texts"]),
        classes=values["classes"],
        digests=values["digests"],
        samples={name: tuple(ids) for name, ids in values["samples"].items()},
        projections=values.get("projections", {}),
        places=values.get("places", "older"),
    )


def _refuse_no_sizes(sizes: Mapping[str, object]) -> None:
    """Raise a ValueError unless every one is a whole number above 0."""
    wrong = [f"{name} is {size!r}" for name, size in sizes.items() if not isinstance(size, int) or size < 1]
    if wrong:
        raise ValueError(", ".join(wrong))
