"""Who is in the water: people and buildings by area, depth and hazard.

Hazard classes H1 to H6 are those of Smith, Davey & Cox (2014), Flood hazard, Water Research
Laboratory report 2014/07, as in Australian Disaster Resilience Guideline 7-3 (2017): limits on
depth, speed and their product at once. Each is compared at its own highest, so that a class may be
too high where deepest and fastest water do not come together, and is never too low.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FelsinaError, FloatArray, IntArray
from pipelines.domains.flood.storms import HOUR_S
from pipelines.domains.flood.terrain import Terrain

DEPTHS_M = (0.05, 0.3, 1.0)
"""Where the depth classes begin; below the first a home is dry."""
DEPTH_CLASSES = ("0.05-0.3 m", "0.3-1 m", "over 1 m")
HAZARDS = {
    "H1": (0.3, 2.0, 0.3),
    "H2": (0.5, 2.0, 0.6),
    "H3": (1.2, 2.0, 0.6),
    "H4": (2.0, 2.0, 1.0),
    "H5": (4.0, 4.0, 4.0),
    "H6": (np.inf, np.inf, np.inf),
}
"""Class to the most it has of depth (m), speed (m/s) and depth times speed (m2/s)."""
MEANING = {
    "H1": "safe for most",
    "H2": "not for small cars",
    "H3": "not for cars, children, the old",
    "H4": "not for anybody, no car",
    "H5": "buildings may be damaged",
    "H6": "any building may fail",
}
"""What the classes say, in short; each holds what those before it do."""
_COLUMNS = ("id", "x", "y", "people", "area")


@dataclass(frozen=True)
class Homes:
    """Buildings with who lives there, on a terrain.

    Attributes:
        id: [N] names.
        area: [N] part of the city.
        x_m: [N] in the terrain's system.
        y_m: [N].
        people: [N].
        cell: [N] flat cell of the terrain; -1 outside.
    """

    id: np.ndarray
    area: np.ndarray
    x_m: FloatArray
    y_m: FloatArray
    people: FloatArray
    cell: IntArray


def read_homes(path: Path, terrain: Terrain) -> Homes:
    """Read a CSV with id, x, y (the terrain's system), people and area.

    Raises:
        FelsinaError: naming file, row, column and value; or if no home lies on the terrain.
    """
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a CSV with {', '.join(_COLUMNS)}")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise FelsinaError(f"{path} is no CSV: {str(error).splitlines()[0]}") from None
    if missing := [name for name in _COLUMNS if name not in table]:
        raise FelsinaError(
            f"{path}: column {missing[0]} is missing; needed are {', '.join(_COLUMNS)}"
        )
    if table.empty:
        raise FelsinaError(f"{path} has no rows; leave homes out of the scenario, or add some")
    numbers: dict[str, FloatArray] = {}
    for name in ("x", "y", "people"):
        own = table[name].to_numpy(str)
        values = np.asarray(pd.to_numeric(pd.Series(own), errors="coerce"), float)
        bad = ~np.isfinite(values) | ((values < 0) & (name == "people"))
        if bad.any():
            row = int(np.argmax(bad))
            raise FelsinaError(
                f"{path} row {row + 2}: {name} {str(own[row])!r} is not a number"
                f"{' from 0 on' if name == 'people' else ''}; correct it"
            )
        numbers[name] = values
    ids, areas = table["id"].to_numpy(str), table["area"].to_numpy(str)
    for name, values in (("id", ids), ("area", areas)):
        if (values == "").any():
            raise FelsinaError(f"{path} row {int(np.argmax(values == '')) + 2}: {name} is empty")
    cell = terrain.cells(numbers["x"], numbers["y"])
    if (cell < 0).all():
        west, east, south, north = terrain.extent_m
        raise FelsinaError(
            f"{path}: no home lies on the terrain (x {west:g} to {east:g}, y {south:g} to"
            f" {north:g} {terrain.crs}); the first is at {numbers['x'][0]:g},"
            f" {numbers['y'][0]:g}: give x and y in the terrain's reference system"
        )
    return Homes(ids, areas, numbers["x"], numbers["y"], numbers["people"], cell)


def hazard_class(depth_m: FloatArray, speed_m_s: FloatArray, product_m2_s: FloatArray) -> IntArray:
    """Index into ``HAZARDS``, the least class all three limits of which hold."""
    found = np.zeros(np.shape(depth_m), np.int64)
    values = np.stack([depth_m, speed_m_s, product_m2_s], axis=-1)
    for limits in list(HAZARDS.values())[:-1]:
        found += (values > limits).any(axis=-1)
    return found


def exposure(
    homes: Homes,
    max_depth_m: FloatArray,
    max_speed_m_s: FloatArray,
    max_product_m2_s: FloatArray,
    arrival_s: FloatArray,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Homes and areas under the flood's highest values.

    Args:
        homes: who lives where.
        max_depth_m: [Y, X].
        max_speed_m_s: [Y, X].
        max_product_m2_s: [Y, X] highest depth times speed.
        arrival_s: [Y, X], not finite where it never comes.

    Returns:
        A row for each home on the terrain (id, area, x, y, people, depth, speed, depth times speed,
        arrival in hours, depth class, hazard class), and a row for each area: buildings and people,
        those in the water, both by depth and by hazard class, and the first arrival in hours.
    """
    on = homes.cell >= 0
    cell = homes.cell[on]
    depth, speed, product, arrival = (
        np.asarray(values, float).ravel()[cell]
        for values in (max_depth_m, max_speed_m_s, max_product_m2_s, arrival_s)
    )
    wet = depth >= DEPTHS_M[0]
    depth_class = np.array(["dry", *DEPTH_CLASSES])[np.digitize(depth, DEPTHS_M)]
    hazard = np.array(list(HAZARDS))[hazard_class(depth, speed, product)]
    table = pd.DataFrame(
        {
            "id": homes.id[on],
            "area": homes.area[on],
            "x": homes.x_m[on],
            "y": homes.y_m[on],
            "people": homes.people[on],
            "max_depth_m": depth,
            "max_speed_m_s": speed,
            "max_hazard_m2_s": product,
            "arrival_h": np.where(wet & np.isfinite(arrival), arrival / HOUR_S, np.nan),
            "depth_class": depth_class,
            "hazard_class": np.where(wet, hazard, "dry"),
        }
    )
    rows = [_area(str(name), homes_there) for name, homes_there in table.groupby("area")]
    return table, pd.DataFrame(rows)


def _area(name: str, homes: pd.DataFrame) -> dict[str, Any]:
    people = homes["people"].to_numpy(float)
    arrival = homes["arrival_h"].to_numpy(float)
    depths, hazards = homes["depth_class"].to_numpy(str), homes["hazard_class"].to_numpy(str)
    wet = depths != "dry"
    row: dict[str, Any] = {
        "area": name,
        "buildings": len(homes),
        "people": float(people.sum()),
        "buildings_wet": int(wet.sum()),
        "people_wet": float(people[wet].sum()),
        "first_arrival_h": float(np.nanmin(arrival)) if np.isfinite(arrival).any() else np.nan,
    }
    for classes, own in ((DEPTH_CLASSES, depths), (tuple(HAZARDS), hazards)):
        row |= {f"buildings {c}": int((own == c).sum()) for c in classes}
        row |= {f"people {c}": float(people[own == c].sum()) for c in classes}
    return row


def exposure_records(areas: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of areas for JSON; where water never came, its arrival is None."""
    rows = areas.to_dict("records")
    return [{str(k): None if v != v else v for k, v in row.items()} for row in rows]


def exposure_tables(areas: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Two tables for people to read: by area and depth, and by hazard class over all areas."""
    records = exposure_records(areas)
    by_depth = [
        {
            "area": row["area"],
            "people": row["people"],
            "in water": row["people_wet"],
            **{c: row[f"people {c}"] for c in DEPTH_CLASSES},
            "homes in water": row["buildings_wet"],
            "first h": row["first_arrival_h"],
        }
        for row in records
    ]
    if f"people {next(iter(HAZARDS))}" not in areas:  # no speed is known
        return {"People by depth of water": by_depth}
    by_hazard = [
        {
            "class": c,
            "water is": meaning,
            "people": float(areas[f"people {c}"].to_numpy(float).sum()),
            "homes": int(areas[f"buildings {c}"].to_numpy(int).sum()),
        }
        for c, meaning in MEANING.items()
    ]
    return {"People by depth of water": by_depth, "People by hazard": by_hazard}
