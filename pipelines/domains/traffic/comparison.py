"""Runs with measures beside runs of today, and what two seeds differ by for no reason.

The floor of a figure is the mean absolute difference between two seeds of the same streets, over
all pairs of today's seeds and all pairs with the measures. A difference of means that is not larger
is not told from noise. The mean over several seeds is steadier than one run, but with few seeds
chance alone still passes a floor now and then: ``docs/traffic-scenarios.md`` measures how often.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FloatArray
from pipelines.domains.traffic.recording import TOTALS, Run

QUANTITIES = {
    "flow_veh_h": "veh/h",
    "speed_m_s": "m/s",
    "density_veh_km": "veh/km",
    "time_loss_s": "s",
    "co2_g": "g",
    "nox_g": "g",
}
"""What is compared at each edge, with units; the last three are sums over the measured span."""
MOST_CHANGED = 10


def edge_means(run: Run) -> tuple[list[str], dict[str, FloatArray]]:
    """Edges in alphabetical order, and ``QUANTITIES`` over all periods of a run, [E] each.

    A speed is NaN where nobody drove.
    """
    ids, row = np.unique(run.edges["edge"].to_numpy(str), return_inverse=True)
    periods = np.bincount(row)

    def total(name: str) -> FloatArray:
        return np.bincount(row, run.edges[name].to_numpy(float)).astype(float)

    flow, density = (total(name) / periods for name in ("flow_veh_h", "density_veh_km"))
    means: dict[str, FloatArray] = {
        "flow_veh_h": flow,
        # Distance over time, not the mean of the periods' speeds: empty periods have none.
        "speed_m_s": flow / np.where(density > 0, density, np.nan) / 3.6,
        "density_veh_km": density,
    }
    sums = {name: total(name) for name in QUANTITIES if name not in means}
    return ids.tolist(), means | sums


def compare_edges(today: Sequence[Run], changed: Sequence[Run]) -> pd.DataFrame:
    """A row an edge; for each of ``QUANTITIES`` five columns, such as ``flow_veh_h_difference``.

    Args:
        today: runs without measures, one a seed.
        changed: with them, the same seeds.

    Returns:
        ``..._today`` and ``..._measures`` (means over seeds), ``..._difference`` (measures minus
        today), ``..._floor`` (see above) and ``..._told``, whether the difference is larger.
    """
    ids, _ = edge_means(today[0])
    before, after = ([edge_means(run)[1] for run in runs] for runs in (today, changed))
    columns: dict[str, Any] = {"edge": ids}
    for name in QUANTITIES:
        tables = (np.stack([means[name] for means in side]) for side in (before, after))
        for key, values in _beside(*tables).items():
            columns[f"{name}_{key}"] = values
    return pd.DataFrame(columns)


def compare_totals(today: Sequence[Run], changed: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The network's ``TOTALS`` and mean speed, each with unit, means, difference, floor, told."""
    found = {}
    for name, unit in ({"mean_speed_km_h": "km/h"} | TOTALS).items():
        sides = (np.array([[_total(run, name)] for run in runs]) for runs in (today, changed))
        beside = {key: _plain(values[0]) for key, values in _beside(*sides).items()}
        found[name] = {"unit": unit} | beside
    return found


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """Over all edges: mean absolute differences and floors, and the edges that change most.

    An edge is ranked by that of its flow and speed which moved by more mean floors.

    Args:
        table: of ``compare_edges``.
    """
    columns = {str(name): table[name].to_numpy() for name in table}
    means, moved = {}, np.zeros(len(table))
    for name, unit in QUANTITIES.items():
        size, floor = np.abs(columns[f"{name}_difference"]), columns[f"{name}_floor"]
        told = columns[f"{name}_told"]
        means[name] = {
            "unit": unit,
            "mean_absolute_difference": _mean(size),
            "mean_floor": _mean(floor),
            "told_edges": int(told.sum()),
        }
        if name in ("flow_veh_h", "speed_m_s"):
            moved = np.maximum(moved, np.where(told, size / ((_mean(floor) or 0) + 1e-9), 0))
    most = [int(edge) for edge in np.argsort(-moved, kind="stable")[:MOST_CHANGED] if moved[edge]]
    shown = [name for name in columns if name.startswith(("edge", "flow_veh_h", "speed_m_s"))]
    records = [{name: _plain(columns[name][edge]) for name in shown} for edge in most]
    return {"count": len(table), "quantities": means, "most_changed": records}


def _beside(today: FloatArray, changed: FloatArray) -> dict[str, Any]:
    """Means, difference, floor and told of [S, N] arrays of seeds."""
    pairs = [
        np.abs(side[i] - side[j])
        for side in (today, changed)
        for i, j in combinations(range(len(side)), 2)
    ]
    with warnings.catch_warnings():  # an edge that no seed drives has no speed and no floor of it
        warnings.simplefilter("ignore", RuntimeWarning)
        before, after, floor = (np.nanmean(x, axis=0) for x in (today, changed, np.stack(pairs)))
    difference = after - before
    return {
        "today": before,
        "measures": after,
        "difference": difference,
        "floor": floor,
        "told": np.abs(difference) > floor,
    }


def _total(run: Run, name: str) -> float:
    totals: Mapping[str, float] = run.totals
    if name == "mean_speed_km_h":
        return totals["vehicle_km"] / totals["vehicle_h"] if totals["vehicle_h"] else float("nan")
    return totals[name]


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _plain(value: Any) -> Any:
    """A table's value for JSON, null where it is NaN."""
    value = getattr(value, "tolist", lambda: value)()
    return None if value != value else value
