"""`textdiff label` as a user has it: a process with an address, strokes that stay, a data set when it ends."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from label_server import brush

from textdiff.errors import ConfigError, DataError, RunError
from textdiff.pipeline.config import LabelConfig
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.labelling.label import label
from textdiff.pipeline.runtime.folders import locked_folder


class Running:
    """The command, as a process."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "textdiff", "label", *map(str, arguments), "--no-browser", "--port", "0"]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    @contextmanager
    def client(self, link):
        origin = link.partition("/?")[0]
        with httpx.Client(base_url=origin, headers={"Origin": origin}, timeout=30) as client:
            assert client.get(link).status_code == 303
            yield client

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def started():
    """Gives `started(*arguments)`, which starts the command; what still runs is killed when the test ends."""
    running = []

    def start(*arguments):
        running.append(Running(*arguments))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


def read_line(stream):
    line = stream.readline().strip()
    assert line.startswith("http://127.0.0.1:"), line
    return line


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_strokes_are_a_data_set_when_the_command_ends(started, tiny_cache, tmp_path, number):
    running = started(tiny_cache, "--out", tmp_path / "out")
    link = read_line(running.process.stdout)
    with running.client(link) as client:
        assert client.post("/api/strokes", json=brush(points=[(3, 3), (9, 3)], size=3)).status_code == 200
        ids = {one["id"] for one in client.get("/api/session").json()["images"]}
    code, out, err = running.end(number)
    assert code == 0, err
    assert "strokes: 1" in out
    assert "Traceback" not in err
    assert link.partition("token=")[2] not in err
    assert not any(name in err for name in ids)  # no log names an image
    drawn = [one for one in read_dataset(tmp_path / "out").samples if one.n_pixels[1] > 5]
    assert drawn


@pytest.mark.slow
def test_with_json_the_address_is_on_stderr_and_stdout_holds_one_object(started, tiny_cache, tmp_path):
    running = started(tiny_cache, "--out", tmp_path / "out", "--json")
    read_line(running.process.stderr)
    code, out, _ = running.end()
    assert code == 0
    assert json.loads(out) | {"n_labelled": 0} == {
        "out": str(tmp_path / "out"), "n_images": 7, "n_labelled": 0, "n_strokes": 0
    }  # fmt: skip


@pytest.mark.slow
def test_killed_and_started_again_the_stroke_is_there(started, tiny_cache, tmp_path):
    running = started(tiny_cache, "--out", tmp_path / "out")
    with running.client(read_line(running.process.stdout)) as client:
        stroke = brush(points=[(3, 3), (9, 3)], size=3)
        client.post("/api/strokes", json=stroke)
        tile = client.get("/api/images/0/labels/0/0_0").content
    running.process.kill()
    running.process.wait()
    running = started(tiny_cache, "--out", tmp_path / "out")
    with running.client(read_line(running.process.stdout)) as client:
        assert client.get("/api/images/0/labels/0/0_0").content == tile
        assert client.get("/api/session").json()["images"][0]["n_strokes"] == 1
    running.end()


def test_another_annotator_needs_another_folder(tiny_data, tmp_path):
    (tmp_path / "out" / "strokes").mkdir(parents=True)
    (tmp_path / "out" / "strokes" / "anna.log").touch()
    with pytest.raises(ConfigError, match="holds the strokes of anna; go on with --annotator anna"):
        label(LabelConfig(tiny_data, tmp_path / "out", annotator="ben"))


def test_one_process_a_folder(tiny_data, tmp_path):
    with locked_folder(tmp_path / "out"), pytest.raises(RunError, match="another process is writing to it"):
        label(LabelConfig(tiny_data, tmp_path / "out"))


def test_wrong_data_leave_nothing_behind(tmp_path):
    with pytest.raises(DataError, match="does not exist; give a folder of images"):
        label(LabelConfig(tmp_path / "nothing", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_without_the_extra_it_says_what_to_install(tiny_data, tmp_path, monkeypatch):
    from textdiff.pipeline.labelling import label as module

    monkeypatch.setattr(module, "_SERVER", ("no_such_server",))
    with pytest.raises(ConfigError, match=r"needs no_such_server: pip install 'textdiff\[label\]'"):
        label(LabelConfig(tiny_data, tmp_path / "out"))


@pytest.mark.parametrize("name", ["", "a b", "../x", "é", "x" * 41])
def test_names_of_annotators_are_file_names(name):
    with pytest.raises(ConfigError, match="--annotator got"):
        LabelConfig(Path("data"), annotator=name)
