"""The reports of real commands on small data: complete, valid, and about what was asked."""

import html as html_text
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError
from textdiff.pipeline.ablation.ablate import ablate_timesteps
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.demo.report import write_demo_report
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.reports.cases import case, extremes, ramp
from textdiff.pipeline.reports.figures import CONFUSED_COLOUR, FALSE_NEGATIVE_COLOUR, FALSE_POSITIVE_COLOUR, error_map
from textdiff.pipeline.reports.gallery import Thumbnail
from textdiff.pipeline.reports.sections import train_command
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.training.train import train_head


@pytest.fixture
def run(tiny_cache, tmp_path):
    config = TrainConfig(
        tiny_cache,
        tmp_path / "my run",
        head="pixel",
        text="true",
        epochs=3,
        width=16,
        n_attention_heads=2,
        pixels_per_image=64,
        device="cpu",
    )
    train_head(config)
    return config


def read(path, check_page):
    page = path.read_text(encoding="utf-8")
    check_page(page)
    return html_text.unescape(page)


def headings(page):
    return re.findall(r"<h2[^>]*>([^<]*)<", page)


def test_a_training_reports_its_settings_results_and_commands(run, check_page):
    page = read(run.run / "report.html", check_page)
    assert headings(page) == ["Warnings", "Training", "Worst, median and best", "Every sample", "Cache", "Reproduce"]
    assert "learnt to find foreground from 4 labelled images, with each image's own text" in page
    assert "the epoch was chosen on these same images. Go by the test figures." in page
    assert "Only 2 samples chose the epoch" in page
    assert f"textdiff train-head {run.cache} '{run.run}' --head pixel --text true --epochs 3" in page
    assert page.count("<img") == 2 * 5  # the worst and the best of two
    assert {"val0", "val1"} == set(re.findall(r'<th scope="row">([^<]*)<', page))
    assert "test0" not in page  # test images are not looked at while a head is tuned
    assert "filters    60 of each image" not in page
    assert "60 of each image" in page


def test_an_evaluation_has_a_page_beside_its_json(run, check_page):
    evaluation = evaluate(EvaluateConfig(run.run, run.cache, split="train", device="cpu", tolerance=2, instances=True))
    assert evaluation.report == evaluation.path.with_suffix(".html")
    assert evaluation.path.exists()
    page = read(evaluation.report, check_page)
    assert headings(page) == [
        "Warnings",
        "Measures",
        "Worst, median and best",
        "Calibration and uncertainty",
        "Every sample",
        "Cache",
        "Reproduce",
    ]
    assert "Of these samples 4 were trained on by" in page
    ranked = sorted(evaluation.scores["per_sample"], key=lambda one: (one["dice"], one["id"]))
    measures, empty, samples = (re.findall(r'<th scope="row">([^<]*)<', table) for table in page.split("<table")[1:])
    assert samples == [one["id"] for one in ranked]
    assert measures[:2] == ["Dice", "IoU"]
    assert empty == ["in both", "in the truth alone", "in the prediction alone"]
    for kind in ("mean over images", "pooled over pixels"):
        assert f"Dice, {kind}<" in page
    assert f"Worst: {ranked[0]['id']}, Dice {ranked[0]['dice']:.3f}" in page
    assert f"Median: {ranked[1]['id']}" in page
    assert f"Best: {ranked[3]['id']}" in page
    for column in ("HD95 (px)", "NSD (2 px)", "AJI", "PQ", "DQ (F1 at 0.5)", "precision"):
        assert f'<th scope="col">{column}<' in page
    for flag in ("--split train", "--tolerance 2", "--instances", "--device cpu"):
        assert flag in page


def test_effects_of_words_on_the_worst_mask_are_shown_on_request(run, check_page):
    evaluation = evaluate(EvaluateConfig(run.run, run.cache, split="train", words=True, device="cpu"))
    page = read(evaluation.report, check_page)
    assert "Words" in headings(page)
    assert f"The effect of each word on the mask of {evaluation.worst}, the sample with the lowest Dice" in page
    reader = FeatureReader(run.cache)
    row = next(row for row in reader.samples if row.id == evaluation.worst)
    for word in re.findall(r"[\w-]+", reader.table.texts[row.text]):
        assert f"<b>{word}" in page
    with pytest.raises(ConfigError, match="--words shows the effect of each sample's own words"):
        evaluate(EvaluateConfig(run.run, run.cache, split="train", words=True, text="none", device="cpu"))


@pytest.mark.slow
def test_a_worst_sample_whose_words_cannot_be_explained_costs_no_evaluation(extraction, tmp_path, capsys):
    manifest = extraction.data.read_text()
    for text in ("the nuclei are round", "the nuclei are not round", "spindle nuclei in the upper half"):
        manifest = manifest.replace(text, "!!!")
    extraction.data.write_text(manifest.replace(",,train", ",!!!,train"))
    extract_features(extraction)
    config = TrainConfig(
        extraction.cache,
        tmp_path / "run",
        head="pixel",
        text="true",
        epochs=1,
        width=16,
        n_attention_heads=2,
        device="cpu",
    )
    train_head(config)
    evaluation = evaluate(EvaluateConfig(config.run, config.cache, words=True, device="cpu"), Progress(shown=True))
    assert "has no words to explain" in capsys.readouterr().err
    assert "Words" not in headings(evaluation.report.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_an_ensemble_of_a_tiled_cache_with_classes_is_shown_whole(extraction, tmp_path, check_page):
    folder = extraction.data.parent
    names = '{"classes": {"0": "background", "100": "<b>left</b>", "255": "right"}, "ignore": 7}'
    (folder / "classes.json").write_text(names)
    from PIL import Image

    for path in folder.glob("*_mask.png"):
        mask = np.array(Image.open(path))
        mask[:, :10][mask[:, :10] > 0] = 100
        mask[:3] = 7
        Image.fromarray(mask).save(path)
    settings = replace(extraction, cache=tmp_path / "tiles", tile=16, tile_overlap=6)
    extract_features(settings)
    small = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "epochs": 1, "ensemble": 2, "device": "cpu"}
    config = TrainConfig(settings.cache, tmp_path / "run", head="pixel", text="true", **small)
    train_head(config)
    page = read(config.run / "report.html", check_page)
    assert "2 pixel heads, whose probabilities are averaged" in page
    evaluation = evaluate(EvaluateConfig(config.run, config.cache, split="val", at="native", device="cpu"))
    page = evaluation.report.read_text(encoding="utf-8")
    check_page(page)
    assert "<b>left" not in page
    for words in ("of another class (dotted)", "Classes", "the heads agree", "15% of the pixels are not labelled"):
        assert words in html_text.unescape(page)
    assert re.findall(r'height="(\d+)" width="(\d+)"', page)[:1] == [("20", "24")]


def test_a_run_that_cannot_be_written_is_still_evaluated(run, monkeypatch):
    from textdiff.pipeline.reports import page as report_page

    def full(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(report_page, "write_durably", full)
    evaluation = evaluate(EvaluateConfig(run.run, run.cache, device="cpu"))
    assert evaluation.scores["n"] == 1
    assert not evaluation.path.exists()


@pytest.mark.slow
def test_an_interrupt_while_the_report_is_written_leaves_a_run_to_go_on_with(run, tmp_path, monkeypatch):
    from textdiff.pipeline.training import train

    def interrupted(*_):
        raise KeyboardInterrupt

    stopped = replace(run, run=tmp_path / "stopped")
    with monkeypatch.context() as patched:
        patched.setattr(train, "write_train_report", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_head(stopped)
    assert not (stopped.run / "summary.json").exists()
    train_head(replace(stopped, resume=True))
    assert (stopped.run / "report.html").exists()


@pytest.mark.slow
def test_an_ablation_ranks_its_subsets_and_gives_their_commands(tiny_cache, tmp_path, check_page):
    config = AblateConfig(
        tiny_cache, tmp_path / "out", subsets=((50,), (50, 150)), seeds=(0, 1), epochs=1, device="cpu"
    )
    summary = ablate_timesteps(config)
    page = read(config.out / "report.html", check_page)
    best, other = sorted(summary.rows, key=lambda row: -row.mean)
    assert re.findall(r'<th scope="row">([^<]*)<', page) == [best.name, other.name]
    assert f"{best.mean:.4f}" in page
    assert summary.command.startswith(
        f"textdiff train-head {tiny_cache} {config.out / 'run'} --head pixel --timesteps {best.name} "
    )
    assert summary.command in page
    assert "--subsets '50;50,150' --seeds 0,1 --epochs 1" in page
    assert summary.verdict in page


@pytest.mark.slow
def test_the_demos_index_leads_to_the_reports_that_are_there(run, check_page):
    from textdiff.pipeline.config.data import DemoConfig

    out = run.run.parent
    evaluation = evaluate(EvaluateConfig(run.run, run.cache, device="cpu"))
    (out / "run").mkdir()
    (out / "run" / "report.html").write_text("")
    image, mask = np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 1
    small = Thumbnail(image, mask, 1 - mask, np.full((8, 8), 0.3, np.float32), "round")
    shown = case("test-000, <own>", "test-000", small, ("foreground",), "predictive_entropy")
    write_demo_report(DemoConfig(out), dict.fromkeys(("true", "none", "other"), evaluation), [shown])
    page = (out / "report.html").read_text(encoding="utf-8")
    check_page(page.replace("my%20run", "run").replace("my run", "run"))
    assert "test-000, &lt;own&gt;" in page
    assert 'href="run/report.html"' in page
    assert "ablation/report.html" not in page
    assert f"{evaluation.scores['dice']:.3f}" in page


def test_the_command_of_a_run_gives_its_settings_again(run):
    config = RunConfig.read(run.run)
    command = train_command(config.train_config(run.run, config.own_cache(run.run)))
    assert command.startswith(f"textdiff train-head {run.cache.resolve()} '{run.run}' --head pixel --timesteps 50,150 ")
    assert {"--n-attention-heads 2", "--epochs 3"} <= {" ".join(pair) for pair in pairwise(command.split())}
    assert "--learning-rate" not in command  # as by default
    assert "--resume" not in command


def test_extremes_name_each_sample_once():
    def of(*dice):
        return [(name, one["id"]) for name, one in extremes([{"id": str(i), "dice": d} for i, d in enumerate(dice)])]

    assert of(0.5, 0.1, 0.9, 0.7) == [("Worst", "1"), ("Median", "0"), ("Best", "2")]
    assert of(0.5, 0.1) == [("Worst", "1"), ("Best", "0")]
    assert of(0.5) == [("The only sample", "0")]
    assert of(None, 0.2, 0.4, 0.3) == [("Worst", "1"), ("Median", "3"), ("Best", "2")]
    assert of() == of(None) == []


def test_errors_differ_in_pattern_and_not_in_colour_alone():
    image = np.full((12, 12, 3), 100, np.uint8)
    truth, predicted, confused = (np.zeros((12, 12), bool) for _ in range(3))
    truth[:4], predicted[4:8], confused[8:] = True, True, True
    painted = error_map(image, truth, predicted, confused)
    assert (painted[:4] == FALSE_NEGATIVE_COLOUR).all()
    for rows, colour in ((painted[4:8], FALSE_POSITIVE_COLOUR), (painted[8:], CONFUSED_COLOUR)):
        share = (rows == colour).all(-1).mean()
        assert 0.4 < share < 0.9  # the rest is pale
        assert rows[~(rows == colour).all(-1)].min() > 150


def test_uncertainty_gets_lighter_all_the_way():
    light = ramp(np.linspace(0, 1, 50)[None]).astype(float)[0] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light) > 0).all()
