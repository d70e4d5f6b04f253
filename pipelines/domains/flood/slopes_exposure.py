"""Who lives on what may slip, or below it: by area, through the angle of reach."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from models.physics.reach_angle import Reach, reach_from
from pipelines.domains.flood.exposure import Homes, exposure_records
from pipelines.domains.flood.slopes_outcome import SlopesOutcome
from pipelines.domains.flood.slopes_setting import SlopesSetting
from pipelines.domains.flood.storms import HOUR_S

POSSIBLE = 0.1
"""Probability from which on a failure is to be reckoned with; that of a factor of one is a half."""


def reach_of(setting: SlopesSetting, outcome: SlopesOutcome) -> Reach:
    """What comes to each cell of a terrain, or beside it, from the slopes above it."""
    chance = outcome.probability
    if chance is None:
        chance = np.zeros(outcome.asked.shape)
    found = reach_from(
        torch.from_numpy(np.array(setting.terrain.bed_m, float)),
        setting.terrain.cell_m,
        math.radians(setting.asked.reach_degrees),
        torch.from_numpy(np.where(outcome.failed, outcome.failure_h * HOUR_S, np.inf)),
        torch.from_numpy(np.nan_to_num(chance)),
    )
    beside = math.ceil(setting.asked.beside_m / setting.terrain.cell_m - 1e-9)
    row, column = np.mgrid[-beside : beside + 1, -beside : beside + 1]
    near = np.hypot(row, column) <= beside + 0.5
    first = ndimage.minimum_filter(found.first_s.numpy(), footprint=near, mode="nearest")
    chance = ndimage.maximum_filter(found.probability.numpy(), footprint=near, mode="nearest")
    return Reach(torch.from_numpy(first), torch.from_numpy(chance), found.stays)


def without_way(outcome: SlopesOutcome, reach: Reach) -> float:
    """Share of the cells that fail from which nothing comes to any other; none where none fails."""
    failed = outcome.failed
    return float((failed & reach.stays.numpy()).sum()) / max(int(failed.sum()), 1)


def slopes_exposure(
    homes: Homes, outcome: SlopesOutcome, reach: Reach
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Homes and areas beside the slopes that fail.

    Args:
        homes: who lives where.
        outcome: of the storm.
        reach: of what slips.

    Returns:
        A row for each home on the terrain (id, area, x, y, people, whether it stands on a slope
        that fails or in the way of one, whether that fails before the storm, the first hour, the
        greatest probability from above), and a row for each area.
    """
    on = homes.cell >= 0
    cell = homes.cell[on]
    first = reach.first_s.numpy().ravel()[cell] / HOUR_S
    table = pd.DataFrame(
        {
            "id": homes.id[on],
            "area": homes.area[on],
            "x": homes.x_m[on],
            "y": homes.y_m[on],
            "people": homes.people[on],
            "on_failing": outcome.failed.ravel()[cell],
            "reached": np.isfinite(first),
            "before_storm": first == 0,
            "first_h": np.where(np.isfinite(first), first, np.nan),
            "probability": (
                np.nan if outcome.probability is None else reach.probability.numpy().ravel()[cell]
            ),
        }
    )
    rows = [_area(str(name), there) for name, there in table.groupby("area")]
    return table, pd.DataFrame(rows)


def _area(name: str, homes: pd.DataFrame) -> dict[str, Any]:
    people = homes["people"].to_numpy(float)
    chance, first = homes["probability"].to_numpy(float), homes["first_h"].to_numpy(float)
    counted = {
        "on_failing": homes["on_failing"].to_numpy(bool),
        "reached": homes["reached"].to_numpy(bool),
        "before_storm": homes["before_storm"].to_numpy(bool),
        "possible": chance >= POSSIBLE,
    }
    row: dict[str, Any] = {"area": name, "buildings": len(homes), "people": float(people.sum())}
    for kind, which in counted.items():
        row |= {f"buildings_{kind}": int(which.sum()), f"people_{kind}": float(people[which].sum())}
    if np.isnan(chance).all():  # without scatter nobody knows, which is not nobody
        row |= {"buildings_possible": np.nan, "people_possible": np.nan}
    row["first_h"] = float(np.nanmin(first)) if np.isfinite(first).any() else np.nan
    row["greatest_probability"] = float(np.max(chance))
    return row


def slopes_exposure_table(areas: pd.DataFrame) -> list[dict[str, Any]]:
    """One table for people to read."""
    return [
        {
            "area": row["area"],
            "people": row["people"],
            "homes": row["buildings"],
            "people in reach": row["people_reached"],
            "homes in reach": row["buildings_reached"],
            "already before": row["buildings_before_storm"],
            "first h": row["first_h"],
            "people, P over 0.1": row["people_possible"],
        }
        for row in exposure_records(areas)
    ]
