"""The run folder: what a trained head consists of on disk, and what resuming its training needs. No pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from ...cache.format.manifest import Manifest
from ...cache.format.projections import Projections, projection_digest
from ...cache.format.spec import FeatureSpec, TextSpec
from ...cache.storage.atomic import TEMPORARY_SUFFIX, canonical_json, parse_json, write_durably, write_json
from ...errors import RunError
from ...stages.features.compression import Projection
from ...stages.features.sampling import FILTERS
from ...stages.heads.ensemble import together
from ...stages.heads.pixel import Head, HeadSpec
from ..data.classes import Classes
from ..training.objectives import LEARNERS
from ..training.trainer import Finalist, Fit

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


def prepare_folder(run: Path, *, resume: bool) -> bool:
    """Make sure that `run` may be written.

    Returns:
        Whether there is a training to go on with.

    Raises:
        RunError: if another run stands there, or something else.
    """
    if not run.exists() or (run.is_dir() and all(path.suffix == TEMPORARY_SUFFIX for path in run.iterdir())):
        return False
    if not (run / CONFIG).exists():
        raise RunError(f"{run}: exists and is not a run; give a new name")
    if not resume:
        state = "a finished run" if (run / SUMMARY).exists() else "a run that did not finish"
        raise RunError(f"{run}: holds {state}; give a new name, or add --resume to go on with it")
    return True


def save_state(run: Path, fit: Fit) -> None:
    """Write what a resume needs: weights, moments and finalists in one file, and the metrics so far."""
    tensors = {f"head.{name}": tensor for name, tensor in fit.head.state_dict().items()}
    for place, state in fit.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in state.items()}
    for place, finalist in enumerate(fit.finalists):
        tensors |= {f"finalist.{place}.{name}": tensor for name, tensor in finalist.weights.items()}
    told = {
        "history": fit.history,
        "finalists": [[finalist.epoch, finalist.checked_dice] for finalist in fit.finalists],
    }
    write_metrics(run, fit.history)
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_durably(run / RESUME, [save(contiguous, {"state": canonical_json(told).decode()})])


def load_state(run: Path, fit: Fit) -> None:
    """Put a training back where `save_state` left it; where it never did, the training begins anew.

    Raises:
        RunError: if the file is damaged.
    """
    path = run / RESUME
    if not path.exists():
        return
    try:
        with safe_open(path, "pt") as file:
            told = parse_json(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _put_back(fit, told, tensors)
    except torch.OutOfMemoryError:
        raise
    # Whole, but of something else, a file makes torch raise nearly anything.
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path}: not the state of this training ({_first_line(error)}); remove {run} and train again"
        ) from error


def _put_back(fit: Fit, told: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    fit.head.load_state_dict(_below("head.", tensors))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        place, field = name.split(".", 1)
        moments.setdefault(int(place), {})[field] = tensor
    fit.optimizer.load_state_dict({**fit.optimizer.state_dict(), "state": moments})
    fit.history = told["history"]
    fit.finalists = [
        Finalist(epoch, checked_dice, _below(f"finalist.{place}.", tensors))
        for place, (epoch, checked_dice) in enumerate(told["finalists"])
    ]


def write_metrics(run: Path, history: list[dict[str, float]]) -> None:
    """Write `metrics.jsonl`: one line an epoch."""
    write_durably(run / METRICS, (canonical_json(row) + b"\n" for row in history))


def finish_run(run: Path, head: Head, history: list[dict[str, float]], summary: Mapping[str, Any]) -> None:
    """Write the head, the metrics and, last, the summary, which makes the run whole; the resume file goes."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_durably(run / HEAD, [save(tensors)])
    write_metrics(run, history)
    write_json(run / SUMMARY, summary)
    (run / RESUME).unlink(missing_ok=True)


def read_summary(run: Path) -> dict[str, Any]:
    """Read `summary.json` of a finished run.

    Raises:
        RunError: if it is not one.
    """
    try:
        summary = dict(parse_json((run / SUMMARY).read_bytes()))
        _ = summary["best_epoch"], summary["val_dice"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{run / SUMMARY}: not the summary of a run ({error!r}); remove it, and repeat the `textdiff train-head` "
            "command with --resume"
        ) from error
    return summary


def load_head(run: Path, config: RunConfig, device: str) -> Head:
    """Load a finished run's head, in evaluation mode.

    Raises:
        RunError: if the training did not finish or the weights are not this head's.
    """
    if not (run / SUMMARY).exists():
        raise RunError(f"{run}: its training did not finish; repeat the `textdiff train-head` command with --resume")
    if config.train.get("head") not in LEARNERS:
        known = ", ".join(LEARNERS)
        raise RunError(f"{run / CONFIG}: the head is {config.train.get('head')!r}; this textdiff knows {known}")
    if config.places != PLACES and config.head.place and config.train["head"] != "paper":
        raise RunError(
            f"{run / CONFIG}: the head was trained by an older textdiff, which told heads otherwise where pixels lie; "
            "train again with `textdiff train-head`"
        )
    head_class = LEARNERS[config.train["head"]].head_class
    head = together([head_class(config.head) for _ in range(config.train["ensemble"])])
    try:
        head.load_state_dict(load((run / HEAD).read_bytes()))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{run / HEAD}: not the weights of this run's head ({_first_line(error)}); restore the file, or train again"
        ) from error
    return head.eval().to(device)


def projection_digests(manifest: Manifest, blocks: Sequence[int], timesteps: Sequence[int]) -> dict[str, str]:
    """`block/timestep` → the digest of its projection, of those among the blocks and timesteps that have one."""
    return {
        _name(*record.pair): record.digest
        for record in manifest.projections
        if record.block in blocks and record.timestep in timesteps
    }


def projection_differences(config: RunConfig, manifest: Manifest) -> list[str]:
    """One line for each block and timestep of the run whose channels the cache projects on something else."""
    there, here = config.projections, projection_digests(manifest, config.blocks, config.timesteps)
    return [
        f"projection of block/timestep {name}: the run has {there.get(name, 'none')[:12]}, "
        f"the cache has {here.get(name, 'none')[:12]} (fitted on other images)"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def save_projections(run: Path, projections: Projections) -> None:
    """Keep a cache's projections beside the head, which is of no use without them; nothing where there are none."""
    if projections:
        tensors = {_name(*pair): torch.from_numpy(array) for pair, array in projections.items()}
        write_durably(run / PROJECTIONS, [save(tensors)])


def load_projections(run: Path, config: RunConfig, device: str) -> dict[tuple[int, int], Projection]:
    """(block, timestep) → what its channels are to be projected on; nothing for those that stay as the UNet gives them.

    Raises:
        RunError: if the file is absent or is not this run's.
    """
    if not config.projections:
        return {}
    path = run / PROJECTIONS
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore the file, or train again") from error
    found = {name: projection_digest(tensor.numpy()) for name, tensor in tensors.items()}
    if found != config.projections:
        raise RunError(f"{path}: not the projections of {run / CONFIG}; restore the file, or train again")
    pairs = {name: name.split("/") for name in tensors}
    return {(int(b), int(t)): Projection.from_rows(tensors[name]).to(device) for name, (b, t) in pairs.items()}


def _name(block: int, timestep: int) -> str:
    return f"{block}/{timestep}"


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


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
