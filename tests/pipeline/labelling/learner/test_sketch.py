"""Sketches of many channels: weights of buckets answer as weights of channels, and regressions stay good."""

import pytest
import torch

from textdiff.pipeline.labelling.learner import sketch as sketching
from textdiff.pipeline.labelling.learner.sketch import Sketch
from textdiff.stages.heads.ridge import ClassMoments


@pytest.fixture
def features(monkeypatch):
    monkeypatch.setattr(sketching, "MOST_CHANNELS", 40)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(500, 200, generator=generator) * torch.logspace(-1, 1, 200)


def test_few_channels_are_taken_as_they_are(features):
    assert Sketch.of(features[:, :40], 0, seed=0) is None


def test_weights_of_buckets_answer_as_those_of_channels(features):
    made = Sketch.of(features, 10, seed=0)
    of_buckets = torch.randn(2, 40, dtype=torch.float64)
    answers = made.apply(features).double() @ of_buckets.T
    torch.testing.assert_close(features.double() @ made.weights(of_buckets).T, answers, rtol=1e-4, atol=1e-4)


def test_the_last_channels_keep_a_bucket_each(features):
    made = Sketch.of(features, 10, seed=0)
    scaled = features[:, 190:] / features[:, 190:].std(0, correction=0)
    torch.testing.assert_close(made.apply(features)[:, 30:], scaled)


def test_classes_that_many_channels_tell_apart_are_told_apart_by_the_sketch(features):
    labels = torch.arange(500) % 2
    features[labels == 1] += 0.7 * features.std(0)
    made = Sketch.of(features, 0, seed=0)
    moments = ClassMoments(40, 2)
    moments.add(made.apply(features[:250]), labels[:250])
    solved = moments.solve(100.0)
    answers = features[250:].double() @ made.weights(solved.weight).T + solved.bias
    assert (answers.argmax(1) == labels[250:]).float().mean() > 0.85
