"""A learner at work: from strokes to masks, texts, suggestions, and a run to begin with."""

import numpy as np
import pytest
import torch
from learning import studio

from textdiff.errors import ConfigError, LabelError
from textdiff.pipeline.prediction import live_texts

BRIGHT, DARK = [(3, 3), (20, 3)], [(3, 17), (20, 17)]


@pytest.fixture
def drawn(tiny_cache, tmp_path):
    with studio(tiny_cache, tmp_path / "labels") as made:
        yield made


@pytest.mark.slow
def test_two_strokes_give_a_coarse_mask_and_then_a_fine_one_of_what_is_in_view(drawn):
    drawn.look(0)
    drawn.draw(1, *BRIGHT)
    version = drawn.draw(0, *DARK)
    coarse = drawn.wait("mask", image=0, stage="coarse", labels_version=version)
    fine = drawn.wait("mask", image=0, stage="fine", labels_version=version)
    learnt = drawn.wait("learnt")
    assert coarse["version"] < fine["version"]
    assert fine["box"] == (0, 0, 20, 24)
    assert learnt["n_images"] == 1
    assert learnt["line"].startswith(f"learnt from {learnt['n_pixels']} pixels of 1 image and its text")
    layer = drawn.learner.layer(0, "mask", "own")
    tile = layer.tile(0, 0, 0)
    assert layer.version >= fine["version"]
    assert {*np.unique(tile[:20, :24])} == {0, 1}
    assert (tile[20:] == 255).all()
    assert (tile[:, 24:] == 255).all()
    assert tile[2:4, 5:19].mean() > 0.5 > tile[16:18, 5:19].mean()


def test_one_class_alone_teaches_nothing_and_it_says_so(drawn):
    drawn.draw(1, *BRIGHT)
    assert "one class" in drawn.wait("learner", line="one class is labelled so far: draw on another one too, such as "
                                     "the background")["line"]  # fmt: skip
    assert drawn.learner.layer(0, "mask", "own") is None


@pytest.mark.slow
def test_all_other_images_are_predicted_in_the_end_but_those_that_are_locked(drawn):
    drawn.look(0)
    drawn.draw(1, *BRIGHT)
    drawn.draw(0, *DARK)
    splits = [image.split for image in drawn.session.images]
    for image, split in enumerate(splits):
        if split != "test":
            drawn.wait("mask", image=image, stage="fine")
            assert 0 <= drawn.learner.uncertainty(image) <= np.log(2)
    assert drawn.learner.uncertainty(splits.index("test")) is None


@pytest.mark.slow
def test_what_was_erased_is_learnt_no_more(drawn):
    drawn.look(0)
    drawn.draw(1, *BRIGHT)
    drawn.draw(0, *DARK)
    n_pixels = drawn.wait("learnt")["n_pixels"]
    drawn.draw(1, (3, 10), (20, 10))
    more = drawn.wait("learnt", after=len(drawn.events))["n_pixels"]
    drawn.draw(None, (3, 10), (20, 10), size=5.0)
    assert drawn.wait("learnt", after=len(drawn.events))["n_pixels"] == n_pixels < more


@pytest.mark.slow
def test_it_learns_when_asked_where_it_does_not_learn_continuously(drawn):
    drawn.learner.train("stop")
    drawn.draw(1, *BRIGHT)
    drawn.draw(0, *DARK)
    assert not drawn.learner.status()["continuous"]
    drawn.learner.train("once")
    drawn.wait("learnt")
    assert not drawn.learner.status()["continuous"]


@pytest.mark.slow
def test_other_texts_and_none_have_masks_of_their_own(drawn):
    drawn.look(0)
    drawn.draw(1, *BRIGHT)
    drawn.draw(0, *DARK)
    drawn.wait("learnt")
    drawn.look(0, "none")
    drawn.wait("mask", image=0, variant="none")
    version = drawn.learner.preview(0, "spindle nuclei")
    assert drawn.wait("mask", image=0, variant="other")["version"] > version
    assert drawn.learner.status()["text_used"]
    words = drawn.learner.words(0)
    text = drawn.session.text(0)
    assert [text[one.start : one.end] for one in words] == [one.word for one in words] == text.split()
    assert all(-1 <= one.effect <= 1 for one in words)


@pytest.mark.slow
def test_an_edited_text_is_encoded_and_shown(drawn):
    drawn.look(1)
    drawn.draw(1, *BRIGHT)
    drawn.draw(0, *DARK)
    drawn.wait("learnt")
    before = len(drawn.events)
    drawn.say(1, "a text that no cache has")
    drawn.wait("mask", after=before, image=1, variant="own", stage="fine")
    assert not [event for event in drawn.events if event["type"] == "problem"]


@pytest.mark.parametrize("offline", [False, True])
def test_offline_holds_for_the_encoder_of_new_texts(tiny_cache, tmp_path, monkeypatch, offline):
    loaded, load = [], live_texts.load_same_encoder

    def load_and_note(*args, offline):
        loaded.append(offline)
        return load(*args, offline=offline)

    monkeypatch.setattr(live_texts, "load_same_encoder", load_and_note)
    with studio(tiny_cache, tmp_path / "labels", offline=offline) as made:
        made.look(0)
        made.draw(1, *BRIGHT)
        made.draw(0, *DARK)
        made.wait("learnt")
        made.learner.preview(0, "a text that no cache has")
        made.look(0, "other")
        made.wait("mask", image=0, variant="other")
    assert loaded == [offline]


@pytest.mark.slow
def test_the_image_to_label_next_is_neither_labelled_nor_locked(drawn):
    drawn.look(0)
    drawn.draw(1, *BRIGHT)
    drawn.draw(0, *DARK)
    drawn.wait("learnt")
    suggestion = drawn.learner.suggest()
    assert suggestion.image != 0
    assert drawn.session.images[suggestion.image].split != "test"
    assert f"of {len(drawn.session.images) - 2} images without labels" in suggestion.why


@pytest.mark.slow
def test_masks_that_images_have_are_learnt_from_at_once_but_those_of_the_test_split(tiny_cache, tmp_path):
    with studio(tiny_cache, tmp_path / "labels", masks=True) as made:
        n_train = sum(image.split != "test" for image in made.session.images)
        assert made.wait("learnt")["n_images"] == n_train
        with pytest.raises(LabelError, match="all images are labelled"):
            made.learner.suggest()


def test_words_need_a_head_first(drawn):
    with pytest.raises(LabelError, match="no head has learnt yet"):
        drawn.learner.words(0)


@pytest.fixture
def tiny_run(tiny_cache, tmp_path):
    from textdiff import train_head
    from textdiff.config import TrainConfig

    train_head(TrainConfig(tiny_cache, tmp_path / "run", head="pixel", epochs=2, text="true", device="cpu"))
    return tmp_path / "run"


@pytest.mark.slow
def test_a_run_predicts_before_the_first_stroke_and_its_head_goes_on_learning(tiny_cache, tiny_run, tmp_path):
    from textdiff.pipeline.labelling.learner.initial_run import InitialRun

    with studio(tiny_cache, tmp_path / "labels", run=tiny_run) as made:
        assert made.learner.status()["line"] == "beginning with the head of run"
        made.look(0)
        made.wait("mask", image=0, stage="fine")
        made.draw(1, *BRIGHT)
        made.draw(0, *DARK)
        made.wait("learnt")
        began, went_on = InitialRun.load(tiny_run, "cpu").head, made.learner._worker.answer.head
    before, after = (torch.cat([one.flatten() for one in head.parameters()]) for head in (began, went_on))
    assert 0 < (before - after).norm() < before.norm()


@pytest.mark.slow
def test_a_run_of_other_classes_is_refused(tiny_cache, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("learning.NAMES", ("background", "vessel"))
    with (
        pytest.raises(ConfigError, match="tells background, foreground apart, and the session has background, vessel"),
        studio(tiny_cache, tmp_path / "labels", run=tiny_run),
    ):
        pass
