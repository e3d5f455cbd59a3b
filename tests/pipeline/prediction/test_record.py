"""Names of predictions: whose masks stand where, and what `predictions.json` may hold."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from textdiff.errors import DataError, RunError
from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.image_files.listing import list_images
from textdiff.pipeline.image_files.volumes import Volume, list_volumes
from textdiff.pipeline.prediction.record import RECORD, PredictionRecord, refuse_file_names, refuse_same_names
from textdiff.pipeline.runtime.folders import locked_folder


class Segmenting:
    """As much of a segmenter as a record asks for."""

    uncertainty_is = None
    classes = None


@pytest.fixture
def config(tmp_path):
    return PredictConfig(tmp_path / "run", tmp_path / "images", tmp_path / "masks")


def volume(name):
    return Volume(Path(name), name, (Path(name),))


def files(config, *names):
    """Name → files of images with a mask and a map of uncertainty."""
    return {name: [config.out / f"{name}.png", config.out / f"{name}_uncertainty.png"] for name in names}


def note(config, *names):
    claims = files(config, *names)
    with PredictionRecord.claimed(config, Segmenting, claims) as record:
        for name in names:
            claims[name][0].touch()
            record.add(volume(name), "round", claims[name])


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
        refuse_same_names(list_volumes(images))
    assert [Path(line).name for line in caught.value.problems] == ["a.png", "a_uncertainty.png", "b.png"]
    refuse_same_names([Volume(images / f"{name}.jpg", name, ()) for name in "ab"])


def test_a_record_of_another_program_among_the_images_says_nothing(config):
    config.images.mkdir()
    (config.images / RECORD).write_text("[1, 2]")
    refuse_same_names([Volume(config.images / "a.png", "a", ())])


def test_a_second_prediction_into_one_folder_at_once_is_refused_and_the_record_stays_whole(config):
    note(config, "a")
    with PredictionRecord.claimed(config, Segmenting, files(config, "b")) as record:
        with pytest.raises(RunError, match="another process is writing to it; wait until it ends"):
            note(config, "c")
        record.add(volume("b"), None, [])
    note(config, "c")
    assert noted(config.out) == ["a", "b", "c"]


def test_a_refused_prediction_leaves_no_new_folder(config):
    with locked_folder(config.out), pytest.raises(RunError):
        note(config, "a")
    assert [*config.out.iterdir()] == []
    (config.out / "a.png").touch()
    with pytest.raises(DataError, match="masks would replace files that stand there"):
        note(config, "a")
    assert not config.out.exists()


def test_notes_are_kept_when_the_work_fails(config):
    claim = PredictionRecord.claimed(config, Segmenting, files(config, "a", "b"))
    claim.__enter__().add(volume("a"), None, [])
    assert not claim.__exit__(MemoryError, MemoryError(), None)
    assert noted(config.out) == ["a"]


def test_images_whose_names_differ_in_unicode_form_alone_are_refused(tmp_path):
    for name in ("caf\u00e9.png", "cafe\u0301.jpg", "cafe.png"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="these names stand for several images") as caught:
        refuse_same_names(list_volumes(tmp_path))
    assert caught.value.problems == ("caf\u00e9",)


def test_files_of_a_call_that_was_killed_are_ours_and_others_are_not(config):
    claim = PredictionRecord.claimed(config, Segmenting, files(config, "a"))
    claim.__enter__()
    killed = (config.out / RECORD).read_bytes()
    assert claim.__exit__(None, None, None) is not True
    assert json.loads((config.out / RECORD).read_bytes()) == {"masks": {}}
    (config.out / RECORD).write_bytes(killed)
    for name in ("a.png", "b.png"):
        (config.out / name).touch()
    note(config, "a")
    with pytest.raises(DataError, match=r"masks would replace files that stand there; .*\n  - .*b\.png"):
        note(config, "b")


def test_files_that_a_new_mask_does_not_have_are_removed_with_the_old_one(config):
    note(config, "a")
    (config.out / "a_uncertainty.png").touch()
    only_mask = {"a": [config.out / "a.png"]}
    with PredictionRecord.claimed(config, Segmenting, only_mask) as record:
        assert (config.out / "a_uncertainty.png").exists()
        record.add(volume("a"), None, only_mask["a"])
    assert sorted(path.name for path in config.out.iterdir()) == ["a.png", RECORD]
    assert json.loads((config.out / RECORD).read_bytes())["masks"]["a"]["files"] == ["a.png"]


@pytest.mark.parametrize("file", ["../a.png", "..", "", "predictions.json", "/etc/passwd"])
def test_a_record_that_names_files_elsewhere_is_refused(config, file):
    config.out.mkdir()
    for record in ({"masks": {"a": {"files": [file]}}}, {"masks": {}, "claimed": {"a": [file]}}):
        (config.out / RECORD).write_text(json.dumps(record))
        with pytest.raises(DataError, match=rf"not a record of masks \(it names '{file}'\)"):
            note(config, "a")


def test_a_folder_that_a_record_lists_is_no_mask_unless_it_is_ome_zarr(config):
    note(config, "a")
    content = json.loads((config.out / RECORD).read_bytes())
    content["masks"]["a"]["files"] = ["a.png", "thesis", "a.ome.zarr"]
    (config.out / RECORD).write_text(json.dumps(content))
    for name in ("thesis", "a.ome.zarr"):
        (config.out / name).mkdir()
    note(config, "a")
    assert sorted(path.name for path in config.out.iterdir()) == ["a.png", RECORD, "thesis"]


def test_what_a_killed_call_left_goes_with_the_next_mask_of_the_name(config):
    config.out.mkdir()
    (config.out / RECORD).write_text('{"masks": {}, "claimed": {"a": ["a_0.png", "a_1.png", "a.npy"]}}')
    for name in ("a_0.png", "a_1.png.tmp"):
        (config.out / name).touch()
    note(config, "a")
    assert sorted(path.name for path in config.out.iterdir()) == ["a.png", RECORD]


@pytest.mark.skipif(os.name != "posix", reason="names are UTF-16 there")
def test_names_that_are_not_utf8_are_refused_at_the_start_all_at_once(tmp_path):
    for name in (b"caf\xe9.png", b"a.png", b"\xff\xfe.tif", "é.png".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(DataError, match="not UTF-8") as caught:
        list_images(tmp_path)
    assert caught.value.problems == (r"caf\xe9.png", r"\xff\xfe.tif")
    with pytest.raises(DataError, match="not UTF-8"):
        list_images(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))


def test_names_that_no_file_system_takes_are_refused_beforehand(config):
    refuse_file_names(files(config, "x" * 235, "ü" * 117))
    with pytest.raises(DataError, match="too long") as caught:
        refuse_file_names(files(config, "x" * 236, "ü" * 118))
    assert [problem[:3] for problem in caught.value.problems] == ["xxx", "üüü"]


@pytest.mark.parametrize("below", ["", "masks"])
def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file is a file; give a folder"), locked_folder(tmp_path / "file" / below):
        pass
