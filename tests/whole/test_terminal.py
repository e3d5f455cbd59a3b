"""A full disk under stdout, a closed one, and locales without the letters of names: one line, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="Linux alone has a disk that is always full")


def run(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    command, environment = [sys.executable, "-m", "textdiff", *arguments], {**os.environ, **environment}
    return subprocess.run(command, env=environment, stdout=stdout, stderr=stderr, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["check-data", "DATA"]])
def test_a_full_disk_under_the_output_is_one_line(lvit, arguments):
    with FULL.open("w") as full:
        done = run(*(str(lvit) if argument == "DATA" else argument for argument in arguments), stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode() == "error: the output cannot be written: No space left on device\n"


def test_nothing_is_left_to_say_where_stderr_is_full_too():
    with FULL.open("w") as full:
        done = run("--help", stdout=full, stderr=full)
    assert done.returncode == 1


def test_a_reader_that_has_gone_is_no_error_to_tell(lvit):
    read, write = os.pipe()
    os.close(read)
    done = run("check-data", str(lvit), stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("arguments", [["check-data", "Größe"], ["predict", "run", "a.png", "out", "--text", "日本"]])
def test_arguments_that_an_ascii_locale_cannot_read_are_one_line(arguments):
    done = run(*arguments, **ASCII)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: this environment reads names and texts as ASCII, and these have other letters; set PYTHONUTF8=1, or "
        "LC_ALL=C.UTF-8\n"
    )


def test_names_in_data_that_an_ascii_locale_cannot_read_are_explained(tmp_path):
    (tmp_path / "manifest.csv").write_text("id,image,mask,text,split\na,Größe.png,,Ödem,train\n", encoding="utf-8")
    (tmp_path / "Größe.png").write_bytes(b"")
    done = run("check-data", str(tmp_path), **ASCII)
    assert done.returncode == 1
    assert b"files whose names are not ASCII cannot be read here; set PYTHONUTF8=1" in done.stderr
    assert b"Traceback" not in done.stderr


def test_texts_of_other_letters_are_read_and_printed_in_an_ascii_locale(lvit):
    done = run("check-data", str(lvit), **ASCII)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
