"""``felsina train``, ``backtest`` and ``release build``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from models.record import write_atomic
from pipelines.adopt import adopt, refuse_training
from pipelines.commands.conditions import adaptive_line, weather
from pipelines.commands.crossings import crossings, joint_line
from pipelines.commands.surrogate import build_surrogate
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
from pipelines.train import (
    FORECASTS,
    REPORT,
    Trained,
    made_of,
    open_registered,
    score,
    settings_for,
    train,
    work_key,
)
from training.cluster import SlurmJob, bundle
from training.experiments import is_experiments
from training.ranks import joined, rank


def trained_for(
    dataset: Path,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    stages: Stages,
    like: Path | None = None,
) -> Trained:
    """A dataset folder's trained forecaster, trained where it is not."""
    opened = open_registered(dataset)
    if like is not None:
        refuse_training(profile, seed, config, assignments)
        stages.begin(opened.spec.dataset, f"{opened.graph.nodes} nodes, as {like.name}")
        return adopt(opened, like, home(), stages)
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
    """Train, with the processes of ``torchrun`` or ``srun`` beside it; say where the model lies."""
    with joined(), Stages(shown=rank() == 0) as stages:
        trained = trained_for(dataset, profile, seed, config, assignments, stages)
        if rank() > 0:
            return
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


def search_one(
    dataset: Path,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    trials: int,
) -> None:
    """Search, and print the best settings as a file for ``--config``."""
    from pipelines.search import search

    opened = open_registered(dataset)
    settings = settings_for(opened, profile, seed, config, assignments)
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"search over {trials} trials")
        found = search(opened, settings, home(), stages, trials, say)
    sys.stdout.write(found.toml())


def submit_one(
    dataset: Path,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    slurm: str,
    trials: int,
) -> None:
    """Write a batch script that trains or searches on GPU nodes, and submit it."""
    job = SlurmJob.parse(slurm)
    if trials and job.processes > 1:
        raise FelsinaError(
            f"--slurm {slurm!r} with --trials: a trial takes one GPU; write nodes=1,gpus=1 and "
            "array=N for N of them at a time"
        )
    if job.array > 1 and not trials:
        raise FelsinaError(f"--slurm {slurm!r}: array is for --trials; leave it out to train one")
    opened = open_registered(dataset)
    settings = settings_for(opened, profile, seed, config, assignments)
    place = home()
    name = work_key(opened, made_of(opened, settings)) + ("-search" if trials else "")
    command = [sys.executable, "-m", "pipelines.cli", "train", "--dataset", str(dataset.resolve())]
    command += ["--profile", profile, "--seed", str(seed)]
    command += ["--config", str(config.resolve())] if config else []
    command += [part for text in assignments or [] for part in ("--set", text)]
    if settings.fairness.areas is not None:
        command += ["--set", f"fairness.areas={settings.fairness.areas.resolve()}"]
    command += ["--trials", str(trials)] if trials else []
    path = place / "slurm" / f"{name}.sbatch"
    path.parent.mkdir(parents=True, exist_ok=True)
    bundle(place, name).mkdir(parents=True, exist_ok=True)
    script = job.script(name, command, Path(__file__).parents[2], place)
    write_atomic(path, script.encode())
    try:
        done = subprocess.run(["sbatch", str(path)], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FelsinaError(
            f"sbatch is not on PATH; {path} is written: submit it where SLURM is"
        ) from error
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise FelsinaError(f"sbatch refused {path}: {reason}")
    say(f"{done.stdout.strip()}: {path}")


def scored(trained: Trained, stages: Stages) -> dict[str, Any]:
    """A trained forecaster's backtest, run where it was not."""
    return score(trained, home(), lambda share: stages.progress("backtest", share))


def backtest_one(
    dataset: Path,
    json: Path | None,
    forecasts: Path | None,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    like: Path | None = None,
) -> None:
    """Backtest; write the metrics and forecasts asked for."""
    with Stages() as stages:
        trained = trained_for(dataset, profile, seed, config, assignments, stages, like)
        report = scored(trained, stages)
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
    out.print(adaptive_line(report))
    if (known := weather(report)) is not None:
        out.print(known)
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
    like: Path | None = None,
) -> None:
    """Build a release and say where it lies; of experiments, a surrogate's."""
    if is_experiments(dataset):
        if profile != "quick" or like is not None:
            raise FelsinaError(f"{dataset} holds a simulator's runs; leave out --profile, --like")
        build_surrogate(dataset, seed, config, assignments, json)
        return
    with Stages() as stages:
        trained = trained_for(dataset, profile, seed, config, assignments, stages, like)
        scored(trained, stages)
        folder = build_release(trained, home())
    if json:
        answer({"release": str(folder)})
    else:
        out.print(str(folder))
