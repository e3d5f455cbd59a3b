"""A file that is lacking, too much or changed is named, with the file to mend."""

import io
import tarfile
import zipfile

import pytest


@pytest.fixture
def check(load_script):
    module = load_script("check_files")
    if not (module.ROOT / ".git").exists():
        pytest.skip("an unpacked sdist has no git to compare it with")
    return module


def write_sdist(folder, files):
    with tarfile.open(folder / "textdiff-0.1.0.tar.gz", "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"textdiff-0.1.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_wheel(folder, files):
    with zipfile.ZipFile(folder / "textdiff-0.1.0-py3-none-any.whl", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.fixture
def sources(check):
    return {name: (check.ROOT / name).read_bytes() for name in check.files_in_git() if (check.ROOT / name).exists()}


@pytest.fixture
def modules(check):
    return {name: path.read_bytes() for name, path in check.files_of_the_package().items()}


def without(files, name):
    return {one: data for one, data in files.items() if one != name}


def test_archives_of_all_files_pass(check, tmp_path, sources, modules, capsys):
    write_sdist(tmp_path, sources | {"PKG-INFO": b"", "setup.cfg": b"", "textdiff.egg-info/SOURCES.txt": b""})
    write_wheel(tmp_path, modules | {"textdiff-0.1.0.dist-info/METADATA": b""})
    assert check.main(tmp_path) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda files: without(files, "docs/data.md"), "lacks docs/data.md: mend MANIFEST.in"),
        (lambda files: files | {".ci/run": b""}, "holds .ci/run, which should not be there: mend MANIFEST.in"),
        (lambda files: files | {"LICENSE": b""}, "LICENSE differs from the file here: build anew"),
    ],
)
def test_the_file_that_an_sdist_has_wrong_is_named(check, tmp_path, sources, change, line):
    write_sdist(tmp_path, change(sources))
    (problem,) = check.problems_of_sdist(tmp_path / "textdiff-0.1.0.tar.gz")
    assert problem == f"textdiff-0.1.0.tar.gz {line}"


def test_package_data_belong_in_the_wheel_and_tests_do_not(check, tmp_path, modules):
    files = without(modules, "textdiff/py.typed") | {"textdiff/tests/conftest.py": b""}
    write_wheel(tmp_path, files)
    lacking, too_much = check.problems_of_wheel(tmp_path / "textdiff-0.1.0-py3-none-any.whl")
    assert "lacks textdiff/py.typed: mend setup.cfg" in lacking
    assert "holds textdiff/tests/conftest.py, which should not be there" in too_much


def test_a_folder_with_anything_else_is_refused(check, tmp_path, capsys):
    (tmp_path / "textdiff-0.0.9.tar.gz").touch()
    assert check.main(tmp_path) == 1
    assert "empty it and build anew" in capsys.readouterr().out
