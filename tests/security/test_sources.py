"""From the syntax trees of everything that is installed: what is never imported, called or left at its default."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    path
    for folder in ("", "cache", "stages", "pipeline")
    for path in sorted((ROOT / folder).glob("**/*.py" if folder else "*.py"))
]
NEVER_IMPORTED = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "input"}
SHELLS = {"subprocess", "os.system", "os.popen"}
CHILDREN = ROOT / "pipeline" / "labelling" / "data_set" / "children.py"
"""The one module that starts processes: commands of textdiff."""


def calls(path):
    """Dotted names of what a module calls, each with the call."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def keywords(call):
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.slow
def test_no_module_imports_what_runs_data_or_calls_what_runs_text():
    assert len(MODULES) > 100
    for path in MODULES:
        assert set(imported(path)) & NEVER_IMPORTED == set(), path
        assert {name for name, _ in calls(path)} & NEVER_CALLED == set(), path
        started = ({name for name, _ in calls(path)} | set(imported(path))) & SHELLS
        assert started == ({"subprocess"} if path == CHILDREN else set()), path


def test_the_module_that_starts_processes_starts_textdiff_alone_and_no_shell():
    started = [call for name, call in calls(CHILDREN) if name.startswith("subprocess.")]
    assert [ast.unparse(call.func) for call in started] == ["subprocess.Popen"]
    assert "shell" not in keywords(started[0])
    assert "arguments = [sys.executable, '-m', __package__.partition('.')[0], *shlex.split(command)[1:]]" in {
        ast.unparse(node) for node in ast.walk(ast.parse(CHILDREN.read_text(encoding="utf-8")))
    }


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("torch.load", {"weights_only": "True"}),
        ("np.load", {"allow_pickle": "False"}),
        ("AutoModel.from_pretrained", {"trust_remote_code": "False", "local_files_only": "True"}),
        ("AutoTokenizer.from_pretrained", {"trust_remote_code": "False", "local_files_only": "True"}),
        ("model_class.from_pretrained", {"local_files_only": "True"}),
        ("open_clip.create_model", {"weights_only": "True"}),
    ],
)
def test_libraries_are_told_to_be_careful(ending, told):
    found = [call for path in MODULES for name, call in calls(path) if name.endswith(ending)]
    assert found or ending == "np.load"
    for call in found:
        assert told.items() <= keywords(call).items(), ast.unparse(call)


def test_text_models_run_no_code_of_theirs():
    found = [call for path in MODULES if path.parent.name == "text" for name, call in calls(path)]
    (call,) = [call for call in found if ast.unparse(call.func) == "model_class.from_pretrained"]
    assert keywords(call)["weights_only"] == "True"
    assert "'trust_remote_code': False" in ast.unparse(call)
