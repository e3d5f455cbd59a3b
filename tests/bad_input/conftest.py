"""A small world that is sound; each row of the tables of bad input breaks a copy of a part of it, and asks."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

EXTRACTION = ("--timesteps", "50,150", "--blocks", "1,3", "--image-size", "16", "--batch-size", "2", "--device", "cpu")


@dataclass(frozen=True)
class Scene:
    """A row's own folder, which is the working directory, and copies of what is sound to spoil there."""

    here: Path
    sound: Path
    unet: str
    encoder: str

    def copy(self, name: str, new_name: str = "") -> Path:
        """Bring `data`, `lvit`, `cache`, `run`, `textless` (a run), `unet` or `encoder` here."""
        source = {"unet": Path(self.unet), "encoder": Path(self.encoder)}.get(name, self.sound / name)
        return shutil.copytree(source, self.here / (new_name or name))

    def write(self, name: str, content: str | bytes = "") -> str:
        """Make or replace a file; gives its name."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def edit(self, name: str, change: Callable[[bytes], bytes]) -> str:
        """Put a file's content through `change`; gives its name."""
        return self.write(name, change((self.here / name).read_bytes()))

    def edit_json(self, name: str, **fields: object) -> str:
        """Set fields of a JSON object; dots lead into it."""
        values = json.loads((self.here / name).read_bytes())
        for place, value in fields.items():
            *path, last = place.split("__")
            inner = values
            for part in path:
                inner = inner[part]
            inner[last] = value
        return self.write(name, json.dumps(values))

    def extract(self, data: str = "data", cache: str = "new", **flags: str) -> list[str]:
        """The command that makes a cache, with other flags than the sound ones."""
        flags = {"unet": f"diffusers:{self.unet}", "text_encoder": f"hf:{self.encoder}"} | flags
        told = [part for name, value in flags.items() if value for part in (f"--{name.replace('_', '-')}", value)]
        return ["extract-features", data, cache, *EXTRACTION, *told]

    def train(self, *flags: str, cache: str = "cache", run: str = "new") -> list[str]:
        """The command that trains a small head."""
        return [
            "train-head",
            cache,
            run,
            "--head",
            "pixel",
            "--width",
            "16",
            "--n-attention-heads",
            "2",
            "--text",
            "true",
            "--epochs",
            "1",
            "--device",
            "cpu",
            *flags,
        ]


@pytest.fixture(scope="session")
def call() -> Callable[[Sequence[str]], int]:
    """Run a command line in this process; gives its exit code."""
    from textdiff.cli import main

    def run(arguments: Sequence[str]) -> int:
        before, sys.argv = sys.argv, ["textdiff", *arguments]
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            sys.argv = before
        raise AssertionError("the command line did not exit")

    return run


@pytest.fixture(scope="session")
def sound(tmp_path_factory, tiny_unet, tiny_encoder, call, write_tiny_data, write_lvit) -> Scene:
    """Data in both layouts, their cache, and a run with texts and one without, all sound."""
    root = tmp_path_factory.mktemp("sound")
    (root / "data").mkdir()
    write_tiny_data(root / "data")
    write_lvit(root / "lvit")
    scene = Scene(root, root, str(tiny_unet), str(tiny_encoder))
    data, cache = str(root / "data"), str(root / "cache")
    for arguments in (
        scene.extract(data, cache),
        scene.train(cache=cache, run=str(root / "run")),
        scene.train("--text", "none", cache=cache, run=str(root / "textless")),
    ):
        assert call(arguments) == 0
    return scene


@pytest.fixture
def scene(sound, tmp_path, monkeypatch) -> Scene:
    """An empty folder to stage bad input in."""
    monkeypatch.chdir(tmp_path)
    return Scene(tmp_path, sound.here, sound.unet, sound.encoder)


def tree_of(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder: content of files, targets of links, and that folders are folders."""
    return {path.relative_to(folder).as_posix(): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path: Path) -> bytes | str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return "folder" if path.is_dir() else path.read_bytes()


@pytest.fixture
def refused(scene, call, capsys) -> Callable[..., None]:
    """Gives `refused(arrange, message, code=1)`: the command that `arrange(scene)` gives is refused as it should be.

    That is: with the exit code, one error on stderr that holds the message, no traceback, nothing on stdout, and
    nothing written or changed.
    """

    def check(arrange: Callable[[Scene], Sequence[str]], message: str, code: int = 1) -> None:
        arguments = [*arrange(scene), "--json"]
        before = tree_of(scene.here)
        capsys.readouterr()
        found = call(arguments)
        out, err = capsys.readouterr()
        assert (found, out) == (code, ""), err
        flat = " ".join(err.replace("│", " ").split())
        assert message in flat
        assert "Traceback" not in err
        assert err.lower().count("error") >= 1
        assert sum(line.startswith("error: ") for line in err.splitlines()) == (1 if code == 1 else 0)
        assert tree_of(scene.here) == before

    return check
