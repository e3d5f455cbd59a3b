"""The list of images: from a folder, a manifest or a cache, in an order that stays from session to session."""

import json

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.config import LabelConfig
from textdiff.pipeline.labelling.data_set.images import IMAGES, list_images
from textdiff.pipeline.runtime.progress import Progress


def listed(data, out, **settings):
    return list_images(LabelConfig(data, out, **settings), Progress())


@pytest.fixture
def folder(tmp_path, write_image):
    for i, name in enumerate(("b.png", "a.png", "sub/c.png")):
        write_image(tmp_path / "images" / name, i)
    return tmp_path / "images"


def test_a_plain_folder_is_listed_with_sizes_and_all_of_it_trains(folder, tmp_path):
    found = listed(folder, tmp_path / "out")
    assert {one.id for one in found.images} == {"a", "b", "c"}
    assert {one.split for one in found.images} == {"train"}
    assert {one.size for one in found.images} == {(6, 8)}
    assert all(one.path.is_file() and ".." not in one.path.parts for one in found.images)
    assert found.cache is None
    assert found.classes.names == ("background", "foreground")


def test_new_images_come_after_those_of_the_earlier_session(folder, tmp_path, write_image):
    before = listed(folder, tmp_path / "out").images
    write_image(folder / "0.png", 9)
    after = listed(folder, tmp_path / "out").images
    assert after[: len(before)] == before
    assert [one.id for one in after[len(before) :]] == ["0"]


def test_images_that_are_gone_are_named_all_at_once(folder, tmp_path):
    listed(folder, tmp_path / "out")
    (folder / "a.png").unlink()
    (folder / "b.png").unlink()
    with pytest.raises(DataError, match="put them back") as error:
        listed(folder, tmp_path / "out")
    assert {line.split(":")[0].strip(" -") for line in error.value.problems} == {"a", "b"}


def test_a_manifest_keeps_its_splits_texts_and_masks(tiny_data, tmp_path):
    found = listed(tiny_data, tmp_path / "out")
    assert {one.split for one in found.images} == {"train", "val", "test"}
    masked = [one for one in found.images if one.mask]
    assert masked
    assert all(one.mask.is_absolute() for one in masked)
    assert any(one.text for one in found.images)
    assert found.classes.ids == (0, 255)


def test_a_cache_lists_the_images_that_it_was_made_of(tiny_cache, tmp_path):
    from textdiff.cache.reader import FeatureReader

    found = listed(tiny_cache, tmp_path / "out")
    assert found.cache == tiny_cache
    assert [one.id for one in found.images] == list(dict.fromkeys(r.parent for r in FeatureReader(tiny_cache).samples))
    assert all(one.path.is_file() for one in found.images)


def test_images_that_cannot_be_opened_are_named_all_at_once(folder, tmp_path):
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataError) as error:
        listed(folder, tmp_path / "out")
    assert sum("a.png" in line or "b.png" in line for line in str(error.value).splitlines()) == 2
    assert not (tmp_path / "out" / IMAGES).exists()


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_no_images_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"does not exist|no images"):
        listed(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("content", ["[{}]", "no json", '[{"id": 1}]', '{"a": 1}'])
def test_a_damaged_list_is_an_error(folder, tmp_path, content):
    listed(folder, tmp_path / "out")
    (tmp_path / "out" / IMAGES).write_text(content)
    with pytest.raises(DataError, match="is damaged"):
        listed(folder, tmp_path / "out")


def test_the_list_is_plain_json(folder, tmp_path):
    listed(folder, tmp_path / "out")
    assert {one["id"] for one in json.loads((tmp_path / "out" / IMAGES).read_text())} == {"a", "b", "c"}
