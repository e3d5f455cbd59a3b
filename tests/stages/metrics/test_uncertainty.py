"""Entropy and mutual information (Jensen-Shannon divergence): by hand, at their bounds, and as SciPy has them."""

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from textdiff.stages.metrics.uncertainty import (
    kind_of_uncertainty,
    log_odds,
    mean_and_uncertainty,
    measures,
    mutual_information,
    predictive_entropy,
)


@pytest.fixture
def members():
    """Probabilities of 3 classes from 4 members at 5×6 pixels."""
    return torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)


def test_mutual_information_by_hand():
    # The mean is (0.5, 0.5), whose entropy is ln 2; each member's is 0.325083.
    members = torch.tensor([[0.9, 0.1], [0.1, 0.9]])[..., None]
    assert float(mutual_information(members)) == pytest.approx(math.log(2) - 0.325083, abs=1e-6)


def test_mutual_information_of_two_is_the_square_of_scipys_distance(members):
    p, q = members[0].double(), members[1].double()
    expected = torch.from_numpy(jensenshannon(p.numpy(), q.numpy()) ** 2)
    torch.testing.assert_close(mutual_information(torch.stack([p, q])), expected)


def test_members_that_agree_diverge_by_nothing_however_unsure_they_are():
    alike = torch.full((8, 3, 4, 4), 1 / 3)
    assert mutual_information(alike).abs().max() < 1e-6
    torch.testing.assert_close(predictive_entropy(alike[0]), torch.full((4, 4), math.log(3)))


def test_certain_members_that_contradict_each_other_diverge_as_far_as_can_be():
    assert float(mutual_information(torch.eye(3)[..., None])) == pytest.approx(math.log(3))
    assert float(mutual_information(torch.eye(3)[:2, :, None])) == pytest.approx(math.log(2))


def test_rounding_never_makes_a_mutual_information_negative(members):
    assert mutual_information(members[:1].expand(7, -1, -1, -1)).min() >= 0


def test_a_single_head_has_the_entropy_and_several_their_mutual_information(members):
    mean, uncertainty = mean_and_uncertainty(members)
    torch.testing.assert_close(mean, members.mean(0))
    assert torch.equal(uncertainty, mutual_information(members))
    alone, uncertainty = mean_and_uncertainty(members[:1])
    assert torch.equal(alone, members[0])
    assert torch.equal(uncertainty, predictive_entropy(members[0]))
    assert (kind_of_uncertainty(1), kind_of_uncertainty(4)) == ("predictive_entropy", "mutual_information")
    assert [*measures(members[:1])] == ["predictive_entropy"]
    assert [*measures(members)] == ["predictive_entropy", "mutual_information"]
    assert torch.equal(measures(members)["predictive_entropy"], predictive_entropy(mean))


def test_of_two_classes_the_log_odds_are_the_difference_of_the_logits():
    logits = torch.tensor([1.5, -2.0]).view(2, 1, 1)
    assert log_odds(logits, [1]).tolist() == [[-3.5]]
    assert log_odds(logits, [0]).tolist() == [[3.5]]


def test_of_many_classes_the_log_odds_are_those_of_the_softmax():
    probabilities = torch.tensor([0.5, 0.2, 0.3]).view(3, 1, 1)
    logits = probabilities.log() + 7
    torch.testing.assert_close(log_odds(logits, [2]).item(), math.log(0.3 / 0.7), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_odds(logits, [1, 2]).item(), 0.0, atol=1e-5, rtol=0)
    members = torch.stack([logits, logits.flip(0)])
    torch.testing.assert_close(log_odds(members, [0])[1].item(), math.log(0.3 / 0.7), atol=1e-5, rtol=0)
