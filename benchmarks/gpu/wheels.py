"""Wheels that a machine lacks: textdiff's needs and theirs, less those that are there, fetched one by one with pip."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.12"
MACHINE = {
    "python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "implementation_name": "cpython",
    "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix", "extra": "",
}  # fmt: skip
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 36)))
FOR_TESTS = ("pytest",)


def read_names(path: Path) -> set[str]:
    """Names of a list, one a line, normalised; `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {normalised(line) for line in lines if line}


def normalised(name: str) -> str:
    """As indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lacking(present: Collection[str]) -> dict[str, str]:
    """Distributions that a machine lacks, textdiff's own needs first, with their versions here.

    Args:
        present: normalised names of those that it has; their needs are there too, and are not asked for.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    own = [*setup["options"]["install_requires"].split("\n"), *FOR_TESTS]
    needs = [Requirement(line) for line in own if line]
    return with_needs([need.name for need in needs if applies(need)], {*present, *with_needs(["torch"], ())})


def with_needs(names: Iterable[str], present: Collection[str]) -> dict[str, str]:
    """Absent ones among distributions and their needs, breadth first, with versions ("": not installed here)."""
    waiting, found = [normalised(name) for name in names], dict[str, str]()
    for name in waiting:  # grows
        if name in found or name in present:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
            continue
        found[name] = distribution.version
        needs = [Requirement(line) for line in distribution.requires or ()]
        waiting += [normalised(need.name) for need in needs if applies(need)]
    return found


def applies(need: Requirement) -> bool:
    """Whether the machine needs it, extras left out."""
    return need.marker is None or need.marker.evaluate(MACHINE)


def fetch(wanted: Mapping[str, str], folder: Path, limit_bytes: float) -> dict[str, str]:
    """Download the wheels that the folder lacks; those left out, each with the reason.

    Args:
        wanted: name → version, the most needed first; "": any.
        folder: where wheels of an earlier call may stand.
        limit_bytes: of all together; a wheel beyond it is removed again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left_out = dict[str, str]()
    for name, version in wanted.items():
        if not wheel_of(name, folder) and (problem := download(name, version, folder)):
            left_out[name] = problem
        elif (size := sum(one.stat().st_size for one in folder.iterdir())) > limit_bytes:
            wheel = wheel_of(name, folder)
            left_out[name] = f"its {wheel.stat().st_size / 1e6:.1f} MB make {size / 1e6:.1f} MB of wheels"
            wheel.unlink()
    return left_out


def wheel_of(name: str, folder: Path) -> Path | None:
    """The wheel of a distribution."""
    return next((one for one in folder.glob("*.whl") if normalised(one.name.split("-")[0]) == name), None)


def download(name: str, version: str, folder: Path) -> str:
    """Fetch one wheel, of this version or else of any; "" or the reason why there is none."""
    told = ""
    for asked in dict.fromkeys((f"{name}=={version}" if version else name, name)):
        flags = [flag for platform in PLATFORMS for flag in ("--platform", platform)]
        command = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *command, *flags, "--dest", str(folder), asked],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return ""
        told = next(iter(done.stderr.strip().splitlines()[-1:]), f"pip ended with {done.returncode}")
    return told
