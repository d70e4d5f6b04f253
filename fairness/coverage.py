"""Where sensors are, and where people live without one: silence is no good evidence.

Sensors are counted whole, not sampled: their densities have no interval. A rank correlation over
areas is shown beside what chance alone would give; no direction is presumed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from fairness.groups import LEAST_RESIDENTS, Areas, classes
from fairness.metrics import rounded
from models.contracts import BoolArray, FloatArray, IntArray


def coverage(areas: Areas, heard: BoolArray) -> dict[str, Any]:
    """Count sensors beside residents and land, by district and by what is known of areas.

    Args:
        areas: all areas of a city, those without a sensor too, and where the nodes stand.
        heard: [N] whether a node was ever observed in the test span.

    Returns:
        ``sensors``, ``silent`` (of them never heard), ``outside`` (in no area); ``areas``,
        ``areas_without`` a sensor that is heard, ``names_without`` (those of ``LEAST_RESIDENTS``
        and more), ``residents``, ``residents_without``: the share who live in areas without;
        ``groupings``: by ``attribute`` a list of ``groups`` with ``name``, ``merged`` (areas that
        are too small to be shown), ``areas``, ``residents``, ``km2``, ``sensors``, ``silent``,
        ``per_10000`` residents and ``per_km2`` (of sensors that are heard), ``residents_without``;
        ``ranks``: by ``attribute`` the Spearman correlation ``rho`` of sensors for each resident
        with it over ``areas``, and the size that ``chance`` alone exceeds one time in twenty.
    """
    inside = areas.of_node >= 0
    count = len(areas.residents)
    sensors = np.bincount(areas.of_node[inside], minlength=count)
    alive = np.bincount(areas.of_node[inside & heard], minlength=count)
    counted = _Counted(areas, sensors, alive)
    smallest = next(iter(areas.levels))
    whole = counted.group("", np.arange(count), ())
    large = areas.residents >= LEAST_RESIDENTS
    groupings = [counted.by_level(level) for level in areas.levels]
    groupings += [counted.by_number(name) for name in areas.attributes]
    return {
        "sensors": len(heard),
        "silent": int((~heard).sum()),
        "outside": int((~inside).sum()),
        "areas": count,
        "areas_without": int((alive == 0).sum()),
        "names_without": [areas.levels[smallest][a] for a in np.flatnonzero(large & (alive == 0))],
        "residents": whole["residents"],
        "residents_without": whole["residents_without"],
        "groupings": groupings,
        "ranks": [counted.rank(name) for name in areas.attributes],
    }


class _Counted:
    """Sensors of each area.

    Args:
        areas: of the city.
        sensors: [A] that stand there.
        alive: [A] of them that are heard.
    """

    def __init__(self, areas: Areas, sensors: IntArray, alive: IntArray) -> None:
        self.areas, self.sensors, self.alive = areas, sensors, alive

    def by_level(self, level: str) -> dict[str, Any]:
        """Districts; areas of too few residents become the rest of the next larger district."""
        levels = self.areas.levels
        order = list(levels)
        labels = np.array(levels[level], object)
        if level == order[0]:
            small = ~(self.areas.residents >= LEAST_RESIDENTS)
            above = levels[order[1]] if len(order) > 1 else ("the city",) * len(labels)
            labels[small] = [f"rest of {above[a]}" for a in np.flatnonzero(small)]
        groups = []
        for name in sorted(set(labels)):
            members = np.flatnonzero(labels == name)
            own = tuple(sorted({levels[level][a] for a in members}))
            groups.append(self.group(name, members, () if own == (name,) else own))
        return {"attribute": level, "groups": groups}

    def by_number(self, name: str) -> dict[str, Any]:
        """Quintiles of residents; areas of which the number is not known are in none."""
        values = self.areas.attributes[name]
        known = np.flatnonzero(np.isfinite(values))
        found, names = classes(values[known], values, self.areas.residents)
        groups = [self.group(names[c], known[found == c], ()) for c in range(len(names))]
        return {"attribute": name, "groups": [group for group in groups if group["areas"]]}

    def group(self, name: str, members: IntArray, merged: tuple[str, ...]) -> dict[str, Any]:
        """What is counted in some areas."""
        people, km2 = self.areas.residents[members], self.areas.km2[members]
        living, alive = float(np.nansum(people)), int(self.alive[members].sum())
        land = float(km2.sum())
        without = float(np.nansum(people[self.alive[members] == 0]))
        return {
            "name": name,
            "merged": list(merged),
            "areas": len(members),
            "residents": int(living) if living else None,
            "km2": rounded(land, 3),
            "sensors": int(self.sensors[members].sum()),
            "silent": int(self.sensors[members].sum()) - alive,
            "per_10000": rounded(1e4 * alive / living, 2) if living else None,
            "per_km2": rounded(alive / land, 3) if land > 0 else None,
            "residents_without": rounded(without / living, 4) if living else None,
        }

    def rank(self, name: str) -> dict[str, Any]:
        """Spearman's correlation over areas that are large enough and of which both are known."""
        values, people = self.areas.attributes[name], self.areas.residents
        usable = np.flatnonzero(np.isfinite(values) & (people >= LEAST_RESIDENTS))
        density = self.alive[usable] / people[usable]
        rho = _spearman(values[usable], density)
        chance = rounded(1.96 / np.sqrt(len(usable) - 1), 2) if len(usable) > 2 else None
        return {"attribute": name, "rho": rho, "areas": len(usable), "chance": chance}


def _spearman(one: FloatArray, two: FloatArray) -> float | None:
    if len(one) < 3 or len(set(one)) < 2 or len(set(two)) < 2:
        return None
    return rounded(float(np.corrcoef(rankdata(one), rankdata(two))[0, 1]), 3)
