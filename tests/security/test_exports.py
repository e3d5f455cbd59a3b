"""Exports of annotation tools from strangers: refused before they take memory, and never run."""

import json
import tracemalloc

import numpy as np
import pytest

from textdiff.components import read_annotations
from textdiff.errors import DataError

SIZE = (20, 30)
MOST_BYTES = 40 * 2**20


def coco(segmentation, size=SIZE):
    return {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    }


def brush(n_values):
    packed = [*n_values.to_bytes(4, "big"), 0b00111001, 0b00011011, 0b11111111, 0b11111111, *([255] * 50)]
    value = {"format": "rle", "rle": packed, "brushlabels": ["x"]}
    result = {"type": "brushlabels", "value": value, "original_width": SIZE[1], "original_height": SIZE[0]}
    return [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [result]}]}]


BOMBS = {
    "runs of other pixels": coco({"size": [*SIZE], "counts": [0, 10**12]}),
    "runs of another size": coco({"size": [10**6, 10**6], "counts": [0, 10**12]}),
    "a packed number without end": coco({"size": [*SIZE], "counts": "o" * 10**6}),
    "corners far away": coco([[-1e300, 0, 1e300, 1e300, 5, 5]]),
    "a brush of 4 billion values": brush(2**32 - 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_left_out_by_name_without_its_memory(tmp_path, bomb):
    (tmp_path / "a.json").write_text(json.dumps(BOMBS[bomb]))
    tracemalloc.start()
    found = read_annotations(tmp_path / "a.json", {"a.png": SIZE})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.images == {}
    assert found.left_out[0].startswith("a.png: ")
    assert peak < MOST_BYTES


def test_an_image_beyond_the_limit_of_pixels_is_not_drawn(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(coco([[0, 0, 9, 0, 9, 9]])))
    found = read_annotations(tmp_path / "a.json", {"a.png": (100_000, 100_000)})
    assert "over the limit of 200000000" in found.left_out[0]


def test_entities_and_pickles_are_refused(tmp_path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>')
    with pytest.raises(DataError, match="declares entities"):
        read_annotations(tmp_path / "a.xml", {})
    path = tmp_path / "task-1-annotation-1-by-1-tag-x-0.npy"
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects in dtype"):
        read_annotations(tmp_path, {"task-1": SIZE}).draw("task-1")
