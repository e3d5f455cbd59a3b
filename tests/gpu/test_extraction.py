"""Stage one on a GPU: equal bytes of two extractions and after a kill, the CPU's features, one error for no memory."""

import signal
import subprocess
import sys
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from killed_extraction import script_of

from textdiff.errors import ConfigError
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.extraction.feature_extractor import Batch
from textdiff.pipeline.extraction.loading import load_stage_one
from textdiff.stages.unet import UNetRecorder, load_unet

pytestmark = pytest.mark.gpu
PRECISIONS = [one for one in get_args(get_type_hints(ExtractConfig)["precision"]) if one != "auto"]
BLOCKS, TIMESTEPS = range(6), (50, 150)
MEBIBYTE = 2**20


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_extractions_have_equal_bytes(here, precision, tmp_path, folder_bytes):
    first, second = (replace(here, cache=tmp_path / name, precision=precision) for name in "ab")
    for one in (first, second):
        extract_features(one)
    assert folder_bytes(first.cache) == folder_bytes(second.cache)


def test_killed_and_resumed_gives_the_same_bytes_as_never_interrupted(here, tmp_path, folder_bytes):
    first, killed = (replace(here, cache=tmp_path / name, precision="float32") for name in ("whole", "killed"))
    script = script_of(killed, tmp_path)
    done = subprocess.run([sys.executable, script, "features/3/50/c/2/0/0/0"], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for one in (first, replace(killed, resume=True)):
        extract_features(one)
    assert folder_bytes(killed.cache) == folder_bytes(first.cache)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stored_features_are_the_cpus(here, dtype):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    found = []
    for device in ("cpu", here.device):
        stage_one = load_stage_one(replace(here, device=device, dtype=dtype, precision="float32"))
        found.append(stage_one.store(stage_one.record(Batch(images, "abcd", [""] * 4), (50, 150), (1, 3)))())
    for pair, maps in found[0].items():
        np.testing.assert_allclose(found[1][pair].activations, maps.activations, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_in_float32_is_the_cpus(tiny_unet, device, tf32, block):
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(2, 3, 16, 16, generator=generator) for _ in range(2))
    expected, found = (
        UNetRecorder(load_unet(f"diffusers:{tiny_unet}", one), [block]).record(images, TIMESTEPS, noise)[block].cpu()
        for one in ("cpu", device)
    )
    # TF32 keeps 10 bits of the mantissa.
    allowed = (1e-2 if tf32 else 1e-4) * expected.abs().max()
    assert (found - expected).abs().max() < allowed


def test_a_batch_that_does_not_fit_the_memory_is_one_clear_error(here, cuda, tmp_path):
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved(cuda) + 32 * MEBIBYTE
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(cuda).total_memory)
    try:
        with pytest.raises(ConfigError, match=r"do not fit the memory of cuda; give a smaller --batch-size"):
            extract_features(replace(here, image_size=512))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert not here.cache.exists()
