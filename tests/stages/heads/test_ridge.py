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


def test_some_channels_are_solved_for_as_if_there_were_no_others():
    features, labels = pixels(0)
    every, some = ClassMoments(5, 2), ClassMoments(2, 2)
    every.add(features, labels)
    some.add(features[:, 3:], labels)
    for ours, theirs in zip(every.of(slice(3, None)).solve(5.0), some.solve(5.0), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_unshrunk_answers_fit_better_and_mean_the_same():
    features, labels = pixels(0)
    moments = ClassMoments(5, 2)
    moments.add(features, labels)
    truth = torch.nn.functional.one_hot(labels, 2)
    shrunk, unshrunk = (moments.solve(2000.0, unshrunk=unshrunk) for unshrunk in (False, True))
    answers = [features.double() @ one.weight.T + one.bias for one in (shrunk, unshrunk)]
    assert torch.equal(answers[0].argmax(1), answers[1].argmax(1))
    assert (answers[1] - truth).square().mean() < (answers[0] - truth).square().mean()
