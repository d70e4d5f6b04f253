"""A chain in MLflow: one run of the whole, and a run under it for each stage that was done."""

from __future__ import annotations

import json
from pathlib import Path

from models.record import write_atomic
from pipelines.chain import Done
from pipelines.present import RUN
from training.tracking import Tracker

_PARENT = "mlflow.parentRunId"
"""Tag by which MLflow shows a run under another."""


class TrackedChain:
    """The run of a chain.

    Args:
        home: the ``mlruns`` folder.
        dataset: of the chain.
        records: folder of its stages' records; the run's id is kept there until the chain ends.
    """

    def __init__(self, home: Path, dataset: str, records: Path) -> None:
        self.home, self.dataset, self._file = home, dataset, records / "mlflow_run"
        earlier = self._file.read_text() if self._file.is_file() else ""
        self._parent = Tracker(home, f"{dataset} chain", earlier)
        write_atomic(self._file, self._parent.run_id.encode())
        self._parent.tags({"dataset": dataset})

    def add(self, done: Done, figures: dict[str, float | None]) -> None:
        """Keep a stage that was done: why, how long, what it made."""
        child = Tracker(self.home, f"{self.dataset} {done.stage}")
        outputs = {f"made.{name}": str(value)[:500] for name, value in done.outputs.items()}
        child.tags({_PARENT: self._parent.run_id, "stage": done.stage, "why": done.why} | outputs)
        child.metrics({"seconds": done.seconds} | figures)
        child.end()

    def adopt(self, trained: Path) -> None:
        """Put the run of a training under the chain's; that of an earlier chain stays there."""
        run_id = json.loads((trained / RUN).read_bytes())["mlflow_run"]
        training = Tracker(self.home, trained.name, run_id)
        if _PARENT not in training.client.get_run(training.run_id).data.tags:
            training.tags({_PARENT: self._parent.run_id, "stage": "train"})

    def end(self, status: str) -> None:
        """Close the run: ``FINISHED``, or ``FAILED``, which the next try goes on with."""
        self._parent.end(status)
        if status == "FINISHED":
            self._file.unlink(missing_ok=True)
