"""The Dockerfile, read as text where no Docker is: it installs from the lock and runs what is documented."""

import fnmatch
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from textdiff.pipeline.interface.functions import COMMANDS, command_name

ROOT = Path(__file__).resolve().parents[2]
ORDER = ["ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"]


@pytest.fixture(scope="module")
def instructions():
    """(instruction, its words on one line), in the order of the file."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]


def of(instructions, name):
    return [words for one, words in instructions if one == name]


def test_every_instruction_is_one_and_no_server_is_named(instructions):
    assert {one for one, _ in instructions} <= set(ORDER)
    assert "://" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_python_is_one_that_the_wheel_was_tried_with(instructions):
    (python,) = (words.partition("=")[2] for words in of(instructions, "ARG") if words.startswith("PYTHON"))
    tried = re.search(r"Python ([\d., and]+)", (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8"))
    assert python in re.findall(r"\d\.\d+", tried[1])
    assert {words.partition(" ")[0] for words in of(instructions, "FROM")} == {"python:${PYTHON}-slim"}


def test_it_runs_as_nobody_special_and_starts_the_command_that_the_wheel_brings(instructions, load_script):
    names = [one for one, _ in instructions]
    (user,) = of(instructions, "USER")
    assert user not in ("root", "0")
    assert "RUN" not in names[names.index("USER") :]
    scripts = load_script("check_files").settings()["options.entry_points"]["console_scripts"].split()
    assert of(instructions, "ENTRYPOINT") == [f'["{scripts[0]}"]']


def test_what_is_copied_is_here_and_what_the_wheel_needs_is_not_left_out(instructions, load_script):
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    lines = [line for line in ignored if line and not line.startswith("#")]
    assert (ROOT / "requirements.lock").exists()
    files = {path.relative_to(ROOT).as_posix() for path in load_script("check_files").files_of_the_package().values()}
    for name in files | {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"}:
        kept = False
        for line in lines:
            pattern = line.removeprefix("!")
            if fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/"):
                kept = line.startswith("!")
        assert kept, name


def variant(instructions, folder, **arguments):
    """The `pip install` lines of a variant: its script run by a shell in which pip only tells its arguments."""
    (script,) = (words for words in of(instructions, "RUN") if "VARIANT" in words)
    (folder / "requirements.lock").write_bytes((ROOT / "requirements.lock").read_bytes())
    shell = f'pip() {{ echo "$@"; }}; {script.replace("cd /tmp", f"cd {shlex.quote(str(folder))}")}'
    done = subprocess.run(["sh", "-c", shell], env=arguments, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_with_cuda_everything_is_the_locks(instructions, tmp_path):
    code, installs, _ = variant(instructions, tmp_path, VARIANT="cuda")
    assert (code, installs) == (0, ["install --require-hashes --requirement requirements.lock"])


def test_for_the_cpu_torch_alone_is_from_elsewhere(instructions, tmp_path):
    code, installs, _ = variant(instructions, tmp_path, VARIANT="cpu", TORCH_INDEX="here")
    assert code == 0
    assert installs == [
        "install --index-url here --requirement torch.txt",
        "install --require-hashes --no-deps --requirement others.lock",
    ]
    packages = {kind: names(tmp_path / kind) for kind in ("requirements.lock", "torch.txt", "others.lock")}
    assert packages["torch.txt"] == {"torch", "torchvision"}
    left_out = packages["requirements.lock"] - packages["others.lock"] - packages["torch.txt"]
    assert {name.partition("-")[0] for name in left_out} == {"cuda", "nvidia", "triton"}
    assert packages["others.lock"] | packages["torch.txt"] | left_out == packages["requirements.lock"]


def names(path):
    return set(re.findall(r"^([\w.-]+)==", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"VARIANT": "cpu", "TORCH_INDEX": ""}, "give the address of wheels"),
        ({"VARIANT": "tpu"}, "expected cuda or cpu"),
    ],
)
def test_a_variant_that_cannot_be_built_says_why(instructions, tmp_path, arguments, message):
    code, installs, error = variant(instructions, tmp_path, **arguments)
    assert code != 0
    assert installs == []
    assert message in error


def test_documented_containers_run_commands(instructions):
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    runs = re.findall(r"^    docker run .* textdiff (\S+)", page, re.MULTILINE)
    assert runs
    assert set(runs) <= {command_name(one) for one in COMMANDS}
    builds = re.findall(r"--build-arg\s+(\w+)=", page)
    assert set(builds) == {"VARIANT", "TORCH_INDEX"}
    assert set(builds) <= {words.partition("=")[0] for words in of(instructions, "ARG")}
