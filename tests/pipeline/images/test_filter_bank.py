"""Filters of images, from the cache to the mask: made once without the UNet, and seen by the pixel head alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.feature import multiscale_basic_features

from textdiff.cache.format.layout import N_FILTERS
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, RunError
from textdiff.pipeline.ablation.ablate import ablate_timesteps
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.images.filter_bank import image_filters
from textdiff.pipeline.maintenance.info import cache_info
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.views.transforms import turn
from textdiff.stages.features.sampling import FILTERS
from textdiff.stages.unet.recorder import UNetRecorder


@pytest.fixture
def training(extraction, tmp_path):
    """The settings of a short training."""
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 32}
    return TrainConfig(
        extraction.cache, tmp_path / "run", head="pixel", text="true", epochs=2, device="cpu", **sizes, **rates
    )


@pytest.fixture
def plain_cache(extraction):
    """A cache without filters."""
    extract_features(replace(extraction, filters=False))
    return extraction.cache


@pytest.fixture
def no_unet(monkeypatch):
    """Lets no image through any UNet."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the UNet was run")

    monkeypatch.setattr(UNetRecorder, "record", refuse)


class Lines(Progress):
    """Remembers what was said."""

    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, line):
        self.said.append(line)


def test_filters_are_scikit_images_of_standardised_channels():
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    z = ((image - image.mean((0, 1))) / image.std((0, 1))).astype(np.float32)
    expected = multiscale_basic_features(z, channel_axis=-1, sigma_min=0.5, sigma_max=8)
    found = image_filters(image)
    assert (found.shape, found.dtype) == ((20, 24, N_FILTERS), np.float16)
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3), (16, 16), (17, 1100), (130, 128)])
@pytest.mark.parametrize("smooth", [False, True])
def test_filters_are_scikit_images_bit_by_bit(shape, smooth):
    image = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = gaussian_filter(image, (2, 2, 0)) if smooth else image
    planes = image.astype(np.float32)
    for plane in np.split(planes, 3, -1):
        plane[:] = (plane - plane.mean(dtype=np.float64)) / max(plane.std(dtype=np.float64), 1)
    expected = multiscale_basic_features(planes, channel_axis=-1, sigma_min=0.5, sigma_max=8).astype(np.float16)
    np.testing.assert_array_equal(image_filters(image).view(np.uint16), expected.view(np.uint16))


def test_contrast_and_brightness_of_a_channel_do_not_matter_and_a_flat_one_is_zero():
    image = np.random.default_rng(0).integers(0, 100, (16, 16, 3), dtype=np.uint8)
    brighter = image * 2 + np.array([3, 40, 9], np.uint8)
    np.testing.assert_allclose(image_filters(brighter), image_filters(image), atol=2e-3)
    image[..., 1] = 77
    filters = image_filters(image)
    assert not filters[..., 20:40].any()
    assert filters[..., :20].any(axis=(0, 1)).all()


@pytest.mark.parametrize("settings", [{"views": 8}, {"tile": 12, "tile_overlap": 4, "image_size": 16}])
def test_each_row_has_the_filters_of_its_own_image(extraction, settings):
    extract_features(replace(extraction, **settings))
    reader = FeatureReader(extraction.cache)
    assert len(reader.samples) > 7
    for sample in reader.samples:
        np.testing.assert_array_equal(reader.filters(sample.row), image_filters(reader.image(sample.row)))


def test_a_views_filters_are_of_the_turned_image(extraction):
    extract_features(replace(extraction, views=2))
    reader = FeatureReader(extraction.cache)
    row = {sample.id: sample.row for sample in reader.samples}
    np.testing.assert_array_equal(reader.filters(row["train0~1"]), image_filters(turn(reader.image(row["train0"]), 1)))


def test_filters_come_to_a_cache_without_the_unet_and_go_again(plain_cache, extraction, no_unet, folder_bytes):
    before, digests = folder_bytes(plain_cache), FeatureReader(plain_cache).manifest.digests
    estimate = extract_features(replace(extraction, dry_run=True))
    assert (estimate.n_forwards, estimate.added_bytes) == (0, 7 * 16 * 16 * 60 * 2)
    assert extract_features(extraction).n_forwards == 0
    after = folder_bytes(plain_cache)
    new = {name for name in after if name not in before}
    assert new == {"filters/zarr.json", *(f"filters/c/{shard}/0/0/0" for shard in range(4))}
    assert {name for name in before if after[name] != before[name]} == {"manifest.json", "manifest.copy.json"}
    assert FeatureReader(plain_cache).manifest.digests == digests
    assert extract_features(extraction).added_bytes == 0
    extract_features(replace(extraction, filters=False))
    assert folder_bytes(plain_cache) == before


def test_filters_are_not_made_again_where_they_are(tiny_cache, extraction, no_unet, monkeypatch):
    def refuse(_image):
        raise AssertionError("filters were made again")

    monkeypatch.setattr("textdiff.pipeline.extraction.unit_work.image_filters", refuse)
    head, *rows = extraction.data.read_text(encoding="utf-8").splitlines()
    extraction.data.write_text("\n".join([head, *reversed(rows)]) + "\n", encoding="utf-8")
    extract_features(extraction)
    reader = FeatureReader(tiny_cache)
    assert reader.samples[0].id == "test0"
    for sample in reader.samples:
        np.testing.assert_array_equal(reader.filters(sample.row), image_filters(reader.image(sample.row)))


@pytest.mark.slow
def test_a_new_image_gets_filters_beside_those_that_are_there(tiny_cache, extraction):
    with extraction.data.open("a", encoding="utf-8") as file:
        file.write("spare,spare.png,spare_mask.png,,train\n")
    estimate = extract_features(replace(extraction, dry_run=True))
    assert estimate.added_bytes == 2 * 2 * (8 * 8 * 16 + 16 * 16 * 8) + 16 * 16 * (4 + 120)
    extract_features(extraction)
    reader = FeatureReader(tiny_cache)
    (spare,) = (sample.row for sample in reader.samples if sample.id == "spare")
    np.testing.assert_array_equal(reader.filters(spare), image_filters(reader.image(spare)))


@pytest.mark.slow
def test_a_run_tells_that_its_head_sees_filters(tiny_cache, training):
    train_head(training)
    run = RunConfig.read(training.run)
    assert (run.filters, run.train["filters"], run.head.channels[FILTERS]) == (True, True, 60)
    train_head(replace(training, run=training.run.with_name("plain"), filters=False))
    plain = RunConfig.read(training.run.with_name("plain"))
    assert (plain.filters, plain.train["filters"], {*plain.head.channels}) == (False, False, {1, 3})


@pytest.mark.slow
def test_a_head_learns_without_filters_from_a_cache_that_has_none(plain_cache, training):
    progress = Lines()
    train_head(training, progress)
    assert not RunConfig.read(training.run).filters
    assert [line for line in progress.said if "has no filters" in line] == [
        f"{plain_cache} has no filters, which serve this head; `extract-features` adds them without the UNet"
    ]


@pytest.mark.slow
def test_filters_that_the_cache_gets_later_do_not_reach_a_run_without(plain_cache, training, extraction):
    train_head(training)
    assert RunConfig.read(training.run).train["filters"] is False
    before = evaluate(EvaluateConfig(training.run, plain_cache)).scores
    extract_features(extraction)
    assert evaluate(EvaluateConfig(training.run, plain_cache)).scores == before
    with pytest.raises(RunError, match=r"train\.filters: the run has false, this command says true"):
        train_head(replace(training, resume=True))


@pytest.mark.slow
def test_a_head_that_sees_filters_is_not_scored_without_them(tiny_cache, training, extraction):
    train_head(training)
    extract_features(replace(extraction, filters=False))
    message = "has no filters of the images. Add them, without running the UNet: repeat .* without --no-filters"
    with pytest.raises(CacheMismatchError, match=message):
        evaluate(EvaluateConfig(training.run, tiny_cache))


@pytest.mark.slow
def test_the_papers_head_and_ablations_of_timesteps_never_see_filters(tiny_cache, training, monkeypatch, tmp_path):
    def refuse(_reader, _row):
        raise AssertionError("filters were read")

    monkeypatch.setattr(FeatureReader, "filters", refuse)
    train_head(replace(training, head="paper", epochs=1))
    assert {*RunConfig.read(training.run).head.channels} == {1, 3}
    ablate_timesteps(AblateConfig(tiny_cache, tmp_path / "ablation", seeds=(0,), epochs=1, device="cpu"))
    with pytest.raises(AssertionError, match="filters were read"):
        train_head(replace(training, run=tmp_path / "pixel"))


def test_cache_info_says_whether_there_are_filters(tiny_cache, extraction):
    assert "filters    60 of each image" in cache_info(tiny_cache).lines()
    extract_features(replace(extraction, filters=False))
    assert "filters    none" in cache_info(tiny_cache).lines()
