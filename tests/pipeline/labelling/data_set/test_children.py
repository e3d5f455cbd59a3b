"""Commands in processes of their own: their messages arrive, and they can be stopped."""

import json
import os
import threading
import time

import pytest

from textdiff.errors import RunError
from textdiff.pipeline.labelling.data_set.children import Child

pytestmark = pytest.mark.slow


def test_progress_and_result_arrive(tiny_cache):
    said = []
    output = Child().run(f"textdiff cache verify '{tiny_cache}' --json", said.append)
    assert json.loads(output)["cache"] == str(tiny_cache)
    assert any("shards" in line for line in said)


def test_a_failed_command_gives_its_own_message(tmp_path):
    with pytest.raises(RunError) as error:
        Child().run(f"textdiff cache info '{tmp_path}/none'", lambda line: None)
    command, message = str(error.value).split("\n", 1)
    assert command.startswith("textdiff cache info")
    assert message.startswith("error: ")
    assert "Traceback" not in message


def test_a_stopped_command_ends_and_says_so(tmp_path, tiny_data):
    child, priorities = Child(), []
    begun = threading.Event()

    def say(line):
        priorities.append(os.getpriority(os.PRIO_PROCESS, child._process.pid))
        begun.set()

    threading.Thread(target=lambda: (begun.wait(60), child.stop())).start()
    line = f"textdiff pretrain-unet '{tiny_data}' '{tmp_path}/unet' --steps 100000 --image-size 16"
    started = time.monotonic()
    with pytest.raises(RunError, match="was stopped"):
        child.run(line, say)
    assert time.monotonic() - started < 90
    assert child.stopped
    assert {*priorities} == {max(10, os.getpriority(os.PRIO_PROCESS, 0))}  # who draws comes first
