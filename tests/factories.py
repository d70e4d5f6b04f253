"""Small data for tests: a dataset folder that trains in seconds, and a release made from it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import CityGraph, Forcing, ForecastSpec
from training.dataset import write_dataset
from training.settings import TrainSettings, resolve_settings

NODES = ("a", "b", "c", "d")


class Silent:
    """A listener that remembers which stages it was told of."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def begin(self, dataset: str, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def progress(self, stage: str, share: float) -> None:
        if stage not in self.stages:
            self.stages.append(stage)

    def metrics(self, step: int, values: dict[str, float]) -> None: ...


def make_spec(**changes: Any) -> ForecastSpec:
    """A spec of hourly counts, six steps ahead."""
    values: dict[str, Any] = {
        "dataset": "tiny",
        "domain": "traffic",
        "target": "flow",
        "unit": "veh/h",
        "step": "1h",
        "timezone": "Europe/Rome",
        "lookback": 48,
        "horizon": 6,
        "nonnegative": True,
        "forcings": (Forcing("temp_c", "degC", True), Forcing("rain_mm", "mm", False)),
        "lags": (24, 168),
        "country": "IT-BO",
    }
    return ForecastSpec(**(values | changes))


def make_graph(nodes: int = 4) -> CityGraph:
    """A ring of nodes with unequal weights."""
    ids = tuple("abcdefghijklmnopqrstuvwxyz"[:nodes])
    return CityGraph(
        ids=ids,
        lon=np.linspace(11.3, 11.4, nodes),
        lat=np.linspace(44.4, 44.5, nodes),
        names=tuple(f"node {i}" for i in ids),
        areas=tuple("one" if n % 2 else "two" for n in range(nodes)),
        thresholds=np.full((nodes, 3), np.nan),
        source=np.arange(nodes),
        target=np.roll(np.arange(nodes), 1),
        weight=np.linspace(0.5, 1.5, nodes).astype(np.float32),
    )


def make_series(days: int = 70, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hourly counts with a daily wave, noise and gaps, and their two forcings."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-02-05", periods=24 * days, freq="1h", tz="UTC", name="time")
    hour = index.tz_convert("Europe/Rome").hour.to_numpy()
    weekend = index.tz_convert("Europe/Rome").dayofweek.to_numpy() >= 5
    temperature = 12 + 8 * np.sin(2 * np.pi * (hour - 9) / 24) + rng.normal(0, 1, len(index))
    wave = 100 + 80 * np.sin(2 * np.pi * (hour - 8) / 24) - 30 * weekend + 2 * temperature
    flow = wave[:, None] * np.linspace(0.5, 2.0, len(NODES)) + rng.normal(
        0, 8, (len(index), len(NODES))
    )
    flow[rng.random(flow.shape) < 0.02] = np.nan
    flow[300:330, 1] = np.nan
    rain = np.where(rng.random(len(index)) < 0.1, rng.exponential(2, len(index)), 0)
    forcings = pd.DataFrame({"temp_c": temperature, "rain_mm": rain}, index=index)
    return pd.DataFrame(np.maximum(flow, 0), index=index, columns=list(NODES)), forcings


def header(**changes: Any) -> dict[str, Any]:
    """``dataset.toml`` of the tiny dataset as a dict."""
    values: dict[str, Any] = {
        "name": "tiny",
        "domain": "traffic",
        "target": "flow",
        "unit": "veh/h",
        "step": "1h",
        "timezone": "Europe/Rome",
        "lookback": 48,
        "horizon": 6,
        "nonnegative": True,
        "splits": {
            "train_end": datetime(2024, 3, 20, tzinfo=UTC),
            "validation_end": datetime(2024, 4, 5, tzinfo=UTC),
        },
        "forcings": [
            {"name": "temp_c", "unit": "degC", "known_future": True},
            {"name": "rain_mm", "unit": "mm", "known_future": False},
        ],
        "source": {"publisher": "tests", "licence": "CC0-1.0", "attribution": "made by a test"},
        "synthetic": True,
    }
    return values | changes


def make_part(folder: Path, names: dict[str, str], seed: int = 0, **changes: Any) -> Path:
    """Write a dataset folder, without edges, of some tiny nodes under other names."""
    series, forcings = make_series(seed=seed)
    nodes = pd.DataFrame({"id": list(names.values())})
    chosen = series[list(names)].rename(columns=names)
    write_dataset(folder, header(**changes), nodes, chosen, forcings=forcings)
    return folder


def make_dataset(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write the tiny dataset folder; ``changes`` go into ``dataset.toml``."""
    graph = make_graph()
    series, forcings = make_series(seed=seed)
    nodes = pd.DataFrame(
        {"id": NODES, "lon": graph.lon, "lat": graph.lat, "name": graph.names, "area": graph.areas}
    )
    edges = pd.DataFrame(
        {"source": NODES, "target": np.roll(NODES, -1), "weight": [0.5, 1.0, 1.0, 2.0]}
    )
    write_dataset(folder, header(**changes), nodes, series, edges, forcings)
    return folder


def make_settings(**changes: Any) -> TrainSettings:
    """Settings that train the tiny dataset in a second or two."""
    values: dict[str, Any] = {
        "lags": (24, 168),
        "steps": 20,
        "batch": 8,
        "evaluate_every": 10,
        "architecture": {"width": 16, "blocks": 1, "embedding": 4, "weekly": True},
    }
    return resolve_settings(TrainSettings, values | changes)
