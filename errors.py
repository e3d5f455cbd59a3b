"""Everything that can go wrong because of what the program was given, as one tree.

    TextdiffError
    ├── ConfigError     (ValueError)         settings that contradict themselves or what they are applied to
    ├── DataError       (ValueError)         the user's images, masks, texts or tables
    ├── SourceError     (ValueError)         a model source that cannot be loaded or used
    ├── CacheError      (ValueError)         a cache that cannot be used for what was asked
    │   ├── CacheNotFoundError   (FileNotFoundError)
    │   ├── CacheIncompleteError
    │   ├── CacheMismatchError
    │   ├── CacheBusyError
    │   └── CacheCorruptError
    ├── RunError        (ValueError)         a run folder that is absent, unfinished or in the way
    └── LabelError      (ValueError)         a change of labels, or a request of the labelling page, that is refused

A message says what was wrong, what was got, what was expected and what to do next. Problems of one kind are
collected and raised together, one line each. The command line prints the message and exits with 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


class TextdiffError(Exception):
    """The root: catch this to catch everything that textdiff says about its input."""


class ConfigError(TextdiffError, ValueError):
    """A setting is out of range, or contradicts another one or the data that it is applied to."""


class DataError(TextdiffError, ValueError):
    """Something is wrong with images, masks, texts or tables; `problems` has one line for each thing."""

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([summary, *(f"  - {problem}" for problem in self.problems)]))


class SourceError(TextdiffError, ValueError):
    """A model source (`kind:where`) does not exist, is of the wrong kind, or differs from what is expected."""


class CacheError(TextdiffError, ValueError):
    """A feature cache cannot be used for what was asked."""


class CacheNotFoundError(CacheError, FileNotFoundError):
    """No cache stands at the path."""


class CacheIncompleteError(CacheError):
    """The cache's extraction did not finish; its messages say how to finish it."""


class CacheMismatchError(CacheError):
    """The request needs other features than the cache holds."""


class CacheBusyError(CacheError):
    """Another process writes to the same part of the cache."""


class CacheCorruptError(CacheError):
    """Bytes on disk are not the bytes that were written."""


class RunError(TextdiffError, ValueError):
    """A run folder is absent, unfinished, or holds something else already."""


Refusal = Literal["invalid", "unknown visitor", "forbidden", "absent", "conflict", "too large", "failure"]
"""The kind of reason for which something is refused."""


class LabelError(TextdiffError, ValueError):
    """A change of labels, or a request of the labelling page, is refused; its parts are shown apart in the page."""

    def __init__(self, what: str, got: str, expected: str, do: str, refusal: Refusal = "invalid") -> None:
        self.what, self.got, self.expected, self.do, self.refusal = what, got, expected, do, refusal
        super().__init__(f"{what}: got {got}; expected {expected}; {do}")
