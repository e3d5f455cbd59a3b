"""Caches that are absent, damaged, unfinished, newer or others: each is refused and stays as it is."""

import shutil

import portalocker
import pytest

SHARD = "cache/features/1/50/c/0/0/0/0"


def cache(spoil, command=None):
    """A command (by default `train-head`) on a spoilt copy of the cache."""

    def arrange(scene):
        scene.copy("cache")
        spoil(scene)
        return command(scene) if command else scene.train()

    return arrange


def info(scene):
    return ["cache", "info", "cache"]


def verify(scene):
    return ["cache", "verify", "cache"]


def evaluate(scene):
    return ["evaluate", str(scene.sound / "run"), "cache"]


def extend(*more, **flags):
    """`extract-features` into the cache that is there."""
    return lambda scene: [*scene.extract(str(scene.sound / "data"), "cache", **flags), *more]


def remove(*names):
    def spoil(scene):
        for name in names:
            path = scene.here / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def flip(name, place=-1):
    """One bit of a file."""

    def change(content):
        found = bytearray(content)
        found[place] ^= 1
        return bytes(found)

    return lambda scene: scene.edit(name, change)


def half(name):
    return lambda scene: scene.edit(name, lambda content: content[: len(content) // 2])


def unfinished(scene):
    """What a killed extraction leaves: a journal, and no manifest."""
    scene.write("cache/journal/plan.json", (scene.here / "cache/manifest.json").read_bytes())
    remove("cache/manifest.json", "cache/manifest.copy.json")(scene)


def newer(scene):
    scene.edit_json("cache/manifest.json", format=99)


def folder_for(name):
    def spoil(scene):
        remove(name)(scene)
        (scene.here / name).mkdir()

    return spoil


def spoilt(*spoils):
    return lambda scene: [spoil(scene) for spoil in spoils]


def something_else(scene):
    scene.write("cache/notes.txt", "mine")
    return scene.extract(str(scene.sound / "data"), "cache")


GONE = "nowhere: no feature cache here; make one with `textdiff extract-features`"
HOW = "repeat the `textdiff extract-features` command with --resume"

PLACES = {
    "nothing at the path": (lambda s: s.train(cache="nowhere"), GONE),
    "nothing to look at": (lambda s: ["cache", "info", "nowhere"], GONE),
    "nothing to verify": (lambda s: ["cache", "verify", "nowhere"], GONE),
    "a file for a cache": (lambda s: s.train(cache=s.write("file")), "file: no feature cache here"),
    "a file to extract into": (
        lambda s: s.extract(str(s.sound / "data"), s.write("file")),
        "file: exists and is not a feature cache; give a new name",
    ),
    "data for a cache": (lambda s: s.train(cache=str(s.copy("data"))), "data: no feature cache here"),
    "something else to extract into": (something_else, "cache: exists and is not a feature cache; give a new name"),
    "a run for a cache": (lambda s: s.train(cache=str(s.sound / "run")), "run: no feature cache here"),
    "a file on the way": (lambda s: s.extract(str(s.sound / "data"), s.write("file") + "/cache"), "file"),
}

TABLES = {
    "half a manifest": (cache(half("cache/manifest.json")), "manifest.json: not a manifest of a feature cache"),
    "a changed manifest": (cache(flip("cache/manifest.json", 100)), "manifest.json"),
    "a number changed in the manifest": (
        cache(lambda s: s.edit_json("cache/manifest.json", features__seed=41)),
        "changed since it was written: its checksum differs",
    ),
    "a manifest that is a list": (
        cache(lambda s: s.write("cache/manifest.json", "[]")),
        "not a manifest of a feature cache",
    ),
    "a manifest of brackets": (
        cache(lambda s: s.write("cache/manifest.json", "[" * 100_000)),
        "not a manifest of a feature cache",
    ),
    "a format of words": (
        cache(lambda s: s.edit_json("cache/manifest.json", format="new")),
        "not a manifest of a feature cache",
    ),
    "a newer format": (cache(newer), "format 99, this textdiff reads format 1: use the textdiff"),
    "a newer format to extend": (cache(newer, extend()), "or extract into a new cache"),
    "a newer format to verify": (
        cache(spoilt(newer, remove("cache/manifest.copy.json")), verify),
        "or extract into a new cache",
    ),
    "no manifest but its copy": (cache(remove("cache/manifest.json")), "manifest.json: absent; repeat the"),
    "neither manifest nor copy": (
        cache(remove("cache/manifest.json", "cache/manifest.copy.json"), extend("--resume")),
        "exists and is not a feature cache",
    ),
    "both damaged": (
        cache(spoilt(half("cache/manifest.json"), half("cache/manifest.copy.json")), verify),
        "restore one of the two from a backup",
    ),
    "a folder for the manifest": (cache(folder_for("cache/manifest.json"), info), "manifest.json"),
    "no sample table": (cache(remove("cache/samples.json")), "samples.json: not a sample table"),
    "a changed sample table": (
        cache(flip("cache/samples.json", 40), evaluate),
        "samples.json: changed since it was written",
    ),
    "an extraction under way": (cache(unfinished), "its extraction did not finish; " + HOW),
    "an extraction to go on with": (
        cache(unfinished, extend()),
        "did not finish (0 units are done); add --resume to go on",
    ),
    "an extraction that cannot be verified": (cache(unfinished, verify), "its extraction did not finish"),
    "half a plan": (
        cache(spoilt(unfinished, half("cache/journal/plan.json")), extend("--resume")),
        "plan.json: not a manifest of a feature cache",
    ),
}

SHARDS = {
    "no shard": (cache(remove(SHARD)), "0: absent; `textdiff cache verify` lists all that is damaged"),
    "half a shard": (cache(half(SHARD)), "cut short or damaged: the index at its end is not the one that was written"),
    "a changed index": (cache(flip(SHARD, -20)), "cut short or damaged: the index at its end"),
    "a changed number": (cache(flip(SHARD, 5)), "the bytes of row 0 are not those that were written"),
    "changed labels": (cache(flip("cache/labels/c/0/0/0", 5)), "the bytes of row 0 are not those that were written"),
    "changed texts": (
        cache(flip("cache/texts/tokens/c/0/0/0", 5)),
        "the bytes of row 0 are not those that were written",
    ),
    "a changed number to score": (
        cache(flip("cache/features/1/50/c/3/0/0/0", 5), evaluate),
        "c/3/0/0/0: the bytes of row 0 are not those",
    ),
}

OTHERS = {
    "blocks that are not cached": (
        lambda s: s.train("--blocks", "2", cache=str(s.sound / "cache")),
        "lacks blocks 2 at timesteps 50,150",
    ),
    "timesteps that are not cached": (
        lambda s: s.train("--timesteps", "7", cache=str(s.sound / "cache")),
        "lacks blocks 1,3 at timesteps 7",
    ),
    "other noise": (cache(lambda s: None, extend(seed="41")), "seed: the cache has 40, this request needs 41"),
    "another size": (
        cache(lambda s: None, extend(image_size="32")),
        "image_size: the cache has 16, this request needs 32",
    ),
    "another form": (
        cache(lambda s: None, extend(dtype="int8")),
        "dtype: the cache has float16, this request needs int8",
    ),
    "other units": (
        cache(lambda s: None, extend(batch_size="3")),
        "rows_per_shard: the cache has 2, this request needs 3",
    ),
    "views that are not cached": (
        lambda s: ["evaluate", str(s.sound / "run"), str(s.sound / "cache"), "--tta", "2"],
        "views",
    ),
    "nothing left to label": (
        lambda s: ["suggest", str(s.sound / "cache"), str(s.sound / "run"), "--split", "val"],
        "val",
    ),
    "a timestep for a subset": (
        lambda s: ["ablate-timesteps", str(s.sound / "cache"), "out", "--subsets", "50;7"],
        "lacks",
    ),
}

TABLE = {**PLACES, **TABLES, **SHARDS, **OTHERS}


@pytest.mark.parametrize("row", TABLE)
def test_a_cache_that_cannot_be_used_is_refused(refused, row):
    refused(*TABLE[row])


@pytest.mark.parametrize("command", [extend(), verify])
def test_a_cache_that_is_written_to_is_refused(refused, scene, command):
    scene.copy("cache")
    with (scene.here / "cache/.lock").open("rb") as lock:
        portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE)
        refused(command, "cache: another process is writing to this cache; wait until it ends")
