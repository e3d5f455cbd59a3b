"""Tensors in, tensors out: the frozen models of stage one and the head of stage two."""

import os

# The hub's client reads it when it is imported, which nothing does before this package.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
