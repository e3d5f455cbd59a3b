"""The site, built once for all workers, as `make site` builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import portalocker
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = "TEXTDIFF_SITE"
"""Environment variable: a folder that `make site` has built, to look at in place of a build of our own."""


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of the built site, its notebooks executed."""
    if BUILT in os.environ:
        return Path(os.environ[BUILT]).resolve()
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with portalocker.Lock(shared / "site.lock", timeout=900):
        if not (shared / "site" / "sitemap.xml").exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", shared / "site"]
            built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stdout + built.stderr
    return shared / "site"
