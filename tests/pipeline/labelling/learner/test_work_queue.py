"""The newest request counts: what is given up for it, and what is not."""

import pytest

from textdiff.pipeline.labelling.learner.work_queue import Superseded, WorkQueue
from textdiff.pipeline.labelling.predictor.predictor import ViewedPart


@pytest.fixture
def queue():
    made = WorkQueue()
    made.learn([3])
    assert made.wait()
    return made


def test_a_newer_stroke_ends_a_lesson_and_what_nobody_looks_at(queue):
    assert queue.take_due()
    queue.check_lesson()
    queue.check_rest()
    queue.learn([4])
    for check in (queue.check_lesson, queue.check_rest):
        with pytest.raises(Superseded):
            check()


def test_another_view_ends_what_nobody_looks_at_but_no_lesson(queue):
    assert queue.take_due()
    queue.look(ViewedPart(0, (0, 0, 1, 1), "own"))
    queue.check_lesson()
    with pytest.raises(Superseded):
        queue.check_rest()


def test_a_stroke_between_waking_and_learning_is_part_of_the_lesson(queue):
    queue.learn([4])
    assert queue.take_due()
    queue.check_lesson()
    assert [queue.take_changed() for _ in range(3)] == [3, 4, None]


def test_the_image_in_view_is_learnt_first_and_one_that_is_put_back_again(queue):
    queue.learn([1, 7])
    queue.look(ViewedPart(7, (0, 0, 1, 1), "own"))
    assert [queue.take_changed(), queue.take_changed()] == [7, 1]
    queue.put_back(7)
    assert queue.take_changed() == 7


def test_strokes_are_kept_until_one_asks_where_learning_is_not_continuous(queue):
    queue.train("stop")
    queue.learn([4])
    assert not queue.take_due()
    queue.train("once")
    assert queue.take_due()
    assert not queue.continuous
    assert queue.take_changed() == 3


def test_waiting_ends_with_the_work(queue):
    queue.stop()
    assert not queue.wait()
