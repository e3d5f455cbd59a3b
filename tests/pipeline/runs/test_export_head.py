"""`export-head`: the file under onnxruntime against the head, on what a cache holds; what is refused; what is left."""

import functools
import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from textdiff import __version__
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage import atomic
from textdiff.errors import ConfigError, RunError
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.config.prediction import ExportHeadConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.runs import export_head as exporting
from textdiff.pipeline.runs.compatibility import open_as_trained
from textdiff.pipeline.runs.export_head import export_head
from textdiff.pipeline.runs.head_graph import HeadGraph
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.train import train_head

pytestmark = pytest.mark.slow
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CONDITIONS = {
    "pixel": ({}, {"head": "pixel"}),
    "context, two members": ({"dtype": "float32"}, {"head": "context", "ensemble": 2}),
    "pixel on tiles in views, three members": (
        {"tile": 16, "tile_overlap": 6, "views": 4, "views_of": "all"}, {"head": "pixel", "ensemble": 3}
    ),
    "context on tiles": ({"tile": 16, "tile_overlap": 6, "dtype": "float32"}, {"head": "context"}),
    "components in eight bits": ({"pca": 4, "dtype": "int8"}, {"head": "context"}),
    "pixel in eight bits": ({"dtype": "int8"}, {"head": "pixel"}),
    "no text, no filters, one block": ({}, {"head": "pixel", "text": "none", "filters": False, "blocks": (3,)}),
    "no position": ({}, {"head": "context", "position": False}),
    "filters alone": ({"encoder": ("{tiny_timm}",)}, {"head": "pixel", "sources": ("filters",)}),
    "an encoder beside the UNet": ({"encoder": ("{tiny_timm}",)}, {"head": "context"}),
}  # fmt: skip
"""How the cache is made, and how the head is trained."""


@dataclass(frozen=True)
class Exported:
    """A run, its cache, and its head as a file."""

    folder: Path
    file: Path
    reader: FeatureReader
    config: RunConfig
    result: exporting.HeadExport

    @property
    def session(self):
        return onnxruntime.InferenceSession(self.file, providers=["CPUExecutionProvider"])

    def arrays(self, row, n_tokens=None):
        """A row's inputs, read from the cache under the names of its arrays."""
        found = {}
        for block, timestep in self.config.pairs:
            name = f"encoders/{block}" if isinstance(block, str) else f"features/{block}/{timestep}"
            stored = self.reader.stored(block, timestep, row.row)
            found[name] = stored.values
            if stored.scales is not None:
                found[f"scales/{block}/{timestep}" if isinstance(block, int) else f"scales/{block}"] = stored.scales
        if self.config.filters:
            found["filters"] = self.reader.filters(row.row)
        if self.config.text != "none":
            tokens, mask = self.reader.texts()
            of_row = slice(None, n_tokens)
            found["texts/tokens"] = tokens[row.text or 0][of_row]
            found["texts/mask"] = mask[row.text or 0][of_row] & (row.text is not None)
        if self.config.head.position:
            data = open_as_trained(self.config, self.reader, self.config.text, "cpu")
            found["region"] = np.array(data.region(row), np.float32)
        return {name: np.array(array) for name, array in found.items()}

    def probabilities(self, arrays):
        return self.session.run(["probabilities"], arrays)[0]


def write_run(folder, data, models, cached, trained):
    cache = folder / "cache"
    cached = {"unet": models["unet"], "text_encoder": models["text"], **cached}
    cached["encoder"] = tuple(one.format(**models) for one in cached.get("encoder", ()))
    extract_features(
        ExtractConfig(data, cache, timesteps=(50, 150), blocks=(1, 3), image_size=16, batch_size=2, device="cpu",
                      **cached)
    )  # fmt: skip
    settings = {"text": "true", "epochs": 2, "width": 16, "n_attention_heads": 2, "device": "cpu", **trained}
    train_head(TrainConfig(cache, folder / "run", **settings))
    return folder / "run"


@pytest.fixture(scope="module")
def models(tiny_unet, tiny_encoder, tiny_timm):
    return {"unet": f"diffusers:{tiny_unet}", "text": f"hf:{tiny_encoder}", "tiny_timm": tiny_timm}


@pytest.fixture(scope="module")
def export_once(tmp_path_factory, write_tiny_data, models):
    """Gives `export_once(name)`: the exported head of a condition, which is trained when it is first asked for."""

    @functools.cache
    def export(name):
        folder = tmp_path_factory.mktemp("exported")
        run = write_run(folder, write_tiny_data(folder), models, *CONDITIONS[name])
        result = export_head(ExportHeadConfig(run, folder / "head.onnx"))
        return Exported(run, result.out, FeatureReader(folder / "cache"), RunConfig.read(run), result)

    return export


@pytest.fixture(scope="module", params=CONDITIONS)
def exported(request, export_once):
    return export_once(request.param)


def test_probabilities_are_those_of_the_head(exported):
    rows = [row for row in exported.reader.samples if row.parent in ("train2", "train3", "test0")]
    assert {row.text is None for row in rows} == {True, False}
    head = load_head(exported.folder, exported.config, "cpu")
    head.precision = "float32"
    data = open_as_trained(exported.config, exported.reader, exported.config.text, "cpu")
    found = []
    for row, x in zip(rows, data.inputs(rows), strict=True):
        arrays = exported.arrays(row)
        found.append(exported.probabilities(arrays))
        expected = head.segment(x).softmax(1).mean(0).numpy()
        np.testing.assert_allclose(found[-1], expected, atol=1e-5, rtol=0)
        assert found[-1].shape == (2, 16, 16)
    assert np.abs(found[0] - found[-1]).max() > 1e-4
    assert exported.result.largest_difference < 1e-5


def test_texts_may_be_of_any_length(exported):
    if exported.config.text == "none":
        assert "texts/tokens" not in {one.name for one in exported.session.get_inputs()}
        return
    row = next(row for row in exported.reader.samples if row.text is not None)
    whole = exported.arrays(row)
    padded = {
        "texts/tokens": np.pad(whole["texts/tokens"], ((0, 40), (0, 0)), constant_values=7),
        "texts/mask": np.pad(whole["texts/mask"], (0, 40)),
    }
    expected = exported.probabilities(whole)
    np.testing.assert_allclose(exported.probabilities(whole | padded), expected, atol=1e-6)
    n_read = int(whole["texts/mask"].sum())
    np.testing.assert_allclose(exported.probabilities(exported.arrays(row, n_read)), expected, atol=1e-6)
    one = exported.probabilities(exported.arrays(row, 1))
    absent = exported.probabilities(whole | {"texts/mask": np.zeros_like(whole["texts/mask"])})
    assert np.abs(one - absent).max() > 1e-6


def test_the_file_says_what_it_is_and_nothing_of_this_machine(exported):
    about = exported.session.get_modelmeta().custom_metadata_map
    config = exported.config
    assert about["textdiff_version"] == __version__
    assert json.loads(about["classes"]) == ["background", "foreground"]
    assert json.loads(about["mask_values"]) == [0, 255]
    assert json.loads(about["blocks"]) == list(config.blocks)
    assert json.loads(about["timesteps"]) == (list(config.timesteps) if config.blocks else [])
    assert json.loads(about["layers"]) == list(config.layers)
    assert json.loads(about["image_size"]) == 16
    assert json.loads(about["n_members"]) == config.train["ensemble"]
    assert about["command"].startswith("textdiff export-head ")
    digests = json.loads(about["digests"])
    assert digests["cache"] == dict(config.digests)
    assert digests["text_encoder"] == config.texts.encoder_digest
    declared = [one.name for one in exported.session.get_inputs()]
    assert [one["name"] for one in json.loads(about["inputs"])] == declared == list(exported.arrays(row_of(exported)))
    model = onnx.load(exported.file)
    onnx.checker.check_model(model, full_check=True)
    assert {one.domain for one in model.opset_import} == {""}
    del model.metadata_props[:]
    assert str(Path(__file__).resolve().parents[3]).encode() not in model.SerializeToString()
    assert b".py" not in model.SerializeToString()


def row_of(exported):
    return exported.reader.samples[0]


def test_arrays_of_another_kind_are_refused(exported):
    arrays = exported.arrays(row_of(exported))
    name = next(iter(arrays))
    with pytest.raises(Exception, match="type"):
        exported.probabilities({**arrays, name: arrays[name].astype(np.float64)})
    with pytest.raises(Exception, match="dim"):
        exported.probabilities({**arrays, name: arrays[name][..., :1]})


@pytest.fixture(scope="module")
def run(export_once):
    """A run that no test changes."""
    return export_once("pixel").folder


@pytest.fixture(scope="module")
def traced(export_once):
    """Its head as `to_onnx` gives it."""
    model = onnx.load(export_once("pixel").file)
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    return model


@pytest.fixture
def traced_before(traced, monkeypatch):
    """Take the graph that is there already."""

    def copy(graph, config):
        model = onnx.ModelProto()
        model.CopyFrom(traced)
        return model

    monkeypatch.setattr(exporting, "to_onnx", copy)


def test_the_same_head_gives_the_same_bytes(run, traced):
    config = RunConfig.read(run)
    again = exporting.to_onnx(HeadGraph(load_head(run, config, "cpu"), config), config)
    assert again.SerializeToString(deterministic=True) == traced.SerializeToString(deterministic=True)


@pytest.mark.usefixtures("traced_before")
def test_the_result_lists_the_inputs(run, tmp_path):
    result = export_head(ExportHeadConfig(run, tmp_path / "new" / "head.onnx"))
    assert result.size_bytes == result.out.stat().st_size
    first, *others = result.lines()
    assert str(result.out) in first
    assert "differ from the head's by at most" in first
    assert others[0].startswith("  features/1/50: float16 [y_1, x_1, ")
    assert others[-1].startswith("  region: float32 [4], top, left, height and width")
    assert json.loads(json.dumps(result.to_dict()))["out"] == str(result.out)


@pytest.mark.usefixtures("traced_before")
def test_a_head_trained_in_bfloat16_is_written_in_float32(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["train"]["precision"] = "bfloat16"
    (copy / "config.json").write_bytes(atomic.canonical_json(config, indent=1))
    assert export_head(ExportHeadConfig(copy, tmp_path / "head.onnx")).largest_difference < 1e-5


def test_another_kind_of_head_is_refused(tmp_path, write_tiny_data, models):
    run = write_run(tmp_path, write_tiny_data(tmp_path), models, {}, {"head": "paper", "epochs": 1})
    expected = r"got a head of kind paper, .*; expected pixel or context: train one with `textdiff train-head --head pi"
    with pytest.raises(RunError, match=expected):
        export_head(ExportHeadConfig(run, tmp_path / "head.onnx"))


def test_a_file_in_the_way_is_kept(run, tmp_path):
    out = tmp_path / "head.onnx"
    out.write_bytes(b"mine")
    with pytest.raises(RunError, match=r"head.onnx: exists; give a new name, or remove it"):
        export_head(ExportHeadConfig(run, out))
    assert out.read_bytes() == b"mine"


def test_another_name_or_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--out got .*head.pt.*; expected a name that ends in .onnx"):
        ExportHeadConfig(tmp_path, tmp_path / "head.pt")
    with pytest.raises(RunError, match="no run here"):
        export_head(ExportHeadConfig(tmp_path, tmp_path / "head.onnx"))


def test_absent_libraries_are_named(run, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name.startswith("onnxr") else find(name))
    with pytest.raises(ConfigError, match=r"needs onnxruntime: pip install 'textdiff\[onnx\]'"):
        export_head(ExportHeadConfig(run, tmp_path / "head.onnx"))


@pytest.mark.usefixtures("traced_before")
def test_a_graph_that_differs_is_not_written(run, tmp_path, monkeypatch):
    segment = torch.Tensor.softmax
    monkeypatch.setattr(exporting, "_of_head", lambda graph, arrays: segment(torch.ones(2, 16, 16), 0))
    with pytest.raises(RunError, match=r"differ from the head's by .*; expected at most 1e-04; nothing was written"):
        export_head(ExportHeadConfig(run, tmp_path / "head.onnx"))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("traced_before")
def test_interrupted_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_write_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_head(ExportHeadConfig(run, tmp_path / "head.onnx"))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("traced_before")
def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_write_all", full)
    with pytest.raises(OSError, match="No space left"):
        export_head(ExportHeadConfig(run, tmp_path / "head.onnx"))
    assert [*tmp_path.iterdir()] == []
