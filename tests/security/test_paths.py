"""Names and caches that try to reach files outside the folders they were given."""

import json
import os
from dataclasses import replace

import pytest

from textdiff.cache.building.journal import UNITS, read_journal
from textdiff.cache.format.manifest import COPY, MANIFEST
from textdiff.cache.format.sealed_json import sealed_json
from textdiff.cache.format.shard import ShardRecord
from textdiff.cache.storage.atomic import write_durably
from textdiff.errors import CacheError
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.verify import verify_cache

HOSTILE_IDS = ["../up", "/etc/passwd", "a/b", "a\\b", "..", ".", "a\0b", "CON", "nul.txt", "a\nb", "<b>", "", " "]


@pytest.mark.parametrize("sample_id", HOSTILE_IDS)
def test_ids_that_are_no_file_names_are_refused(lvit, sample_id, problems_of):
    folder = lvit / "Train_Folder"
    image, mask = folder / "img" / "a.png", folder / "labelcol" / "a.png"
    table = f'id,image,mask,text,split\n"{sample_id}",{image},{mask},x,train\n'
    (lvit / "own.csv").write_text(table, encoding="utf-8")
    (problem,) = problems_of(lvit / "own.csv")
    assert f"the id {sample_id.strip()!r} cannot be used" in problem


HOSTILE_PATHS = [
    "../victim",
    "/etc/passwd",
    "images/c/../../../victim",
    "images/c/0/0/0/0/..",
    "images\\c/0/0",
    "",
    "x",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_no_shard_has_a_path_out_of_the_cache(path):
    with pytest.raises(ValueError, match="is no shard's path"):
        ShardRecord(path, 1, "0" * 8)


@pytest.fixture
def victim(tmp_path):
    """A file beside the cache, which must be read and written by nobody."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"of great worth")
    victim.chmod(0o000)
    yield victim
    victim.chmod(0o600)
    assert victim.read_bytes() == b"of great worth"


def forge(cache, change):
    """Change a manifest as somebody would who knows the format, in both of its files."""
    values = json.loads((cache / MANIFEST).read_bytes())
    change(values)
    for name in (MANIFEST, COPY):
        (cache / name).write_bytes(sealed_json(values))


def first_light(values):
    values["derived_shards"][0]["shard"]["path"] = "../victim"


def first_unit(values):
    values["units"][0]["shards"][0]["path"] = "/etc/passwd"


def metadata(values):
    values["metadata"]["../victim"] = "0" * 64


@pytest.mark.parametrize("change", [first_light, first_unit, metadata])
def test_a_manifest_that_names_files_elsewhere_is_refused(tiny_cache, extraction, victim, change):
    forge(tiny_cache, change)
    for resume in (False, True):
        with pytest.raises(CacheError, match=r"is no shard's path|is no zarr\.json of a cache|neither|damaged or gone"):
            extract_features(replace(extraction, resume=resume, filters=False))
    with pytest.raises(CacheError, match=r"damaged or gone"):
        verify_cache(tiny_cache)


def test_a_record_of_a_unit_that_names_files_elsewhere_is_none(tiny_cache, extraction, victim):
    unit = json.loads((tiny_cache / MANIFEST).read_bytes())["units"][0]
    (tiny_cache / UNITS).mkdir(parents=True)
    for name, path in {"0-0.json": "../victim", "0-1.json": unit["shards"][0]["path"]}.items():
        unit["shards"][0]["path"] = path
        (tiny_cache / UNITS / name).write_bytes(sealed_json(unit))
    assert [found.shards[0].path for found in read_journal(tiny_cache)] == [path]


@pytest.mark.parametrize("name", [".lock", "manifest.json.tmp", "samples.json", "features", "images/c/0/0/0/0"])
def test_links_out_of_a_cache_are_refused_before_anything_is_done(tiny_cache, extraction, victim, name):
    link = tiny_cache / name
    if link.is_dir():
        link.rename(tiny_cache.with_name("elsewhere"))
        link.symlink_to(tiny_cache.with_name("elsewhere"))
    else:
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
    for command in (lambda: verify_cache(tiny_cache), lambda: extract_features(replace(extraction, resume=True))):
        with pytest.raises(CacheError, match=rf"  - {name} is a link to .*, outside of the cache\nremove"):
            command()


def test_a_pipe_in_a_cache_is_not_waited_for_and_links_within_are_followed(tiny_cache):
    (tiny_cache / "images").rename(tiny_cache / "pictures")
    (tiny_cache / "images").symlink_to("pictures")
    assert verify_cache(tiny_cache).damaged == ()
    os.mkfifo(tiny_cache / "features" / "wait")
    with pytest.raises(CacheError, match="  - features/wait is neither a file nor a folder"):
        verify_cache(tiny_cache)


def test_a_cache_may_be_reached_through_a_link(tiny_cache, tmp_path):
    (tmp_path / "short").symlink_to(tiny_cache)
    assert verify_cache(tmp_path / "short").problems == ()


def test_a_write_replaces_a_link_and_leaves_what_it_leads_to(tmp_path, victim):
    for name in ("report.html", "report.html.tmp"):
        (tmp_path / name).symlink_to(victim)
    write_durably(tmp_path / "report.html", [b"new"])
    assert (tmp_path / "report.html").read_bytes() == b"new"
    assert not (tmp_path / "report.html").is_symlink()
