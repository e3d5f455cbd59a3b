"""Work ahead of and behind the caller: in order, bounded, and no failure lost."""

import threading
import time

import pytest

from textdiff.pipeline.runtime.prefetch import BackgroundWriter, prefetch


def test_ahead_gives_what_map_gives_in_order():
    def slower_at_first(n):
        time.sleep(0.02 if n == 0 else 0)
        return n * n

    assert list(prefetch(slower_at_first, range(10), 3)) == [n * n for n in range(10)]


def test_ahead_loads_no_further_than_its_depth():
    loaded = []
    results = prefetch(loaded.append, range(100), 2)
    next(results)
    time.sleep(0.05)
    assert 1 <= len(loaded) <= 3
    results.close()
    assert len(loaded) <= 3


def test_ahead_overlaps_with_the_caller():
    began = threading.Event()

    def load(n):
        if n == 1:
            began.set()
        return n

    results = prefetch(load, range(3), 1)
    assert next(results) == 0
    assert began.wait(5)


def test_ahead_raises_when_the_turn_comes():
    results = prefetch(lambda n: 1 // n, [1, 0, 1], 3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_behind_works_in_order_beside_the_caller():
    done, go = [], threading.Event()
    with BackgroundWriter() as behind:
        behind.submit(lambda: (go.wait(5), done.append(0))[1])
        behind.submit(lambda: done.append(1))
        assert done == []
        go.set()
    assert done == [0, 1]


def test_behind_lets_one_piece_of_work_wait_and_no_more():
    go, third = threading.Event(), threading.Event()

    def submit_three():
        with BackgroundWriter() as behind:
            for _ in range(2):
                behind.submit(lambda: go.wait(5) and None)
            behind.submit(lambda: None)
            third.set()

    caller = threading.Thread(target=submit_three)
    caller.start()
    assert not third.wait(0.1)
    go.set()
    caller.join(5)
    assert third.is_set()


def test_several_threads_behind_work_at_once_and_bound_what_waits():
    together, go, last = threading.Barrier(3), threading.Event(), threading.Event()

    def submit():
        with BackgroundWriter(2) as behind:
            for _ in range(2):
                behind.submit(lambda: together.wait(5) and None)
            behind.submit(lambda: go.wait(5) and None)
            behind.submit(lambda: go.wait(5) and None)
            behind.submit(lambda: None)
            behind.submit(lambda: None)
            last.set()

    caller = threading.Thread(target=submit)
    caller.start()
    together.wait(5)  # raises where the two do not run at once
    assert not last.wait(0.1)
    go.set()
    caller.join(5)
    assert last.is_set()


def submit_all(*works, then=None):
    with BackgroundWriter() as behind:
        for work in works:
            behind.submit(work)
        if then:
            then()


def test_a_failure_behind_is_raised_on_leaving_and_stops_what_follows():
    done = []
    with pytest.raises(ZeroDivisionError):
        submit_all(lambda: 1 // 0, lambda: done.append("never"))
    assert done == []


def test_a_failure_behind_stops_the_caller_at_a_later_submit():
    reached = []
    with pytest.raises(ZeroDivisionError):
        submit_all(lambda: 1 // 0, lambda: None, lambda: None, lambda: None, then=lambda: reached.append("the end"))
    assert reached == []


def test_when_the_caller_fails_what_waits_is_dropped_and_its_own_error_is_raised():
    done, go = [], threading.Event()

    def fail():
        threading.Timer(0.05, go.set).start()
        raise KeyError("caller")

    with pytest.raises(KeyError, match="caller"):
        submit_all(lambda: (go.wait(5), done.append(0))[1], lambda: done.append(1), then=fail)
    assert done == [0]
