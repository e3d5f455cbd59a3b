"""Sources of frozen models: `kind:where`, folders or hub ids, and digests that distinguish models.

A digest stands for the function that a model computes, so it covers the weights and the few settings that change
the result without showing in the weights, never their location.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from ...errors import SourceError, TextdiffError
from .guard import ForbiddenError, guarded, is_offline

MAX_CONFIG_BYTES = 2**24
"""Of a JSON file of settings; those of large models have some thousands."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def parse_source(source: str, kinds: Sequence[str]) -> tuple[str, str]:
    """Split `kind:where` at its first colon.

    Raises:
        SourceError: there is no kind, it is not one of `kinds`, or nothing follows it.
    """
    kind, colon, where = source.partition(":")
    if colon and kind in kinds and where.strip():
        return kind, where.strip()
    wrong = f"unknown kind {kind!r}" if colon and kind not in kinds else "not of the form kind:where"
    raise SourceError(f"{source!r} is no model source here: {wrong}; expected {' or '.join(f'{k}:...' for k in kinds)}")


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Sha256, in hex, over the sorted names with their dtypes, shapes and bytes; no tensor on the CPU is copied."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def function_digest(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    """Sha256, in hex, over weights together with the settings (JSON values) that change what they compute."""
    described = json.dumps({"weights": state_digest(state), "settings": settings}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def model_folder(source: str, where: str, files: Sequence[str], weights: Sequence[Sequence[str]] = ()) -> Path:
    """The local folder that `where` names, fetched from the Hugging Face hub if it is a hub id.

    Args:
        source: the whole source, for messages.
        where: a folder, or a hub id such as `google/ddpm-cifar10-32`.
        files: patterns of the small files to fetch from the hub.
        weights: patterns of weight files, one group a format; the first group that the hub has files of is fetched.
            None: only the small files.

    Raises:
        SourceError: the folder does not exist, or the hub does not have the id or cannot be reached.
    """
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise SourceError(f"{source}: {where} is a file; expected the folder that a model was saved in")
    if where.startswith((".", "/", "~")) or where.count("/") > 1 or "\\" in where:
        raise SourceError(f"{source}: the folder {folder} does not exist; expected a folder or a hub id (org/name)")
    return _from_hub(source, where, files, weights)


def _from_hub(source: str, hub_id: str, files: Sequence[str], weights: Sequence[Sequence[str]]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        for group in weights or [()]:
            folder = Path(snapshot_download(hub_id, allow_patterns=[*files, *group]))
            if not weights or any(path for pattern in group for path in folder.glob(pattern)):
                return folder
    except HFValidationError as error:
        raise SourceError(f"{source}: {hub_id!r} is neither a folder nor a hub id (org/name)") from error
    except (OSError, HfHubHTTPError) as error:
        raise unusable(source, error) from error
    names = ", ".join(pattern for group in weights for pattern in group)
    if is_offline():
        raise SourceError(_not_fetched(source, f" (none of {names} was fetched before)"))
    raise SourceError(f"{source}: {hub_id} has no weights on the hub that can be read; expected one of {names}")


def read_model_config(source: str, path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        SourceError: there is no such file, or it holds no JSON object.
    """
    if path.is_file() and path.stat().st_size > MAX_CONFIG_BYTES:
        raise SourceError(
            f"{source}: {path} has {path.stat().st_size} bytes; expected settings, of at most {MAX_CONFIG_BYTES}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(
            f"{source}: no {path.name} in {path.parent}; expected the folder of a UNet2DModel or its pipeline"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{source}: {path} cannot be read as JSON ({error}); save the model again") from error
    if not isinstance(content, dict):
        raise SourceError(f"{source}: {path} holds no JSON object; save the model again")
    return content


@contextmanager
def loading(source: str) -> Iterator[None]:
    """A block in which a library reads files of unknown origin, whose code is not run.

    Malformed configs and damaged weights make libraries raise nearly anything, so all of it becomes the SourceError of
    `unusable`. Their logs and warnings are silenced; the caller checks what matters of them.
    """
    try:
        with silenced(), guarded():
            yield
    except (TextdiffError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        raise unusable(source, error) from error


@contextmanager
def silenced() -> Iterator[None]:
    """A block without libraries' logs and warnings on the terminal; for one thread at a time."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def unusable(source: str, error: BaseException) -> SourceError:
    """SourceError for a library's error while it fetched or loaded `source`."""
    reason = _COLOURS.sub("", " ".join((str(error) or type(error).__name__).split()))[:300]
    if any(_asks_to_run(cause) for cause in _causes(error)):
        reason = "its weights are damaged, or hold more than tensors"  # torch would advise to run their code
    if any(_is_network_failure(cause) for cause in _causes(error)):
        if is_offline():
            return SourceError(_not_fetched(source))
        return SourceError(
            f"{source}: it is not on this machine and the hub could not be reached ({reason}); "
            "connect to the internet, or download the model elsewhere and name its local folder, which needs no hub"
        )
    return SourceError(f"{source}: it could not be loaded ({reason}); check the name and the files, or name another")


def _not_fetched(source: str, what: str = "") -> str:
    return (
        f"{source}: it is not on this machine, and --offline forbids to fetch it{what}; leave --offline out once, or "
        "name the model's local folder"
    )


def _asks_to_run(error: BaseException) -> bool:
    return isinstance(error, ForbiddenError) or type(error).__name__ == "UnpicklingError"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_network_failure(error: BaseException) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError

    return isinstance(error, LocalEntryNotFoundError | ConnectionError | TimeoutError | URLError)
