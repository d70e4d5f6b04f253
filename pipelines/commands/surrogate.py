"""``felsina scenario sample``, and ``release build`` of what it made: surrogates."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.terminal import Stages, answer, out
from pipelines.domains.registry import domain_of
from pipelines.domains.scenarios import FINISHED, appearing, read_file
from pipelines.settings import home
from pipelines.surrogates import release_surrogate, surrogate_settings
from serving.surrogate import load_surrogate
from training.experiments import open_experiments


def sample_one(file: Path, folder: Path) -> None:
    """Make an experiments folder from a design; it appears under its name when it is whole."""
    design = read_file(file)
    domain = domain_of(design["domain"])
    if domain.sample is None:
        raise FelsinaError(f"{file}: domain {domain.name!r} has no simulator to draw scenarios for")
    if folder.exists():
        raise FelsinaError(f"{folder} exists; name a folder that does not")
    with appearing(folder) as place, Stages() as stages:
        stages.begin(design["name"], f"{domain.title}, drawn scenarios")
        domain.sample(design, file.parent, place, stages.progress)
        made = open_experiments(place)
        shutil.rmtree(place / FINISHED, ignore_errors=True)
    splits = ", ".join(
        f"{len(made.rows(name))} {name}" for name in ("train", "stopping", "calibration")
    )
    tests = ", ".join(f"{len(made.rows(name))} {name}" for name in made.tests) or "none"
    out.print(f"{folder}: {splits}; tests: {tests}")


def build_surrogate(
    folder: Path, seed: int, config: Path | None, assignments: list[str] | None, json: bool
) -> None:
    """Train and seal a surrogate; show its errors and say where it lies."""
    experiments = open_experiments(folder)
    settings = surrogate_settings(experiments, seed, config, assignments)
    with Stages() as stages:
        runs = f"{len(experiments.split)} runs of {experiments.spec.simulator}"
        stages.begin(experiments.spec.name, runs)
        release = release_surrogate(experiments, settings, home(), stages)
    report = load_surrogate(release).report
    if json:
        answer({"release": str(release)} | report)
        return
    for name, scores in report["tests"].items():
        title = f"{name}, {scores['runs']} runs: errors against {report['simulator']}"
        out.print(_scores(title, scores["outputs"]))
    out.print(str(release))


def _scores(title: str, outputs: dict[str, Any]) -> Table:
    """Errors against the simulator on a test set, a row an output."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("output", no_wrap=True)
    for name in ("mean", "MAE", "CVRMSE", "R2", "80 % coverage", "MAE / floor"):
        table.add_column(name, justify="right")
    for output, errors in outputs.items():
        table.add_row(
            output,
            _shown(errors["mean"], ".4g"),
            _shown(errors["mae"], ".4g"),
            _shown(errors["cvrmse"], ".1%"),
            _shown(errors["r2"], ".4f"),
            _shown(errors["coverage_80"], ".1%"),
            _shown(errors.get("mae_over_floor"), ".2f"),
        )
    return table


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
