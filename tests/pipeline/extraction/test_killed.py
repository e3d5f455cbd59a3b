"""Killed at any moment, an extraction is resumed to the same bytes, and never taken for whole."""

import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from killed_extraction import script_of

from textdiff.cache.building.journal import read_journal
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheIncompleteError
from textdiff.pipeline.extraction.extract import extract_features


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill_at", "n_finished", "has_encoder"),
    [
        ("features/3/50/c/2/0/0/0", 2, False),
        ("labels/c/1/0/0", None, False),
        ("encoders/tiny_dinov2/2/c/1/0/0/0", 3, True),
        ("features/3/50/c/2/0/0/0", 4, True),
    ],
)
def test_killed_half_way_and_resumed_gives_the_same_bytes_as_never_interrupted(
    extraction, tiny_dinov2, tmp_path, kill_at, n_finished, has_encoder, folder_bytes
):
    if has_encoder:
        extraction = replace(extraction, encoder=(f"hf:{tiny_dinov2}",), encoder_layers=((0, 2),))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extract_features(extraction)
        killed = replace(extraction, cache=tmp_path / "killed")
        script = script_of(killed, tmp_path)
        done = subprocess.run([sys.executable, str(script), kill_at], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert n_finished in (None, len(read_journal(killed.cache)))  # labels are made beside the model
        with pytest.raises(CacheIncompleteError, match="did not finish"):
            FeatureReader(killed.cache)
        with pytest.raises(CacheIncompleteError, match="add --resume"):
            extract_features(killed)
        extract_features(replace(killed, resume=True))
    finally:
        torch.set_num_threads(n_threads)
    assert folder_bytes(killed.cache) == folder_bytes(extraction.cache)


@pytest.mark.slow
def test_killed_while_extending_leaves_the_published_cache_readable(tiny_cache, extraction, tmp_path):
    script = script_of(replace(extraction, timesteps=(50, 150, 250)), tmp_path)
    subprocess.run([sys.executable, str(script), "features/1/250/c/1/0/0/0"], capture_output=True, check=False)
    assert (tiny_cache / "journal" / "plan.json").exists()
    assert FeatureReader(tiny_cache).timesteps == (50, 150)
    extract_features(replace(extraction, timesteps=(50, 150, 250), resume=True))
    assert FeatureReader(tiny_cache).timesteps == (50, 150, 250)
