"""The wheel is whole: every folder of the package is in it, with the files that are not Python."""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("cache", "pipeline", "stages")


@pytest.fixture(scope="module")
def setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def test_setup_cfg_lists_every_folder_of_the_package(setup_cfg):
    folders = [init.parent.relative_to(ROOT) for layer in LAYERS for init in (ROOT / layer).rglob("__init__.py")]
    names = sorted(["textdiff", *(".".join(("textdiff", *folder.parts)) for folder in folders)])
    assert setup_cfg["options"]["packages"].split() == names
    with_modules = {path.parent.relative_to(ROOT) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert with_modules == set(folders)


def is_source_of_the_page(path: Path) -> bool:
    """Whether a file of the labelling page is only there to build those that the wheel has."""
    web = ROOT / "pipeline" / "labelling" / "web"
    return path.is_relative_to(web) and not path.is_relative_to(web / "built")


def test_setup_cfg_lists_every_file_that_is_not_python(setup_cfg):
    listed = {
        (*package.split(".")[1:], *pattern.split("/"))
        for package, patterns in setup_cfg["options.package_data"].items()
        for pattern in patterns.split()
    }
    others = [
        path.relative_to(ROOT)
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not is_source_of_the_page(path)
    ]
    assert others
    for path in (*others, Path("py.typed")):
        assert any(fnmatch(str(path), "/".join(pattern)) for pattern in listed), path


IN_THE_WHEEL = """
import importlib, pkgutil, sys
from importlib import metadata, resources
import textdiff
assert textdiff.__file__.startswith(sys.prefix), textdiff.__file__
names = [module.name for module in pkgutil.walk_packages(textdiff.__path__, "textdiff.")]
for name in names:
    importlib.import_module(name)
from textdiff.pipeline.reports.page import KeyFigure, Page, Prose, Section, render
page = Page("evaluate", "Title", ("lead",), (KeyFigure("Dice", "0.5"),), (Section("a", "A", (Prose("words"),)),))
assert "<h2" in render(page)
assert "Zarr" in resources.files("textdiff.cache").joinpath("FORMAT.md").read_text(encoding="utf-8")
assert resources.files("textdiff").joinpath("py.typed").is_file()
assert not [name for name in names if name.split(".")[1] in ("tests", "benchmarks", "docs")]
print(len(names), metadata.version("textdiff"))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The scripts of an environment with the wheel, and with our environment's libraries behind it."""
    folder = tmp_path_factory.mktemp("packaging")
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, folder / "source" / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix in (".py", ".typed", ".cfg", ".toml", ".md", ""):
            shutil.copy(path, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, folder / "source"]
    subprocess.run([*pip, *build], check=True)
    shutil.rmtree(folder / "source")
    venv.create(folder / "venv", with_pip=False)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = folder.glob("textdiff-*.whl")
    target = ["--python", scripts / "python"]
    subprocess.run([*pip, *target, "install", "--no-deps", "--no-index", wheel], check=True)
    (libraries,) = (folder / "venv").rglob("site-packages")
    # Read after the wheel; the editable installation of ours, a .pth there, is not.
    (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return scripts


def run(*command) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folder = Path(command[0]).parent
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_has_every_module_and_file(installed, setup_cfg):
    n_modules, version = run(installed / "python", "-c", IN_THE_WHEEL).split()
    ours = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    assert int(n_modules) == len(ours) + len({"cli", "errors", "__main__"})
    assert version == setup_cfg["metadata"]["version"]


@pytest.mark.slow
def test_the_wheel_brings_the_command(installed):
    assert "extract-features" in run(installed / "textdiff", "--help")
