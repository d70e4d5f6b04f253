"""The whole chain for one dataset, and the embedded city: what ``run`` and ``up`` do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.chain import Done, Made, Values, go
from pipelines.domains.registry import Domain
from pipelines.present import REPORT
from pipelines.settings import held
from pipelines.stages import PREPARE, PROPOSE, RELEASE, TRAIN, Asked, Chain, ChainListener
from serving.store import FORCED, OBSERVED, Store

if TYPE_CHECKING:
    from training.dataset import CityDataset

EMBEDDED_SEED = 2023
"""The embedded city is always the same one."""


def go_through(chain: Chain, last: str = PROPOSE) -> tuple[Made, list[Done]]:
    """Do what is to be done, up to the ``last`` stage.

    Each stage that is done is a run in MLflow, under one of the whole chain; a chain that was
    killed goes on with the run that it had.

    Returns:
        The outputs of every stage, and the stages that were done.
    """
    names = [stage.name for stage in chain.stages]
    stages = chain.stages[: names.index(last) + 1]
    made: dict[str, Values] = {}
    done: list[Done] = []
    first, told = "", False

    def begins(stage: str, why: str) -> None:
        nonlocal first, told
        first = first or f"from {stage} on ({why})"
        if not told and stage != PREPARE:  # settings that are refused are one line, and no more
            told = True
            chain.listener.begin(chain.name, first)

    try:
        for name, outputs, finished in go(stages, chain.records, begins):
            made[name] = outputs
            if finished is not None:
                done.append(finished)
                chain.work.track(finished)
    except Exception:
        if done:
            chain.work.tracked.end("FAILED")
        raise
    if done:
        chain.work.tracked.end("FINISHED")
    return made, done


def run_chain(
    folder: Path,
    home: Path,
    listener: ChainListener,
    profile: str = "quick",
    seed: int = 0,
    file: Path | None = None,
    assignments: list[str] | None = None,
    like: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Dataset folder to a sealed release that is pointed at, without gate and board.

    With ``like``, a trained folder of an inductive model, nothing is trained.

    Returns:
        The release folder and the backtest's report.
    """
    asked = Asked(profile, seed, file, tuple(assignments or ()), like)
    chain = Chain(folder, home, asked, listener)
    made, _ = go_through(chain, RELEASE)
    release = home / "releases" / made[RELEASE]["release"]
    chain.work.point(release)
    return release, backtested(home, made)


def backtested(home: Path, made: Made) -> dict[str, Any]:
    """The backtest's report of a chain."""
    return json.loads((home / "trained" / made[TRAIN]["trained"] / REPORT).read_bytes())


def hold_observations(dataset: CityDataset, reach: int, store: Store) -> None:
    """Load what forecasts over the test span read; what is held already (live values) stays."""
    first = max(0, dataset.splits.validation_end - reach)
    builder = dataset.builder()
    ids = list(dataset.graph.ids)
    times = builder.times(np.arange(first, len(dataset.values)))
    store.write(dataset.spec.dataset, OBSERVED, times, ids, dataset.values[first:], replace=False)
    if dataset.forcings is None:
        return
    times = builder.times(np.arange(first, len(dataset.forcings)))
    names, columns = [], []
    for f, forcing in enumerate(dataset.spec.forcings):
        part = dataset.forcings[first:, :, f]
        names += [forcing.name] if part.shape[1] == 1 else [f"{forcing.name}@{i}" for i in ids]
        columns.append(part)
    table = np.concatenate(columns, axis=1)
    store.write(dataset.spec.dataset, FORCED, times, names, table, replace=False)


def embedded_folder(domain: Domain, home: Path) -> Path:
    """The dataset folder of a domain's part of the embedded city, synthesised when missing."""
    folder = home / "data" / domain.embedded
    with held(home / "data" / f"{domain.embedded}.lock"):
        if not (folder / "dataset.toml").is_file():
            assert domain.synthesise is not None
            domain.synthesise(folder, EMBEDDED_SEED)
    return folder
