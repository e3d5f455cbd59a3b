"""Freed memory is kept: a large tensor made again and again is not mapped from the kernel again and again."""

import os
import platform
import subprocess
import sys

import pytest

from textdiff.pipeline.runtime.process import WORKER_ENVIRONMENT

PAGE_FAULTS = """
import resource, threading, torch
from textdiff.pipeline.runtime.process import keep_freed_memory

def fill():
    for _ in range(10):
        torch.ones(16_000_000)

def measure():
    fill()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

def measure_in_a_thread():
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()

"""
MEASURE = ["measure()", "measure_in_a_thread()"]
OF_A_TENSOR = 64_000_000 // 2**21
"""The fewest page faults that touching one takes: its pages may be huge ones of 2 MB."""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")


def faults(*lines: str, environment: dict[str, str] | None = None) -> int:
    command = [sys.executable, "-c", PAGE_FAULTS + "\n".join(lines)]
    environment = os.environ | (environment or {})
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURE)
def test_large_tensors_are_mapped_anew_unless_freed_memory_is_kept(measure):
    assert faults(measure) > 10 * OF_A_TENSOR
    assert faults("keep_freed_memory()", measure) < OF_A_TENSOR
    assert faults(measure, environment=WORKER_ENVIRONMENT) < OF_A_TENSOR
