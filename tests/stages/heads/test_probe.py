"""The linear probe: ridge regression as scikit-learn's, and its share of the heads' probabilities."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from textdiff.stages.features.augmentation import draw_shown
from textdiff.stages.features.sampling import FILTERS
from textdiff.stages.heads.probe import PENALTY, WORTH, LinearProbe


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(0)
    features = 3 + torch.randn(600, 7, generator=generator) * torch.tensor([1, 5, 0.1, 1, 1, 1, 1])
    labels = (features[:, 0] - 3 + 0.5 * torch.randn(600, generator=generator) > 1).long()
    return features, labels


def test_it_decides_as_a_balanced_ridge_classifier(pixels):
    features, labels = pixels
    probe = LinearProbe(7, 2)
    probe.fit(features, labels, n_images=4)
    standardised = StandardScaler().fit_transform(features.numpy())
    reference = RidgeClassifier(alpha=PENALTY, class_weight="balanced").fit(standardised, labels.numpy())
    expected = (reference.decision_function(standardised) + 1) / 2
    inside = (expected > 0.01) & (expected < 0.99)
    assert inside.sum() > 300
    np.testing.assert_allclose(probe(features)[:, 1].numpy()[inside], expected[inside], atol=1e-4)


def test_several_classes_get_probabilities(pixels):
    features, _ = pixels
    labels = features[:, [0, 3, 4]].argmax(1)
    probe = LinearProbe(7, 4)  # of the last class there is no pixel
    probe.fit(features, labels, n_images=1)
    answers = probe(features)
    torch.testing.assert_close(answers.sum(1), torch.ones(600))
    assert answers.min() > 0
    assert (answers.argmax(1) == labels).float().mean() > 0.8


@pytest.mark.parametrize("n_images", [1, 4, 96])
def test_the_more_images_the_less_it_counts(pixels, n_images):
    probe = LinearProbe(7, 2)
    probe.fit(*pixels, n_images=n_images)
    features, logits = torch.randn(3, 5, 7), torch.randn(1, 2, 3, 5)
    share = WORTH / (WORTH + n_images)
    expected = (1 - share) * logits.softmax(1) + share * probe(features).movedim(-1, 0)
    torch.testing.assert_close(probe.mixed(logits, features).exp(), expected)


def test_before_it_is_fitted_it_changes_no_probability():
    logits = torch.randn(1, 3, 4, 4)
    mixed = LinearProbe(7, 3).mixed(logits, torch.randn(4, 4, 7))
    torch.testing.assert_close(mixed.softmax(1), logits.softmax(1))


def test_blocks_are_hidden_image_by_image_and_filters_never():
    generator = torch.Generator().manual_seed(0)
    shown = draw_shown(400, {2: 2, "a/0": 3, FILTERS: 3}, generator)
    assert shown.shape == (400, 1, 8)
    assert shown[..., 5:].all()
    for part in (shown[..., :2], shown[..., 2:5]):
        of_images = part.flatten(1)
        assert (of_images.all(1) | ~of_images.any(1)).all()
        assert 0.4 < of_images[:, 0].float().mean() < 0.6
    assert (shown[:, 0, 0] != shown[:, 0, 2]).any()


def test_without_filters_nothing_is_hidden():
    assert draw_shown(9, {2: 2, "a/0": 3}, torch.Generator()) is None
