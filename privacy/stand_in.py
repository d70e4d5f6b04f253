"""Synthetic households in the place of private ones: nobody's rows, for audits and studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from models.calendar import country_of
from models.contracts import CityGraph, FloatArray, Forcing, ForecastSpec, step_seconds
from training.dataset import CityDataset, naive
from training.splits import Splits

DAYS, TRAIN_DAYS, VALIDATION_DAYS = 77, 56, 63
START, TIMEZONE = "2024-01-08", "Europe/Rome"
NAME = "stand-ins"
MOST_VALUES = 20_000_000
"""Of stand-ins in memory: 80 MB."""


def household_loads(homes: int, seed: int = 0) -> tuple[pd.DataFrame, FloatArray]:
    """Hourly loads in kWh: habits of each home, weekends, heating, and noise that lingers.

    Returns:
        Loads, a column a home, and temperatures [S] in degrees Celsius.
    """
    rng = np.random.default_rng(seed)
    index = pd.date_range(START, periods=24 * DAYS, freq="1h", tz="UTC", name="time")
    local = index.tz_convert(TIMEZONE)
    hour = local.hour.to_numpy()[:, None]
    free = np.asarray(local.dayofweek >= 5)[:, None]
    days = np.arange(len(index)) / 24
    temperature = 6 + 4 * np.sin(2 * np.pi * (days - 0.4)) + 3 * np.sin(days / 5) + days / 15
    base = rng.lognormal(-1.5, 0.4, homes)
    wake, back = rng.normal(7, 0.8, homes), rng.normal(19.5, 1.2, homes)
    wake_free = wake + rng.uniform(0.5, 3, homes)
    morning = np.exp(-0.5 * ((hour - np.where(free, wake_free, wake)) / 1.2) ** 2)
    evening = np.exp(-0.5 * ((hour - back) / 2.0) ** 2)
    at_home = free * np.exp(-0.5 * ((hour - 13) / 3.0) ** 2) * rng.uniform(0, 0.8, homes)
    peaks = rng.lognormal(-0.9, 0.5, homes) * morning + rng.lognormal(-0.3, 0.5, homes) * evening
    heating = rng.exponential(0.02, homes) * np.maximum(15 - temperature, 0)[:, None]
    noise = np.empty((len(index), homes))
    noise[0] = 0
    for row in range(1, len(index)):
        noise[row] = 0.8 * noise[row - 1] + rng.normal(0, 0.2, homes)
    load = (base + peaks + at_home + heating) * np.exp(noise)
    ids = [f"home-{number}" for number in range(homes)]
    return pd.DataFrame(load, index=index, columns=ids), temperature


def stand_ins(homes: int, seed: int = 0) -> CityDataset:
    """A dataset of synthetic households, in memory alone: a week of past, a day ahead."""
    load, temperature = household_loads(homes, seed)
    spec = ForecastSpec(
        dataset=NAME,
        domain="stand-in",
        target="load",
        unit="kWh",
        step="1h",
        timezone=TIMEZONE,
        lookback=168,
        horizon=24,
        nonnegative=True,
        forcings=(Forcing("temp_c", "degC", True),),
        country=country_of(TIMEZONE),
    )
    return CityDataset(
        folder=Path(spec.dataset),
        spec=spec,
        graph=_unplaced(load),
        splits=Splits(24 * TRAIN_DAYS, 24 * VALIDATION_DAYS, len(load)),
        start=naive(pd.DatetimeIndex(load.index))[0],
        values=load.to_numpy(np.float32),
        forcings=temperature.astype(np.float32)[:, None, None],
        header={"synthetic": True},
        digests={},
    )


def stand_ins_like(dataset: CityDataset, homes: int, seed: int = 0) -> CityDataset:
    """Synthetic households in the place of a dataset's units, in memory alone.

    Spec, splits, calendar and the city-wide forcings are the dataset's, which are public: the
    network is of the same shape and its windows lie on the same days. No target value is read. The
    eleven weeks of ``household_loads`` are repeated, weekday on weekday.

    Args:
        dataset: whose form they take.
        homes: how many are wanted; fewer come where so many would not fit in ``MOST_VALUES``.
        seed: of the households.
    """
    rows = len(dataset.values)
    load, _ = household_loads(max(1, min(homes, MOST_VALUES // rows)), seed)
    passed = np.arange(rows) * step_seconds(dataset.spec.step)
    since = (dataset.start - np.datetime64(START, "s")).astype(np.int64)
    hour = (passed + since) // 3600 % len(load)
    return replace(
        dataset,
        folder=Path(NAME),
        spec=replace(dataset.spec, dataset=NAME),
        graph=_unplaced(load),
        values=load.to_numpy(np.float32)[hour],
        header={"synthetic": True},
        digests={},
    )


def _unplaced(load: pd.DataFrame) -> CityGraph:
    """A node a household, without place, edges and thresholds."""
    ids, unknown = tuple(load.columns), np.full(len(load.columns), np.nan)
    return CityGraph(ids, unknown, unknown, ids, ("",) * len(ids), np.full((len(ids), 3), np.nan))
