"""Manifests of other versions."""

import hashlib
import json
from dataclasses import replace

import pytest

from textdiff.cache.building.plan import plan_work, read_state
from textdiff.cache.format.manifest import read_manifest
from textdiff.cache.format.spec import FORMAT
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheCorruptError, CacheError


def test_a_newer_format_is_refused(tiny_cache):
    path = tiny_cache / "manifest.json"
    newer = f'"format": {FORMAT + 1}'
    path.write_bytes(path.read_bytes().replace(f'"format": {FORMAT}'.encode(), newer.encode()))
    with pytest.raises(CacheError, match=rf"format {FORMAT + 1}; this textdiff reads up to {FORMAT}: upgrade"):
        read_manifest(tiny_cache)


def write_unsealed(path, values):
    """As formats before 4 wrote manifests: without checksums."""
    path.write_text(json.dumps({name: values[name] for name in values if name not in ("checksum", "metadata")}))


def test_a_changed_sample_table_is_refused(tiny_cache):
    path = tiny_cache / "samples.json"
    path.write_bytes(path.read_bytes().replace(b"train0", b"train9"))
    with pytest.raises(CacheCorruptError, match=r"samples\.json: changed since it was written; .*cache verify"):
        FeatureReader(tiny_cache)


@pytest.mark.parametrize("version", [1, 2])
def test_older_formats_are_read_with_what_they_lack_filled_in(tiny_cache, version):
    """What the first versions wrote, made by taking away the fields that came later."""
    path, reader = tiny_cache / "manifest.json", FeatureReader(tiny_cache)
    manifest, table = (json.loads(file.read_bytes()) for file in (path, tiny_cache / "samples.json"))
    for sample in table["samples"]:
        del sample["stratum"], sample["weight"]
    if version == 1:
        for name in ("unet_config", "precision", "class_label", "condition", "pca", "tile", "tile_overlap"):
            del manifest["features"][name]
        for key in manifest["rows"]:
            key and key.pop("text_digest")
        del manifest["projections"]
        for sample in table["samples"]:
            del sample["parent"]
    content = json.dumps(table).encode()
    (tiny_cache / "samples.json").write_bytes(content)
    manifest["digests"]["samples"] = hashlib.sha256(content).hexdigest()
    write_unsealed(path, {**manifest, "format": version})
    old = FeatureReader(tiny_cache)
    as_old = replace(reader.manifest, metadata={}, digests=manifest["digests"])
    assert (old.manifest, old.table) == (as_old, reader.table)
    state = read_state(tiny_cache, resume=False)
    again = plan_work(state, state.features, [key for key in state.rows if key], state.block_shapes, (50, 150))
    assert again.pending == ()


def test_a_manifest_with_a_field_of_another_kind_is_named(tiny_cache):
    path = tiny_cache / "manifest.json"
    write_unsealed(path, {**json.loads(path.read_bytes()), "block_shapes": [], "format": 3})
    with pytest.raises(CacheCorruptError, match=r"manifest\.json: not a manifest"):
        read_manifest(tiny_cache)
