"""A synthetic river: stage of 8 gauges every 30 minutes, February to December 2024.

The river rises in the hills south of the city (``alta``, ``valle``), takes up the western
(``ovest``, ``chiusa``) and the eastern tributary (``est``) and leaves through the plain (``porta``,
``canale``, ``foce``). Edges run downstream; ``area`` is the area that a gauge warns.

Planted, for forecasters: storms that move over five sub-basins (``rain_*``, known only once it has
fallen); runoff that depends on how wet the soil is, so that the same rain floods in November and
not in July; slow baseflow; linear reservoirs on the slopes and Muskingum routing in the reaches, so
that flood waves arrive later, and larger, downstream; Manning's rating of a wide channel from
discharge to stage. Stage is measured from a gauge zero and may be negative.

Alert levels come from the true peaks of the train span, as a city would set them from its record:
``threshold_1`` lies under the 6th highest flood at each gauge, ``threshold_2`` under the 3rd and
``threshold_3`` under the highest.

Planted, for audits: what ``synthesis`` states. Canale Basso and Borgo Officine have one gauge each
for 34 000 and 29 000 residents (31 500 a gauge), the others 6 for 103 000 (17 170 a gauge).
``canale`` appears late; ``ovest`` dies. The two poor areas lie in the plain, where floods are
highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.contracts import FloatArray
from pipelines.domains import synthesis
from training.dataset import write_dataset

NAME = "embedded-flood"
DAYS = 300
LATE, DEAD = "canale", "ovest"
STEP_H = 0.5
SOIL_MM = 110.0
"""Water that the soil holds when full."""
WAVE_KM_H = 6.0
"""Speed of a flood wave in the reaches."""


@dataclass(frozen=True)
class Gauge:
    """A gauge, its own catchment (without those above it) and the reach down to the next."""

    id: str
    area: str
    basin: str
    catchment_km2: float
    width_m: float
    slope: float
    zero_m: float
    reach_km: float
    downstream: str
    east_km: float
    north_km: float


GAUGES = (  # from the springs to the plain
    Gauge("alta", "Colle Alto", "alta", 42, 14, 6e-3, 0.20, 9, "valle", 2.5, -18.0),
    Gauge("valle", "Colle Alto", "valle", 30, 18, 4e-3, 0.10, 7, "porta", 1.5, -9.5),
    Gauge("ovest", "Certosa Nuova", "ovest", 38, 13, 5e-3, 0.15, 8, "chiusa", -9.0, -9.0),
    Gauge("chiusa", "Certosa Nuova", "ovest", 22, 17, 3e-3, 0.05, 6, "porta", -4.5, -3.0),
    Gauge("est", "Fossa Verde", "est", 34, 13, 4e-3, 0.25, 8, "canale", 8.0, -6.0),
    Gauge("porta", "Portavecchia", "piana", 16, 27, 1.5e-3, 0.30, 6, "canale", 0.2, -1.5),
    Gauge("canale", "Canale Basso", "piana", 14, 32, 1.0e-3, 0.35, 8, "foce", 0.0, 3.0),
    Gauge("foce", "Borgo Officine", "piana", 20, 34, 0.8e-3, 0.30, 0, "", 1.5, 9.5),
)
BASINS = tuple(dict.fromkeys(gauge.basin for gauge in GAUGES))


def basin_centres() -> FloatArray:
    """Centres of the sub-basins, east and north of the city's centre in km, [S, 2]."""
    places = [[(g.east_km, g.north_km) for g in GAUGES if g.basin == name] for name in BASINS]
    return np.array([np.mean(place, axis=0) for place in places])


def reaches() -> pd.DataFrame:
    """Edges from each gauge to the next one downstream."""
    rows = [(g.id, g.downstream, g.reach_km * 1000.0) for g in GAUGES if g.downstream]
    return pd.DataFrame(rows, columns=["source", "target", "distance_m"])


def runoff(rain_mm: FloatArray, day_of_year: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Split rain into runoff and percolation by a soil store, both [T, S] mm in each step.

    The share that runs off grows with the square of the store's filling; evapotranspiration
    empties it, most in July.
    """
    demand = (0.07 - 0.055 * np.cos(2 * np.pi * (day_of_year - 15) / 365)) * STEP_H
    fast, slow = np.zeros_like(rain_mm), np.zeros_like(rain_mm)
    store = np.full(rain_mm.shape[1], 0.6 * SOIL_MM)
    for t, rain in enumerate(rain_mm):
        wetness = store / SOIL_MM
        fast[t] = rain * (0.03 + 0.87 * wetness**2)
        slow[t] = 0.025 * STEP_H * SOIL_MM / 24 * wetness**3
        store = np.clip(store + rain - fast[t] - slow[t] - demand[t] * wetness, 0, SOIL_MM)
    return fast, slow


def reservoir(inflow: FloatArray, hours: float) -> FloatArray:
    """Linear reservoir: outflow is storage over ``hours``; conserves volume."""
    decay = np.exp(-STEP_H / hours)
    return synthesis.recurrence(inflow * (1 - decay), decay)


def muskingum(inflow: FloatArray, hours: float, weighting: float = 0.15) -> FloatArray:
    """Muskingum routing of one reach (McCarthy 1938; Chow et al. 1988, section 8.4).

    Split into sub-reaches short enough for positive coefficients, hence no negative flow.

    Args:
        inflow: [T] discharge at the upper end.
        hours: travel time K.
        weighting: X, 0 for a pure reservoir and 0.5 for pure translation.
    """
    parts = int(np.ceil(2 * hours * weighting / STEP_H))
    k = hours / parts
    scale = 2 * k * (1 - weighting) + STEP_H
    flow = inflow
    for _ in range(parts):
        before = np.concatenate([flow[:1], flow[:-1]])
        drive = (
            (STEP_H - 2 * k * weighting) * flow + (STEP_H + 2 * k * weighting) * before
        ) / scale
        decay = (2 * k * (1 - weighting) - STEP_H) / scale
        # Started in a steady state, so that no wave enters at the first step.
        flow = flow[0] + synthesis.recurrence(drive - (1 - decay) * flow[0], decay)
    return flow


def discharge(rain_mm: FloatArray, times: pd.DatetimeIndex) -> FloatArray:
    """Discharge in m3/s, [T, N]: slopes drain into reaches, reaches flow on.

    Args:
        rain_mm: [T, S] rain on each of ``BASINS`` in each step.
        times: [T] time axis.
    """
    fast, slow = runoff(rain_mm, times.day_of_year.to_numpy(float))
    quick = reservoir(reservoir(fast, 1.5), 3.0)
    base = slow[0] + reservoir(slow - slow[0], 120.0)
    to_m3_s = 1000 / (STEP_H * 3600)
    flows: dict[str, FloatArray] = {}
    for gauge in GAUGES:
        s = BASINS.index(gauge.basin)
        flow = (quick[:, s] + base[:, s]) * gauge.catchment_km2 * to_m3_s
        for upper in (g for g in GAUGES if g.downstream == gauge.id):
            flow = flow + muskingum(flows[upper.id], upper.reach_km / WAVE_KM_H)
        flows[gauge.id] = flow
    return np.stack(list(flows.values()), axis=1)


def stage(flow_m3_s: FloatArray) -> FloatArray:
    """Manning's depth of a wide rectangular channel (n = 0.04), less the gauge zero, in m."""
    conveyance = np.array([g.width_m * np.sqrt(g.slope) / 0.04 for g in GAUGES])
    return (flow_m3_s / conveyance) ** 0.6 - np.array([g.zero_m for g in GAUGES])


def flood_peaks(stage_m: FloatArray) -> FloatArray:
    """Peaks of one gauge, highest first: the highest stage within a day on either side."""
    reach = round(24 / STEP_H)
    padded = np.pad(stage_m, reach, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    return np.sort(stage_m[stage_m == around])[::-1]


def alert_levels(stage_m: FloatArray) -> FloatArray:
    """Three alert levels for each gauge, [N, 3], rounded down to 5 cm."""
    ranked = [flood_peaks(column)[[5, 2, 0]] for column in stage_m.T]
    return np.floor((np.array(ranked) - 0.01) / 0.05) * 0.05


def node_table(levels: FloatArray) -> pd.DataFrame:
    """The table of gauges with their alert levels, upstream ones first."""
    names = ["id", "area", "basin", "catchment_km2", "east_km", "north_km"]
    nodes = pd.DataFrame([[getattr(gauge, name) for name in names] for gauge in GAUGES])
    nodes.columns = names
    nodes["name"] = [f"River at {gauge.id.title()} (synthetic)" for gauge in GAUGES]
    for i in range(3):
        nodes[f"threshold_{i + 1}"] = levels[:, i].round(2)
    return nodes


def synthesise(folder: Path, seed: int = 0, days: int = DAYS) -> None:
    """Write the dataset folder ``embedded-flood``; the same seed and days give the same bytes."""
    rng = np.random.default_rng(seed)
    times = synthesis.grid("2024-02-20", days, "30min")
    rain = synthesis.storm_rain(rng, times, basin_centres())
    wander = 0.03 * synthesis.ar_noise(rng, (len(times), len(GAUGES)), 0.99)
    stage_m = stage(discharge(rain, times) * np.exp(wander))
    train_end, _ = synthesis.split_times(times)
    nodes = synthesis.place(node_table(alert_levels(stage_m[times < train_end])))
    seen = synthesis.observe(rng, stage_m, 0.006, nodes, times, LATE, DEAD)
    series = pd.DataFrame(seen.round(3), index=times, columns=list(nodes["id"]))
    forcings = pd.DataFrame(rain, index=times, columns=[f"rain_{name}" for name in BASINS])
    forecast = {
        "name": NAME,
        "domain": "flood",
        "target": "stage",
        "unit": "m",
        "step": "30min",
        "lookback": 96,
        "horizon": 24,
        "nonnegative": False,
    }
    entries = [(str(name), "mm", False) for name in forcings]
    record = synthesis.header(times, forecast, entries)
    write_dataset(folder, record, nodes, series, reaches(), forcings)
