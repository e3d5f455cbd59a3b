"""A session: replay gives the same state, threads lose nothing, keys count once."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_server import image_entries, new_key, open_session
from PIL import Image

from textdiff.errors import DataError, LabelError
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.labelling.strokes.events import (
    ClassChange,
    Redo,
    StateChange,
    Stroke,
    TextChange,
    Undo,
    Unlock,
)
from textdiff.pipeline.labelling.strokes.log import read_log


def stroke(image="im0", label=1, points=((10.0, 10.0), (60.0, 40.0))):
    tool = "eraser" if label is None else "brush"
    return Stroke(key=new_key(), image=image, tool=tool, label=label, size=9.0, points=points)


def state_of(session):
    """Everything that a session says of its images."""
    return [
        (
            session.text(place),
            session.state(place),
            session.labels(place).version,
            session.labels(place).n_strokes,
            session.labels(place).read(0, 0, *entry.size).tobytes(),
        )
        for place, entry in enumerate(session.images)
    ] + [session.classes, session.tests_locked, session.can_undo, session.can_redo]


images = st.sampled_from(["im0", "im1", "im2"])
some = st.none() | images
points = st.lists(st.tuples(st.floats(-20, 420), st.floats(-20, 320)), min_size=1, max_size=4).map(tuple)
keys = st.builds(new_key)
events = st.one_of(
    st.builds(stroke, images, st.sampled_from([0, 1, 2, 3, None]), points),
    st.builds(Undo, key=keys, image=some),
    st.builds(Redo, key=keys, image=some),
    st.builds(StateChange, key=keys, image=images, state=st.sampled_from(["full", "scribbled", "reviewed"])),
    st.builds(TextChange, key=keys, image=images, text=st.text(max_size=20)),
    st.builds(
        ClassChange,
        key=keys,
        index=st.sampled_from([None, 0, 2]),
        name=st.text("abc", max_size=3),
        colour=st.just("#123456"),
    ),
    st.builds(Unlock, key=keys),
)


@pytest.mark.slow
@given(st.lists(events, max_size=25))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_session_that_is_opened_again_is_the_same(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("again")
    session, answers, refused = open_session(folder), {}, 0
    for event in said:
        try:
            answers[event.key] = session.apply(event)
        except LabelError:
            refused += 1
    state = state_of(session)
    session.close()
    again = open_session(folder)
    assert state_of(again) == state
    assert len(read_log(folder / "strokes" / "me.log")) == len(said) - refused
    for event in said:
        if event.key in answers:
            assert again.apply(event) == answers[event.key]
    assert state_of(again) == state
    again.close()


def test_undo_takes_the_last_stroke_back_of_one_image_or_of_all(session):
    first, second, third = stroke("im0"), stroke("im1"), stroke("im0", 2)
    for event in (first, second, third):
        session.apply(event)
    undo = [session.apply(Undo(key=new_key(), image=image)) for image in (None, "im0", None)]
    assert [one.stroke for one in undo] == [third.key, first.key, second.key]
    assert [one.image for one in undo] == [0, 0, 1]
    assert not session.can_undo
    redo = [session.apply(Redo(key=new_key(), image=image)) for image in (None, "im0")]
    assert [one.stroke for one in redo] == [second.key, first.key]
    session.apply(stroke("im0"))  # after which nothing of this image can be redone
    with pytest.raises(LabelError, match="there is nothing to redo"):
        session.apply(Redo(key=new_key(), image="im0"))
    assert session.apply(Undo(key=new_key())).image == 0
    assert session.apply(Undo(key=new_key())).stroke == first.key


def test_a_state_lasts_until_the_labels_change(session):
    assert session.state(0) == "unlabelled"
    session.apply(stroke("im0"))
    assert session.state(0) == "scribbled"
    session.apply(StateChange(key=new_key(), image="im0", state="full"))
    session.apply(StateChange(key=new_key(), image="im0", state="reviewed"))
    assert session.state(0) == "reviewed"
    assert session.labels(0).filled
    session.apply(stroke("im0", None))
    assert session.state(0) == "full"
    assert (session.labels(0).read(0, 0, 300, 400) != 255).all()
    session.apply(StateChange(key=new_key(), image="im0", state="scribbled"))
    assert session.state(0) == "scribbled"


def test_threads_that_draw_at_once_lose_nothing_and_share_the_disks_answers(session, tmp_path, monkeypatch):
    n_syncs, lock = 0, threading.Lock()

    def count(_):
        nonlocal n_syncs
        with lock:
            n_syncs += 1

    monkeypatch.setattr(os, "fsync", count)
    told, barrier = [], threading.Barrier(20)
    session.listen(told.append)

    def draw(thread):
        barrier.wait()
        return [session.apply(stroke(f"im{n % 2}", n % 3)) for n in range(thread, thread + 5)]

    with ThreadPoolExecutor(20) as pool:
        applied = [one for part in pool.map(draw, range(20)) for one in part]
    assert sorted(one.sequence for one in applied) == [*range(1, 101)]
    assert len(told) == 100
    assert n_syncs <= 100
    assert [record.sequence for record in read_log(tmp_path / "strokes" / "me.log")] == [*range(1, 101)]
    state = state_of(session)
    session.close()
    again = open_session(tmp_path)
    assert state_of(again) == state
    again.close()


def test_a_key_that_is_sent_by_many_threads_at_once_counts_once(session):
    event = stroke()
    with ThreadPoolExecutor(8) as pool:
        applied = [*pool.map(session.apply, [event] * 8)]
    assert len(set(applied)) == 1
    assert session.labels(0).n_strokes == 1


def test_a_log_of_other_images_is_refused(session, tmp_path):
    session.apply(stroke("im1"))
    session.close()
    with pytest.raises(DataError, match=r"event 1 cannot follow those before it \(the image is not in this session"):
        open_session(tmp_path, image_entries(tmp_path)[:1])
    again = open_session(tmp_path, image_entries(tmp_path)[::-1])
    assert again.labels(1).n_strokes == 1
    again.close()


def test_masks_that_images_have_are_labels_before_the_first_stroke(tmp_path):
    entry = image_entries(tmp_path)[0]
    pixels = np.random.default_rng(0).choice([0, 3, 9], entry.size).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    classes = Classes((0, 9), ("background", "lesion"), ignore=3)
    session = open_session(tmp_path, [replace(entry, mask=Path(tmp_path / "mask.png"))], mask_classes=classes)
    assert session.state(0) == "full"
    expected = np.select([pixels == 0, pixels == 9], [0, 1], 255)
    assert (session.labels(0).read(0, 0, *entry.size) == expected).all()
    session.close()


def test_changes_that_come_after_the_end_are_refused(session, tmp_path):
    session.apply(stroke())
    session.close()
    with pytest.raises(OSError, match="The log is closed"):
        session.apply(stroke())
    assert session.labels(0).n_strokes == 1
    assert len(read_log(tmp_path / "strokes" / "me.log")) == 1
