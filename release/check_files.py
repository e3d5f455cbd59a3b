"""Checks that the sdist holds every file that git knows, and the wheel what setup.cfg lists, byte by byte.

python release/check_files.py dist
"""

from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_IN_THE_SDIST = (".ci/", ".gitignore", ".pre-commit-config.yaml")
"""CI's own files; they make no sense outside of the repository."""
WRITTEN_BY_SETUPTOOLS = ("PKG-INFO", "setup.cfg", "textdiff.egg-info/")


def settings() -> configparser.ConfigParser:
    """setup.cfg."""
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def files_in_git() -> set[str]:
    """Files in git's index, CI's own left out."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if not name.startswith(NOT_IN_THE_SDIST)}


def files_of_the_package() -> dict[str, Path]:
    """Name in the wheel → file here: modules and package data of setup.cfg's packages."""
    setup = settings()
    folders = {name: ROOT.joinpath(*name.split(".")[1:]) for name in setup["options"]["packages"].split()}
    patterns = {name: text.split() for name, text in setup["options.package_data"].items()}
    return {
        f"{name.replace('.', '/')}/{path.relative_to(folder).as_posix()}": path
        for name, folder in folders.items()
        for pattern in ("*.py", *patterns.get(name, ()))
        for path in folder.glob(pattern)
        if path.is_file()
    }


def contents_of_sdist(path: Path) -> dict[str, bytes]:
    """File → content, without the folder that the archive begins with."""
    with tarfile.open(path) as archive:
        files = [member for member in archive if not member.isdir()]
        return {member.name.partition("/")[2]: archive.extractfile(member).read() for member in files}  # type: ignore[union-attr]


def contents_of_wheel(path: Path) -> dict[str, bytes]:
    """File → content, without the folder of metadata."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def differences(held: Mapping[str, bytes], wanted: Mapping[str, Path], remedy: str) -> Iterator[str]:
    """One line for each file that is lacking, too much, or of other bytes."""
    yield from (f"lacks {name}: {remedy}" for name in sorted(wanted.keys() - held.keys()))
    yield from (f"holds {name}, which should not be there: {remedy}" for name in sorted(held.keys() - wanted.keys()))
    shared = sorted(held.keys() & wanted.keys())
    yield from (
        f"{name} differs from the file here: build anew" for name in shared if held[name] != wanted[name].read_bytes()
    )


def problems_of_sdist(path: Path) -> list[str]:
    """Problems of the sdist; setup.cfg's bytes are setuptools', its settings are compared by the wheel."""
    held = {name: data for name, data in contents_of_sdist(path).items() if not name.startswith(WRITTEN_BY_SETUPTOOLS)}
    wanted = {name: ROOT / name for name in files_in_git() if not name.startswith(WRITTEN_BY_SETUPTOOLS)}
    return [f"{path.name} {line}" for line in differences(held, wanted, "mend MANIFEST.in")]


def problems_of_wheel(path: Path) -> list[str]:
    """Problems of the wheel, which was built from the sdist."""
    held, wanted = contents_of_wheel(path), files_of_the_package()
    return [f"{path.name} {line}" for line in differences(held, wanted, "mend setup.cfg")]


def main(dist: str) -> int:
    """Print what is wrong with the one sdist and the one wheel in a folder; 1 if anything is."""
    version = settings()["metadata"]["version"]
    names = {path.name for path in Path(dist).iterdir()}
    sdist, wheel = f"textdiff-{version}.tar.gz", f"textdiff-{version}-py3-none-any.whl"
    if names != {sdist, wheel}:
        print(f"{dist} holds {sorted(names)}; expected {sdist} and {wheel} alone: empty it and build anew")
        return 1
    problems = [*problems_of_sdist(Path(dist, sdist)), *problems_of_wheel(Path(dist, wheel))]
    print("\n".join(problems) or f"{sdist} and {wheel}: every file is as it is here")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
