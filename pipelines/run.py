"""The whole chain for one dataset, and the embedded city: what ``run`` and ``up`` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipelines.adopt import adopt, refuse_training
from pipelines.domains.registry import Domain
from pipelines.release import build_release, point_at
from pipelines.settings import held, store_place
from pipelines.train import open_registered, score, settings_for, train
from serving.store import FORCED, OBSERVED, Store
from training.dataset import CityDataset
from training.loop import Listener

EMBEDDED_SEED = 2023
"""The embedded city is always the same one."""


class ChainListener(Listener, Protocol):
    """Told of the chain's stages."""

    def begin(self, dataset: str, text: str) -> None:
        """Work on a dataset begins."""


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
    """Dataset folder to served release: train, backtest, release, hold observations, point.

    With ``like``, a trained folder of an inductive model, nothing is trained.

    Returns:
        The release folder and the backtest's report.
    """
    dataset = open_registered(folder)
    spec = dataset.spec
    if like is not None:
        refuse_training(profile, seed, file, assignments)
    settings = settings_for(dataset, profile, seed, file, assignments)
    listener.begin(
        spec.dataset,
        f"{spec.domain}: {dataset.graph.nodes} nodes, {len(dataset.values)} steps of {spec.step}, "
        f"{spec.horizon} steps ahead",
    )
    if like is not None:
        trained = adopt(dataset, like, home, listener)
    else:
        trained = train(dataset, settings, home, listener)
    report = score(trained, home, lambda share: listener.progress("backtest", share))
    listener.progress("release", 0.0)
    release = build_release(trained, home)
    listener.progress("release", 0.6)
    hold_observations(dataset, trained.fitted.spec.reach, Store(store_place()))
    point_at(home, release)
    listener.progress("release", 1.0)
    return release, report


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
