"""Where a user says a cache is: a path, or the URL of an object store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ...errors import ConfigError
from .remote import Remote

Location = Path | Remote
"""What a cache can be written to."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Protocol → the extra of textdiff that brings its file system."""

_URL = re.compile(r"(?P<protocol>[a-zA-Z][\w+.-]*)://")


def location(text: str | Path | Remote) -> Location:
    """What the user's text names.

    Args:
        text: a path, `file://` and a path, or an URL of any kind that fsspec knows (`s3://bucket/cache`).

    Raises:
        ConfigError: if no file system is installed for this kind of URL, or a slash is missing.
    """
    if isinstance(text, Path | Remote):
        return text
    found = _URL.match(text)
    if found is None:
        _refuse_half_url(text)
        return Path(text)
    if found["protocol"].lower() in ("file", "local"):
        return Path(text[found.end() :])
    _require(found["protocol"], text)
    return Remote(text)


def _refuse_half_url(text: str) -> None:
    """A folder called `s3:` is nobody's wish."""
    protocol, colon, _ = text.partition(":/")
    if colon and protocol.lower() in EXTRAS:
        raise ConfigError(f"{text}: expected two slashes after {protocol}: as in {protocol}://BUCKET/CACHE")


def _require(protocol: str, url: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        what = f"pip install 'textdiff[{extra}]'" if extra else f"pip install what is missing ({error})"
        raise ConfigError(f"{url}: URLs of {protocol}:// need a package that is not installed: {what}") from error
    except ValueError as error:
        raise ConfigError(
            f"{url}: no file system is known for {protocol}://; expected a path, or an URL such as s3://BUCKET/CACHE "
            "or gs://BUCKET/CACHE"
        ) from error


def absolute(place: Location) -> Location:
    """The same from anywhere on this machine."""
    return place if isinstance(place, Remote) else place.resolve()


def free_bytes(place: Location) -> int | None:
    """Free space where `place` is or will be; `None`: an object store, where nobody can say."""
    return None if isinstance(place, Remote) else free_on_disk(place)


def free_on_disk(path: Path) -> int:
    """Free space on the disk where `path` is or will be, in bytes."""
    whole = path.absolute()
    return shutil.disk_usage(next(folder for folder in (whole, *whole.parents) if folder.exists())).free
