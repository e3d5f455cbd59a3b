"""Runs on the Hugging Face hub and in folders for others, by the hub's own mixin.

`Run` has the methods for users, and imports this module when one of them is called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, constants, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ...errors import RunError
from .hand_on import FILES, Extra, write_for_others
from .model_card import TAGS, TASK, model_card

HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""Of the hub's HTTP library, which is requests, httpx or httpx2 by the hub's version: whatever ends an exchange."""


class SharedRun(ModelHubMixin, library_name="textdiff", pipeline_tag=TASK, tags=[*TAGS]):
    """A run as the hub's mixin saves and loads it.

    Args:
        path: the run's folder.
        include: what to hand on beside the head, its settings and its figures.
    """

    def __init__(self, path: Path, include: Collection[Extra] = ()) -> None:
        self.path, self.include = path, include

    def _save_pretrained(self, save_directory: Path) -> None:
        write_for_others(self.path, save_directory, self.include)

    def generate_model_card(self, where: str = "FOLDER", licence: str | None = None) -> ModelCard:
        """As `model_card`."""
        return model_card(self.path, where, self.include, licence)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,  # noqa: ANN401
    ) -> SharedRun:
        if Path(model_id).is_dir():
            return cls(Path(model_id))
        place = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=[*FILES],
        )
        return cls(Path(place))


def save_run(run: Path, folder: Path, include: Collection[Extra], licence: str | None) -> None:
    """Write a run and its card into a new folder.

    Raises:
        ConfigError: if `include` has an unknown name.
        RunError: if the folder holds something, or the run is absent, unfinished or damaged.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: is there already; give a new name")
    SharedRun(run, include).save_pretrained(folder, model_card_kwargs={"where": folder.name, "licence": licence})


def push_run(
    run: Path,
    repo_id: str,
    include: Collection[Extra],
    licence: str | None,
    *,
    private: bool,
    token: str | None,
    revision: str | None,
    message: str,
) -> str:
    """Push a run and its card to a repository of the hub, in one commit; gives the commit's address.

    Raises:
        ConfigError: if `include` has an unknown name.
        RunError: if the hub refuses or is out of reach, or the run is absent, unfinished or damaged.
    """
    if repo_id.count("/") != 1:
        raise RunError(f"{repo_id!r} is no repository of a hub; expected OWNER/NAME")
    with _one_error(f"push to {repo_id}", "nothing was published: repeat the call"):
        return SharedRun(run, include).push_to_hub(
            repo_id,
            private=private,
            token=token,
            branch=revision,
            commit_message=message,
            model_card_kwargs={"where": repo_id, "licence": licence},
        )


def fetch_run(run: str, *, token: str | None, revision: str | None, offline: bool) -> Path:
    """The folder of a run that was saved or pushed; of one on the hub in the hub's cache on this machine.

    Raises:
        RunError: if there is none, or the hub refuses or is out of reach.
    """
    with _one_error(run, "repeat the call: what has arrived is kept"):
        return SharedRun.from_pretrained(run, token=token, revision=revision, local_files_only=offline).path


@contextmanager
def _one_error(what: str, again: str) -> Iterator[None]:
    """Turn the hub's errors into one of ours.

    Args:
        what: was asked for.
        again: what to do where nothing is wrong with the request.
    """
    hub = constants.ENDPOINT
    try:
        yield
    except HFValidationError as error:
        raise RunError(f"{what}: neither a folder with a run nor OWNER/NAME of a repository at {hub}") from error
    except RevisionNotFoundError as error:
        raise RunError(f"{what}: {hub} has no such revision of it; look at its branches and tags there") from error
    except RepositoryNotFoundError as error:
        raise RunError(
            f"{what}: no folder, and {hub} has no such repository or does not show it; check the name, and the token "
            "of a private one (`hf auth login`, or token=...)"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise RunError(f"{what}: not on this machine, and {hub} cannot be reached or is not to be; {again}") from error
    except HfHubHTTPError as error:
        raise RunError(f"{what}: {hub} refused ({_status(error)}); {_advice(error, again)}") from error
    except (HTTP_ERROR, OSError, RuntimeError) as error:
        raise RunError(f"{what}: the exchange with {hub} failed ({_cause(error)}); {again}") from error


def _status(error: HfHubHTTPError) -> str:
    message = error.server_message or str(error).splitlines()[0]
    return f"{error.response.status_code}: {message}"


def _advice(error: HfHubHTTPError, again: str) -> str:
    if error.response.status_code in (401, 403):
        return "log in (`hf auth login`), or give a token that may write there (token=...)"
    return again


def _cause(error: BaseException) -> str:
    """The innermost of chained errors, which says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".strip(": ")
