import pytest
import torch

from textdiff.stages.metrics.overlap import confusion, dice, iou, precision, recall

IGNORE = 255


def test_counts_by_hand_leave_out_ignored_pixels():
    labels = torch.tensor([[0, 1, 1], [1, 255, 0]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 0], [1, 1, 1]])
    assert confusion(predicted, labels, 2, IGNORE).tolist() == [[1, 1], [1, 2]]


def test_dice_and_iou_by_hand():
    counts = torch.tensor([[5, 1], [2, 4]])
    assert dice(counts).tolist() == [pytest.approx(8 / 11)]
    assert iou(counts).tolist() == [pytest.approx(4 / 7)]


def test_precision_and_recall_by_hand():
    counts = torch.tensor([[5, 1], [2, 4]])
    assert precision(counts).tolist() == [pytest.approx(4 / 5)]
    assert recall(counts).tolist() == [pytest.approx(4 / 6)]


def test_without_prediction_there_is_no_precision_and_without_truth_no_recall():
    missed, invented = torch.tensor([[5, 0], [2, 0]]), torch.tensor([[5, 1], [0, 0]])
    assert precision(torch.stack([missed, invented])).squeeze(1).isnan().tolist() == [True, False]
    assert recall(torch.stack([missed, invented])).squeeze(1).isnan().tolist() == [False, True]
    assert (recall(missed).item(), precision(invented).item()) == (0.0, 0.0)


def test_parts_of_pixels_count_as_parts():
    assert dice(torch.tensor([[0.0, 0.1], [0.1, 0.2]])).item() == pytest.approx(0.4 / 0.6)


def test_each_foreground_class_has_its_own_figure():
    counts = torch.tensor([[9, 0, 0], [0, 2, 2], [0, 0, 3]])
    assert dice(counts).tolist() == [pytest.approx(4 / 6), pytest.approx(6 / 8)]


def test_a_class_that_is_in_neither_is_perfect_and_one_invented_is_not():
    nothing, invented = torch.tensor([[6, 0], [0, 0]]), torch.tensor([[5, 1], [0, 0]])
    assert dice(torch.stack([nothing, invented])).squeeze(1).tolist() == [1.0, 0.0]
    assert iou(torch.stack([nothing, invented])).squeeze(1).tolist() == [1.0, 0.0]


def test_agreement_with_scikit_learn():
    from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (500,), generator=generator)
    predicted = torch.randint(0, 3, (500,), generator=generator)
    counts = confusion(predicted, labels, 3, IGNORE)
    assert dice(counts).tolist() == pytest.approx(f1_score(labels, predicted, average=None)[1:].tolist())
    assert iou(counts).tolist() == pytest.approx(jaccard_score(labels, predicted, average=None)[1:].tolist())
    assert precision(counts).tolist() == pytest.approx(precision_score(labels, predicted, average=None)[1:].tolist())
    assert recall(counts).tolist() == pytest.approx(recall_score(labels, predicted, average=None)[1:].tolist())
