"""What is tried of a wheel is what setup.cfg names."""

import importlib.util
import re
from pathlib import Path

RELEASE = Path(__file__).resolve().parents[2] / "release"


def test_every_extra_for_users_is_tried_and_its_libraries_have_the_names_that_are_imported(load_script):
    extras = load_script("try_wheel").EXTRAS
    listed = load_script("check_files").settings()["options.extras_require"]
    assert {*extras, "dev"} == set(listed)
    for extra in set(extras) - {"baselines", "bench", "gs"}:  # which development does without
        for name in extras[extra]:
            assert importlib.util.find_spec(name), f"{extra}: {name}"


def test_every_extra_is_tried_before_a_release(load_script):
    makefile = (RELEASE.parent / "Makefile").read_text(encoding="utf-8")
    (locked,), (others,) = (re.findall(rf"^{name} := (.*)$", makefile, re.MULTILINE) for name in ("LOCKED", "EXTRAS"))
    assert sorted([*locked.split(), *others.split()[1:]]) == sorted(load_script("try_wheel").EXTRAS)


def test_what_makes_python_find_the_repository_is_not_handed_on(load_script, monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/somewhere")
    kept = load_script("try_wheel").environment_without_ours()
    assert "/somewhere" not in kept.values()
    assert "PATH" in kept
