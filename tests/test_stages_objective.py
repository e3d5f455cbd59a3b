import math

import pytest
import torch

from textdiff.stages.objective import DICE_WEIGHT, segmentation_loss, soft_dice

IGNORE = 255


def test_the_weight_is_the_papers():
    assert DICE_WEIGHT == 1.5


def test_loss_of_equal_logits_by_hand():
    logits, labels = torch.zeros(4, 2), torch.tensor([1, 1, 0, 0], dtype=torch.uint8)
    # probabilities are all 1/2: overlap 1, squares 4 × 1/4 = 1, truth 2
    expected = math.log(2) + 1.5 * (1 - (2 * 1 + 1) / (1 + 2 + 1))
    assert float(segmentation_loss(logits, labels, IGNORE)) == pytest.approx(expected)


def test_a_perfect_prediction_costs_nothing():
    labels = torch.tensor([0, 1, 2, 1])
    logits = torch.nn.functional.one_hot(labels, 3) * 60.0
    assert float(segmentation_loss(logits, labels, IGNORE)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice(logits.softmax(-1), labels)) == pytest.approx(1)


def test_ignored_pixels_have_no_influence_and_no_gradient():
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 1, 255, 1, 255, 0])
    loss = segmentation_loss(logits, labels, IGNORE)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[labels == 255].abs().sum() == 0
    assert (logits.grad[labels != 255].abs().sum(1) > 0).all()
    kept = labels != 255
    assert loss.item() == pytest.approx(segmentation_loss(logits[kept], labels[kept], IGNORE).item())
