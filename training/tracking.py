"""MLflow, and the only module that imports it: runs, metrics by lead, plots, the ONNX registry."""

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

import mlflow
import mlflow.onnx as mlflow_onnx
import onnx
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

EXPERIMENT = "felsina"
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
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        home.mkdir(parents=True, exist_ok=True)
        uri = _SERVER or f"sqlite:///{home / 'mlflow.db'}"
        with (home / ".mlflow.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            mlflow.set_tracking_uri(uri)
            self.client = MlflowClient(uri, uri)
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                place = None if _SERVER else (home / "artifacts").as_uri()
                experiment_id = self.client.create_experiment(EXPERIMENT, place)
            else:
                experiment_id = experiment.experiment_id
        if not run_id or not self._exists(run_id):
            run_id = self.client.create_run(experiment_id, run_name=name).info.run_id
        self.run_id = run_id

    def _exists(self, run_id: str) -> bool:
        try:
            self.client.get_run(run_id)
        except mlflow.MlflowException:
            return False
        return True

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


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in values.items():
        inner = _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        out += inner if inner is not None else [(f"{prefix}{key}", value)]
    return out
