"""Manifests of other versions, and manifests with other fields."""

import json

import pytest

from textdiff.cache.format.manifest import read_manifest
from textdiff.cache.format.sealed_json import sealed_json
from textdiff.cache.format.spec import FORMAT
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheCorruptError, CacheError


def reseal(path, change):
    """Change a manifest as somebody would who knows the format."""
    values = json.loads(path.read_bytes())
    change(values)
    path.write_bytes(sealed_json(values))


@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused(tiny_cache, version):
    reseal(tiny_cache / "manifest.json", lambda values: values.update(format=version))
    with pytest.raises(CacheError, match=rf"format {version}, this textdiff reads format {FORMAT}: use the textdiff"):
        read_manifest(tiny_cache)


def test_a_changed_sample_table_is_refused(tiny_cache):
    path = tiny_cache / "samples.json"
    path.write_bytes(path.read_bytes().replace(b"train0", b"train9"))
    with pytest.raises(CacheCorruptError, match=r"samples\.json: changed since it was written; .*cache verify"):
        FeatureReader(tiny_cache)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("block_shapes", [], r"Expected `object`, got `array` - at `\$\.block_shapes`"),
        ("block_shapes", {"3": [4, 4]}, r"Expected `array` of length 3"),
        (
            "rows",
            [{"id": 1, "image_digest": "", "text_digest": None}],
            r"Expected `str`, got `int` - at `\$\.rows\[0\]",
        ),
        ("units", [{}], "Object missing required field `rows`"),
    ],
)
def test_a_field_of_another_kind_is_named_with_what_was_expected(tiny_cache, field, value, message):
    reseal(tiny_cache / "manifest.json", lambda values: values.update({field: value}))
    with pytest.raises(CacheCorruptError, match=rf"json: not a manifest of a feature cache \({message}.*--resume"):
        read_manifest(tiny_cache)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b'{"format": 1}', b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_manifest_is_one_error(tiny_cache, content):
    (tiny_cache / "manifest.json").write_bytes(content)
    with pytest.raises(CacheCorruptError, match=r"manifest\.json: (not a manifest|changed since it was written)"):
        read_manifest(tiny_cache)
