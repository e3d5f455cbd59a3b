"""`--log mlflow`: each training as a run of MLflow.

It goes where `MLFLOW_TRACKING_URI` says, else to MLflow's own default, files in the folder of the call (`mlflow.db`,
`mlruns`). Only MLflow's client is used, so that an MLflow run which the caller has open is left alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from ...cache.storage.atomic import canonical_json, parse_json, write_json
from ...errors import RunError
from ..runs.folder import RunSummary
from ..runs.run_config import CANDIDATES, RunConfig, first_line

RECORD = "mlflow.json"
"""In the run's folder: the MLflow run's id, and where it is tracked unless the environment says so."""
EXPERIMENT = "textdiff"
"""Its name, unless `MLFLOW_EXPERIMENT_NAME` gives another."""
UNNAMEABLE = re.compile(r"[^/\w.\- :]")
"""Characters that MLflow accepts in no name."""
SCORES = ("dice", "iou", "micro_dice", "micro_iou", "n")


class MlflowLog:
    """One training as one run of MLflow: settings as parameters, epochs and results as metrics, the report.

    Args:
        client: of MLflow.
        run_id: the MLflow run.
    """

    def __init__(self, client: Any, run_id: str) -> None:  # noqa: ANN401
        self._client, self._run_id = client, run_id
        self._n_logged = max((point.step for point in client.get_metric_history(run_id, "loss")), default=0)

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """A metric for each figure, once: MLflow would keep those of a repeated epoch twice."""
        if row["epoch"] > self._n_logged:
            figures = {name: value for name, value in row.items() if name != "epoch"}
            self._add_metrics(figures, int(row["epoch"]))

    def finish(self, summary: RunSummary, report: Path) -> None:
        """The summary's figures as metrics of the last epoch, and the page as an artifact."""
        self._add_metrics(_figures(summary), summary.epochs)
        self._client.log_artifact(self._run_id, str(report))

    def _add_metrics(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(_name(name), float(value), now_ms, step) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)


def _figures(summary: RunSummary) -> dict[str, float]:
    """Figures that a table of runs compares; none of single samples."""
    figures = {
        "best_epoch": summary.best_epoch,
        "n_parameters": summary.n_parameters,
        "n_train": summary.n_train,
        "n_val": summary.n_val,
        "val_dice": summary.val_dice,
    }
    for name, dice in zip(summary.classes, summary.val_class_dice, strict=True):
        figures[f"val_dice/{name}"] = dice
    test = summary.test or {}
    return figures | {f"test_{name}": test[name] for name in SCORES if name in test}


def _name(text: str) -> str:
    return UNNAMEABLE.sub("_", text)


@contextmanager
def open_log(run: Path, config: RunConfig, n_done: int) -> Iterator[MlflowLog]:
    """Begin an MLflow run, or go on with the one of an earlier attempt, and close it with the training's fate.

    Args:
        run: the run's folder.
        config: the settings, resolved.
        n_done: finished epochs; what MLflow has of later ones stands, since they are repeated to the same figures.

    Raises:
        RunError: if MLflow refuses, cannot be reached, or no longer has the earlier attempt's run.
    """
    mlflow = import_without_telemetry()
    try:
        client, run_id = _begin(mlflow, run, config)
        try:
            yield MlflowLog(client, run_id)
        except BaseException as error:
            fate = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
            client.set_terminated(run_id, fate)
            raise
        client.set_terminated(run_id)
    except mlflow.MlflowException as error:
        raise RunError(
            f"--log mlflow: MLflow refused ({first_line(error)}); check MLFLOW_TRACKING_URI, then repeat the command "
            f"with --resume, or without --log"
        ) from error


def import_without_telemetry() -> ModuleType:
    """MLflow, which would report its use to its makers from its first import on, without that.

    Who imports it before decides otherwise.
    """
    before = os.environ.get(switch := "MLFLOW_DISABLE_TELEMETRY")
    os.environ[switch] = "true"
    try:
        import mlflow
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before
    return mlflow


def _begin(mlflow: ModuleType, run: Path, config: RunConfig) -> tuple[Any, str]:
    path = run / RECORD
    record: dict[str, str] = parse_json(path.read_bytes()) if path.exists() else {}
    elsewhere = mlflow.tracking.is_tracking_uri_set()
    client = mlflow.MlflowClient(None if elsewhere else record.get("tracking_uri"))
    if record:
        _go_on(mlflow, client, record["run_id"], path)
        return client, record["run_id"]
    began = client.create_run(_experiment(client), tags=_tags(run, config), run_name=_run_name(run))
    run_id = began.info.run_id
    client.log_batch(run_id, params=_parameters(mlflow, config))
    # An address that the environment gives may hold a password.
    write_json(path, {"run_id": run_id} | ({} if elsewhere else {"tracking_uri": mlflow.get_tracking_uri()}))
    return client, run_id


def _go_on(mlflow: ModuleType, client: Any, run_id: str, path: Path) -> None:  # noqa: ANN401
    try:
        client.update_run(run_id, status="RUNNING")
    except mlflow.MlflowException as error:
        raise RunError(
            f"{path}: names the MLflow run {run_id}, which cannot be resumed ({first_line(error)}); set "
            "MLFLOW_TRACKING_URI to where it is, or remove the file to begin another"
        ) from error


def _experiment(client: Any) -> str:  # noqa: ANN401
    """Id of the experiment, which is made where it is not there yet."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    there = client.get_experiment_by_name(name)
    return str(there.experiment_id if there else client.create_experiment(name))


def _run_name(run: Path) -> str:
    """The folder's name; of a candidate of `--head auto` after that of the run which it is one for."""
    whole = run.resolve()
    return f"{whole.parents[1].name}/{whole.name}" if whole.parent.name == CANDIDATES else whole.name


def _parameters(mlflow: ModuleType, config: RunConfig) -> list[Any]:
    """Each setting of the training; what is no text as JSON."""
    return [
        mlflow.entities.Param(name, value if isinstance(value, str) else canonical_json(value).decode())
        for name, value in config.train.items()
    ]


def _tags(run: Path, config: RunConfig) -> dict[str, str]:
    digests = {f"textdiff.{name}_digest": digest for name, digest in config.digests.items()}
    return {"textdiff.version": version("textdiff"), "textdiff.run": str(run.resolve()), **digests}
