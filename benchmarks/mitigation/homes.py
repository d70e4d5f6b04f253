"""Homes that nobody lives in, a few of them unlike the others, and private training on them.

In Town a day that needs much is followed by another: what a home used yesterday says what it will
use today. In Plant, where people work by night in alternating shifts, a heavy day is followed by a
light one. A week before is as good a guess for both. A forecaster that follows the many is worse
than that guess for the few; it can tell them by their nights, if it bothers to learn it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.contracts import FloatArray, IntArray
from models.forecaster import Forecaster
from privacy.audit_run import untrained_gradients
from privacy.dp import PrivateSettings, PrivateTraining, planned
from privacy.draws import SecretDraws
from privacy.gradients import UnitGradients
from privacy.stand_in import stand_ins
from training.dataset import CityDataset
from training.settings import TrainSettings

NAME = "planted-homes"
FEW, MANY = 200, 1000
"""Homes of the trainings without noise, and of those with noise, which need many."""
PLANT = 0.08
"""Share of the homes that stand in Plant."""
LATER, WEEK = 10, 168
"""Hours by which a day in Plant lies later, and hours of a week."""
LINGERS, STRENGTH = 0.7, 0.4
"""Of a day's excess: the share that is left on the next day, in Plant of the other sign, and its
standard deviation on the log scale."""


def planted_homes(homes: int, seed: int = 0) -> CityDataset:
    """Stand-ins for homes, a few of which stand in Plant and the others in Town."""
    made, rng = stand_ins(homes, seed), np.random.default_rng(seed)
    plant = np.arange(homes) < PLANT * homes
    days = len(made.values) // 24
    sign, excess = np.where(plant, -LINGERS, LINGERS), np.empty((days, homes))
    excess[0] = rng.normal(size=homes)
    for day in range(1, days):
        fresh = np.sqrt(1 - LINGERS**2) * rng.normal(size=homes)
        excess[day] = sign * excess[day - 1] + fresh
    values = made.values[: 24 * days] * np.exp(STRENGTH * np.repeat(excess, 24, axis=0))
    values[:, plant] = np.roll(values[:, plant], LATER, axis=0)
    areas = tuple("Plant" if here else "Town" for here in plant)
    spec, graph = replace(made.spec, dataset=NAME), replace(made.graph, areas=areas)
    return replace(made, spec=spec, values=values.astype(np.float32), graph=graph)


def homes_settings(dataset: CityDataset, seed: int) -> TrainSettings:
    """Of a training without noise: one network for all homes, as private training has it."""
    shape = {"inductive": True, "graph": False, "width": 16, "blocks": 1, "dropout": 0.0}
    return TrainSettings.model_validate(
        {
            "seed": seed,
            "batch": 2,
            "steps": 300,
            "evaluate_every": 100,
            "lags": (WEEK, 2 * WEEK),
            "architecture": shape,
        }
    )


def private_settings(epsilon: float, seed: int) -> PrivateSettings:
    """Of a training with noise, a home being the unit; infinite for no noise and no clipping."""
    shape = {"inductive": True, "graph": False, "width": 16, "blocks": 1, "dropout": 0.0}
    return PrivateSettings.model_validate(
        {
            "unit": "household",
            "nominal_units": MANY,
            "sampling_rate": 0.2,
            "delta": 1 / (10 * MANY),
            "epsilon": min(epsilon, 1e3),
            "clip_norm": 1e6 if epsilon == np.inf else 0.1,
            "steps": 150,
            "most_windows": 2,
            "lags": (WEEK, 2 * WEEK),
            "accept_weak": True,
            "seed": seed,
            "architecture": shape,
        }
    )


class WeightedGradients:
    """Clipped sums in which homes of the larger groups count less; the clip norm still holds."""

    def __init__(self, gradients: UnitGradients, factor: FloatArray) -> None:
        self._gradients, self._factor = gradients, factor

    def __getattr__(self, name: str) -> object:
        return getattr(self._gradients, name)

    def clipped_sum(self, numbers: IntArray, step: int) -> FloatArray:
        """Sum [P] weighed by each unit's factor, at most 1."""
        numbers = np.asarray(numbers)
        parts = [
            factor * self._gradients.clipped_sum(numbers[self._factor[numbers] == factor], step)
            for factor in np.unique(self._factor[numbers])
        ]
        return np.sum(parts, axis=0)


def private_forecaster(
    dataset: CityDataset, settings: PrivateSettings, factor: FloatArray | None
) -> Forecaster:
    """Train with noise, as the product does but for the study's known key.

    Args:
        dataset: the homes.
        settings: how; ``epsilon`` decides the noise.
        factor: [N] at most 1 of each home's clipped gradient; None for 1.
    """
    noise = planned(settings).noise_multiplier if settings.clip_norm < 1e6 else 0.0
    gradients = untrained_gradients(dataset, settings)
    weighed = gradients if factor is None else WeightedGradients(gradients, factor)
    draws = SecretDraws(settings.seed.to_bytes(32, "big"))
    training = PrivateTraining(weighed, draws, settings, noise)  # pyright: ignore[reportArgumentType]
    for step in range(settings.steps):
        training.take(step)
    return gradients.forecaster.eval()
