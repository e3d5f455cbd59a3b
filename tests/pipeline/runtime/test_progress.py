"""Progress: plain lines in a pipe, a bar with rate and remaining time on a terminal, silence in a library call."""

import io
import re
import sys
from types import SimpleNamespace

import pytest

from textdiff.pipeline.runtime import progress as progresses
from textdiff.pipeline.runtime.progress import Progress, progress_of


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = [0.0]
    monkeypatch.setattr(progresses.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_rate_remaining_time_and_figures(capsys, clock):
    with Progress(shown=True).task("train", 10, "epochs") as task:
        clock[0] = 4.0
        task.advance(2, loss=0.5)  # too soon after the start for a line
        clock[0] = 8.0
        task.advance(2, loss=0.25)
        clock[0] = 20.0
        task.advance(6)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "train: 4/10 epochs, 8 s, 0.5 epochs/s, 12 s left, loss 0.25",
        "train: 10/10 epochs, 20 s, 0.5 epochs/s",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_rate_and_remaining_time_below_what_is_said(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(progresses.sys, "stderr", shown := Terminal())
    progress = Progress(shown=True)
    with progress.task("train [1]", 4, "epochs") as task:
        task.advance(3, loss=0.5)
        progress.say("a [line]")
    last = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.getvalue()).replace("\r", "\n")
    assert "a [line]\n" in last
    assert re.search(r"train \[1\] .* 3/4 epochs [\d.e+]+ epochs/s, \d:\d\d:\d\d done, [-\d:]+ left loss 0\.5", last)


def test_a_library_call_says_nothing(capsys):
    with Progress().task("train", 1, "epochs") as task:
        task.advance(loss=1.0)
    Progress().say("hello")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.fixture
def notebook(monkeypatch):
    """What a kernel's cell shows: IPython as far as a bar uses it."""
    shown = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda _, display_id: handle)
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_notebook_gets_a_bar_below_the_cell_and_lines_that_are_no_errors(notebook, clock, capsys):
    progress = progress_of(None)
    progress.say("reading")
    with progress.task("<extract>", 3, "images") as task:
        for _ in range(3):
            clock[0] += 1.0
            task.advance(loss=0.5)
    assert capsys.readouterr() == ("reading\n", "")
    assert notebook[0].startswith('<progress max="3" value="1"></progress> &lt;extract&gt;: 1/3 images, 1 s')
    assert notebook[-1] == "&lt;extract&gt;: 3/3 images, 3 s, 1 images/s, loss 0.5"


def test_a_bar_in_a_notebook_is_not_drawn_more_often_than_one_sees(notebook, clock):
    with progress_of(None).task("extract", 1000, "images") as task:
        for _ in range(1000):
            clock[0] += 0.001
            task.advance()
    assert len(notebook) == 6  # five times in a second, and the line that stays


def test_a_notebook_can_be_asked_for_silence(notebook, capsys):
    progress_of(False).say("reading")
    assert (notebook, capsys.readouterr().out) == ([], "")
