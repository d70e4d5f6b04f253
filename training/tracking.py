"""MLflow, and the only module that imports it: runs, metrics by lead, plots, the ONNX registry.

A run may be tracked in a store of its own where no server is reached, and be copied later.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import mlflow.onnx as mlflow_onnx
import onnx
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import MlflowHostCreds, http_request

from models.errors import FelsinaError

EXPERIMENT = "felsina"
COPIED_FROM = "felsina.copied_from"
"""Tag of a run that stands for one of another store: the id that it has there."""
_SERVER = os.environ.get("MLFLOW_TRACKING_URI", "")
"""A tracking server that the user named; read before mlflow sets the variable itself."""


class Tracker:
    """One run in MLflow.

    Args:
        home: the ``mlruns`` folder; ``MLFLOW_TRACKING_URI`` overrides its sqlite database.
        name: of the run.
        run_id: a run to go on with; a new one when empty.
    """

    def __init__(self, home: Path, name: str, run_id: str = "") -> None:
        self.client, experiment = _at_home(address(home), home)
        found = _run(self.client, experiment, run_id) if run_id else None
        if found is None:
            tags = {COPIED_FROM: run_id} if run_id else {}
            found = self.client.create_run(experiment, tags=tags, run_name=name)
        self.run_id = found.info.run_id
        self.place = str(found.info.artifact_uri)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log the resolved configuration, nested keys joined by dots."""
        flat = [Param(key, str(value)[:6000]) for key, value in _flatten(values)]
        for start in range(0, len(flat), 100):
            self.client.log_batch(self.run_id, params=flat[start : start + 100])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags, such as dataset digests."""
        for key, value in values.items():
            self.client.set_tag(self.run_id, key, value)

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Log metrics at a step: an optimiser step, or a lead."""
        rows = [
            Metric(k, float(v), int(time.time() * 1000), step)
            for k, v in values.items()
            if v is not None
        ]
        self.client.log_batch(self.run_id, metrics=rows)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file with the run."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def fetch(self, name: str, folder: Path) -> Path:
        """Bring a file that is kept with the run into a folder."""
        return Path(self.client.download_artifacts(self.run_id, name, str(folder)))

    def discard(self) -> None:
        """Delete the run and its files; MLflow can still show that it was there."""
        get_artifact_repository(self.place).delete_artifacts()
        self.client.delete_run(self.run_id)

    def register(self, path: Path, name: str, tags: Mapping[str, str]) -> str:
        """Register an ONNX file as the next version of model ``name``; its version number."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mlflow.start_run(run_id=self.run_id):
                info = mlflow_onnx.log_model(
                    onnx.load(path),
                    name="model",
                    pip_requirements=["onnxruntime"],
                    save_as_external_data=False,
                )
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        version = self.client.create_model_version(
            name, info.model_uri, self.run_id, model_id=info.model_id
        ).version
        for key, value in tags.items():
            self.client.set_model_version_tag(name, str(version), key, value)
        return str(version)

    def end(self, status: str = "FINISHED") -> None:
        """Close the run: ``FINISHED`` or ``FAILED``."""
        self.client.set_terminated(self.run_id, status)


def sync(bundle: Path, home: Path) -> dict[str, int]:
    """Copy the runs of an offline store into the tracking store: what is not there yet.

    It may be killed anywhere and run again, since a run is found by the id that it had offline and
    compared entry by entry; a run that still goes on is copied as far as it is.

    Args:
        bundle: folder of the offline store, wherever it was brought to.
        home: as for ``Tracker``.

    Returns:
        How many ``runs`` were new, and ``entries`` (parameters, metrics, tags) and ``files``.
    """
    source, experiment = _open(_local(bundle), home)
    target, into = _at_home(address(home), home)
    copied = {"runs": 0, "entries": 0, "files": 0}
    for run in source.search_runs([experiment]):
        run_id = run.info.run_id
        twin = _run(target, into, run_id)
        if twin is None:
            twin = target.create_run(
                into, run.info.start_time, {COPIED_FROM: run_id}, run.info.run_name
            )
            copied["runs"] += 1
        place = twin.info.run_id
        there = _points(target, twin)
        metrics = [m for key, m in _points(source, run).items() if key not in there]
        params = [Param(*i) for i in run.data.params.items() if i[0] not in twin.data.params]
        tags = [RunTag(k, v) for k, v in run.data.tags.items() if twin.data.tags.get(k) != v]
        for start in range(0, max(len(metrics), len(params), len(tags)), 100):
            part = slice(start, start + 100)
            target.log_batch(place, metrics[part], params[part], tags[part])
        copied["entries"] += len(metrics) + len(params) + len(tags)
        files = bundle / "artifacts" / run_id / "artifacts"
        for path in sorted(p for p in files.rglob("*") if p.is_file()):
            folder = path.relative_to(files).parent.as_posix().removeprefix(".")
            if path.stat().st_size not in _sizes(target, place, folder, path.name):
                target.log_artifact(place, str(path), folder or None)
                copied["files"] += 1
        if run.info.end_time and run.info.end_time != twin.info.end_time:
            target.set_terminated(place, run.info.status, run.info.end_time)
    return copied


def address(home: Path) -> str:
    """Where runs are tracked."""
    return _SERVER or _local(home)


def ask(
    server: str, path: str, parameters: Mapping[str, str] | None = None, known: bool = True
) -> Any:
    """GET from a tracking server, as the client does: its ``requests.Response``.

    Args:
        server: its address.
        path: under it.
        parameters: of the query.
        known: whether to say who asks, by what the environment holds.
    """
    who = get_default_host_creds(server) if known else MlflowHostCreds(server)
    return http_request(
        who, path, "GET", max_retries=0, timeout=10, raise_on_status=False, params=parameters
    )


def _local(folder: Path) -> str:
    """The store that lies in a folder."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def _open(uri: str, home: Path) -> tuple[MlflowClient, str]:
    """A client of a store, and the experiment in it, made when missing."""
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = uri.removeprefix("sqlite:///")
        if file != uri and not Path(file).exists():
            _make(Path(file))
        mlflow.set_tracking_uri(uri)
        client = MlflowClient(uri, uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, experiment.experiment_id
        place = _artifacts(file) if file != uri else None
        return client, client.create_experiment(EXPERIMENT, place)


def _make(file: Path) -> None:
    """A store without runs, whole at once: one killed among its migrations opens no more."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{part}", f"sqlite:///{part}").get_experiment_by_name(EXPERIMENT)
    part.rename(file)


def _at_home(uri: str, home: Path) -> tuple[MlflowClient, str]:
    """A store whose paths are where it lies, or else files would go where it came from."""
    client, experiment = _open(uri, home)
    file = uri.removeprefix("sqlite:///")
    found = str(client.get_experiment(experiment).artifact_location)
    if file != uri and found.startswith("file:") and found != _artifacts(file):
        raise FelsinaError(
            f"{file} was moved or copied: its files are looked for in {found}; "
            f"FELSINA_HOME={Path(file).resolve().parent} felsina tracking relocate --apply"
        )
    return client, experiment


def _artifacts(file: str) -> str:
    """Where files lie whose runs are in a database file."""
    return (Path(file).resolve().parent / "artifacts").as_uri()


def _run(client: MlflowClient, experiment: str, run_id: str) -> Run | None:
    """A run by its id, or the one that stands for it."""
    try:
        return client.get_run(run_id)
    except mlflow.MlflowException:
        twins = client.search_runs([experiment], f"tags.`{COPIED_FROM}` = '{run_id}'")
        return twins[0] if twins else None


def _points(client: MlflowClient, run: Run) -> dict[tuple[str, int, int, str], Metric]:
    """Every value that a run's metrics had, by what tells them apart."""
    points = (
        m for key in run.data.metrics for m in client.get_metric_history(run.info.run_id, key)
    )
    return {(m.key, m.step, m.timestamp, repr(m.value)): m for m in points}


def _sizes(client: MlflowClient, run_id: str, folder: str, name: str) -> list[int | None]:
    """Size of an artifact, if it is there."""
    path = f"{folder}/{name}" if folder else name
    return [f.file_size for f in client.list_artifacts(run_id, folder or None) if f.path == path]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in values.items():
        inner = _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        out += inner if inner is not None else [(f"{prefix}{key}", value)]
    return out
