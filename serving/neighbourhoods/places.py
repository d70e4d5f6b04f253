"""What is known of each neighbourhood: sensors, and the figures of the board's report."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from models.contracts import CityGraph, FloatArray, ForecastSpec
from serving.card import OWN
from serving.page import WEB
from serving.release import Release
from serving.reports import Report

OUTLINES = WEB / "vendor" / "bologna" / "areas.json"
LEVELS = ("area", "zona", "quartiere")
"""Attributes of a report whose groups are neighbourhoods or districts; the others are of people."""
_SMALL = {"A", "Di", "Del", "Dei", "Della", "Dell", "Delle", "In"}
_CAPITALS = {"XXI", "CNR", "CAAB", "INA"}
_ALL, _SOME, _NONE = "all", "some", "none"


@dataclass(frozen=True)
class Group:
    """A part of the city that the report judges together.

    Attributes:
        level: attribute of its grouping, one of ``LEVELS``.
        record: name, sensors, silent, residents, merged.
        figures: by name, None where unknown.
        harms: by name.
    """

    level: str
    record: dict[str, Any]
    figures: dict[str, float | None]
    harms: dict[str, dict[str, Any]]

    def named(self, name: str) -> bool:
        """Whether it is called so."""
        return _plain(self.record["name"]) == _plain(name)

    def holds(self, name: str) -> bool:
        """Whether it is this neighbourhood, or was merged of it and others."""
        return self.named(name) or _plain(name) in map(_plain, self.record["merged"])


@dataclass(frozen=True)
class Served:
    """A dataset that is served, with what its board's report says.

    Attributes:
        release: what is served.
        audit: of the report; None where there is no report.
        sensors: neighbourhood to its sensors.
    """

    release: Release
    audit: dict[str, Any] | None
    sensors: dict[str, int]

    @classmethod
    def of(cls, release: Release, report: Report | None) -> Served:
        """A release and its report."""
        audit = None if report is None else report.record.get("audit")
        return cls(release, audit, _sensors(release.graph))

    @property
    def spec(self) -> ForecastSpec:
        """What is forecast."""
        return self.release.spec

    @property
    def mae(self) -> float:
        """How far off its median is in the whole city, in the unit."""
        return float(self.release.manifest["metrics"][OWN]["mae"])

    @property
    def groups(self) -> Iterator[Group]:
        """Parts of the city that the report judges, in its order."""
        for grouping in (self.audit or {}).get("groupings", ()):
            if grouping["attribute"] not in LEVELS:
                continue
            judged = grouping["weighted"].get("residents", grouping["weighted"]["area"])
            for at, record in enumerate(grouping["groups"]):
                harms = {name: harm[at] for name, harm in judged["harms"].items()}
                yield Group(grouping["attribute"], record, judged["figures"][at], harms)

    @property
    def covered(self) -> dict[str, dict[str, Any]]:
        """Neighbourhood to the report's count of sensors and people there."""
        groupings = (self.audit or {}).get("coverage", {}).get("groupings", [])
        found = {}
        for group in groupings[0]["groups"] if groupings else []:
            found |= dict.fromkeys(group["merged"] or [group["name"]], group)
        return found

    @property
    def per_10000(self) -> float | None:
        """Sensors of the whole city that gave values, for every 10 000 people."""
        whole = (self.audit or {}).get("coverage", {})
        if not whole.get("residents"):
            return None
        return 1e4 * (whole["sensors"] - whole["silent"] - whole["outside"]) / whole["residents"]


@dataclass(frozen=True)
class Entry:
    """A dataset at a neighbourhood.

    Attributes:
        served: the dataset.
        sensors: how many stand here.
        group: of the report, to which the neighbourhood belongs; None where it has none.
        alone: whether the group is this neighbourhood and no other.
        covered: the report's count of sensors and people, None where it has none.
    """

    served: Served
    sensors: int
    group: Group | None = None
    alone: bool = True
    covered: dict[str, Any] | None = None

    @property
    def worse(self) -> bool:
        """Whether the report says that people here are surely served worse."""
        harms = {} if self.group is None else self.group.harms
        return any(harm["verdict"] == "fail" for harm in harms.values())


@dataclass(frozen=True)
class Place:
    """A neighbourhood.

    Attributes:
        key: as the data have it.
        name: for people.
        slug: for addresses, of plain letters.
        district: that it belongs to; empty where that is not known.
        entries: one a dataset.
    """

    key: str
    name: str
    slug: str
    district: str
    entries: tuple[Entry, ...]

    @property
    def measured(self) -> str:
        """Whether ``all``, ``some`` or ``none`` of the forecasts have a sensor here."""
        seen = [entry.sensors > 0 for entry in self.entries]
        return _ALL if all(seen) else _SOME if any(seen) else _NONE

    @property
    def worse(self) -> bool:
        """Whether any forecast is surely worse here than is tolerated."""
        return any(entry.worse for entry in self.entries)


def places_of(served: list[Served]) -> list[Place]:
    """Every neighbourhood that has a sensor or stands in a report, and those of its city."""
    names = {name for one in served for name in (*one.sensors, *one.covered)}
    districts = districts_of_city()
    if names & set(districts):
        names |= set(districts)
    found, slugs = [], set()
    for key in sorted(names, key=lambda name: (districts.get(name, ""), _plain(name))):
        slug = _plain(key)
        while slug in slugs:
            slug += "-"
        slugs.add(slug)
        district = districts.get(key, "")
        entries = tuple(_entry(one, key, district) for one in served)
        found.append(Place(key, readable(key), slug, district, entries))
    return found


def readable(name: str) -> str:
    """A name as people write it; the city's own table has capitals alone, and no accents."""
    if not name.isupper():
        return name
    parts = re.split(r"(\W)", name.replace("UNITA'", "UNITÀ").title())
    for at, part in enumerate(parts):
        if at and part in _SMALL:
            parts[at] = part.lower()
        elif part.upper() in _CAPITALS:
            parts[at] = part.upper()
    return "".join(parts)


def _entry(one: Served, name: str, district: str) -> Entry:
    sensors, covered = one.sensors.get(name, 0), one.covered.get(name)
    if not sensors:
        return Entry(one, 0, covered=covered)
    found = next((group for group in one.groups if group.holds(name)), None)
    if found is None and district:
        found = next((group for group in one.groups if group.named(district)), None)
    return Entry(one, sensors, found, found is not None and found.named(name), covered)


def _plain(name: str) -> str:
    """A name as an address and a comparison have it."""
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", bare).strip("-")


def _sensors(graph: CityGraph) -> dict[str, int]:
    """Neighbourhood to its sensors: by the nodes' own, else by the outline that they lie in."""
    found: dict[str, int] = {}
    bare = [n for n in range(graph.nodes) if not graph.areas[n]]
    names = [area for area in graph.areas if area]
    for name, rings in outlines() if bare else ():
        lon, lat = graph.lon[bare], graph.lat[bare]
        names += [name] * int(np.logical_or.reduce([_inside(lon, lat, r) for r in rings]).sum())
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def districts_of_city() -> dict[str, str]:
    """Neighbourhood of the city to its district."""
    return {p["area"]: p["quartiere"] for p, _ in _features()}


def outlines() -> list[tuple[str, list[list[FloatArray]]]]:
    """Neighbourhood of the city with its polygons, each a list of rings [P, 2] in degrees."""
    return [(properties["area"], polygons) for properties, polygons in _features()]


@lru_cache(maxsize=1)
def _features() -> list[tuple[dict[str, str], list[list[FloatArray]]]]:
    found = json.loads(OUTLINES.read_bytes())["features"]
    return [
        (
            feature["properties"],
            [[np.array(ring) for ring in part] for part in feature["geometry"]["coordinates"]],
        )
        for feature in found
    ]


def _inside(lon: FloatArray, lat: FloatArray, rings: list[FloatArray]) -> np.ndarray:
    """[P] whether points lie inside: a ray to the east crosses the rings an odd number of times."""
    odd = np.zeros(len(lon), bool)
    for ring in rings:
        (x0, y0), (x1, y1) = ring.T[:, :, None], np.roll(ring, -1, axis=0).T[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossed = ((y0 > lat) != (y1 > lat)) & (lon < x0 + (lat - y0) * (x1 - x0) / (y1 - y0))
        odd ^= crossed.sum(axis=0) % 2 == 1
    return odd
