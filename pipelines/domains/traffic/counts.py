"""Simulated flows beside counted ones, by GEH (Design Manual for Roads and Bridges, volume 12).

A diagnostic: demand and counts may be of different years.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FelsinaError
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.recording import Run

CLOSE = 5.0
"""GEH below which a simulated hour is called close to a counted one."""
_COLUMNS = ("datetime", "codice_spira", "vehicles")


def loop_code(detector: str) -> str:
    """The city's code of a loop, from a detector's id: ``0.127_2.73_6_1__l0`` has a lane added."""
    return re.sub(r"__l\d+$", "", detector).replace("_", " ")


def geh(simulated: float, counted: float) -> float:
    """``sqrt(2 (m - c)^2 / (m + c))`` of two hourly flows; 0 where both are 0."""
    total = simulated + counted
    return float(np.sqrt(2 * (simulated - counted) ** 2 / total)) if total else 0.0


def counts_table(path: Path, hour: int) -> dict[str, float]:
    """Loop code to vehicles counted in the civil hour that begins at ``hour``, mean over days."""
    try:
        table = pd.read_csv(path, usecols=list(_COLUMNS), parse_dates=["datetime"])
        hours = pd.DatetimeIndex(table["datetime"]).hour.to_numpy()
        vehicles = table["vehicles"].to_numpy(float)
    except (OSError, ValueError, TypeError) as error:
        raise FelsinaError(
            f"counts {path}: {str(error).splitlines()[0]}; give a CSV with the columns"
            f" {', '.join(_COLUMNS)}, a row a loop and civil hour"
        ) from error
    counted: dict[str, list[float]] = {}
    for code, value in zip(
        table["codice_spira"].to_numpy(str)[hours == hour], vehicles[hours == hour], strict=True
    ):
        if value == value:
            counted.setdefault(code, []).append(value)
    if not counted:
        raise FelsinaError(f"counts {path}: no count of hour {hour}; set counts_hour to one it has")
    return {code: float(np.mean(values)) for code, values in counted.items()}


def compare_counts(network: Network, runs: Sequence[Run], path: Path, hour: int) -> dict[str, Any]:
    """The GEH table of today's runs, mean over seeds, where loops have counts.

    Args:
        network: whose detectors are compared.
        runs: without measures.
        path: table of counts (``counts_table``).
        hour: civil hour that the simulated span stands for.

    Returns:
        ``loops`` (of the network), ``matched`` (with counts), ``silent`` (matched, but no interval
        of theirs lies within the measured span), ``close_share`` (GEH below ``CLOSE``), both sums
        and ``table``, a row a loop: code, lanes, simulated and counted veh/h, GEH; worst last.
    """
    counted = counts_table(path, hour)
    lanes: dict[str, list[str]] = {}
    for detector in network.loops:
        lanes.setdefault(loop_code(detector), []).append(detector)
    rows, silent = [], 0
    matched = sorted(code for code in lanes if code in counted)
    for code in matched:
        own = lanes[code]
        if not all(detector in run.loops for detector in own for run in runs):
            silent += 1
            continue
        flow = float(np.mean([sum(run.loops[detector] for detector in own) for run in runs]))
        rows.append(
            {
                "loop": code,
                "lanes": len(own),
                "simulated_veh_h": flow,
                "counted_veh_h": counted[code],
                "geh": geh(flow, counted[code]),
            }
        )
    rows.sort(key=lambda row: row["geh"])
    return {
        "diagnostic": "simulated demand and counts may be of different years; never a gate",
        "hour": hour,
        "loops": len(lanes),
        "matched": len(matched),
        "silent": silent,
        "close_share": float(np.mean([row["geh"] < CLOSE for row in rows])) if rows else None,
        "simulated_veh_h": sum(row["simulated_veh_h"] for row in rows),
        "counted_veh_h": sum(row["counted_veh_h"] for row in rows),
        "table": rows,
    }
