"""setup.cfg names every folder and file of the package; what is built of it is checked by `make package`."""

import configparser
from fnmatch import fnmatch
from pathlib import Path

import pytest

from textdiff import __version__

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


def test_the_version_is_the_same_in_every_file(setup_cfg):
    assert setup_cfg["metadata"]["version"] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
