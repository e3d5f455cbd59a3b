"""Two writers of the same are refused, parts stand beside one another, and the dead block nobody."""

import signal
import subprocess
import sys
import textwrap

import pytest

from textdiff.cache.storage.locks import LOCK, Share, hold_lock, hold_plan, parts_at_work, refuse_if_locked
from textdiff.errors import CacheBusyError

HOLDER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from textdiff.cache.storage.locks import Share, hold_lock
    part = Share(*map(int, sys.argv[2:])) if sys.argv[2:] else None
    with hold_lock(Path(sys.argv[1]), part):
        print("held", flush=True)
        time.sleep(60)
""")


@pytest.fixture
def other_process(tmp_path):
    """Gives a function that has another process hold a lock; each is killed in the end."""
    processes = []

    def hold(*part):
        command = [sys.executable, "-c", HOLDER, str(tmp_path), *map(str, part)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def take(root, part=None):
    with hold_lock(root, part):
        pass


@pytest.mark.slow
def test_a_part_excludes_itself_and_the_whole_but_no_other_part(tmp_path, other_process):
    other_process(1, 3)
    take(tmp_path, Share(0, 3))
    with pytest.raises(CacheBusyError, match="part 1-of-3 is being made by another process; wait until it ends"):
        take(tmp_path, Share(1, 3))
    with pytest.raises(CacheBusyError, match="another process is writing to this cache"):
        take(tmp_path)
    with pytest.raises(CacheBusyError, match="another process is writing"):
        refuse_if_locked(tmp_path)
    refuse_if_locked(tmp_path, beside_parts=True)
    with hold_lock(tmp_path, Share(0, 3)), hold_plan(tmp_path):
        assert parts_at_work(tmp_path) == ("0-of-3", "1-of-3")


@pytest.mark.slow
def test_a_writer_of_the_whole_excludes_every_other(tmp_path, other_process):
    other_process()
    for part in (None, Share(0, 3)):
        with pytest.raises(CacheBusyError, match="another process is writing to this cache"):
            take(tmp_path, part)
    with pytest.raises(CacheBusyError, match="another process is writing"):
        refuse_if_locked(tmp_path, beside_parts=True)


@pytest.mark.parametrize("part", [(), (1, 3)])
def test_the_lock_of_a_process_that_was_killed_blocks_nobody(tmp_path, other_process, part):
    process = other_process(*part)
    process.send_signal(signal.SIGKILL)
    process.wait()
    take(tmp_path, Share(1, 3))
    take(tmp_path)
    assert parts_at_work(tmp_path) == ()


def test_the_lock_file_of_the_whole_is_emptied_by_a_writer_and_by_no_one_who_is_refused(tmp_path, other_process):
    (tmp_path / LOCK).write_text("x")
    with hold_lock(tmp_path):
        assert (tmp_path / LOCK).read_text() == ""
    other_process()
    (tmp_path / LOCK).write_text("x")
    with pytest.raises(CacheBusyError):
        take(tmp_path)
    assert (tmp_path / LOCK).read_text() == "x"


def test_a_lock_whose_file_was_removed_while_it_was_waited_for_is_none(tmp_path, monkeypatch):
    def lock_and_lose(*_):
        (tmp_path / LOCK).unlink()

    monkeypatch.setattr("portalocker.lock", lock_and_lose)
    with pytest.raises(CacheBusyError, match="another process is writing to this cache"):
        take(tmp_path)
