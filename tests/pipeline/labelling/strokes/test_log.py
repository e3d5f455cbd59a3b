"""The log of a session: whole after any cut, refused after any other damage, and never behind what was promised."""

import errno
import os

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_server import new_key

from textdiff.errors import DataError, RunError
from textdiff.pipeline.labelling.strokes.events import Record, Stroke, Undo, Unlock
from textdiff.pipeline.labelling.strokes.log import StrokeLog, read_log


def records(n, start=1):
    events = [
        Stroke(key=new_key(), image="ä", tool="brush", label=1, size=2.5, points=((1.0, 2.25),)),
        Undo(key=new_key()),
    ]
    return [Record(number, 12.5, events[(number - 1) % 2]) for number in range(start, start + n)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "strokes" / "me.log"


@pytest.fixture
def written(path):
    log, made = StrokeLog(path), records(4)
    for record in made:
        log.sync(log.append(record))
    log.close()
    return made


def test_a_log_is_lines_of_json_with_a_checksum(path, written):
    first, second, *_ = path.read_bytes().splitlines()
    assert first == b'{"format":"textdiff-labels","version":1}\t7d181666'
    payload, _, checksum = second.partition(b"\t")
    assert msgspec.json.decode(payload) == {
        "sequence": 1, "time_s": 12.5, "event": {
            "kind": "stroke", "key": written[0].event.key, "image": "ä", "tool": "brush", "class": 1, "size": 2.5,
            "points": [[1.0, 2.25]],
        },
    }  # fmt: skip
    assert len(checksum) == 8
    assert read_log(path) == tuple(written)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_log_that_is_cut_anywhere_is_whole_again_and_goes_on(path, data):
    path.unlink(missing_ok=True)
    log, made = StrokeLog(path), records(3)
    ends = [log.append(record) for record in made]
    log.close()
    header = path.read_bytes().index(b"\n") + 1
    n = data.draw(st.integers(header, ends[-1]))
    os.truncate(path, n)
    kept = [record for record, end in zip(made, ends, strict=True) if end <= n]
    assert read_log(path) == tuple(kept)
    log = StrokeLog(path)
    assert log.records == tuple(kept)
    assert bool(log.cut) == (n not in (header, *ends))
    log.append(records(1, len(kept) + 1)[0])
    log.close()
    assert len(read_log(path)) == len(kept) + 1


def test_a_cut_is_told(path, written):
    with path.open("ab") as file:
        file.write(b'{"sequence":5,"ti')
    log = StrokeLog(path)
    assert log.cut == (
        f"{path}: the last 17 bytes were not written to their end and are cut off; at most one stroke is lost"
    )
    log.close()
    log = StrokeLog(path)
    assert log.cut == ""
    log.close()


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_other_damage_is_an_error_that_names_the_line(path, data):
    path.unlink(missing_ok=True)
    log = StrokeLog(path)
    for record in records(3):
        log.append(record)
    log.close()
    content = bytearray(path.read_bytes())
    last_line = content[:-1].rindex(b"\n") + 1
    place = data.draw(st.integers(0, last_line - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged: (line \d|its first line)|no log of strokes"):
        StrokeLog(path)


def test_a_missing_line_is_noticed(path, written):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(DataError, match=r"line 3 has number 3, expected 2; restore the file from a copy"):
        StrokeLog(path)


def test_other_formats_are_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(DataError, match="its first line is not as it was written"):
        StrokeLog(path)


def test_a_log_is_open_in_one_session(path):
    log = StrokeLog(path)
    with pytest.raises(RunError, match=r"me\.log is open in another session; close that one"):
        StrokeLog(path)
    log.close()
    StrokeLog(path).close()


def test_a_full_disk_leaves_the_log_as_it_was(path, written, monkeypatch):
    log, write = StrokeLog(path), os.write

    def write_half(file, content):
        if len(content) > 40:
            return write(file, content[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        log.append(Record(5, 0.0, Unlock(key="x" * 60)))
    monkeypatch.undo()
    assert read_log(path) == tuple(written)
    log.append(Record(5, 0.0, Unlock(key="x" * 60)))
    log.close()
    assert len(read_log(path)) == 5


def test_nothing_is_written_after_the_disk_refused_to_keep_it(path, monkeypatch):
    log = StrokeLog(path)

    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    end = log.append(records(1)[0])
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        log.sync(end)
    monkeypatch.undo()
    with pytest.raises(OSError, match="The log is closed, or could not be written to before; start again"):
        log.append(records(1, 2)[0])
    log.close()
