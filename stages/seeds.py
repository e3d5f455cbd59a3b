"""Random numbers that depend on a seed and on names, never on earlier draws, so that a resume is exact."""

from __future__ import annotations

import hashlib

import torch


def named_seed(seed: int, *names: object) -> int:
    """A 63-bit number from a seed and names (an id, a step, a purpose), by SHA-256."""
    text = ":".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def named_generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator seeded by `named_seed`."""
    return torch.Generator().manual_seed(named_seed(seed, *names))
