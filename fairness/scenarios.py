"""Who gains and who loses by a scenario: its figure of each area, told by who lives there.

A scenario is calculated, not sampled, so nothing here has an interval; how far its simulator may be
off stands in the scenario's own report.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairness.groups import LEAST_RESIDENTS, Areas, classes
from fairness.metrics import rounded
from models.contracts import FloatArray, IntArray


def gains(areas: Areas, change: FloatArray, less_is_better: bool) -> dict[str, Any]:
    """Sum a scenario's change by district and by quintiles of the residents.

    Args:
        areas: of the city.
        change: [A] of each area's figure, after less before; NaN where the scenario has none.
        less_is_better: such as people in water; False for what one wants more of.

    Returns:
        ``areas`` that the scenario has, ``change`` in all, ``less_is_better``; ``groupings``: by
        ``attribute`` a list of ``groups`` with ``name``, ``merged`` (areas too small to be shown),
        ``areas``, ``residents``, ``change``, ``per_1000`` residents, and how many areas ``gain``
        and ``lose``; ``worst``: ``attribute``, ``name`` and ``per_1000`` of the group that loses
        most for each resident, or gains least; None where residents are not known.
    """
    known = np.isfinite(change)
    worse = change if less_is_better else -change
    groupings = []
    for level in areas.levels:
        labels = np.array(areas.levels[level], object)
        small = ~(areas.residents >= LEAST_RESIDENTS)
        labels[small] = "the rest"
        names = sorted(set(labels[known]))
        parts = [(name, np.flatnonzero(known & (labels == name))) for name in names]
        groupings.append((level, parts))
    for name, values in areas.attributes.items():
        usable = np.flatnonzero(known & np.isfinite(values))
        place, spans = classes(values[usable], values, areas.residents)
        parts = [(spans[c], usable[place == c]) for c in range(len(spans))]
        groupings.append((name, parts))
    told = [
        {
            "attribute": attribute,
            "groups": [
                _group(name, members, areas, change, worse)
                for name, members in parts
                if len(members)
            ],
        }
        for attribute, parts in groupings
    ]
    return {
        "areas": int(known.sum()),
        "change": rounded(float(np.nansum(change)), 4),
        "less_is_better": less_is_better,
        "groupings": told,
        "worst": _worst(told[len(areas.levels) :] or told, less_is_better),
    }


def _group(
    name: str, members: IntArray, areas: Areas, change: FloatArray, worse: FloatArray
) -> dict[str, Any]:
    people = float(np.nansum(areas.residents[members]))
    total = float(change[members].sum())
    smallest = next(iter(areas.levels.values()))
    return {
        "name": name,
        "merged": sorted(smallest[a] for a in members) if name == "the rest" else [],
        "areas": len(members),
        "residents": int(people) if people else None,
        "change": rounded(total, 4),
        "per_1000": rounded(1000 * total / people, 4) if people else None,
        "gain": int((worse[members] < 0).sum()),
        "lose": int((worse[members] > 0).sum()),
    }


def _worst(groupings: list[dict[str, Any]], less_is_better: bool) -> dict[str, Any] | None:
    rows = [
        {"attribute": grouping["attribute"], "name": group["name"], "per_1000": group["per_1000"]}
        for grouping in groupings
        for group in grouping["groups"]
        if group["per_1000"] is not None and group["residents"] >= LEAST_RESIDENTS
    ]
    sign = 1 if less_is_better else -1
    return max(rows, key=lambda row: sign * row["per_1000"], default=None)
