"""Settings of every command, as frozen dataclasses: what a function takes in place of single settings."""

from .pipeline.config import *  # noqa: F403
from .pipeline.config import __all__  # noqa: F401
