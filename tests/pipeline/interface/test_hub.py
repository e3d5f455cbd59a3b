"""A run handed on: the same bytes in a folder and by a hub; no sample, place or image that was not asked for."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_hub import TOKEN
from PIL import Image

import textdiff as td
from textdiff.errors import ConfigError, RunError
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.interface.model_card import model_card

BARE = {"README.md", "config.json", "head.safetensors", "metrics.jsonl", "summary.json"}


@pytest.fixture(scope="module")
def trained(_extracted, tmp_path_factory):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    out = tmp_path_factory.mktemp("secret") / "run"
    return td.train_head(_extracted.cache, out, head="pixel", text="true", epochs=2, device="cpu", **sizes)


@pytest.fixture
def run(trained, tmp_path):
    return td.open_run(shutil.copytree(trained.path, tmp_path / "secret" / "run"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_saved_run_is_an_ordinary_run_without_samples_and_places(run, tmp_path, tiny_unet, tiny_encoder):
    folder = run.save_pretrained(tmp_path / "out" / "head")
    files = files_of(folder)
    assert set(files) == BARE
    for name, content in files.items():
        found = re.findall(rb"(train|val|test)\d|%s|secret" % str(tmp_path.parents[1]).encode(), content)
        assert not found, (name, found)
    assert files["head.safetensors"] == (run.path / "head.safetensors").read_bytes()
    config = json.loads(files["config.json"])
    assert config["features"]["unet"] == f"diffusers:{tiny_unet.name}"
    assert config["texts"]["encoder"] == f"hf:{tiny_encoder.name}"
    assert config["samples"] == {}
    assert list(config["digests"]) == ["features"]
    saved = td.Run.from_pretrained(folder)
    assert (saved.path, saved.summary.val_dice, saved.summary.test["dice"]) == (
        folder,
        run.summary.val_dice,
        run.summary.test["dice"],
    )


def test_it_segments_and_scores_as_the_run_does(run, tmp_path, tiny_unet, tiny_encoder):
    saved = td.Run.from_pretrained(run.save_pretrained(tmp_path / "head"))
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    places = {"unet": f"diffusers:{tiny_unet}", "text_encoder": f"hf:{tiny_encoder}"}
    of_saved, of_run = (
        one.predict(image, "the nuclei are round")
        for one in (saved.segmenter(device="cpu", **places), run.segmenter(device="cpu"))
    )
    assert np.array_equal(of_saved.probabilities, of_run.probabilities)
    scores, expected = (one.evaluate(run.config.train["cache"], split="val", device="cpu") for one in (saved, run))
    assert scores.scores["dice"] == expected.scores["dice"]
    assert any("which" in line and "does not name" in line for line in scores.lines())
    assert "does not name" in scores.report.read_text(encoding="utf-8")


def test_without_its_cache_it_is_scored_on_none_that_is_not_given(run, tmp_path, monkeypatch):
    saved, cache = td.Run.from_pretrained(run.save_pretrained(tmp_path / "head")), run.config.train["cache"]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(cache, tmp_path / "cache")  # as every example names its own
    message = r"head: handed on without its cache; give cache=\.\.\. \(--cache CACHE\)"
    for score in (lambda: saved.evaluate(split="val"), lambda: td.compare(saved, run, split="val", device="cpu")):
        with pytest.raises(RunError, match=message):
            score()
    assert td.compare(saved, run, cache=cache, split="val", device="cpu").paired.difference == 0
    evaluation = saved.evaluate(cache, split="val", device="cpu")
    assert "textdiff train-head CACHE " in evaluation.report.read_text(encoding="utf-8")


def test_more_is_handed_on_where_it_is_asked_for(run, tmp_path):
    files = files_of(run.save_pretrained(tmp_path / "all", include=("samples", "places", "report")))
    assert set(files) == {*BARE, "report.html"}
    for name in ("config.json", "summary.json", "report.html"):
        assert files[name] == (run.path / name).read_bytes()
    samples = json.loads(files_of(run.save_pretrained(tmp_path / "samples", include=["samples"]))["config.json"])
    assert samples["samples"]["train"] == ["train0", "train1", "train2", "train3"]
    assert samples["train"]["cache"] is None
    assert set(files_of(run.save_pretrained(tmp_path / "report", include="report"))) == {*BARE, "report.html"}
    with pytest.raises(ConfigError, match=r"include got sample; expected any of samples, places, report"):
        run.save_pretrained(tmp_path / "none", include=["sample"])


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    before = files_of(run.path)
    with pytest.raises(RunError, match=r"is there already; give a new name"):
        run.save_pretrained(run.path)
    assert files_of(run.path) == before


def test_pushed_and_fetched_it_has_the_same_bytes(run, fake_hub, tmp_path):
    address = run.push_to_hub("clinic/nuclei", token=TOKEN, licence="mit", message="The first head")
    assert address == f"{fake_hub.address}/clinic/nuclei/commit/{fake_hub.sha('clinic/nuclei')}"
    assert fake_hub.private == {"clinic/nuclei"}
    assert fake_hub.messages == ["The first head"]
    fetched = td.Run.from_pretrained("clinic/nuclei", token=TOKEN)
    assert files_of(fetched.path) == fake_hub.files["clinic/nuclei"]
    assert 'from_pretrained("clinic/nuclei")' in fake_hub.files["clinic/nuclei"]["README.md"].decode()
    # Handed on once more it is the same, its card included.
    assert files_of(fetched.save_pretrained(tmp_path / "again")) == fake_hub.files["clinic/nuclei"]
    fake_hub.asked.clear()
    assert td.Run.from_pretrained("clinic/nuclei", offline=True).path == fetched.path
    assert fake_hub.asked == []


def test_other_files_of_a_repository_are_not_fetched(run, fake_hub):
    run.push_to_hub("clinic/nuclei", token=TOKEN, private=False)
    fake_hub.files["clinic/nuclei"] |= {"setup.py": b"import os", "model.bin": b"pickle", "more/config.json": b"{}"}
    fetched = td.Run.from_pretrained("clinic/nuclei")
    assert {path.name for path in fetched.path.rglob("*")} == BARE


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("clinic/none", {}, r"clinic/none: no folder, and .* has no such repository .*token"),
        ("clinic/nuclei", {"token": "hf_other"}, r"clinic/nuclei: no folder, and .* does not show it; check .*token"),
        ("clinic/nuclei", {"token": TOKEN, "revision": "v9"}, r"has no such revision of it"),
        ("clinic/nuclei", {"offline": True}, r"not on this machine, and .* repeat the call"),
        ("no name at all", {}, r"neither a folder with a run nor OWNER/NAME of a repository"),
    ],
)
def test_what_cannot_be_fetched_is_one_error(run, fake_hub, name, settings, message):
    run.push_to_hub("clinic/nuclei", token=TOKEN)
    with pytest.raises(RunError, match=message) as error:
        td.Run.from_pretrained(name, **settings)
    assert "\n" not in str(error.value)


def test_an_interrupted_download_is_one_error_and_goes_on_when_it_is_repeated(run, fake_hub, monkeypatch):
    run.push_to_hub("clinic/nuclei", token=TOKEN)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    fake_hub.cut_off = "head.safetensors"
    with pytest.raises(RunError, match=r"clinic/nuclei: the exchange with .* failed .*repeat the call") as error:
        td.Run.from_pretrained("clinic/nuclei", token=TOKEN)
    assert "\n" not in str(error.value)
    fake_hub.cut_off = None
    assert files_of(td.Run.from_pretrained("clinic/nuclei", token=TOKEN).path) == fake_hub.files["clinic/nuclei"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves a folder to the end
@pytest.mark.parametrize(
    ("name", "settings", "cut_off", "message"),
    [
        ("clinic/nuclei", {"token": "hf_other"}, None, r"refused \(401: .*\); log in .*token=\.\.\."),
        ("clinic/nuclei", {"token": TOKEN}, "/commit/", r"the exchange with .* failed .*; nothing was published"),
        ("nuclei", {"token": TOKEN}, None, r"'nuclei' is no repository of a hub; expected OWNER/NAME"),
    ],
)
def test_what_cannot_be_pushed_is_one_error(run, fake_hub, monkeypatch, name, settings, cut_off, message):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    fake_hub.cut_off = cut_off
    with pytest.raises(RunError, match=message) as error:
        run.push_to_hub(name, **settings)
    assert "\n" not in str(error.value)
    assert not fake_hub.files.get(name)


def test_without_a_network_it_is_one_error(run, fake_hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"push to clinic/nuclei: the exchange with .* failed"):
        run.push_to_hub("clinic/nuclei", token=TOKEN)
    with pytest.raises(RunError, match=r"clinic/nuclei: not on this machine, and .* cannot be reached"):
        td.Run.from_pretrained("clinic/nuclei")


@pytest.mark.slow
def test_the_card_says_how_good_the_head_is_and_its_snippet_runs(run, tmp_path, tiny_unet, tiny_encoder, monkeypatch):
    from huggingface_hub import ModelCard

    folder = run.save_pretrained(tmp_path / "head", licence="cc-by-4.0")
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "cc-by-4.0",
        "textdiff",
        "image-segmentation",
    )
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == {
        name: round(run.summary.test[name], 4) for name in ("dice", "iou")
    }
    assert f"| Dice, pooled over pixels | {run.summary.test['micro_dice']:.3f} |" in card.text
    assert "not for clinical use" in card.text
    assert "- the report, which shows images" in card.text
    (snippet,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save("image.png")
    shutil.copytree(tiny_unet, tmp_path / tiny_unet.name)
    shutil.copytree(tiny_encoder, tmp_path / tiny_encoder.name)
    names: dict = {}
    exec(snippet, names)
    assert names["mask"].shape == (20, 24)


def test_the_card_names_the_values_that_masks_have(run):
    colours = {"classes": {"#ffffff": "background", "#ff0000": "tumour", "#0000ff": "vessel"}, "ignore": None}
    for classes, line in (
        (run.config.classes, "0 is background, 255 is foreground"),
        (colours, "0 is background, 1 is vessel, 2 is tumour"),
    ):
        config = replace(run.config, classes=classes)
        assert Classes.from_dict(classes).mask_values == tuple(int(value) for value in re.findall(r"\d+", line))
        config.write(run.path)
        assert f"# at the image's size; {line}\n" in model_card(run.path, "head").text


def test_a_card_of_ones_own_is_taken(run, tmp_path):
    (run.path / "README.md").write_text("# Mine\n", encoding="utf-8")
    assert files_of(run.save_pretrained(tmp_path / "head"))["README.md"] == b"# Mine\n"
