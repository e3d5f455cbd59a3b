"""The whole way on a real S3 server, which the test starts on this machine and reaches over HTTP."""

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("s3fs", reason="needs s3fs (extra s3)")
pytest.importorskip("moto", reason="needs moto, flask and flask-cors (extra dev)")

from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage.location import location
from textdiff.errors import CacheCorruptError, CacheError
from textdiff.pipeline.config.cache import CacheExportConfig
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.export import export_cache
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.training.train import train_head

SERVER = """
    import sys
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def extraction(extraction):
    """Fewer objects."""
    return replace(extraction, blocks=(3,), timesteps=(50,))


@pytest.fixture(scope="module")
def server():
    """The address of a server of its own process, which ends with the tests."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.fixture
def bucket(server, monkeypatch, request):
    """An empty bucket, with dummy credentials in the environment."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = request.node.name.replace("_", "-")[:60].rstrip("-")
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


def objects(root):
    return {name: (root / name).read_bytes() for name in root.names()}


def without_lock(files):
    return {name: content for name, content in files.items() if name != ".lock"}


KILLED = """
    import os, signal
    from pathlib import PosixPath
    import torch
    torch.set_num_threads(1)
    from textdiff.cache.building import writer
    from textdiff.cache.storage.location import location
    from textdiff.cache.storage.remote import RemotePath
    from textdiff.pipeline.config.extraction import ExtractConfig
    from textdiff.pipeline.extraction.extract import extract_features
    write_shard = writer.write_shard
    def dying(root, path, rows, n):
        if path == "features/3/50/c/2/0/0/0":
            os.kill(os.getpid(), signal.SIGKILL)
        return write_shard(root, path, rows, n)
    writer.write_shard = dying
    extract_features({config!r})
"""


@pytest.mark.slow
def test_killed_and_resumed_the_objects_are_the_files_of_a_folder(bucket, extraction, tmp_path, folder_bytes):
    there = replace(extraction, cache=location(f"{bucket}/deep/cache"))
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED.format(config=there)), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert 0 < extract_features(replace(there, resume=True)).n_forwards < 7
    extract_features(extraction)
    assert objects(there.cache) == without_lock(folder_bytes(extraction.cache))


@pytest.fixture
def stored(bucket, tiny_cache):
    """The tiny cache, copied to the bucket."""
    root = location(f"{bucket}/cache")
    export_cache(CacheExportConfig(tiny_cache, root))
    return root


@pytest.mark.slow
def test_a_head_is_trained_and_scored_from_the_bucket(stored, tiny_cache, tmp_path):
    from textdiff.pipeline.evaluation.evaluate import evaluate

    runs = []
    for cache in (tiny_cache, stored):
        runs.append(tmp_path / f"run{len(runs)}")
        train_head(TrainConfig(cache, runs[-1], head="pixel", text="true", epochs=1, device="cpu"))
    assert runs[0].joinpath("head.safetensors").read_bytes() == runs[1].joinpath("head.safetensors").read_bytes()
    assert json.loads((runs[1] / "config.json").read_bytes())["train"]["cache"] == str(stored)
    found = [evaluate(EvaluateConfig(runs[1], cache, device="cpu")).to_dict()["dice"] for cache in (tiny_cache, stored)]
    assert found[0] == found[1]


@pytest.mark.slow
def test_changed_and_cut_objects_are_found(stored, tiny_cache):
    path = stored / "features/3/50/c/1/0/0/0"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))
    cut = stored / "images/c/0/0/0/0"
    cut.write_bytes(cut.read_bytes()[:10])
    found = verify_cache(stored)
    assert [damage.path for damage in found.damaged] == ["features/3/50/c/1/0/0/0", "images/c/0/0/0/0"]
    for read in (lambda reader: reader.features(3, 50, 2), lambda reader: reader.read((3,), (50,), (2,))):
        with pytest.raises(CacheCorruptError, match="the bytes of row 0 are not those that were written"):
            read(FeatureReader(stored))
    with pytest.raises(CacheCorruptError, match="cut short or damaged"):
        FeatureReader(stored).image(0)


def test_a_bucket_that_is_not_there_is_one_error(bucket, extraction):
    with pytest.raises(CacheError, match=r"s3://nowhere-at-all/cache.* cannot be written .*check the address"):
        extract_features(replace(extraction, cache=location("s3://nowhere-at-all/cache")))


def test_the_command_line_takes_an_url_as_it_is_written(stored, capsys, monkeypatch):
    from textdiff import cli

    monkeypatch.setattr(sys, "argv", ["textdiff", "cache", "info", str(stored), "--json"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert not exit_.value.code
    assert json.loads(capsys.readouterr().out)["cache"] == str(stored)
    assert not Path("s3:").exists()
