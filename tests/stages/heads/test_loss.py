import math

import pytest
import torch

from textdiff.stages.heads.loss import DICE_WEIGHT, segmentation_loss, soft_dice

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
    assert float(soft_dice(logits.softmax(-1), labels, torch.ones(4))) == pytest.approx(1)


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


def test_a_pixel_of_weight_two_is_that_pixel_twice():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    labels, weights = torch.tensor([0, 1, 255, 2, 1]), torch.tensor([1.0, 2.0, 9.0, 1.0, 3.0]).double()
    twice = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4])
    weighted = segmentation_loss(logits, labels, IGNORE, weights)
    repeated = segmentation_loss(logits[twice], labels[twice], IGNORE)
    assert weighted.item() == pytest.approx(repeated.item(), rel=1e-12)
    grads = [torch.autograd.grad(loss, logits)[0] for loss in (weighted, repeated)]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-15)
    assert weighted.item() != pytest.approx(segmentation_loss(logits, labels, IGNORE).item(), rel=1e-3)
