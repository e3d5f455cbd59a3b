"""What is committed of the page is what its sources give; no file of it names a registry or another place."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[4] / "pipeline" / "labelling" / "web"
BUILT = WEB / "built"
NODE = shutil.which("node") and shutil.which("npm")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(*command, cwd):
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The page's folder without anything that is built, with its libraries installed anew."""
    if not NODE:
        if os.environ.get("TEXTDIFF_REQUIRE_BROWSER") == "1":
            pytest.fail(
                "node and npm are missing, and TEXTDIFF_REQUIRE_BROWSER=1 asks for them; install nodejs and npm"
            )
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("page") / "web"
    shutil.copytree(WEB, folder, ignore=shutil.ignore_patterns("node_modules", "built"))
    code, said = run("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    assert code == 0, said
    return folder


@pytest.mark.slow
def test_the_sources_are_strict_typescript(fresh):
    assert json.loads((fresh / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True
    assert run("npm", "run", "--silent", "check", cwd=fresh) == (0, "")


@pytest.mark.slow
def test_a_fresh_build_gives_the_committed_bytes(fresh):
    assert run("npm", "run", "--silent", "build", cwd=fresh) == (0, "")
    built, committed = contents(fresh / "built"), contents(BUILT)
    assert {*built} == {*committed}
    assert [name for name in built if built[name] != committed[name]] == [], "run `make web` and commit what it wrote"


@pytest.mark.slow
def test_a_library_with_another_digest_is_not_built_in(fresh):
    vendored = json.loads((fresh / "vendored.json").read_text())["openseadragon"]
    file = fresh / "node_modules" / "openseadragon" / vendored["file"]
    before = file.read_bytes()
    try:
        file.write_bytes(before + b"\n")
        code, said = run("npm", "run", "build", cwd=fresh)
    finally:
        file.write_bytes(before)
    assert code != 0
    assert re.search(rf"its digest is \w+, and vendored.json expects {vendored['sha256']}", said)


def test_the_lock_file_names_no_registry():
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert all(package["integrity"].startswith("sha512-") for name, package in lock["packages"].items() if name)


def test_each_library_is_fixed_to_one_version_with_its_licence():
    package, vendored = (json.loads((WEB / name).read_text()) for name in ("package.json", "vendored.json"))
    assert package["dependencies"] == {name: one["version"] for name, one in vendored.items()}
    assert all(re.fullmatch(r"[\d.]+", version) for version in package["devDependencies"].values())
    for name in vendored:
        assert "Redistribution and use" in (BUILT / "licences" / f"{name}.txt").read_text()


def test_the_page_holds_nothing_that_its_policy_forbids():
    page = (BUILT / "index.html").read_text()
    assert not re.search(r"\s(style|on\w+)=|javascript:|<style", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/assets/app.js" defer>']
    assert not re.search(r"https?://", page + (BUILT / "app.css").read_text())
    assert not re.search(r"\beval\(|new Function\(", (BUILT / "app.js").read_text())
    assert {re.match(r"[\w-]+", address)[0] for address in re.findall(r'(?:href|src)="/?([^"#][^"]*)"', page)} == {
        "assets"
    }


def test_every_element_that_the_sources_ask_for_is_on_the_page():
    page = (BUILT / "index.html").read_text()
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len({*ids})
    sources = "\n".join(path.read_text() for path in (WEB / "source").rglob("*.ts"))
    wanted = {*re.findall(r'byId\("([^"]+)"', sources), *re.findall(r'bindSlider\("([^"]+)"', sources)}
    assert len(wanted) > 40
    assert wanted <= {*ids}
    assert {*re.findall(r'for="([^"]+)"|aria-labelledby="([^"]+)"', page)} <= {(one, "") for one in ids} | {
        ("", one) for one in ids
    }
    assert {*re.findall(r'href="#([^"]+)"', page)} <= {*ids}
