"""The building surrogate's network, scaled by what it is to learn from."""

from __future__ import annotations

from models.scenario import TRAIN
from models.surrogates.balance_point import BalancePoint
from training.experiments import Experiments


def network(experiments: Experiments) -> BalancePoint:
    """A network for experiments of ``sampling``."""
    rows = experiments.rows(TRAIN)
    inputs = experiments.scalars[rows], experiments.fields[rows]
    return BalancePoint(experiments.spec, *inputs, experiments.target[rows])
