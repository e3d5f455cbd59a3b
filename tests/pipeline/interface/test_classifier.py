"""The classifier: scikit-learn's own checks, the figures of `train-head` and `evaluate`, and what it refuses."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import textdiff as td
from textdiff import HeadClassifier
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features

TINY = {"epochs": 1, "width": 16, "n_attention_heads": 1, "images_per_step": 2, "pixels_per_image": 64, "device": "cpu"}
OF_RUNS = {"cache", "run", "minutes", "n_labelled", "hold_out", "seed", "resume", "log"}


@pytest.fixture
def cache(tiny_cache):
    return td.open_cache(tiny_cache)


@parametrize_with_checks([HeadClassifier(learning_rate=5e-2, **TINY)])
def test_it_is_what_scikit_learn_calls_a_classifier(estimator, check):
    if "array_api" in str(check) and os.environ.get("SCIPY_ARRAY_API") != "1":
        pytest.skip("scipy reads SCIPY_ARRAY_API when it is imported")
    check(estimator)


def test_its_parameters_are_the_settings_of_the_training():
    parameters = HeadClassifier().get_params()
    of_config = {one.name: one.default for one in fields(TrainConfig) if one.name not in OF_RUNS}
    assert {**of_config, "head": "pixel", "random_state": 0} == parameters


@pytest.mark.slow
@pytest.mark.parametrize("head", ["pixel", "context"])
def test_it_scores_as_train_head_and_evaluate_do(cache, head, tmp_path):
    settings = {**TINY, "epochs": {"pixel": 3, "context": 1}[head], "head": head, "text": "true", "ensemble": 2}
    fitted = HeadClassifier(**settings).fit(cache.split("train"))
    run = td.train_head(cache, tmp_path / "run", hold_out=True, **settings)
    assert fitted.val_dice_ == run.summary.val_dice
    assert fitted.best_epoch_ == run.summary.best_epoch
    assert fitted.history_ == run.history
    assert fitted.score(cache.split("test")) == run.evaluate(cache, split="test", device="cpu").scores["dice"]
    assert fitted.classes_.tolist() == ["background", "foreground"]


@pytest.mark.slow
def test_masks_and_probabilities_are_in_the_order_of_the_samples(cache):
    fitted = HeadClassifier(**{**TINY, "epochs": 3}).fit(cache.split("train"))
    samples = [cache["val1"], cache["test0"], cache["val0"]]
    masks, probabilities = fitted.predict(samples), fitted.predict_proba(samples)
    assert [(mask.dtype, mask.shape) for mask in masks] == [(np.uint8, (16, 16))] * 3
    for sample, mask, one in zip(samples, masks, probabilities, strict=True):
        assert one.shape == (2, 16, 16)
        np.testing.assert_allclose(one.sum(0), 1, atol=1e-5)
        np.testing.assert_array_equal(mask, one.argmax(0))
        np.testing.assert_array_equal(fitted.predict([sample])[0], mask)
    dice = [2 * (mask & s.labels).sum() / (mask.sum() + s.labels.sum()) for mask, s in zip(masks, samples, strict=True)]
    assert fitted.score(samples) == pytest.approx(np.mean(dice))
    assert fitted.score(samples, y=["ignored"] * 3) == fitted.score(samples[::-1])


@pytest.mark.slow
def test_scikit_learn_divides_searches_and_copies(cache):
    samples, groups = cache.split("train"), [one.group for one in cache.split("train")]
    classifier = HeadClassifier(**TINY)
    scores = cross_val_score(classifier, samples, groups=groups, cv=GroupKFold(2), error_score="raise")
    fold = next(GroupKFold(2).split(samples, groups=groups))
    taken = ([samples[i] for i in part] for part in fold)
    assert scores[0] == clone(classifier).fit(next(taken)).score(next(taken))
    strata = ["a", "b", "a", "b"]
    assert len(cross_val_score(classifier, samples, strata, cv=StratifiedKFold(2), error_score="raise")) == 2
    search = GridSearchCV(classifier, {"width": np.array([8]), "blocks": [[1], None]}, cv=2, error_score="raise")
    search.fit(samples)
    assert search.best_params_ in [{"width": 8, "blocks": [1]}, {"width": 8, "blocks": None}]
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert again.score(cache.split("test")) == search.score(cache.split("test"))


def test_pixels_of_a_cache_are_rows_of_numbers_for_any_classifier(cache):
    X, y, groups = cache.pixels(n_per_image=40)
    n_channels = sum(cache["train0"].features(block, 50).shape[-1] * 2 for block in cache.blocks) + 60
    assert (X.shape, X.dtype, y.dtype) == ((160, n_channels), np.float32, np.uint8)
    assert groups.tolist() == [name for name in ("train0", "train1", "train2", "train3") for _ in range(40)]
    alone = cache.pixels(n_per_image=40, blocks=[1], timesteps=[50], filters=False)
    at_block = {tuple(one) for one in cache["train0"].features(1, 50).reshape(-1, alone.X.shape[1]).astype(np.float32)}
    assert cache["train0"].features(1, 50).shape[:2] != (16, 16) or {tuple(one) for one in alone.X[:40]} <= at_block
    np.testing.assert_array_equal(alone.y, y)
    pipeline = make_pipeline(StandardScaler(), HeadClassifier(**{**TINY, "epochs": 5}))
    scores = cross_val_score(pipeline, X, y, groups=groups, cv=GroupKFold(2), error_score="raise")
    assert scores.mean() > max(y.mean(), 1 - y.mean())


def test_the_pixels_of_a_sample_do_not_depend_on_the_others(cache):
    whole, test = cache.pixels(n_per_image=7), cache.pixels("test", n_per_image=7, seed=1)
    assert len({*whole.groups}) == 4
    assert (cache.pixels("test", n_per_image=7).X != test.X).any()
    np.testing.assert_array_equal(cache.pixels("test", n_per_image=7, seed=1).X, test.X)


def test_labels_of_any_kind_are_learnt_and_seeds_decide():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = np.array(["stroma", "nucleus", "fat"])[np.digitize(X[:, 0] + X[:, 1], [-0.6, 0.6])]
    one, same, other = (
        HeadClassifier(random_state=seed, learning_rate=2e-2, **{**TINY, "epochs": 6}).fit(X, y)
        for seed in (0, 0, np.random.RandomState(1))
    )
    assert one.classes_.tolist() == ["fat", "nucleus", "stroma"]
    assert one.score(X, y) > 0.85
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert (one.predict_proba(X) != other.predict_proba(X)).any()
    both = HeadClassifier(ensemble=2, **TINY).fit(X, y)
    assert len(both.head_.members) == 2
    np.testing.assert_allclose(both.predict_proba(X).sum(1), 1, atol=1e-5)
    assert HeadClassifier(**TINY).fit(X[:9], ["a"] * 9).predict(X[:3]).tolist() == ["a"] * 3


def test_a_frame_names_the_columns_and_a_fit_on_samples_forgets_them(cache):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["red", "green"])
    classifier = HeadClassifier(**TINY).fit(frame, frame["red"] > 0)
    assert classifier.feature_names_in_.tolist() == ["red", "green"]
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame.rename(columns={"red": "blue"}))
    classifier.fit(cache.split("train"))
    assert not hasattr(classifier, "n_features_in_")
    classifier.fit(frame, frame["red"] > 0)
    assert not hasattr(classifier, "val_dice_")
    assert classifier.n_features_in_ == 2


@pytest.mark.parametrize(
    "of_samples",
    [
        {"blocks": [1]},
        {"timesteps": [50]},
        {"sources": ["filters"]},
        {"filters": False},
        {"position": False},
        {"text": "shuffled"},
        {"text": "true"},
        {"text_dropout": 0.9},
        {"val_fraction": 0.9},
    ],
    ids=str,
)
def test_settings_of_samples_alone_change_nothing_for_rows_of_numbers(of_samples):
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = X[:, 0] > 0
    plain = HeadClassifier(**TINY).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(HeadClassifier(**TINY, **of_samples).fit(X, y).predict_proba(X), plain)


@pytest.mark.parametrize(
    ("settings", "n_classes", "message"),
    [
        ({"head": "context"}, 2, "head got 'context'"),
        ({"epochs": 0}, 2, "--epochs got 0"),
        ({}, 256, "y has 256 classes"),
    ],
)
def test_a_fit_that_fails_leaves_the_earlier_one(settings, n_classes, message):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(600, 3)), columns=["red", "green", "blue"])
    classifier = HeadClassifier(**TINY).fit(frame, frame["red"] > 0)
    before = classifier.predict_proba(frame)
    classifier.set_params(**settings)
    with pytest.raises(ValueError, match=message):
        classifier.fit(frame[["red", "green"]], np.arange(600) % n_classes)
    np.testing.assert_array_equal(classifier.predict_proba(frame), before)
    assert (classifier.n_features_in_, [*classifier.feature_names_in_]) == (3, ["red", "green", "blue"])


def test_a_cache_is_the_same_by_any_of_its_paths(cache, tmp_path, monkeypatch):
    fitted = HeadClassifier(**TINY).fit(cache.split("train"))
    (tmp_path / "link").symlink_to(cache.path, target_is_directory=True)
    monkeypatch.chdir(cache.path.parent)
    for path in (cache.path.name, f"./{cache.path.name}/../{cache.path.name}", tmp_path / "link"):
        same = td.open_cache(path)
        assert fitted.score(same.split("test")) == fitted.score(cache.split("test"))
        HeadClassifier(**TINY).fit([*cache.split("train"), *same.split("val")])


def test_an_empty_list_gets_an_empty_answer(cache):
    of_samples = HeadClassifier(**TINY).fit(cache.split("train"))
    assert of_samples.predict([]) == of_samples.predict_proba([]) == []
    with pytest.raises(td.errors.DataError, match="none of 0 samples is labelled"):
        of_samples.score([])
    with pytest.raises(td.errors.DataError, match="X is empty; give samples of a cache, or rows of numbers"):
        HeadClassifier(**TINY).fit([])
    of_rows = HeadClassifier(**TINY).fit(np.eye(4), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        of_rows.predict([])


def test_threads_train_heads_side_by_side():
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = X[:, 0] > 0

    def fit(seed):
        return HeadClassifier(random_state=seed, **TINY).fit(X, y).predict_proba(X)

    with ThreadPoolExecutor(4) as pool:
        together = [*pool.map(fit, range(8))]
    for seed, probabilities in enumerate(together):
        np.testing.assert_array_equal(probabilities, fit(seed))


def test_fitting_leaves_threads_and_random_numbers_as_they_are(cache):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    HeadClassifier(**TINY).fit(cache.split("train")).score(cache.split("val"))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_it_cannot_learn_from_is_refused(cache, tmp_path, extraction):
    samples = cache.split("train")
    X, y = np.eye(4), [0, 1, 0, 1]
    with pytest.raises(td.errors.DataError, match="1 samples with 1 labelled groups; expected two groups at least"):
        HeadClassifier(**TINY).fit(samples[:1])
    with pytest.raises(td.errors.DataError, match="y holds masks, and the labels of samples are those of their cache"):
        HeadClassifier(**TINY).fit(samples, [one.labels for one in samples])
    with pytest.raises(td.errors.ConfigError, match="--epochs got 0; expected at least 1"):
        HeadClassifier(epochs=0).fit(samples)
    with pytest.raises(td.errors.ConfigError, match="a Trainer trains one: pixel, context or paper"):
        HeadClassifier("auto", device="cpu").fit(samples)
    with pytest.raises(td.errors.ConfigError, match="head got 'context', and rows of numbers have no neighbours"):
        HeadClassifier("context", device="cpu").fit(X, y)
    with pytest.raises(ValueError, match="y has 256 classes; expected at most 255"):
        HeadClassifier(**TINY).fit(np.zeros((600, 1)), np.arange(600) % 256)
    with pytest.raises(NotFittedError):
        HeadClassifier().predict(samples)
    of_rows, of_samples = HeadClassifier(**TINY).fit(X, y), HeadClassifier(**TINY).fit(samples)
    with pytest.raises(td.errors.DataError, match="X is samples, and the head was trained on rows of numbers"):
        of_rows.predict(samples)
    with pytest.raises(td.errors.DataError, match="X is ndarray, and the head was trained on samples of a cache"):
        of_samples.score(X)
    extract_features(replace(extraction, cache=tmp_path / "other"))
    others = td.open_cache(tmp_path / "other").split("train")
    with pytest.raises(
        td.errors.DataError, match=r"samples of .*other, and the head was trained on .*cache; train a run"
    ):
        of_samples.predict(others)
    with pytest.raises(td.errors.DataError, match="samples of 2 caches"):
        HeadClassifier(**TINY).fit([*samples, *others])
