"""Ridge regression from sums: scikit-learn's, whatever was added and taken away before."""

import numpy as np
import torch
from sklearn.linear_model import Ridge

from textdiff.stages.heads.ridge import ClassMoments, as_probabilities


def pixels(seed, n=200):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 1.0, 1.0]) + 3
    return features, (features[:, 0] + features[:, 3] > 7.5).long()


def test_it_is_scikit_learns_on_channels_of_deviation_1_with_even_classes():
    features, labels = pixels(0)
    moments = ClassMoments(5, 2)
    moments.add(features, labels)
    solved = moments.solve(penalty=20.0)
    x, truth = features.double().numpy(), np.eye(2)[labels.numpy()]
    weights = len(x) / (2 * labels.bincount()[labels].double().numpy())
    theirs = Ridge(20.0).fit(x / x.std(0), truth, weights)
    answers = features.double() @ solved.weight.T + solved.bias
    np.testing.assert_allclose(answers.numpy(), theirs.predict(x / x.std(0)), rtol=1e-6, atol=1e-9)


def test_what_was_taken_away_leaves_no_trace():
    moments, fresh = ClassMoments(5, 2), ClassMoments(5, 2)
    moments.add(*pixels(0))
    fresh.add(*pixels(0))
    moments.add(*pixels(1))
    moments.add(*pixels(1), sign=-1)
    for ours, theirs in zip(moments.solve(1.0), fresh.solve(1.0), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_probabilities_add_up_to_1_and_none_is_below_0():
    given = as_probabilities(torch.tensor([[1.2, -0.2, 0.0]]))
    torch.testing.assert_close(given.sum(), torch.tensor(1.0))
    assert (given > 0).all()
