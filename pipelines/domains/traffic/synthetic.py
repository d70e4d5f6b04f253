"""A synthetic city's traffic: hourly counts of 24 loop detectors, October 2023 to April 2024.

Roads: a clockwise ring of eight loops and four arterials (west, south, east, north), each with an
inner and an outer loop inbound and the same outbound. Edges follow the direction of travel.

Planted, for forecasters: demand on the civil clock (the clocks change in training, on 29 October
2023, and in the test span, on 31 March 2024, which is Easter), a morning peak inbound and an
evening peak outbound, weekends, holidays and the Christmas break; rain that adds cars at commuting
hours, keeps people at home otherwise and lowers capacity; cold that adds cars; saturation at
capacity; autoregressive noise, partly common to the whole city; incidents that cut a loop's flow
and, hour by hour and ever weaker, that of the loops upstream.

Planted, for audits: what ``synthesis`` states. Canale Basso and Borgo Officine have 2 loops each
for 34 000 and 29 000 residents (15 750 a loop); the other areas have 20 for 103 000 (5 150 a loop).
``north-in-outer`` appears late; ``east-out-inner`` dies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from models.contracts import FloatArray
from pipelines.domains import synthesis
from pipelines.domains.synthesis import CivilClock, bump
from training.dataset import write_dataset

NAME = "embedded-traffic"
DAYS = 200
LATE, DEAD = "north-in-outer", "east-out-inner"
INCIDENTS = 90
"""In ``DAYS``; a longer record has more."""
SPREAD = 0.6
"""Share of an incident's cut that reaches the loop upstream an hour later."""

_RING = tuple(f"ring-{i}" for i in range(8))
_BEARINGS = {"east": 0, "north": 2, "west": 4, "south": 6}
_OUTER_AREAS = {
    "west": ("Certosa Nuova", "Certosa Nuova"),
    "south": ("Colle Alto", "Colle Alto"),
    "east": ("Fossa Verde", "Fossa Verde"),
    "north": ("Canale Basso", "Borgo Officine"),
}
_ROLES = {  # capacity veh/h, morning peak and evening peak as shares of it
    "ring": (2400, 0.86, 0.92),
    "in": (1500, 0.95, 0.55),
    "out": (1500, 0.50, 0.95),
}


def loops() -> pd.DataFrame:
    """The table of loop detectors, with road, role and capacity."""
    rows = []
    for i, node in enumerate(_RING):
        angle = i * np.pi / 4
        position = (1.35 * np.cos(angle), 1.2 * np.sin(angle))
        rows.append((node, "Portavecchia", "ring", 2400, *position))
    for road, position in _BEARINGS.items():
        angle = position * np.pi / 4
        for role, side in (("in", 0.02), ("out", -0.02)):
            for place, radius, area in zip(
                ("inner", "outer"), (2.3, 3.9), _OUTER_AREAS[road], strict=True
            ):
                east = radius * np.cos(angle) - side * np.sin(angle)
                north = radius * np.sin(angle) + side * np.cos(angle)
                capacity = 1500 if place == "inner" else 1250
                rows.append((f"{road}-{role}-{place}", area, role, capacity, east, north))
    columns = ["id", "area", "role", "capacity_veh_h", "east_km", "north_km"]
    nodes = pd.DataFrame(rows, columns=columns)
    nodes["name"] = nodes["area"] + ", loop " + nodes["id"] + " (synthetic)"
    return nodes


def roads(nodes: pd.DataFrame) -> pd.DataFrame:
    """Edges in the direction of travel, with the distance between the loops."""
    pairs = [(_RING[i], _RING[i - 1]) for i in range(8)]
    for road, position in _BEARINGS.items():
        pairs += [
            (f"{road}-in-outer", f"{road}-in-inner"),
            (f"{road}-in-inner", _RING[position]),
            (_RING[position], f"{road}-out-inner"),
            (f"{road}-out-inner", f"{road}-out-outer"),
        ]
    at = nodes.set_index("id")[["east_km", "north_km"]]
    edges = pd.DataFrame(pairs, columns=["source", "target"])
    gap = at.loc[edges["source"]].to_numpy() - at.loc[edges["target"]].to_numpy()
    return edges.assign(distance_m=(1000 * np.hypot(*gap.T)).round(1))


def demand_share(clock: CivilClock, role: str) -> FloatArray:
    """Demand as a share of capacity on a dry day, [T], from the civil clock."""
    _, morning, evening = _ROLES[role]
    hour = clock.hour
    night = 0.03 + 0.04 * bump(hour, 23, 2)
    midday = bump(hour, 13, 3.0)
    workday = (
        night
        + morning * bump(hour, 8, 1.2)
        + 0.5 * midday
        + evening * bump(hour, 18, 1.6) * np.where(clock.weekday == 4, 1.06, 1.0)
    )
    leisure = night * 1.6 + 0.5 * bump(hour, 12, 2.4) + 0.45 * bump(hour, 18.5, 2.6)
    saturday = leisure * 1.12
    share = np.where(clock.rest_day, leisure, np.where(clock.day_off, saturday, workday))
    return share * np.where(clock.vacation & ~clock.rest_day, 0.82, 1.0)


def incident_cut(origin: FloatArray, upstream: FloatArray) -> FloatArray:
    """Let incidents spread upstream, weaker by ``SPREAD`` with each hour and loop.

    Args:
        origin: [T, N] share of flow that incidents at the loop itself cut.
        upstream: [N, N], 1 where the row's loop feeds the column's.

    Returns:
        [T, N] share of flow cut.
    """
    cut = origin.copy()
    for t in range(1, len(cut)):
        if cut[t - 1].any():
            cut[t] = np.maximum(origin[t], SPREAD * (upstream * cut[t - 1]).max(axis=1))
            cut[t][cut[t] < 0.02] = 0
    return cut


def _incidents(rng: np.random.Generator, demand: FloatArray) -> FloatArray:
    """Sudden cuts, more likely in dense traffic, that clear within some hours; [T, N]."""
    origin = np.zeros_like(demand)
    risk = demand.ravel() ** 2 / (demand**2).sum()
    count = round(INCIDENTS * len(demand) / (24 * DAYS))
    for where in rng.choice(demand.size, count, replace=False, p=risk):
        t, node = divmod(int(where), demand.shape[1])
        clearing = np.exp(-np.arange(8) / rng.uniform(1.0, 3.0))[: len(origin) - t]
        window = origin[t : t + 8, node]
        np.maximum(window, rng.uniform(0.45, 0.85) * clearing, out=window)
    return origin


def synthesise(folder: Path, seed: int = 0, days: int = DAYS) -> None:
    """Write the dataset folder ``embedded-traffic``; the same seed and days give the same bytes."""
    rng = np.random.default_rng(seed)
    times = synthesis.grid("2023-10-01", days, "1h")
    clock = synthesis.civil_clock(times)
    plan = loops()
    edges, nodes = roads(plan), synthesis.place(plan)
    temp_c, _ = synthesis.air(rng, times)
    rain_mm = synthesis.storm_rain(rng, times, np.zeros((1, 2)))[:, 0]

    capacity = plan["capacity_veh_h"].to_numpy(float) * rng.uniform(0.9, 1.1, len(plan))
    shares = {role: demand_share(clock, role) for role in _ROLES}
    share = np.stack([shares[role] for role in plan["role"]], axis=1)
    wet = (1 - np.exp(-rain_mm / 1.5))[:, None]
    cold = np.clip(6 - temp_c, 0, 8)[:, None] / 8
    commuting = (bump(clock.hour, 8, 1.5) + bump(clock.hour, 18, 1.8)) * ~clock.day_off
    rain_effect = 1 + wet * (0.12 * commuting - 0.18 * (1 - np.minimum(commuting, 1)))[:, None]
    shape = (len(times), len(plan))
    mood = 0.05 * synthesis.ar_noise(rng, (shape[0], 1), 0.95)
    local = 0.06 * synthesis.ar_noise(rng, shape, 0.8)
    size = rng.uniform(0.8, 1.1, len(plan))
    demand = capacity * size * share * rain_effect * (1 + 0.05 * cold) * np.exp(mood + local)

    upstream = (plan["id"].to_numpy()[:, None, None] == edges["source"].to_numpy()) & (
        plan["id"].to_numpy()[:, None] == edges["target"].to_numpy()
    )
    cut = incident_cut(_incidents(rng, demand / capacity), upstream.any(axis=2).astype(float))
    limit = capacity * (1 - 0.12 * wet)
    flow = demand / (1 + (demand / limit) ** 6) ** (1 / 6) * (1 - cut)

    noise_sd = 0.03 * flow + 4
    seen = synthesis.observe(rng, flow, noise_sd, nodes, times, LATE, DEAD)
    series = pd.DataFrame(np.maximum(seen, 0).round(), index=times, columns=list(nodes["id"]))
    forecast = {
        "name": NAME,
        "domain": "traffic",
        "target": "flow",
        "unit": "veh/h",
        "step": "1h",
        "lookback": 168,
        "horizon": 24,
        "nonnegative": True,
    }
    forcings = [("rain_mm", "mm", True), ("temp_c", "degC", True)]
    record = synthesis.header(times, forecast, forcings)
    weather = pd.DataFrame({"rain_mm": rain_mm, "temp_c": temp_c}, index=times)
    # The weather is known a day further than what it forces, as from a weather service.
    write_dataset(folder, record, nodes, series.iloc[:-24], edges, weather)
