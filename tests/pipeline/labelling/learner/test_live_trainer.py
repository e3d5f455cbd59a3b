"""Ridge regression and head together: how much each counts, and what texts tell."""

import pytest
import torch

from textdiff.components import FeatureReader, LiveTrainer


@pytest.fixture
def trainer(tiny_cache):
    return LiveTrainer.of_cache(FeatureReader(tiny_cache))


def hold_alike(trainer, *, told_by_texts: bool):
    """Labels of two rows with different texts: of the same places, which are of one class, or of the text's."""
    rows = [row for row in trainer.data.reader.samples if row.text is not None]
    first, second = rows[0], next(row for row in rows if row.text != rows[0].text)
    for row, label in ((first, 0), (second, 1)):
        labels = torch.full((16, 16), 255, dtype=torch.uint8)
        if told_by_texts:
            labels[4:8] = label
        else:
            labels[2:8], labels[8:14] = 0, 1
        trainer.hold(row, labels)
    return [first, second]


def test_the_head_counts_more_with_more_pixels(trainer):
    hold_alike(trainer, told_by_texts=False)
    few = trainer.solve().ridge_share
    trainer.held.most_pixels = 8
    assert few > 0.9 > 0.6 > trainer.solve().ridge_share == pytest.approx(12 / (12 + 384 / 16))


@pytest.mark.slow
def test_where_texts_decide_the_regression_counts_little(trainer):
    rows = hold_alike(trainer, told_by_texts=True)
    # The features of these rows are nearly one another's, so that only the texts tell the classes apart.
    for held in trainer.held.rows.values():
        held.features.copy_(held.features.mean(0).expand_as(held.features) * 0 + 1)
    trainer.solve()
    answer = trainer.train(rows, steps=150)
    assert trainer.text_gain > 0.2
    assert answer.ridge_share == 0.25


def test_without_texts_none_is_shown(tiny_cache):
    trainer = LiveTrainer.of_cache(FeatureReader(tiny_cache), text="none")
    rows = hold_alike(trainer, told_by_texts=False)
    trainer.solve()
    trainer.train(rows, steps=2)
    assert not trainer.reads_any_text
    assert trainer.text_gain == 0.0


def test_a_class_that_is_added_is_learnt_by_the_same_head(trainer):
    rows = hold_alike(trainer, told_by_texts=False)
    trainer.solve()
    trainer.train(rows, steps=3)
    trainer.count_classes(3)
    labels = torch.full((16, 16), 255, dtype=torch.uint8)
    labels[:4], labels[4:8], labels[8:12] = 0, 1, 2
    trainer.hold(rows[0], labels)
    trainer.solve()
    answer = trainer.train(rows, steps=3)
    (x,) = trainer.data.inputs(rows[:1])
    probabilities = answer.probabilities(x)
    assert probabilities.shape == (3, 16, 16)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(16, 16))
