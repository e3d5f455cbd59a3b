"""Every module can be imported where there are no POSIX-only modules and functions (on Windows)."""

import subprocess
import sys

import pytest

CODE = """
import importlib, os, pkgutil, signal, sys
# Libraries may need POSIX here.
import imagecodecs, numpy, torch, diffusers, open_clip, transformers, matplotlib.pyplot, sklearn, skimage, scipy.stats
import zarr, h5py, fsspec, tifffile, portalocker, rich.progress, typer.rich_utils, jinja2, openpyxl, safetensors.torch
from diffusers import DDPMPipeline, UNet2DModel
from transformers import AutoModel, AutoTokenizer

for name in ("fcntl", "resource", "termios", "pwd", "grp", "syslog", "tty", "pty", "posix"):
    sys.modules[name] = None
for name in (
    "nice", "getpriority", "setpriority", "sched_getaffinity", "sched_setaffinity", "fork", "forkpty", "getuid",
    "pread", "preadv", "pwrite", "pwritev", "O_CLOEXEC", "PRIO_PROCESS", "statvfs", "posix_fadvise", "getloadavg",
):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGQUIT", "pthread_sigmask"):
    delattr(signal, name)

import textdiff
n = 0
for module in pkgutil.walk_packages(textdiff.__path__, "textdiff."):
    if module.name.split(".")[1] in ("cache", "stages", "pipeline", "errors", "cli", "__main__"):
        importlib.import_module(module.name)
        n += 1
print(n)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
def test_every_module_is_imported_without_posix():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150
