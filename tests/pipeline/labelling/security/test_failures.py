"""What the server says when it fails: to the page a reason, to the log a place, and to neither a name."""

import errno
import logging

import pytest
from label_server import brush, new_key

from textdiff.pipeline.labelling.security.headers import HEADERS
from textdiff.pipeline.labelling.strokes.log import StrokeLog

FULL = OSError(errno.ENOSPC, "No space left on device", "/data/smith_john.log")
FAILURES = [
    (FULL, "a file could not be read or written", "No space left on device"),
    (KeyError("/data/smith_john.png"), "the program has failed", "KeyError"),
]


@pytest.mark.parametrize(("error", "what", "got"), FAILURES)
def test_a_failure_is_told_without_names_and_logged_by_its_place(client, monkeypatch, caplog, error, what, got):
    def fail(*_):
        raise error

    monkeypatch.setattr(StrokeLog, "append", fail)
    stroke = brush()
    with caplog.at_level(logging.ERROR):
        answer = client.post("/api/strokes", json=stroke)
    told = answer.json()["error"]
    assert (answer.status_code, told["what"], told["got"]) == (500, what, got)
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    assert "smith" not in answer.text + caplog.text
    assert "self._log.append" in caplog.text
    monkeypatch.undo()
    assert client.post("/api/strokes", json=stroke).json()["sequence"] == 1


def test_pictures_that_cannot_be_read_are_told(client, session):
    session.images[0].path.write_bytes(b"no picture")
    answer = client.get("/api/images/0/thumbnail")
    assert answer.status_code == 409
    assert "is not a PNG" in answer.json()["error"]["got"]
    assert client.post("/api/undo", json={"key": new_key()}).status_code == 409
