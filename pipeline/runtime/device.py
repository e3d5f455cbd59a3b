"""The device of a command; never silently another."""

from __future__ import annotations

import torch

from ...errors import ConfigError


def resolve_device(name: str) -> str:
    """The best device of this machine for `auto`, else the named one.

    Raises:
        ConfigError: if the named device does not exist on this machine.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present += ["mps"]
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if device in present)
    if name not in present:
        raise ConfigError(f"--device got {name!r}; this machine has {', '.join(present)} (or give auto)")
    return name
