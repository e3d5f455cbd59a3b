"""The server as a process: two pages, and what they hear of one another."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from label_server import brush

from textdiff.pipeline.labelling.strokes.log import read_log

pytestmark = pytest.mark.slow


def events(client, n):
    """The first events of a page, after it is connected."""
    found = []
    with client.stream("GET", "/api/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("retry:"):
                yield "connected"
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
            if len(found) == n:
                yield found
                return


def test_two_pages_hear_of_each_others_strokes(served):
    one, stroke = served.client(), brush(1)
    listening = events(one, 3)
    assert next(listening) == "connected"
    assert one.post("/api/strokes", json=stroke).status_code == 200
    labels, image, history = next(listening)
    assert labels == {"type": "labels", "image": 1, "version": 1, "box": [6, 6, 39, 59], "by": stroke["key"]}
    assert (image["type"], image["image"], image["state"], image["n_strokes"]) == ("image", 1, "scribbled", 1)
    assert history == {"type": "history", "undo": True, "redo": False}


def test_the_server_ends_at_once_though_a_page_listens(served):
    client = served.client()
    listening = events(client, 1)
    assert next(listening) == "connected"
    before, started = served.pid, time.monotonic()
    os.kill(served.pid, signal.SIGINT)
    served.wait()  # until the next one
    assert served.pid != before
    assert time.monotonic() - started < 3


def test_twenty_strokes_at_once_are_all_saved_and_told(served, tmp_path):
    client, strokes = served.client(), [brush(n % 2, label=n % 3) for n in range(20)]
    listening = events(client, 60)
    assert next(listening) == "connected"
    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(lambda stroke: client.post("/api/strokes", json=stroke).json(), strokes)]
    assert sorted(answer["sequence"] for answer in answers) == [*range(1, 21)]
    told = {event["by"]: event["version"] for event in next(listening) if event["type"] == "labels"}
    assert told == {stroke["key"]: answer["version"] for stroke, answer in zip(strokes, answers, strict=True)}
    records = read_log(tmp_path / "strokes" / "me.log")
    assert {record.event.key: record.sequence for record in records} == told
