"""Areas under many possible floods at once: whom to call, with what probability and from when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FloatArray
from models.physics.inundation import WET_M
from pipelines.domains.flood.exposure import Homes
from pipelines.domains.flood.member_floods import Floods, earliest
from pipelines.domains.flood.outlook_file import AlertKeys

LEVELS = ("none", "yellow", "orange", "red")
POSSIBLE = 0.25
"""What is possible has this share of the probability of what is likely."""
FIRST = 0.1
"""An area's time is that by which water is at a home of it with this probability."""
_SEVERITY = {"yellow": "Minor", "orange": "Moderate", "red": "Severe"}
"""In the words of OASIS CAP 1.2, section 3.2.2; its certainty is ``Likely`` from over a half on."""
_EVENTS = {
    "home_wet": "water at a home",
    "many_grave": "water of {depth:g} m or more at {share:.0%} of the people",
}


def area_table(homes: Homes, floods: Floods, keys: AlertKeys) -> pd.DataFrame:
    """A row an area, of the draws as wholes: never of cells or homes one by one.

    Args:
        homes: who lives where.
        floods: draws; cells of one draw belong together.
        keys: what is grave and what is likely.

    Returns:
        ``area``, ``homes``, ``people``; the probability of water (from ``WET_M`` on) at a home or
        more, of grave water at a home or more, and of grave water at ``share`` of its people;
        people in the water: expected, and quantiles; hours by which water is at a home with a
        probability of ``FIRST`` and of a half, NaN where it is less likely; ``level``.
    """
    on = homes.cell >= 0
    cell, area, people = homes.cell[on], homes.area[on], homes.people[on]
    depth, arrival = floods.depth_m[:, cell], floods.arrival_h[:, cell]
    rows = []
    for name in np.unique(area):
        own = area == name
        rows.append(_row(str(name), people[own], depth[:, own], arrival[:, own], floods, keys))
    return pd.DataFrame(rows)


def _row(
    name: str,
    people: FloatArray,
    depth_m: FloatArray,
    arrival_h: FloatArray,
    floods: Floods,
    keys: AlertKeys,
) -> dict[str, Any]:
    wet, grave = depth_m >= WET_M, depth_m >= keys.depth_m
    many = grave @ people >= keys.share * people.sum() - 1e-9
    standing = np.concatenate([wet @ people, np.zeros(floods.draws - len(wet))])
    low, middle, high = np.quantile(standing, (0.1, 0.5, 0.9), method="inverted_cdf")
    first = arrival_h.min(axis=1, keepdims=True)
    hours = {level: float(earliest(first, floods.draws, level)[0]) for level in (FIRST, 0.5)}
    chance = {
        "home_wet": float(wet.any(axis=1).sum() / floods.draws),
        "home_grave": float(grave.any(axis=1).sum() / floods.draws),
        "many_grave": float((many & grave.any(axis=1)).sum() / floods.draws),
    }
    return {
        "area": name,
        "homes": len(people),
        "people": float(people.sum()),
        **chance,
        "people_expected": float(standing.mean()),
        "people_10": float(low),
        "people_50": float(middle),
        "people_90": float(high),
        "first_h": hours[FIRST] if np.isfinite(hours[FIRST]) else np.nan,
        "first_50_h": hours[0.5] if np.isfinite(hours[0.5]) else np.nan,
        "level": level_of(chance["home_wet"], chance["many_grave"], keys.probability),
    }


def level_of(wet: float, grave: float, likely: float) -> str:
    """Alert of an area, by how probable water at a home and grave water at its people are.

    Red where grave water is likely, orange where it is possible or water at a home is likely,
    yellow where that is possible.
    """
    return _judged(wet, grave, likely)[0]


def _judged(wet: float, grave: float, likely: float) -> tuple[str, str]:
    """An area's level, and the probability of ``area_table`` that set it."""
    if grave >= likely:
        return "red", "many_grave"
    if grave >= POSSIBLE * likely:
        return "orange", "many_grave"
    if wet >= likely:
        return "orange", "home_wet"
    return "yellow" if wet >= POSSIBLE * likely else LEVELS[0], "home_wet"


def alerts(
    areas: list[dict[str, Any]], keys: AlertKeys, time: Callable[[float], str], expires: str
) -> list[dict[str, Any]]:
    """Areas with an alert, the gravest first, in the words of the Common Alerting Protocol.

    Certainty and probability are of the event that set the level, which is named; the onset is that
    of the first water, which comes before grave water.

    Args:
        areas: rows of ``area_table``, None where an hour is not known.
        keys: by which they were judged.
        time: from an hour of the outlook to ISO 8601 in UTC, with a Z.
        expires: the outlook's end, alike.
    """
    found: list[dict[str, Any]] = []
    for row in areas:
        level, event = _judged(row["home_wet"], row["many_grave"], keys.probability)
        if level == LEVELS[0]:
            continue
        found.append(
            {
                "area": row["area"],
                "level": level,
                "event": _EVENTS[event].format(depth=keys.depth_m, share=keys.share),
                "severity": _SEVERITY[level],
                "certainty": "Likely" if row[event] > 0.5 else "Possible",
                "probability": row[event],
                "onset": None if row["first_h"] is None else _cap_time(time(row["first_h"])),
                "expires": _cap_time(expires),
                "people_expected": row["people_expected"],
            }
        )
    return sorted(found, key=lambda one: (-LEVELS.index(one["level"]), -one["people_expected"]))


def _cap_time(stamp: str) -> str:
    """UTC as CAP 1.2 writes it, section 3.3.2: never ``Z``, but ``-00:00``."""
    return f"{stamp.removesuffix('Z')}-00:00"
