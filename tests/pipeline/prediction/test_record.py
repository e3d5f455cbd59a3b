"""Names of predictions: whose masks stand where, and what `predictions.json` may hold."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from textdiff.errors import DataError, RunError
from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.image_files.paths import list_images
from textdiff.pipeline.prediction.record import RECORD, PredictionRecord, refuse_same_names
from textdiff.pipeline.prediction.request import PredictionRequest
from textdiff.pipeline.runtime.folders import locked_folder


class Segmenting:
    """As much of a segmenter as a record asks for."""

    uncertainty_is = None
    classes = None


@pytest.fixture
def config(tmp_path):
    return PredictConfig(tmp_path / "run", tmp_path / "images", tmp_path / "masks")


def note(config, *names):
    with PredictionRecord.claimed(config, Segmenting, names) as record:
        for name in names:
            (config.out / f"{name}.png").touch()
            record.add(PredictionRequest(None, "round", name))


def noted(folder):
    return sorted(json.loads((folder / RECORD).read_bytes())["masks"])


def test_masks_of_an_earlier_prediction_among_the_images_are_named_as_such(config):
    images = config.images
    images.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (4, 4)).save(images / name)
    note(replace(config, out=images), "a", "b")
    (images / "a_uncertainty.png").touch()
    with pytest.raises(DataError, match="masks of an earlier prediction are in the way") as caught:
        refuse_same_names(list_images(images))
    assert [Path(line).name for line in caught.value.problems] == ["a.png", "a_uncertainty.png", "b.png"]
    refuse_same_names([images / "a.jpg", images / "b.jpg"])


def test_a_record_of_another_program_among_the_images_says_nothing(config):
    config.images.mkdir()
    (config.images / RECORD).write_text("[1, 2]")
    refuse_same_names([config.images / "a.png"])


def test_a_second_prediction_into_one_folder_at_once_is_refused_and_the_record_stays_whole(config):
    note(config, "a")
    with PredictionRecord.claimed(config, Segmenting, ["b"]) as record:
        with pytest.raises(RunError, match="another process is writing to it; wait until it ends"):
            note(config, "c")
        record.add(PredictionRequest(None, None, "b"))
    note(config, "c")
    assert noted(config.out) == ["a", "b", "c"]


def test_a_refused_prediction_leaves_no_new_folder(config):
    with locked_folder(config.out), pytest.raises(RunError):
        note(config, "a")
    config.out.rmdir()
    with pytest.raises(DataError, match="masks have the names of uncertainty maps"):
        note(config, "a", "a_uncertainty")
    assert not config.out.exists()


def test_notes_are_kept_when_the_work_fails(config):
    claim = PredictionRecord.claimed(config, Segmenting, ["a", "b"])
    claim.__enter__().add(PredictionRequest(None, None, "a"))
    assert not claim.__exit__(MemoryError, MemoryError(), None)
    assert noted(config.out) == ["a"]


def test_images_whose_names_differ_in_unicode_form_alone_are_refused():
    with pytest.raises(DataError, match="these names stand for several images") as caught:
        refuse_same_names([Path("caf\u00e9.png"), Path("cafe\u0301.png"), Path("cafe.png")])
    assert caught.value.problems == ("caf\u00e9",)


@pytest.mark.skipif(os.name != "posix", reason="names are UTF-16 there")
def test_names_that_are_not_utf8_are_refused_at_the_start_all_at_once(tmp_path):
    for name in (b"caf\xe9.png", b"a.png", b"\xff\xfe.tif", "é.png".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(DataError, match="not UTF-8") as caught:
        list_images(tmp_path)
    assert caught.value.problems == (r"caf\xe9.png", r"\xff\xfe.tif")
    with pytest.raises(DataError, match="not UTF-8"):
        list_images(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))
