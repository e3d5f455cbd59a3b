"""The page's requests and what they are answered, by hand."""

import numpy as np
import pytest
from label_server import brush, new_key
from PIL import Image


def post(client, path, **body):
    return client.post(f"/api/{path}", json={"key": new_key()} | body)


def labels(client, image=0, tile="0/0_0"):
    answer = client.get(f"/api/images/{image}/labels/{tile}")
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, np.uint8).reshape(256, 256), int(answer.headers["x-version"])


def test_a_page_begins_with_everything_that_it_shows(client, tmp_path):
    found = client.get("/api/session").json()
    assert found["images"][0] == {
        "image": 0, "id": "im0", "split": "train", "group": "im0", "size": [300, 400], "n_levels": 2,
        "state": "unlabelled", "n_strokes": 0, "version": 0, "text": "text 0", "uncertainty": None, "ready": False,
        "locked": False,
    }  # fmt: skip
    assert [one["locked"] for one in found["images"]] == [False, False, True]
    assert found["classes"][1] == {"index": 1, "name": "lesion", "colour": "#e6194b"}
    assert (found["tests_locked"], found["history"]) == (True, {"undo": False, "redo": False})
    assert (found["annotator"], found["title"], found["out"]) == ("me", "Tests", str(tmp_path))


def test_a_stroke_is_seen_undone_and_redone(client):
    stroke = brush(points=[(100, 100)], size=4)
    answer = client.post("/api/strokes", json=stroke)
    assert answer.json() == {"sequence": 1, "version": 1, "box": [98, 98, 5, 5]}
    assert client.post("/api/strokes", json=stroke).json() == answer.json()
    tile, version = labels(client)
    rows = ["....", ".11.", "1111", "1111", ".11."]
    assert version == 1
    assert tile[98:102, 98:102].tolist() == [[255, 1, 1, 255], [1] * 4, [1] * 4, [255, 1, 1, 255]], rows
    assert (tile != 255).sum() == 12
    undone = post(client, "undo", image=None).json()
    assert undone == {"sequence": 2, "undone": stroke["key"], "image": 0, "version": 2, "box": [98, 98, 5, 5]}
    assert (labels(client)[0] == 255).all()
    assert post(client, "undo").status_code == 409
    assert post(client, "redo").json()["redone"] == stroke["key"]
    assert (labels(client)[0] != 255).sum() == 12
    assert client.get("/api/session").json()["images"][0]["n_strokes"] == 1


def test_texts_classes_and_states_change(client):
    assert post(client, "texts", image=1, text="round\nnuclei").status_code == 200
    assert post(client, "classes", name="stroma", colour="#112233").json()["sequence"] == 2
    assert post(client, "classes", index=1, name="tumour", colour="#445566").status_code == 200
    assert post(client, "states", image=1, state="full").status_code == 200
    found = client.get("/api/session").json()
    assert (found["images"][1]["text"], found["images"][1]["state"]) == ("round\nnuclei", "full")
    assert [one["name"] for one in found["classes"]] == ["background", "tumour", "vessel", "stroma"]
    tile, _ = labels(client, 1, "1/0_0")
    assert (tile[:150, :200] == 0).all()
    assert (tile == 0).sum() == 150 * 200


def test_the_test_split_is_locked_until_one_says_so(client):
    refused = client.post("/api/strokes", json=brush(2))
    assert refused.status_code == 403
    assert refused.json()["error"]["what"] == "image 2 is locked"
    assert client.get("/api/images/2/labels/0/0_0").status_code == 403
    assert post(client, "unlock").status_code == 200
    assert client.post("/api/strokes", json=brush(2)).status_code == 200


WRONG = [
    ("strokes", brush(99), 404, "the image does not exist"),
    ("strokes", brush(0, label=7), 400, "the class does not exist"),
    ("strokes", brush(0, label=None), 400, "the brush has another class"),
    ("strokes", brush(0, size=0), 400, "the brush has no such size"),
    ("strokes", brush(0, points=[]), 400, "the brush has another number of points"),
    ("strokes", brush(0, points=[(1e9, 0)]), 400, "a point is nowhere near the image"),
    ("strokes", brush("0"), 400, "the body cannot be read"),
    ("strokes", brush(0, tool="bucket"), 409, "this session has no learner"),
    ("strokes", brush(0, key="a\r\nb: c"), 400, "the key cannot be used"),
    ("redo", {"key": new_key()}, 409, "there is nothing to redo"),
    ("classes", {"key": new_key(), "name": "a\r\nb", "colour": "#000000"}, 400, "the name cannot be used"),
    ("classes", {"key": new_key(), "name": "Lesion", "colour": "#000000"}, 400, "two classes have one name"),
    ("classes", {"key": new_key(), "name": "a", "colour": "red"}, 400, "the colour cannot be read"),
    ("classes", {"key": new_key(), "name": "a", "colour": "#000000", "index": 4}, 400, "the class does not exist"),
    ("train", {"mode": "once"}, 409, "this session has no learner"),
    ("train", {"mode": "twice"}, 400, "the body cannot be read"),
    ("look", {"image": 0, "box": [500, 0, 10, 10]}, 400, "the view shows nothing of the image"),
    ("suggest", {}, 409, "this session has no learner"),
    ("export", {"kind": "run"}, 409, "this session has no export"),
]


@pytest.mark.parametrize(("path", "body", "status", "what"), WRONG)
def test_what_cannot_be_done_is_explained_and_leaves_no_trace(client, session, path, body, status, what):
    answer = client.post(f"/api/{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["what"]) == (status, what)
    assert set(answer.json()["error"]) == {"what", "got", "expected", "do"}
    assert client.post("/api/strokes", json=brush()).json()["sequence"] == 1


def test_pictures_are_tiles_of_the_image_and_a_thumbnail(client, tmp_path):
    import io

    def picture(path):
        answer = client.get(f"/api/images/0/{path}")
        assert answer.headers["content-type"] == "image/jpeg"
        return Image.open(io.BytesIO(answer.content))

    assert picture("picture/0/0_0").size == (256, 256)
    assert picture("picture/0/1_1").size == (144, 44)
    assert picture("picture/1/0_0").size == (200, 150)
    assert picture("thumbnail").size == (160, 120)
    for outside in ("0/2_0", "2/0_0", "0/0_2"):
        assert client.get(f"/api/images/0/picture/{outside}").status_code == 404
        assert client.get(f"/api/images/0/labels/{outside}").status_code == 404
