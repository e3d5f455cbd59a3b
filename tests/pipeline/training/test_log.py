"""Logs of a training: TensorBoard and MLflow get what the metrics have; one clear error where one cannot be written."""

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest

from textdiff.errors import ConfigError, RunError
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.training import log as training_log
from textdiff.pipeline.training import train as training_module
from textdiff.pipeline.training.train import train_head


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    return TrainConfig(
        tiny_cache, tmp_path / "run", head="pixel", text="true", epochs=2, device="cpu", log="tensorboard", **sizes
    )


def metrics_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_what_the_metrics_have(training):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_head(training)
    events = accumulator.EventAccumulator(str(training.run / "tensorboard")).Reload()
    for name in ("loss", "val_dice_sampled"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in metrics_of(training.run)]
    assert "log" not in json.loads((training.run / "config.json").read_bytes())["train"]


def test_events_that_cannot_be_written_are_one_error(tmp_path, monkeypatch):
    writers = pytest.importorskip("torch.utils.tensorboard")
    (tmp_path / "tensorboard").write_text("in the way")
    message = r"--log tensorboard: .*tensorboard cannot be written \(.*\); free its place, then repeat .* without --log"
    with pytest.raises(RunError, match=message), training_log.open_log("tensorboard", tmp_path, None, 0):
        pass
    (tmp_path / "tensorboard").unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writers.SummaryWriter, "add_scalar", full)
    with pytest.raises(RunError, match=message), training_log.open_log("tensorboard", tmp_path, None, 0) as log:
        log.add_epoch({"epoch": 1, "loss": 0.5})


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_without_it_one_error_says_how_to_install_it_and_nothing_is_written(training, monkeypatch, kind):
    monkeypatch.setattr(training_log, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=rf"--log {kind}: {kind}.* not installed; run `pip install 'textdiff\[{kind}\]'`"
    ):
        train_head(replace(training, log=kind))
    assert not training.run.exists()


def test_no_log_writes_no_folder(training):
    train_head(replace(training, log=None))
    assert not (training.run / "tensorboard").exists()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An empty database of MLflow; to copy one is quicker than to have its tables made."""
    mlflow = pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with warnings.catch_warnings(action="ignore"):
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracked(tmp_path, monkeypatch, database):
    """Gives `tracked()`: a client, and the runs that MLflow keeps in the test's folder, oldest first."""
    import mlflow

    shutil.copy(database, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)

    def look():
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name("textdiff")
        return client, client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])

    return look


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_gets_settings_epochs_result_and_report(training, tracked, tmp_path):
    train_head(replace(training, log="mlflow"))
    client, (run,) = tracked()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    settings = json.loads((training.run / "config.json").read_bytes())["train"]
    assert set(run.data.params) == set(settings)
    assert (run.data.params["width"], run.data.params["blocks"], run.data.params["head"]) == ("16", "[1,3]", "pixel")
    for name in ("loss", "val_dice_sampled"):
        logged = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        assert logged == [(row["epoch"], row[name]) for row in metrics_of(training.run)]
    summary = json.loads((training.run / "summary.json").read_bytes())
    assert run.data.metrics["val_dice"] == summary["val_dice"]
    assert run.data.metrics["test_dice"] == summary["test"]["dice"]
    (artifact,) = (tmp_path / "mlruns").rglob("report.html")
    assert artifact.read_bytes() == (training.run / "report.html").read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_training_goes_on_with_its_mlflow_run(training, tracked, monkeypatch):
    training = replace(training, log="mlflow", epochs=4)
    real = training_module.save_state

    def fails_after_the_third(run, trainer):
        if trainer.epoch == 3:
            raise KeyboardInterrupt
        real(run, trainer)

    monkeypatch.setattr(training_module, "SAVE_EVERY_S", 0)
    monkeypatch.setattr(training_module, "save_state", fails_after_the_third)
    with pytest.raises(KeyboardInterrupt):
        train_head(training)
    client, (run,) = tracked()
    assert run.info.status == "KILLED"
    monkeypatch.setattr(training_module, "save_state", real)
    train_head(replace(training, resume=True))
    client, (resumed,) = tracked()
    assert (resumed.info.run_id, resumed.info.status) == (run.info.run_id, "FINISHED")
    points = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [
        (row["epoch"], row["loss"]) for row in metrics_of(training.run)
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_candidates_are_named_after_their_run(training, tracked):
    train_head(replace(training, log="mlflow", head="auto", epochs=1))
    _, runs = tracked()
    assert [run.info.run_name for run in runs] == ["run/pixel", "run/context"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_that_is_out_of_reach_is_one_error_and_the_training_goes_on_without(training, tracked, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match=r"--log mlflow: .*; check MLFLOW_TRACKING_URI, then repeat .* --resume"):
        train_head(replace(training, log="mlflow"))
    train_head(replace(training, log=None, resume=True))
    assert (training.run / "summary.json").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_mlflow_run_that_is_gone_is_one_error(training, tracked, database, monkeypatch):
    monkeypatch.setattr(training_module, "write_train_report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_head(replace(training, log="mlflow"))
    _, (run,) = tracked()
    assert run.info.status == "FAILED"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    with pytest.raises(RunError, match=rf"mlflow.json: names the MLflow run {run.info.run_id}, .* remove the file"):
        train_head(replace(training, log="mlflow", resume=True))


IMPORTS = """
from textdiff.pipeline.training.mlflow_log import import_without_telemetry
import_without_telemetry()
from mlflow.telemetry import get_telemetry_client
import os
print(get_telemetry_client(), "MLFLOW_DISABLE_TELEMETRY" in os.environ)
"""


@pytest.mark.slow
def test_mlflow_tells_its_makers_nothing():
    pytest.importorskip("mlflow")
    # MLflow switches it off by itself where one of these is set.
    of_ci = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"}
    environment = {name: value for name, value in os.environ.items() if name not in of_ci}
    words = [sys.executable, "-c", IMPORTS]
    printed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["None", "False"]
