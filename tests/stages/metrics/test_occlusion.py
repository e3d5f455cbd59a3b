import math

import torch

from textdiff.stages.metrics.occlusion import log_odds


def test_of_two_classes_the_log_odds_are_the_difference_of_the_logits():
    logits = torch.tensor([1.5, -2.0]).view(2, 1, 1)
    assert log_odds(logits, [1]).tolist() == [[-3.5]]
    assert log_odds(logits, [0]).tolist() == [[3.5]]


def test_of_many_classes_they_are_those_of_the_softmax():
    probabilities = torch.tensor([0.5, 0.2, 0.3]).view(3, 1, 1)
    logits = probabilities.log() + 7
    torch.testing.assert_close(log_odds(logits, [2]).item(), math.log(0.3 / 0.7), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_odds(logits, [1, 2]).item(), 0.0, atol=1e-5, rtol=0)
    members = torch.stack([logits, logits.flip(0)])
    torch.testing.assert_close(log_odds(members, [0])[1].item(), math.log(0.3 / 0.7), atol=1e-5, rtol=0)
