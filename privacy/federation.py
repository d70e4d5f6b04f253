"""Partners in one process: what federation costs and brings, before anybody installs anything.

A dataset is cut into partners by its nodes. Each is trained alone, all together by rounds, and all
in one place; the errors are told side by side, partner by partner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.contracts import FelsinaError, FloatArray, IntArray
from privacy.grid import GridPartners, InProcessGrid
from privacy.local import LocalTrainer, errors_on_test, federated, first_model
from privacy.messages import Trainer, client_app
from privacy.mixture import mixed
from privacy.rounds import Ended, RoundSettings, run_rounds
from privacy.strategy import Arrays
from training.dataset import CityDataset
from training.fit import Fitted
from training.settings import TrainSettings

By = Literal["area", "nodes", "random"]
TUNED = 0.5
"""Steps that each takes on its own rows at the end, by those of all rounds."""
_DEADLINE_S = 86_400.0
_SKEW = 1.6
"""Each partner by nodes is so many times larger than the next."""


def split_nodes(dataset: CityDataset, partners: int, by: By, seed: int = 0) -> list[IntArray]:
    """Nodes of each partner, in the dataset's order.

    Args:
        dataset: to cut.
        partners: how many.
        by: ``area`` keeps areas whole, the largest dealt first to whoever has least; ``nodes`` cuts
            the list of nodes into unequal runs; ``random`` deals as unequal parts at random.
        seed: of the dealing.

    Raises:
        FelsinaError: if there are fewer nodes, or areas, than partners.
    """
    nodes = dataset.graph.nodes
    if by == "area":
        areas = np.array(dataset.graph.areas)
        names, counts = np.unique(areas, return_counts=True)
        if len(names) < partners:
            raise FelsinaError(
                f"{dataset.folder}: {len(names)} areas for {partners} partners; use --by nodes"
            )
        dealt: list[list[int]] = [[] for _ in range(partners)]
        for name in names[np.argsort(-counts, kind="stable")]:
            min(dealt, key=len).extend(np.flatnonzero(areas == name).tolist())
        return [np.sort(np.array(one)) for one in dealt]
    if nodes < partners:
        raise FelsinaError(f"{dataset.folder}: {nodes} nodes for {partners} partners")
    order = np.arange(nodes)
    if by == "random":
        order = np.random.default_rng(seed).permutation(nodes)
    share = _SKEW ** -np.arange(partners)
    sizes = 1 + np.floor((nodes - partners) * share / share.sum()).astype(int)
    sizes[0] += nodes - sizes.sum()
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def in_process(trainers: Mapping[str, Trainer]) -> GridPartners:
    """The partners' apps, called one after another; no deadline interrupts one."""
    nodes = dict(enumerate(trainers, start=1))
    apps = {node: client_app(partial(_own, trainers[name])) for node, name in nodes.items()}
    return GridPartners(InProcessGrid(apps), nodes, _DEADLINE_S)


def _own(trainer: Trainer, run: str) -> Trainer:
    """An app has one trainer, whatever the run."""
    return trainer


@dataclass(frozen=True)
class Standing:
    """How a partner fares.

    Attributes:
        partner: name.
        nodes: of it.
        alone: MAE of its own forecaster, trained on its rows only.
        together: MAE of the one trained by rounds.
        pooled: MAE on its nodes of one trained on all rows in one place.
        contribution: to an average round, see ``contribution.shapley``.
        mixed: MAE of what it ends with, see ``mixture``; None where it takes the city's as it is.
        epsilon: that it spent on the rounds; None where training has no noise.
    """

    partner: str
    nodes: int
    alone: float
    together: float
    pooled: float
    contribution: float
    epsilon: float | None = None
    mixed: float | None = None

    @property
    def gained(self) -> float:
        """Share of the error alone that the rounds take off; below 0 it is better off alone."""
        ends_with = self.together if self.mixed is None else self.mixed
        return 1 - ends_with / self.alone


def standing(
    partner: str,
    errors: tuple[FloatArray, FloatArray, FloatArray],
    ended: Ended,
    epsilon: float | None = None,
    mixed: FloatArray | None = None,
) -> Standing:
    """A partner's standing.

    Args:
        partner: name.
        errors: MAE [N] of each of its nodes alone, together and pooled.
        ended: how the rounds ended.
        epsilon: that it spent.
        mixed: MAE [N] of what it ends with.
    """
    alone, together, pooled = (float(np.mean(error)) for error in errors)
    contribution = ended.contribution.get(partner, 0.0)
    end = None if mixed is None else float(np.mean(mixed))
    return Standing(partner, len(errors[0]), alone, together, pooled, contribution, epsilon, end)


def study(
    dataset: CityDataset,
    settings: TrainSettings,
    rounds: RoundSettings,
    partners: int,
    by: By,
    work: Path,
    progress: Callable[[str, float], None],
    record: Callable[[int, dict[str, Any]], None] = lambda round, told: None,
) -> tuple[list[Standing], Ended]:
    """Train alone, together and in one place, each by the same number of steps.

    All end with steps on their own rows, kept where their stopping windows are better for it.

    Args:
        dataset: that is cut.
        settings: of each training; its graph is left out.
        rounds: of the federation.
        partners: how many.
        by: how nodes are dealt.
        work: folder of the rounds' checkpoints.
        progress: told a text and the share that is done.
        record: told of each round.
    """
    settings = federated(settings)
    parts = split_nodes(dataset, partners, by, settings.seed)
    names = [f"partner-{number}" for number in range(1, partners + 1)]
    spec = dataset.spec.with_lags(settings.lags)
    initial = first_model(spec, dataset.graph, settings.architecture, settings.seed)

    def trainer(part: IntArray, seed: int) -> LocalTrainer:
        return LocalTrainer(dataset.part(part), settings, rounds.rounds, seed)

    alone = []
    for number, part in enumerate(parts):
        progress(f"{names[number]} alone", 0.0)
        alone.append(_by_itself(trainer(part, number), initial, rounds.rounds))
        progress(f"{names[number]} alone", 1.0)
    everything = trainer(np.arange(dataset.graph.nodes), 0)
    progress("all in one place", 0.0)
    pooled = errors_on_test(_by_itself(everything, initial, rounds.rounds), dataset)
    progress("all in one place", 1.0)
    trainers = {
        name: trainer(part, k) for k, (name, part) in enumerate(zip(names, parts, strict=True))
    }
    agreed = {name: float(one.observed) for name, one in trainers.items()}
    ended = run_rounds(
        f"{spec.dataset}-{by}",
        initial,
        in_process(trainers),
        agreed,
        rounds,
        work,
        record,
        lambda text, share: progress("together", share),
    )
    standings = []
    for k, (name, one) in enumerate(trainers.items()):
        together = one.finished(ended.arrays, TUNED)
        own, city, both = (
            errors_on_test(predictor, one.dataset)
            for predictor in (alone[k], together, mixed(alone[k], together, one))
        )
        standings.append(standing(name, (own, city, pooled[parts[k]]), ended, mixed=both))
    return standings, ended


def _by_itself(trainer: LocalTrainer, initial: Arrays, rounds: int) -> Fitted:
    """A forecaster of one trainer's rows, by as many steps in as many pieces."""
    arrays = initial
    for round in range(1, rounds + 1):
        step = trainer.update(round, arrays)
        arrays = {name: arrays[name] + step[name] for name in arrays}
    return trainer.finished(arrays, TUNED)
