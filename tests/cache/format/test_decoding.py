"""JSON → dataclasses: sound content as it was written, other content as one error of the class asked for."""

from dataclasses import dataclass

import pytest

from textdiff.cache.format.decoding import decode_json
from textdiff.errors import CacheCorruptError, RunError


@dataclass(frozen=True)
class Point:
    """A position with a name."""

    at: tuple[int, float]
    name: str = "origin"

    def __post_init__(self):
        if "/" in self.name:
            raise ValueError(f"{self.name!r} is no name")


def test_json_becomes_the_dataclass_and_unknown_fields_are_ignored():
    assert decode_json(b'{"at": [1, 2], "more": []}', Point, "p.json", what="a point", repair="") == Point((1, 2.0))


@pytest.mark.parametrize("error", [CacheCorruptError, RunError])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"at": [1, "x"]}', r"Expected `float`, got `str` - at `\$\.at\[1\]`"),
        (b'{"at": [1, 2], "name": "a/b"}', "'a/b' is no name"),
        (b'{"at": [1, NaN]}', "JSON is malformed"),
        (b"\xff", "JSON is malformed"),
        (b'{"at": [1, 2], "name": "\xff"}', "invalid start byte"),
        (b'{"at":' * 100_000, "Expected `array`"),
        (b'{"x":' * 100_000, "recursion"),
    ],
)
def test_other_content_is_one_error_that_names_file_field_and_repair(content, message, error):
    with pytest.raises(error, match=rf"p\.json: not a point \(.*{message}.*\); draw it again"):
        decode_json(content, Point, "p.json", what="a point", repair="draw it again", error=error)
