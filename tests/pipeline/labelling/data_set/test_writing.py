"""The data set behind the strokes: what was drawn, in files that every command takes."""

import numpy as np
import pytest
from label_server import brush, image_entries, new_key, open_session
from PIL import Image

from textdiff.cache.format.samples import IGNORE
from textdiff.pipeline.data.classes import binary
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.labelling.data_set import writing
from textdiff.pipeline.labelling.data_set.writing import DataSetWriter
from textdiff.pipeline.labelling.strokes.events import ClassChange, StateChange, Stroke, TextChange, Undo


@pytest.fixture
def session(tmp_path):
    opened = open_session(tmp_path)
    yield opened
    opened.close()


def drawn(session, **changed):
    body = brush(**changed)
    body["label"], body["image"] = body.pop("class"), session.images[body["image"]].id
    body["points"] = tuple(map(tuple, body["points"]))
    session.apply(Stroke(**body))


def samples_of(path):
    data = read_dataset(path)
    return {one.id: one for one in data.samples}, data.classes


def test_masks_hold_what_was_drawn_and_nothing_else(session, tmp_path):
    writer = DataSetWriter(session, tmp_path)
    drawn(session, image=0)
    drawn(session, image=0, label=0, points=[(200, 200), (220, 200)])
    drawn(session, image=1, label=2)
    path = writer.flush()
    samples, classes = samples_of(path)
    for image in (0, 1):
        one, size = samples[f"im{image}"], session.images[image].size
        mask = read_mask(one.mask)
        assert np.array_equal(mask, session.labels(image).read(0, 0, *size))
        assert set(np.unique(mask)) == ({0, 1, IGNORE} if image == 0 else {2, IGNORE})
    assert samples["im2"].mask is None
    assert (classes.names, classes.ignore) == (("background", "lesion", "vessel"), IGNORE)
    assert path.name == "manifest.csv"
    assert set(samples_of(tmp_path)[0]) == set(samples)


def test_a_stroke_that_was_taken_back_leaves_no_mask(session, tmp_path):
    writer = DataSetWriter(session, tmp_path)
    drawn(session, image=0)
    writer.flush()
    session.apply(Undo(key=new_key()))
    assert samples_of(writer.flush())[0]["im0"].mask is None


def test_texts_and_classes_are_as_they_were_said_last(session, tmp_path):
    writer = DataSetWriter(session, tmp_path)
    text = 'The "round" nuclei,\nand no others; É'
    session.apply(TextChange(key=new_key(), image="im0", text=text))
    session.apply(ClassChange(key=new_key(), name="vein", colour="#123456"))
    samples, classes = samples_of(writer.flush())
    assert samples["im0"].text == text
    assert samples["im1"].text == "text 1"
    assert classes.names[-1] == "vein"


def test_a_full_image_counts_as_background_where_nothing_was_drawn(session, tmp_path):
    writer = DataSetWriter(session, tmp_path)
    drawn(session, image=0)
    session.apply(StateChange(key=new_key(), image="im0", state="full"))
    mask = read_mask(samples_of(writer.flush())[0]["im0"].mask)
    assert set(np.unique(mask)) == {0, 1}


def test_a_mask_of_before_is_the_ground_that_is_drawn_on(tmp_path):
    from dataclasses import replace

    entries = image_entries(tmp_path)
    before = np.zeros(entries[0].size, np.uint8)
    before[100:200, 100:300] = 255
    Image.fromarray(before).save(tmp_path / "before.png")
    entries[0] = replace(entries[0], mask=tmp_path / "before.png")
    session = open_session(tmp_path, entries, mask_classes=binary(255))
    drawn(session, image=0, label=2, points=[(150, 150), (160, 150)])
    mask = read_mask(samples_of(DataSetWriter(session, tmp_path).flush())[0]["im0"].mask)
    session.close()
    assert (mask[150, 155], mask[190, 290], mask[0, 0]) == (2, 1, 0)


def test_large_images_get_a_tiled_tiff_of_the_same_labels(session, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "LARGE_PIXELS", 100)
    drawn(session, image=0, points=[(5, 5), (390, 290)])
    one = samples_of(DataSetWriter(session, tmp_path).flush())[0]["im0"]
    assert one.mask.suffix == ".tif"
    assert np.array_equal(read_mask(one.mask), session.labels(0).read(0, 0, *session.images[0].size))


def test_files_follow_strokes_by_themselves(session, tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(writing, "DELAY_S", 0.01)
    writer = DataSetWriter(session, tmp_path)
    writer.start()
    drawn(session, image=1)
    mask, deadline = tmp_path / "masks" / "im1.png", time.monotonic() + 20
    while not mask.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mask.exists()
    drawn(session, image=0)
    writer.stop()
    assert samples_of(tmp_path)[0]["im0"].mask is not None


def test_a_full_disk_is_told_and_the_next_stroke_writes_everything(session, tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(writing, "DELAY_S", 0.01)
    told, whole = [], writing.write_png

    def full(path, labels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_png", full)
    writer = DataSetWriter(session, tmp_path, told.append)
    drawn(session, image=0)
    writer.start()
    deadline = time.monotonic() + 20
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told[0]["type"] == "problem"
    assert "No space left on device" in told[0]["text"]
    monkeypatch.setattr(writing, "write_png", whole)
    drawn(session, image=1)
    writer.stop()
    samples = samples_of(tmp_path)[0]
    assert samples["im0"].mask is not None
    assert samples["im1"].mask is not None
