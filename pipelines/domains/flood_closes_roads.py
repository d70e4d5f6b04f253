"""The chain from water to traffic: a flood, the streets that it closes, and what traffic does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from models.contracts import BoolArray, FelsinaError, FloatArray
from pipelines.domains.chains import (
    INSIDE,
    SIMULATED,
    Chained,
    Hop,
    HopKeys,
    Hops,
    Tables,
    digests,
    told_errors,
)
from pipelines.domains.flood import scenario_file as flood_file
from pipelines.domains.flood.forcing import open_setting
from pipelines.domains.flooded_streets import (
    STANDSTILL_M,
    FloodedStreets,
    flooded_streets,
    measures_of,
)
from pipelines.domains.scenarios import Frozen, read_keys
from pipelines.domains.traffic import scenario as traffic_file
from pipelines.domains.traffic.network import network_beside
from pipelines.domains.traffic.road_surrogate import OUTPUTS
from pipelines.domains.traffic.sumo import sumo_home

DEPTH, LOW, HIGH = "max_depth.tif", "max_depth_low.tif", "max_depth_high.tif"
_DEPTH_OUTPUT = "max_depth_m"
_SOURCE = "Pregnolato et al. 2017, doi:10.1016/j.trd.2017.06.020"
_VERIFIED = {
    "local inertial": (
        "physics verify holds this scheme to a lake at rest (1e-12 m) and to mass (1e-6), and only"
        " muscl to published dam breaks"
    ),
    "shallow water": (
        "physics verify holds this scheme to Ritter and Stoker (0.3 %), Thacker's bowls, bumps and"
        " MacDonald's channel (1 %), a lake at rest (1e-12 m) and mass (1e-6)"
    ),
}


class RoadKeys(Frozen):
    """How water closes streets.

    Attributes:
        depth_m: deepest water from which a street is closed.
        error_m: by how much a simulated depth is moved to see what then closes.
        slow_from_m: depth from which streets that stay open are slowed; none when left out.
        shift_m: where the origin of a terrain without a place lies, in the network's axes.
    """

    depth_m: float = Field(default=STANDSTILL_M, gt=0, le=3)
    error_m: float = Field(default=0.1, gt=0, le=1)
    slow_from_m: float | None = Field(default=None, ge=0.05)
    shift_m: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _slower_before_closed(self) -> RoadKeys:
        if self.slow_from_m is not None:
            if self.slow_from_m >= self.depth_m:
                raise ValueError(f"slow_from_m {self.slow_from_m:g} must be below depth_m")
            if self.depth_m > STANDSTILL_M:
                raise ValueError(f"slow_from_m needs depth_m up to {STANDSTILL_M:g}: cars stand")
        return self


class ChainKeys(Frozen):
    """The file's keys.

    Attributes:
        name: for people.
        chain: as registered.
        flood: a flood's scenario.
        roads: how water closes streets.
        traffic: a traffic scenario, to whose measures the closures are added.
    """

    name: str = Field(min_length=1)
    chain: str
    flood: HopKeys
    roads: RoadKeys = RoadKeys()
    traffic: HopKeys


def run_chain(scenario: dict[str, Any], hops: Hops) -> Chained:
    """Run a flood, close what is under water, and run the traffic.

    What can be refused is refused before the water moves: files, places that do not overlap,
    engines that are not there. A surrogate of traffic can refuse only what it is then asked.

    Args:
        scenario: the parsed file (``ChainKeys``).
        hops: where to run.
    """
    asked = read_keys(ChainKeys, scenario)
    flood, flood_base = hops.read("flood", asked.flood, "flood")
    traffic, traffic_base = hops.read("traffic", asked.traffic, "traffic")
    network = network_beside(traffic_base, _keys(traffic, "any").network)
    terrain = open_setting(read_keys(flood_file.Scenario, flood), flood_base).terrain
    streets = flooded_streets(network, terrain, asked.roads.shift_m)
    water_from = hops.surrogates("flood", asked.flood)
    cars_from = hops.surrogates("traffic", asked.traffic)
    run_flood = hops.runner("flood", "flood", water_from)
    run_traffic = hops.runner("traffic", "traffic", cars_from)
    if not cars_from:
        sumo_home()

    key = [flood, digests(flood, flood_base), [one.sha256 for one in water_from]]
    folder, water = hops.kept(
        "1-flood", key, lambda place, tell: run_flood(flood, flood_base, place, tell)
    )
    if not (folder / DEPTH).is_file():
        raise FelsinaError(f"flood: scenario {flood['name']!r} writes no {DEPTH}; name another one")
    roads = Roads(asked.roads, streets, folder, water)
    traffic["measures"] = [*traffic.get("measures", []), *roads.measures]
    cars: dict[str, Any] | None = None
    if traffic["measures"]:
        key = [traffic, digests(traffic, traffic_base), [one.sha256 for one in cars_from]]
        _, cars = hops.kept(
            "2-traffic", key, lambda place, tell: run_traffic(traffic, traffic_base, place, tell)
        )
    tables: Tables = {"Streets that close, if the depth were another": roads.sensitivity}
    tables |= {"Streets under the deepest water": roads.deepest} if roads.closed.any() else {}
    tables |= {
        f"Traffic: {title}": rows for title, rows in (cars or {"tables": {}})["tables"].items()
    }
    said = {
        "closed": roads.ids(roads.closed),
        "streets": roads.table,
        "measures": roads.measures,
        "sensitivity": roads.sensitivity,
    }
    return Chained((_water(water), roads.hop(), _cars(cars)), said, tables, roads.notes)


def _keys(traffic: dict[str, Any], edge: str) -> traffic_file.Scenario:
    """A traffic scenario's keys, as if the water had closed an edge: it may have no measures."""
    closed = {"kind": "closure", "edges": [edge]}
    measures = [*traffic.get("measures", []), closed]
    return read_keys(traffic_file.Scenario, traffic | {"measures": measures})


class Roads:
    """The streets under one flood's water.

    Args:
        asked: how it closes them.
        streets: with E edges.
        folder: the flood's.
        water: its report.
    """

    def __init__(
        self, asked: RoadKeys, streets: FloodedStreets, folder: Path, water: dict[str, Any]
    ) -> None:
        self.asked, self.streets = asked, streets
        self.depth_m = streets.deepest_m(folder / DEPTH)
        self.closed: BoolArray = self.depth_m >= asked.depth_m
        self.measures = measures_of(streets, self.depth_m, asked.depth_m, asked.slow_from_m)
        self.sensitivity = self._sensitivity(folder, "surrogate" in water)

    def ids(self, rows: BoolArray) -> list[str]:
        """Edges of some rows."""
        return np.array(self.streets.points.edges)[rows].tolist()

    def _sensitivity(self, folder: Path, learned: bool) -> list[dict[str, Any]]:
        """What closes at the depth's lower and upper end: the surrogate's band, or ``error_m``."""
        if learned:
            ends = {
                "10 % depth of the surrogate": self.streets.deepest_m(folder / LOW),
                "90 % depth of the surrogate": self.streets.deepest_m(folder / HIGH),
            }
        else:
            error = self.asked.error_m
            ends = {
                f"{error:g} m less water": self.depth_m - error,
                f"{error:g} m more water": np.where(self.depth_m > 0, self.depth_m + error, 0.0),
            }
        low, high = ends.items()
        return [self._closing(*one) for one in (low, ("as it was run", self.depth_m), high)]

    def _closing(self, what: str, depth_m: FloatArray) -> dict[str, Any]:
        closed = depth_m >= self.asked.depth_m
        km = float(self.streets.length_m[closed].sum() / 1000)
        return {"water": what, "edges": int(closed.sum()), "km": km}

    @property
    def table(self) -> list[dict[str, Any]]:
        """Every edge with water on it, for JSON."""
        rows = zip(self.streets.points.edges, self.depth_m, self.closed, strict=True)
        return [
            {"edge": edge, "depth_m": round(float(depth), 3), "closed": bool(closed)}
            for edge, depth, closed in rows
            if depth > 0
        ]

    @property
    def deepest(self) -> list[dict[str, Any]]:
        """The ten streets under the deepest water."""
        order = np.argsort(-self.depth_m, kind="stable")[:10]
        ids = self.streets.points.edges
        return [
            {
                "edge": ids[k],
                "depth_m": float(self.depth_m[k]),
                "length_m": float(self.streets.length_m[k]),
            }
            for k in order
            if self.closed[k]
        ]

    def hop(self) -> Hop:
        """The rule between the simulators."""
        low, now, high = self.sensitivity
        slowed = sum(len(m["edges"]) for m in self.measures if m["kind"] == "speed_limit")
        total_km = float(self.streets.length_m.sum() / 1000)
        outside = int(self.streets.outside.sum())
        handed = f"{now['edges']} of {len(self.closed)} edges closed, {now['km']:.1f} of"
        handed += f" {total_km:.1f} km"
        handed += f"; {slowed} slowed" if self.asked.slow_from_m is not None else ""
        reach = f"{outside} edges reach beyond the terrain, taken as dry there"
        return Hop(
            "roads",
            "rule",
            f"closed from {self.asked.depth_m:g} m of water on ({_SOURCE})",
            f"{low['edges']} edges close with {low['water']}, {high['edges']} with {high['water']}",
            reach if outside else "all edges lie on the terrain",
            handed,
            {"edges_outside": outside, "edges_slowed": slowed, "depth_m": self.asked.depth_m},
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the chain does not know here."""
        shift = self.asked.shift_m
        invented = ()
        if shift is not None:
            invented = (
                "The terrain has no place of its own; its origin was laid at x ="
                f" {shift[0]:g}, y = {shift[1]:g} of the network: which streets these are is"
                " invented.",
            )
        return (
            *invented,
            "Bridges and underpasses are not known: a street has the deepest water of the cells"
            " that its lanes cross, a bridge that of the river below it.",
            "A street is closed during the whole simulated hour, whenever the water comes.",
            "Drivers know every closure from the start, and nobody stays at home for it. Trips that"
            " cannot be made are left out: those that remain may drive faster than today.",
        )


def _water(report: dict[str, Any]) -> Hop:
    """The flood's line."""
    km2 = sum(report["flooded_km2"].values())
    handed = f"highest depths ({DEPTH}); {km2:.2f} km2 of land under water"
    learned = report.get("surrogate")
    if learned:
        inside = "; approximated: ".join([INSIDE, *learned["approximated"]])
        error = told_errors(learned["errors"], [_DEPTH_OUTPUT])
        by, details = learned["release"], {"errors": learned["errors"]}
        return Hop("flood", "surrogate", by, error, inside, handed, details)
    made = abs(report["mass_error"])
    by = report["simulator"]
    gates = next((text for scheme, text in _VERIFIED.items() if by.startswith(scheme)), "")
    error = f"{made:.1e} of this run's water was made or lost; {gates}"
    return Hop("flood", "physics", by, error, SIMULATED, handed, {"mass_error": made})


def _cars(report: dict[str, Any] | None) -> Hop:
    """The traffic's line; without water on a street and without measures nothing was run."""
    if report is None:
        return Hop("traffic", "none", "", "", "", "no street closes: traffic is today's")
    learned = report.get("surrogate")
    if learned:
        count = len(report["most_changed"])
        handed = f"flow and speed of every edge with a band; the {count} that change most"
        error = told_errors(learned["errors"], OUTPUTS)
        details = {"errors": learned["errors"]}
        return Hop("traffic", "surrogate", learned["release"], error, INSIDE, handed, details)
    moved = report["edges"]["quantities"]
    floors = ", ".join(
        f"{name} by {moved[name]['mean_floor']:.3g} {moved[name]['unit']}"
        for name in OUTPUTS
        if moved[name]["mean_floor"] is not None
    )
    told = moved[OUTPUTS[0]]["told_edges"]
    lost = report["totals"]["trips_removed"]["measures"] or 0
    handed = f"flow told from the seeds on {told} of {report['edges']['count']} edges; {lost:,.0f}"
    handed += " trips left out, which begin or end on a closed street or have no other way"
    return Hop(
        "traffic",
        "physics",
        report["simulator"],
        f"two seeds alone differ in {floors} (mean over edges); SUMO itself is not held to counts",
        SIMULATED,
        handed,
        {"trips_removed": lost, "floors": {name: moved[name]["mean_floor"] for name in OUTPUTS}},
    )
