"""The newest wish counts: what is given up for it, and what is not."""

import pytest

from textdiff.pipeline.labelling.learner.wishes import Superseded, Wishes
from textdiff.pipeline.labelling.predictor.predictor import ViewedPart


@pytest.fixture
def wishes():
    made = Wishes()
    made.learn([3])
    assert made.wait()
    return made


def test_a_newer_stroke_ends_a_lesson_and_what_nobody_looks_at(wishes):
    assert wishes.take_due()
    wishes.check_lesson()
    wishes.check_rest()
    wishes.learn([4])
    for check in (wishes.check_lesson, wishes.check_rest):
        with pytest.raises(Superseded):
            check()


def test_another_view_ends_what_nobody_looks_at_but_no_lesson(wishes):
    assert wishes.take_due()
    wishes.look(ViewedPart(0, (0, 0, 1, 1), "own"))
    wishes.check_lesson()
    with pytest.raises(Superseded):
        wishes.check_rest()


def test_a_stroke_between_waking_and_learning_is_part_of_the_lesson(wishes):
    wishes.learn([4])
    assert wishes.take_due()
    wishes.check_lesson()
    assert [wishes.take_changed() for _ in range(3)] == [3, 4, None]


def test_the_image_in_view_is_learnt_first_and_one_that_is_put_back_again(wishes):
    wishes.learn([1, 7])
    wishes.look(ViewedPart(7, (0, 0, 1, 1), "own"))
    assert [wishes.take_changed(), wishes.take_changed()] == [7, 1]
    wishes.put_back(7)
    assert wishes.take_changed() == 7


def test_strokes_are_kept_until_one_asks_where_learning_is_not_continuous(wishes):
    wishes.train("stop")
    wishes.learn([4])
    assert not wishes.take_due()
    wishes.train("once")
    assert wishes.take_due()
    assert not wishes.continuous
    assert wishes.take_changed() == 3


def test_waiting_ends_with_the_work(wishes):
    wishes.stop()
    assert not wishes.wait()
