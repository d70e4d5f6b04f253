"""Forcings of all sources on a target's grid."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import step_seconds
from pipelines.ingest.source import ForcingUnit, Tables


def forcings_of(
    folder: Path, given: dict[str, Tables], header: dict[str, Any], index: pd.DatetimeIndex
) -> tuple[pd.DataFrame | None, list[dict[str, Any]]]:
    """All forcings on the target's grid, with their entries; those of no source stay."""
    every = timedelta(seconds=step_seconds(header["step"]))
    columns: dict[str, pd.Series] = {}
    units: dict[str, ForcingUnit] = {}
    for tables in given.values():
        if tables.forcings is not None:
            for column in tables.forcings:
                name = str(column).partition("@")[0]
                unit = tables.forcing_units[name]
                values = pd.Series(tables.forcings[column].to_numpy(float), tables.forcings.index)
                columns[str(column)] = _aligned(values, index, every, unit)
                units[name] = unit
    entries = [
        {"name": name, "unit": unit.unit, "known_future": unit.known_future}
        for name, unit in units.items()
    ]
    kept = [e for e in header.get("forcings", []) if e["name"].partition("@")[0] not in units]
    path = folder / "forcings.parquet"
    if kept and path.exists():
        old = pd.read_parquet(path).set_index("time")
        for column in old:
            if str(column).partition("@")[0] not in units:
                columns[str(column)] = pd.Series(old[column].to_numpy(float), old.index)
    if not columns:
        return None, kept
    table = pd.DataFrame(columns).sort_index()
    return table.astype(np.float32), kept + entries


def _aligned(
    values: pd.Series, index: pd.DatetimeIndex, every: timedelta, unit: ForcingUnit
) -> pd.Series:
    """A forcing on the target's grid.

    On a finer grid a value stands until the next one, and a sum is spread over it: at no row is
    anything of later rows shown. On a coarser one it is the mean, or the sum, of a row's own span.
    """
    values = values.dropna()
    stamps = pd.DatetimeIndex(values.index)
    if not len(stamps):
        return pd.Series(np.nan, index=index)
    between = np.diff(stamps.to_numpy()).min() if len(stamps) > 1 else np.timedelta64(every)
    own = timedelta(seconds=float(between / np.timedelta64(1, "s")))
    end = max(index[-1], index[0] + (stamps[-1] - index[0]) // every * every)
    grid = pd.date_range(index[0], end, freq=every)
    if own > every:
        spread = values / (own / every) if unit.adds_up else values
        return spread.reindex(grid, method="ffill", tolerance=own - timedelta(microseconds=1))
    row = np.asarray((stamps - index[0]) // every, np.int64)
    inside = row >= 0
    at, kept = row[inside], values.to_numpy(float)[inside]
    count = np.bincount(at, minlength=len(grid))
    sums = np.bincount(at, kept, minlength=len(grid))
    # A row of which only a part came is not known.
    known = count >= (round(every / own) if own < every else 1)
    with np.errstate(invalid="ignore"):
        found = np.where(known, sums if unit.adds_up else sums / count, np.nan)
    return pd.Series(found, grid)
