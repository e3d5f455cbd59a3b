"""What to label next: which samples are asked about, in what order, and when there is nothing to say."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError, DataError
from textdiff.pipeline.config.evaluation import SuggestConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.suggest import suggest
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.image_files.reading import read_image
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.train import train_head
from textdiff.stages.metrics.selection import choose_centres, standardised


def unlabel(extraction, *names):
    text = extraction.data.read_text(encoding="utf-8")
    for name in names:
        text = text.replace(f"{name}_mask.png", "")
    extraction.data.write_text(text, encoding="utf-8")


def trained(extraction, tmp_path):
    extract_features(extraction)
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 32}
    train_head(
        TrainConfig(extraction.cache, tmp_path / "run", head="pixel", text="true", epochs=2, device="cpu", **sizes)
    )
    return SuggestConfig(extraction.cache, tmp_path / "run", device="cpu")


@pytest.fixture
def config(extraction, tmp_path):
    """A run on train0, of a cache in which the other three training images are not labelled."""
    unlabel(extraction, "train1", "train2", "train3")
    return trained(extraction, tmp_path)


def test_the_order_is_that_of_entropy_times_distance_worked_out_one_by_one(config):
    reader = FeatureReader(config.cache)
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    head, rows = load_head(config.run, RunConfig.read(config.run), "cpu"), reader.split("train")
    entropy, pooled = {}, []
    for row, x in zip(rows, data.inputs(rows), strict=True):
        p = head.segment(x)[0].softmax(0)
        entropy[row.id] = float(-(p * p.log()).sum(0).mean())
        maps = [reader.features(block, timestep, row.row) for block in (1, 3) for timestep in (50, 150)]
        pooled.append(np.concatenate([map_.astype(np.float32).mean((0, 1)) for map_ in maps]))
    alike = standardised(torch.from_numpy(np.stack(pooled)))
    weights = torch.tensor([entropy[row.id] for row in rows[1:]]).double()
    chosen, distances = choose_centres(alike[1:], weights, alike[:1], 3)
    summary = suggest(config)
    assert (summary.n_unlabelled, summary.n_labelled) == (3, 1)
    assert [one.id for one in summary.suggestions] == [rows[1 + i].id for i in chosen]
    assert [one.distance for one in summary.suggestions] == pytest.approx(distances, rel=1e-4)
    assert [one.uncertainty for one in summary.suggestions] == pytest.approx(weights[chosen].tolist(), rel=1e-4)
    assert all(0 < one.uncertainty < math.log(2) for one in summary.suggestions)
    assert [one.rank for one in summary.suggestions] == [1, 2, 3]


def test_as_many_are_suggested_as_asked_for_and_the_fewer_are_the_first_of_the_more(config):
    more, fewer = suggest(config), suggest(replace(config, n=2))
    assert fewer.suggestions == more.suggestions[:2]
    with pytest.raises(ConfigError, match="--n got 0; expected at least 1"):
        replace(config, n=0)


def test_table_and_picture_are_written(config, tmp_path):
    summary = suggest(replace(config, out=tmp_path / "next"))
    rows = list(csv.DictReader((tmp_path / "next" / "suggestions.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [one.id for one in summary.suggestions]
    assert all(read_image(Path(row["image"])).shape == (20, 24, 3) for row in rows)
    assert {row["id"]: row["text"] for row in rows}["train1"] == "the nuclei are not round"
    height, width, _ = read_image(tmp_path / "next" / "suggestions.png").shape
    assert (height, width) == (605, 990)  # 3 samples, two in a row of 2.75 inches of 110 pixels
    assert json.loads(json.dumps(summary.to_dict()))["suggestions"][0]["rank"] == 1
    assert summary.lines()[0] == ("3 of 3 unlabelled samples of train, to be labelled in this order; 1 are labelled")
    assert [line.split()[:2] for line in summary.lines()[3:6]] == [
        [str(one.rank), one.id] for one in summary.suggestions
    ]


def test_a_file_in_place_of_the_folder_is_refused_before_anything_is_ranked(config, tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(DataError, match="is a file; give a folder"):
        suggest(replace(config, out=tmp_path / "taken"))


def test_a_mask_without_a_labelled_pixel_counts_as_none(extraction, tmp_path):
    (extraction.data.parent / "classes.json").write_text('{"classes": {"0": "b", "255": "f"}, "ignore": 7}')
    Image.fromarray(np.full((20, 24), 7, np.uint8)).save(extraction.data.parent / "train2_mask.png")
    summary = suggest(trained(extraction, tmp_path))
    assert ([one.id for one in summary.suggestions], summary.n_labelled) == (["train2"], 3)


@pytest.mark.slow
def test_tiles_and_views_of_an_image_are_one_suggestion(extraction, tmp_path):
    unlabel(extraction, "train1", "train3")
    tiled = replace(extraction, tile=16, tile_overlap=4, image_size=None, views=2, cache=tmp_path / "tiles")
    config = trained(tiled, tmp_path)
    summary = suggest(replace(config, out=tmp_path / "next"))
    assert len(FeatureReader(tiled.cache).split("train")) == 4 * 4 * 2
    assert (sorted(one.id for one in summary.suggestions), summary.n_labelled) == (["train1", "train3"], 2)


def test_nothing_is_said_to_be_near_where_nothing_is_labelled(config, extraction):
    unlabel(extraction, "train0")
    extract_features(extraction)
    summary = suggest(config)
    first, *others = summary.suggestions
    assert first.distance is None
    assert first.uncertainty == max(one.uncertainty for one in summary.suggestions)
    assert all(one.distance is not None for one in others)
    assert "none" in summary.lines()[3].split()


@pytest.mark.slow
def test_a_split_without_unlabelled_samples_says_so(config):
    with pytest.raises(DataError, match=r"--split val: all 2 samples of that split in .* are labelled; add images"):
        suggest(replace(config, split="val"))


@pytest.mark.slow
def test_a_cache_that_does_not_fit_the_run_is_refused(config, extraction, tmp_path):
    other = replace(extraction, cache=tmp_path / "other", seed=1)
    extract_features(other)
    with pytest.raises(CacheMismatchError, match="not the kind of cache that the head was trained on"):
        suggest(replace(config, cache=other.cache))
