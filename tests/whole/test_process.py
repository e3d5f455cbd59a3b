"""A library call leaves the process as it was; what a command needs of its own process is prepared by `main` alone."""

import json
import os
import platform
import subprocess
import sys

import pytest

from textdiff.pipeline.runtime.process import WORKER_ENVIRONMENT

STATE = """
import json, logging, os, pkgutil, random, signal, sys, threading, warnings, importlib
hooks = []
real = sys.addaudithook
sys.addaudithook = lambda hook: (hooks.append(hook.__module__), real(hook))

import numpy, torch
# What the libraries change when they are imported is theirs.
import diffusers, open_clip, transformers, matplotlib.pyplot, sklearn, skimage, scipy.stats
import zarr, h5py, rich.progress, typer.rich_utils
from diffusers import DDPMPipeline, UNet2DModel
from transformers import AutoModel, AutoTokenizer

def faults():
    import resource
    def fill():
        for _ in range(10):
            torch.ones(16_000_000)
    fill()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def state():
    return {
        "hooks": [name for name in hooks if name.startswith("textdiff")],
        "memory is given back": faults() > 1000,
        "niceness": os.nice(0),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch": [
            torch.random.get_rng_state().sum().item(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark, torch.backends.mkldnn.enabled,
        ],
        "random": [random.getstate()[1][:3], numpy.random.get_state()[1][:3].tolist()],
        "signals": {number.name: str(signal.getsignal(number)) for number in signal.valid_signals()
                    if isinstance(number, signal.Signals)},
        "environment": dict(os.environ),
        "warnings": list(map(str, warnings.filters)),
        "logging": [logging.root.level, list(map(str, logging.root.handlers)), logging.root.manager.disable],
        "others": [os.getcwd(), str(threading.excepthook), sys.getrecursionlimit()],
    }

def import_everything():
    import textdiff
    for module in pkgutil.walk_packages(textdiff.__path__, "textdiff."):
        if module.name.split(".")[1] in ("cache", "stages", "pipeline", "errors", "cli"):
            importlib.import_module(module.name)
"""

USE = """
from textdiff.pipeline.config import EvaluateConfig, ExtractConfig, TrainConfig
def use(data, unet, encoder, out):
    from pathlib import Path
    from PIL import Image
    from textdiff.pipeline.evaluation.evaluate import evaluate
    from textdiff.pipeline.extraction.extract import extract_features
    from textdiff.pipeline.interface.segmenter import Segmenter
    from textdiff.pipeline.runtime.prefetch import prefetch
    from textdiff.pipeline.training.train import train_head
    cache, run = Path(out) / "cache", Path(out) / "run"
    models = dict(unet=f"diffusers:{unet}", text_encoder=f"hf:{encoder}", offline=True)
    small = dict(timesteps=(50,), blocks=(1, 3), image_size=16, device="cpu")
    extract_features(ExtractConfig(Path(data), cache, **small, **models))
    train_head(TrainConfig(cache, run, head="pixel", epochs=1, width=16, n_attention_heads=2, device="cpu"))
    evaluate(EvaluateConfig(run, cache, device="cpu"))
    Segmenter.load(run, device="cpu", offline=True)
    niceness = prefetch(lambda _: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), "ab", 1)
    return list(set(niceness))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's own")


def run(code: str, *arguments: str) -> dict:
    command = [sys.executable, "-c", STATE + code, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRONMENT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_imports_and_library_calls_leave_the_process_as_it_was(tiny_data, tiny_unet, tiny_encoder, tmp_path):
    code = f"""
states = [state()]
import_everything()
states.append(state())
{USE}
niceness = use(*sys.argv[1:])
states.append(state() | {{"threads' niceness": niceness}})
print(json.dumps(states))
"""
    before, imported, used = run(code, tiny_data, tiny_unet, tiny_encoder, tmp_path)
    assert imported == before
    assert used.pop("threads' niceness") == [before["niceness"]]
    assert used == before


@pytest.mark.slow
def test_main_prepares_its_process():
    code = """
before = state()
import textdiff.cli
sys.argv = ["textdiff", "check-data", "nowhere"]
try:
    textdiff.cli.main()
except SystemExit:
    pass
print(json.dumps([before, state()]))
"""
    before, after = run(code)
    changed = {name for name in before if before[name] != after[name]}
    expected = {"environment", "hooks"} | ({"memory is given back"} if platform.libc_ver()[0] == "glibc" else set())
    assert changed == expected
    assert after["hooks"] == ["textdiff.stages.sources.guard"]
    assert after["environment"] == before["environment"] | {"HF_HUB_DISABLE_TELEMETRY": "1"}
