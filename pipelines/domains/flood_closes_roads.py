"""The chain from water to traffic: a flood, the streets that it closes, and what traffic does."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from models.contracts import FelsinaError
from pipelines.domains.chains import (
    INSIDE,
    SIMULATED,
    Chained,
    Hop,
    HopKeys,
    Hops,
    Tables,
    digests,
    errors_of,
    told_errors,
)
from pipelines.domains.flood import scenario_file as flood_file
from pipelines.domains.flood.forcing import open_setting
from pipelines.domains.flooded_roads import DEPTH, RoadKeys, Roads
from pipelines.domains.flooded_streets import flooded_streets, read_depth_m
from pipelines.domains.scenarios import Frozen, read_keys
from pipelines.domains.traffic import scenario as traffic_file
from pipelines.domains.traffic.network import network_beside
from pipelines.domains.traffic.road_surrogate import OUTPUTS
from pipelines.domains.traffic.sumo import sumo_home

MAP = "streets.png"
_DEPTH_OUTPUT = "max_depth_m"
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
    from pipelines.domains.flooded_streets_picture import draw_streets

    title = f"{asked.name}{' (an invented place)' if asked.roads.shift_m is not None else ''}"
    draw_streets(hops.out / MAP, streets, read_depth_m(folder / DEPTH), roads.closed, title)
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
        "files": [MAP],
    }
    return Chained((_water(water), roads.hop(), _cars(cars)), said, tables, roads.notes)


def _keys(traffic: dict[str, Any], edge: str) -> traffic_file.Scenario:
    """A traffic scenario's keys, as if the water had closed an edge: it may have no measures."""
    closed = {"kind": "closure", "edges": [edge]}
    measures = [*traffic.get("measures", []), closed]
    return read_keys(traffic_file.Scenario, traffic | {"measures": measures})


def _water(report: dict[str, Any]) -> Hop:
    """The flood's line."""
    km2 = sum(report["flooded_km2"].values())
    handed = f"highest depths ({DEPTH}); {km2:.2f} km2 of land under water"
    learned = report.get("surrogate")
    if learned:
        inside = "; approximated: ".join([INSIDE, *learned["approximated"]])
        errors = errors_of(learned["errors"], [_DEPTH_OUTPUT])
        by, details = learned["release"], {"errors": errors}
        return Hop("flood", "surrogate", by, told_errors(errors), inside, handed, details)
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
        errors = errors_of(learned["errors"], OUTPUTS)
        by, details = learned["release"], {"errors": errors}
        return Hop("traffic", "surrogate", by, told_errors(errors), INSIDE, handed, details)
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
