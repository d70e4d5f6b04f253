"""Whether an effect's interval holds what it says, on made-up and on real days.

    python -m benchmarks.effects [--runs 300] [--dataset DIR]

A world has 24 nodes that share three factors, weather, a weekly profile and gaps; day-to-day noise
follows an autoregression. Four of them are treated for 60 days. On real data there is no event: a
random group of nodes from a random day on is treated by nothing, and the interval must hold 0.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.tables import head, row
from models.contracts import FloatArray
from pipelines.counterfactual import LEAST_DAYS, Days, effect_of
from pipelines.effect import daily
from pipelines.prepare import open_registered

DAYS, NODES, FACTORS, GAPS = 365, 24, 3, 0.02
PROFILE = np.array([1, 1, 1.02, 1.03, 1.05, 0.8, 0.65])


def world(dice: np.random.Generator, rho: float, noise: float = 0.05) -> Days:
    """A year without an event."""
    temperature = np.sin(np.arange(DAYS) / 365 * 2 * np.pi)[:, None] + _ar(dice, 0.5, 1, rho)
    shared = _ar(dice, 0.06, FACTORS, rho) @ dice.normal(0.7, 0.5, (FACTORS, NODES))
    weather = temperature * dice.normal(0.03, 0.03, NODES)
    weekday = np.arange(DAYS) % 7
    level = np.exp(dice.normal(5, 0.8, NODES)) * PROFILE[weekday][:, None]
    values = level * np.exp(shared + weather + _ar(dice, noise, NODES, rho))
    values[dice.random(values.shape) < GAPS] = np.nan
    return Days(values, weekday, np.column_stack([temperature, np.square(temperature)]))


def _ar(dice: np.random.Generator, spread: float, columns: int, rho: float) -> FloatArray:
    """[DAYS, columns] autoregression of the first order, in its stationary state."""
    shocks = dice.normal(size=(DAYS, columns)) * spread
    out = shocks.copy()
    for day in range(1, DAYS):
        out[day] = rho * out[day - 1] + np.sqrt(1 - rho**2) * shocks[day]
    return out


def simulated(runs: int, rho: float, effect: float, treated: int, length: int) -> None:
    """A row: how often the interval holds the truth, and how often it holds 0."""
    holds = zero = 0
    width, began = 0.0, time.perf_counter()
    for run in range(runs):
        days = world(np.random.default_rng(run), rho)
        days.values[DAYS - length :, :treated] *= 1 + effect
        found = effect_of(
            days, np.arange(treated), np.arange(treated, NODES), DAYS - length, DAYS, seed=run
        )
        holds += found.low <= effect <= found.high
        zero += found.low <= 0 <= found.high
        width += (found.high - found.low) / runs
    seconds = (time.perf_counter() - began) / runs
    row(
        f"{effect:+.0%}, {treated} nodes, {length} days, AR {rho}",
        *(f"{share / runs:.1%}" for share in (holds, zero)),
        f"{width:.1%}",
        f"{seconds:.1f}",
    )


def real(folder: Path, runs: int, size: int, length: int) -> None:
    """A row: groups and days of a dataset at random, to which nothing happened."""
    dataset = open_registered(folder)
    _, days = daily(dataset)
    total, holds, width, began = len(days.values), 0, 0.0, time.perf_counter()
    for run in range(runs):
        dice = np.random.default_rng(run)
        event = int(dice.integers(max(LEAST_DAYS, total // 3), total - length))
        end = event + length
        part = Days(days.values[:end], days.weekday[:end], days.common[:end])
        seen = np.isfinite(part.values)
        usable = np.flatnonzero((seen[:event].sum(0) > LEAST_DAYS // 2) & seen[event:].any(0))
        group = dice.choice(usable, size, replace=False)
        found = effect_of(part, group, np.setdiff1d(usable, group), event, end, seed=run)
        holds += found.low <= 0 <= found.high
        width += (found.high - found.low) / runs
    seconds = (time.perf_counter() - began) / runs
    name = f"{dataset.spec.dataset}: none, {size} nodes, {length} days"
    row(name, *[f"{holds / runs:.1%}"] * 2, f"{width:.1%}", f"{seconds:.1f}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--dataset", type=Path)
    options = parser.parse_args()
    head("effect", "interval holds it (95 %)", "holds 0", "width", "s")
    if options.dataset:
        for size, length in ((1, 60), (4, 60), (4, 180)):
            real(options.dataset, options.runs, size, length)
        return
    for rho, effect, treated, length in (
        (0.5, -0.1, 4, 60),
        (0.8, -0.1, 4, 60),
        (0.5, 0.0, 4, 60),
        (0.8, 0.0, 4, 60),
        (0.5, 0.0, 1, 30),
    ):
        simulated(options.runs, rho, effect, treated, length)


if __name__ == "__main__":
    main()
