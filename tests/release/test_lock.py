"""requirements.lock agrees with setup.cfg, and says by digest and nothing else where a file comes from."""

import re
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
MEND = "run `make lock`"


@pytest.fixture(scope="module")
def text():
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def locked(text):
    """Normalised name → the requirements of that name, one for each kind of machine."""
    found = {}
    for line in re.findall(r"^\S.*(?= \\$)", text, re.MULTILINE):
        found.setdefault(normalised(Requirement(line).name), []).append(Requirement(line))
    return found


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(setup):
    """Requirements of the package and of the extras in the lock."""
    (extras,) = re.findall(r"^LOCKED := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    lines = setup["options"]["install_requires"].splitlines()
    for extra in extras.split():
        lines += setup["options.extras_require"][extra].splitlines()
    return [Requirement(line) for line in lines if line.strip()]


def test_every_requirement_has_a_version_in_its_range(load_script, locked):
    for requirement in wanted(load_script("check_files").settings()):
        pinned = locked.get(normalised(requirement.name), [])
        assert pinned, f"{requirement.name} is not locked: {MEND}"
        for pin in pinned:
            (version,) = (specifier.version for specifier in pin.specifier)
            assert requirement.specifier.contains(version), f"{pin} is outside of {requirement}: {MEND}"


def test_every_python_that_is_tried_finds_exactly_one_version(locked):
    for name, pinned in locked.items():
        for python in ("3.11.7", "3.12.1", "3.13.0"):
            here = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
            found = [pin for pin in pinned if applies(pin.marker, here)]
            assert len(found) <= 1, f"{name}: {MEND}"


def applies(marker: Marker | None, environment: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(environment)


def test_each_has_digests_and_no_address(text, locked):
    assert "://" not in text
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == sum(map(len, locked.values()))
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), block
