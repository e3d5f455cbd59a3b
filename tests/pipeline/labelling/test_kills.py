"""Servers of the labelling page that are killed while strokes come in: what was answered is there afterwards."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from label_server import brush, open_session

from textdiff.pipeline.labelling.strokes.log import read_log

N_PAGES = 4


def draw_until_killed(server, seed):
    """Kill a server after some strokes of several pages; returns the strokes that were answered, by their keys."""
    random, client = np.random.default_rng(seed), server.client()
    n_before, answered, lock = int(random.integers(0, 25)), {}, threading.Lock()

    def draw(page):
        own = np.random.default_rng((seed, page))
        while True:
            n_points = int(own.integers(2, 400 if own.random() < 0.1 else 40))  # each start replays all of them
            stroke = brush(int(own.integers(2)), own.uniform(0, 400, (n_points, 2)).tolist())
            try:
                answer = client.post("/api/strokes", json=stroke)
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            with lock:
                answered[stroke["key"]] = answer.json()["sequence"]
                if len(answered) == n_before:
                    os.kill(server.pid, signal.SIGKILL)

    with ThreadPoolExecutor(N_PAGES) as pool:
        pages = [pool.submit(draw, page) for page in range(N_PAGES)]
        if n_before == 0:
            os.kill(server.pid, signal.SIGKILL)
        for page in pages:
            page.result()
    return answered


@pytest.mark.parametrize("n_kills", [3, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.soak])])
def test_no_stroke_that_was_answered_is_lost_when_the_server_is_killed(served, tmp_path, n_kills):
    log, answered = tmp_path / "strokes" / "me.log", {}
    for seed in range(n_kills):
        answered |= draw_until_killed(served, seed)
        found = {record.event.key: record.sequence for record in read_log(log)}
        assert answered.items() <= found.items()
        served.wait()
    assert len(answered) > 4 * n_kills
    assert len(found) - len(answered) <= n_kills * N_PAGES  # written, and killed before the answer
    assert served.errors.read_text() == ""
    served.end()
    session = open_session(tmp_path)
    assert sum(session.labels(place).n_strokes for place in (0, 1)) == len(found)
    session.close()
