"""Ids, texts and names from strangers are shown in reports and pictures, and never run."""

import hashlib
import json
from dataclasses import replace

import pytest

from textdiff.cache.format.manifest import COPY, MANIFEST
from textdiff.cache.format.samples import TABLE
from textdiff.cache.format.sealed_json import sealed_json
from textdiff.pipeline.ablation.ablate import ablate_timesteps
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.config.evaluation import EvaluateConfig, SuggestConfig
from textdiff.pipeline.config.prediction import ExplainConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.evaluation.suggest import suggest
from textdiff.pipeline.explanation.explain import explain
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.training.train import train_head

pytestmark = pytest.mark.slow

HOSTILE = """</script></title><script>alert(1)</script><img src=x onerror="alert(1)">'{{ 7*7 }}&lt; $\\frac{$ """
TEXT = "round <script>alert(1)</script> $\\frac{$"
"""Short enough for the tests' encoder."""


@pytest.fixture
def hostile(extraction):
    """A cache whose every id, group, stratum, text and class name is hostile, as somebody would make it by hand."""
    folder = extraction.data.parent
    (folder / "classes.json").write_text(json.dumps({"classes": {"0": "rest", "255": HOSTILE}}))
    for name in ("train0", "val1"):
        (folder / f"{name}_mask.png").write_bytes((folder / "train1_mask.png").read_bytes())
    lines = extraction.data.read_text(encoding="utf-8").replace("train3_mask.png", "")
    extraction.data.write_text(lines, encoding="utf-8")
    extract_features(extraction)
    table = json.loads((extraction.cache / TABLE).read_bytes())
    table["root"] = HOSTILE
    table["texts"] = [f"{TEXT}{place}" for place in range(len(table["texts"]))]
    for place, sample in enumerate(table["samples"]):
        for field in ("id", "parent", "group", "image", "stratum"):
            sample[field] = f"{HOSTILE}{place % 3 if field == 'stratum' else place}"
    content = json.dumps(table).encode()
    (extraction.cache / TABLE).write_bytes(content)
    manifest = json.loads((extraction.cache / MANIFEST).read_bytes())
    manifest["digests"]["samples"] = hashlib.sha256(content).hexdigest()
    for name in (MANIFEST, COPY):
        (extraction.cache / name).write_bytes(sealed_json(manifest))
    return extraction.cache


def check(path, check_page):
    """The page is whole, and has no script, handler or frame but its own."""
    html = path.read_text(encoding="utf-8")
    tree = check_page(html)
    assert len(tree.of("script")) == 1
    assert tree.of("iframe") == tree.of("object") == []
    assert [name for _, found in tree.tags for name in found if name.startswith("on")] == []
    assert "alert(1)" in html  # it is shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert" not in html


def test_reports_show_what_strangers_wrote_and_run_none_of_it(hostile, extraction, tmp_path, check_page):
    run = tmp_path / "run"
    train_head(TrainConfig(hostile, run, head="pixel", text="true", epochs=2, device="cpu"))
    check(run / "report.html", check_page)
    evaluate(EvaluateConfig(run, hostile, split="val", words=True, device="cpu"))
    (page,) = (run / "evaluations").glob("*.html")
    check(page, check_page)
    ablate_timesteps(AblateConfig(hostile, tmp_path / "ablation", seeds=(0,), epochs=1, device="cpu"))
    check_page((tmp_path / "ablation" / "report.html").read_text(encoding="utf-8"))
    suggest(SuggestConfig(hostile, run, out=tmp_path / "next", device="cpu"))
    image = extraction.data.parent / "test0.png"
    explain(ExplainConfig(run, image, TEXT, versus=TEXT + "!", out=tmp_path / "explanation", device="cpu"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ablation",
        "cache",
        "data",
        "explanation",
        "next",
        "run",
    ]


def test_a_run_may_be_called_anything(hostile, tmp_path, check_page):
    run = tmp_path / "<script>alert(1)<" / "script> $x^$"
    train_head(TrainConfig(hostile, run, head="pixel", text="true", epochs=1, device="cpu"))
    check(run / "report.html", check_page)
    evaluate(replace(EvaluateConfig(run, hostile), split="val", device="cpu"))
