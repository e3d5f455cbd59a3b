"""Stage one on the pretend device: the CPU's bytes, a copy of images for each unit, and a wait for its activations."""

from collections import Counter
from dataclasses import replace

import pytest
from pretend_device import pretend_device

from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.extraction.loading import load_stage_one
from textdiff.stages.unet.recorder import load_unet

COPY = "pipeline/runtime/transfer.py"
UNIT = "pipeline/extraction/feature_extractor.py"
SLOW = pytest.mark.slow
SETTINGS = [
    pytest.param({}, id="float16", marks=SLOW),
    pytest.param({"dtype": "float32", "noise_draws": 2}, id="float32 of several noises", marks=SLOW),
    pytest.param({"dtype": "int8"}, id="int8", marks=SLOW),
    pytest.param({"dtype": "int8", "pca": 4}, id="components in int8"),
    pytest.param({"noise": "per-sample"}, id="a noise each", marks=SLOW),
    pytest.param({"precision": "bfloat16"}, id="bfloat16", marks=SLOW),
    pytest.param({"precision": "bfloat16-weights"}, id="weights in bfloat16"),
]


def by_module(counts):
    found = Counter()
    for line, n in counts.items():
        found[line.rpartition(":")[0]] += n
    return found


@pytest.mark.slow
@pytest.mark.parametrize("changed", SETTINGS)
def test_a_device_makes_the_cpus_features_with_one_copy_and_one_wait_for_each_unit(
    extraction, tmp_path, folder_bytes, changed
):
    config = replace(extraction, **{"precision": "float32", "texts": False, "filters": False, **changed})
    on_device = replace(config, cache=tmp_path / "there", device="cuda")
    extract_features(config)
    with pretend_device() as traffic:
        extract_features(on_device)
    shards, expected = ({n: b for n, b in folder_bytes(one.cache).items() if "/c/" in n} for one in (on_device, config))
    assert shards == expected
    n_units, n_trials, fits = 4, 2, bool(config.pca)
    n_rows = 7 + 4 + 4 * fits  # of the units, of the trial and of the training images
    n_draws = config.noise_draws * (n_rows if config.noise == "per-sample" else 2 + fits)
    assert by_module(traffic.to_device)[COPY] == n_rows * 3 * 16 * 16 + n_draws * 3 * 16 * 16 * 4
    waits = by_module(traffic.waits)
    assert waits.pop(UNIT) == n_units + n_trials
    n_weights = len(list(load_unet(config.unet).model.parameters()))
    n_levels = 2  # the timesteps and their alpha_bar, once
    assert waits.pop("stages/unet/recorder.py") == n_weights + n_levels
    assert config.pca or not waits


def test_nothing_of_the_models_is_left_on_a_device_that_they_leave(extraction, tiny_stable_diffusion, tiny_timm):
    config = replace(
        extraction, unet=f"stable-diffusion:{tiny_stable_diffusion}", encoder=(tiny_timm,), image_size=32, device="cuda"
    )
    with pretend_device():
        stage_one = load_stage_one(config)
        frozen = stage_one.recorder.frozen
        models = (frozen.model, frozen.latent, stage_one.encoders["test_efficientnet"].encoder.model)
        for device in ("cuda", "cpu"):
            assert {weight.device.type for model in models for weight in model.parameters()} == {device}
            stage_one.leave_device()
