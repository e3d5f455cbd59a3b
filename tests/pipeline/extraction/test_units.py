"""Units on a device: copies to it, counted on the meta device, which computes nothing; memory, shapes and writers."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from textdiff.cache.format.blocks import NO_NOISE
from textdiff.errors import ConfigError
from textdiff.pipeline.extraction import local
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.extraction.feature_extractor import Batch, FeatureExtractor
from textdiff.pipeline.extraction.loading import load_stage_one, restore_stage_one
from textdiff.pipeline.runtime.prefetch import BackgroundWriter
from textdiff.stages.encoders import encoder
from textdiff.stages.unet import recorder


class Copies(TorchDispatchMode):
    """Shapes of what is copied to the device while the mode is on."""

    def __init__(self, device):
        super().__init__()
        self.device, self.shapes = torch.device(device), []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        source = next((one for one in args if isinstance(one, torch.Tensor)), None)
        is_made = isinstance(result, torch.Tensor) and result.device == self.device
        if is_made and source is not None and source.device != self.device:
            self.shapes.append(tuple(source.shape))
        return result


@pytest.fixture
def stage_one(extraction, tiny_dinov2, request, monkeypatch):
    """On the meta device, which has no autocast, with the noise of the parameter."""
    for module in (recorder, encoder):
        monkeypatch.setattr(module, "arithmetic", lambda *_: nullcontext())
    config = replace(extraction, noise=request.param, encoder=(f"hf:{tiny_dinov2}",), precision="float32")
    loaded = load_stage_one(config)
    loaded.recorder.to("meta")
    for one in loaded.encoders.values():
        one.encoder.to("meta")
    return replace(loaded, device="meta")


@pytest.mark.parametrize(
    ("stage_one", "of_noise"), [("shared", []), ("per-sample", [(1, 2, 3, 16, 16)])], indirect=["stage_one"]
)
def test_after_the_first_unit_nothing_is_copied_to_the_device_but_images_and_their_own_noise(stage_one, of_noise):
    batch = Batch(np.zeros((2, 16, 16, 3), np.uint8), ["a", "b"], ["", ""])
    name = next(iter(stage_one.encoders))
    layer = f"{name}/{stage_one.encoders[name].layers[0]}"
    for place in range(2):
        with Copies("meta") as copies:
            stage_one.record(batch, (50, 150), (1, 3))
            stage_one.record(batch, (NO_NOISE,), (layer,))
        if place == 0:
            assert (1, 1, 3, 16, 16) in copies.shapes or of_noise
        else:
            assert copies.shapes == [(2, 16, 16, 3), *of_noise, (2, 16, 16, 3)]


@pytest.fixture
def to_host(monkeypatch):
    """Shapes of what is copied to the host; the copy after the last one of `most` finds no memory."""
    copied = SimpleNamespace(shapes=[], most=1000)

    def copy(self, tensor):
        if len(copied.shapes) == copied.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        copied.shapes.append(tuple(tensor.shape))
        return tensor.cpu()

    monkeypatch.setattr(FeatureExtractor, "_to_host", copy)
    return copied


def test_a_trial_is_two_units_with_their_projections(extraction, to_host):
    stage_one = load_stage_one(replace(extraction, pca=12, dtype="int8"))
    assert [stage_one.shapes[block][2] for block in (1, 3)] == [16, 8]
    stage_one.try_unit(2, (50,), (1, 3))
    assert to_host.shapes == [(2, 8, 8, 12), (2, 12), (2, 16, 16, 8), (2, 8)] * 2


def test_memory_that_is_short_while_a_unit_is_copied_is_met_by_the_trial_and_said(extraction, to_host):
    stage_one = load_stage_one(extraction)
    to_host.most = 3  # of the second unit, which is computed while the first is copied
    message = r"^2 images at 1 timesteps do not fit the memory of cpu; give a smaller --batch-size"
    with pytest.raises(ConfigError, match=message):
        stage_one.try_unit(2, (50,), (1, 3))


def test_another_error_of_torch_is_no_lack_of_memory(extraction, monkeypatch):
    def fail(self, tensor):
        raise RuntimeError("expected scalar type Float")

    monkeypatch.setattr(FeatureExtractor, "_to_host", fail)
    with pytest.raises(RuntimeError, match=r"^expected scalar type Float"):
        load_stage_one(extraction).try_unit(2, (50,), (1,))


@pytest.mark.parametrize("noise", ["shared", "per-sample"])
def test_a_compiled_unet_sees_full_batches_alone(extraction, monkeypatch, noise):
    monkeypatch.setattr(torch, "compile", lambda module, *, dynamic: module)
    seen, record = [], recorder.UNetRecorder.record
    monkeypatch.setattr(
        recorder.UNetRecorder, "record", lambda self, x, *rest: seen.append(len(x)) or record(self, x, *rest)
    )
    config = replace(extraction, noise=noise, precision="float32")
    plain, compiled = (load_stage_one(replace(config, compile=flag)) for flag in (False, True))
    rng = np.random.default_rng(0)
    one = Batch(rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8), ["a"], [""])
    twice = Batch(np.repeat(one.images, 2, 0), ["a", "a"], ["", ""])
    got, expected = compiled.record(one, (50, 150), (1, 3)), plain.record(twice, (50, 150), (1, 3))
    assert seen == [2, 2]
    for pair, activations in got.items():
        torch.testing.assert_close(activations, expected[pair][:1], rtol=0, atol=0)


def test_weights_in_bfloat16_are_a_precision_of_their_own_of_the_unet_and_restored_as_they_were(extraction, tiny_timm):
    config = replace(extraction, encoder=(tiny_timm,))
    cast, whole = (load_stage_one(replace(config, precision=name)) for name in ("bfloat16", "bfloat16-weights"))
    layer = f"{next(iter(whole.encoders))}/0"
    batch = Batch(np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8), "ab", [""] * 2)
    specs = {name: one.spec for name, one in whole.encoders.items()}
    restored = restore_stage_one(whole.spec, specs, (1, 3, layer), {}, "cpu")
    expected, got, other = (one.record_all(batch, (50,), (1, 3, layer)) for one in (whole, restored, cast))
    for pair, maps in expected.items():
        assert torch.equal(got[pair], maps)
        assert torch.equal(other[pair], maps) == (pair[0] == layer)


def test_units_that_are_written_at_once_give_the_same_bytes(extraction, tmp_path, monkeypatch, folder_bytes):
    one_by_one = replace(extraction, cache=tmp_path / "one", batch_size=1)
    extract_features(one_by_one)
    monkeypatch.setattr(local, "BackgroundWriter", lambda n_threads=1: BackgroundWriter(3))
    at_once = replace(one_by_one, cache=tmp_path / "several")
    extract_features(at_once)
    assert folder_bytes(at_once.cache) == folder_bytes(one_by_one.cache)
