"""``felsina train``, ``backtest`` and ``release build``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from models.record import write_atomic
from pipelines.commands.crossings import crossings, joint_line
from pipelines.commands.terminal import (
    Stages,
    answer,
    events,
    out,
    protocol_scores,
    say,
    scores,
)
from pipelines.release import build_release
from pipelines.settings import home
from pipelines.train import FORECASTS, REPORT, Trained, open_registered, score, settings_for, train


def _trained(
    dataset: Path,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    stages: Stages,
) -> Trained:
    opened = open_registered(dataset)
    settings = settings_for(opened, profile, seed, config, assignments)
    stages.begin(opened.spec.dataset, f"{opened.graph.nodes} nodes, {len(opened.values)} steps")
    return train(opened, settings, home(), stages)


def train_one(
    dataset: Path,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    json: bool,
) -> None:
    """Train and say where the model lies."""
    with Stages() as stages:
        trained = _trained(dataset, profile, seed, config, assignments, stages)
    record = {
        "trained": str(trained.folder),
        "parameters": trained.fitted.parameters,
        "seconds": round(trained.run["seconds"], 1),
        "mlflow_run": trained.run["mlflow_run"],
    }
    if json:
        answer(record)
    else:
        say(f"trained {trained.folder}: {record['parameters']} parameters, {record['seconds']} s")


def _scored(trained: Trained, stages: Stages) -> dict[str, Any]:
    return score(trained, home(), lambda share: stages.progress("backtest", share))


def backtest_one(
    dataset: Path,
    json: Path | None,
    forecasts: Path | None,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
) -> None:
    """Backtest; write the metrics and forecasts asked for."""
    with Stages() as stages:
        trained = _trained(dataset, profile, seed, config, assignments, stages)
        report = _scored(trained, stages)
    if json is not None:
        write_atomic(json, (trained.folder / REPORT).read_bytes())
        say(f"metrics in {json}")
    if forecasts is not None:
        forecasts.parent.mkdir(parents=True, exist_ok=True)
        part = forecasts.with_name(f".{forecasts.name}.part")
        shutil.copyfile(trained.folder / FORECASTS, part)
        part.replace(forecasts)
        say(f"forecasts in {forecasts}")
    out.print(scores(report))
    if "protocol" in report:
        out.print(protocol_scores(report))
    out.print(crossings(report))
    if sums := joint_line(report):
        out.print(sums)
    if (table := events(report)) is not None:
        out.print()
        out.print(table)


def build_one(
    dataset: Path,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    json: bool,
) -> None:
    """Build a release and say where it lies."""
    with Stages() as stages:
        trained = _trained(dataset, profile, seed, config, assignments, stages)
        _scored(trained, stages)
        folder = build_release(trained, home())
    if json:
        answer({"release": str(folder)})
    else:
        out.print(str(folder))
