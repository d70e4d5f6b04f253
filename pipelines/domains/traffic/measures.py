"""What a traffic scenario changes, and what that comes to on one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from models.contracts import FelsinaError
from pipelines.domains.scenarios import Frozen
from pipelines.domains.traffic.network import Network

LANE_FOR = {"bus": "bus", "tram": "tram", "cycles": "bicycle"}
"""What a lane can be taken for, and SUMO's vehicle class of it."""


class SpeedLimit(Frozen):
    """A limit that faster lanes are brought down to, where vehicles pass from edge to edge too.

    The zone is ``edges``, or what has its middle in ``polygon`` (metres, the network's axes), or
    what is of ``road_types``; the whole network where none is given.
    """

    kind: Literal["speed_limit"]
    km_h: float = Field(gt=0)
    edges: tuple[str, ...] = ()
    polygon: tuple[tuple[float, float], ...] = ()
    road_types: tuple[str, ...] = ()


class Closure(Frozen):
    """Edges that nobody drives from beginning to end."""

    kind: Literal["closure"]
    edges: tuple[str, ...] = Field(min_length=1)


class LaneTaken(Frozen):
    """A lane, counted from the kerb, that is for buses, trams or cycles alone."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["lane"]
    edge: str
    lane: int = Field(ge=0)
    taken_for: Literal["bus", "tram", "cycles"] = Field(alias="for")


class Demand(Frozen):
    """All trips times a factor; public transport keeps its timetable."""

    kind: Literal["demand"]
    factor: float = Field(gt=0, le=10)


Measure = Annotated[SpeedLimit | Closure | LaneTaken | Demand, Field(discriminator="kind")]


@dataclass(frozen=True)
class Intervention:
    """What measures come to on one network; without any, today.

    Attributes:
        speed_limits: lane to its new limit, m/s.
        closed: closed edges.
        taken: lane to the only vehicle class that it is left to.
        demand: factor on trips other than public transport's.
    """

    speed_limits: dict[str, float] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    taken: dict[str, str] = field(default_factory=dict)
    demand: float = 1.0


def intervention(
    measures: Sequence[Measure], network: Network, driven: Mapping[str, set[tuple[str, str]]]
) -> Intervention:
    """Work measures out on a network.

    Args:
        measures: in any order; of two limits on a lane the lower holds, factors multiply.
        network: where.
        driven: vehicle class to the turns that its routes have there (``trips.driven_turns``).

    Raises:
        FelsinaError: if a measure names what the network lacks, changes nothing, or takes a lane
            that a turn or a stop needs.
    """
    limits: dict[str, float] = {}
    closed: set[str] = set()
    taken: dict[str, str] = {}
    factor = 1.0
    for measure in measures:
        if isinstance(measure, SpeedLimit):
            for lane in _zone_lanes(measure, network):
                limits[lane] = min(measure.km_h / 3.6, limits.get(lane, np.inf))
        elif isinstance(measure, Closure):
            network.require(measure.edges, "closure")
            closed |= set(measure.edges)
        elif isinstance(measure, LaneTaken):
            taken[_taken_lane(measure, network)] = LANE_FOR[measure.taken_for]
        else:
            factor *= measure.factor
    _check_turns(network, taken, driven)
    return Intervention(
        dict(sorted(limits.items())),
        tuple(sorted(closed)),
        dict(sorted(taken.items())),
        factor,
    )


def zone(measure: SpeedLimit, network: Network) -> set[str]:
    """The edges that a limit is for.

    Raises:
        FelsinaError: if it is given in two ways, or nothing lies in it.
    """
    ways = [name for name in ("edges", "polygon", "road_types") if getattr(measure, name)]
    if len(ways) > 1:
        raise FelsinaError(f"speed_limit: {' and '.join(ways)} are given; describe a zone one way")
    if measure.edges:
        network.require(measure.edges, "speed_limit")
        return set(measure.edges)
    if measure.polygon:
        from matplotlib.path import Path as Outline

        ids = list(network.edges)
        middles = np.array([network.edges[edge].middle for edge in ids])
        inside = Outline(measure.polygon).contains_points(middles)
        found = {edge for edge, within in zip(ids, inside, strict=True) if within}
        extent = f"{middles.min(0).round().tolist()} to {middles.max(0).round().tolist()}"
        remedy = f"give three corners or more, in metres within {extent}"
    elif measure.road_types:
        found = {e.id for e in network.edges.values() if e.road_type in measure.road_types}
        known = sorted({e.road_type for e in network.edges.values()} - {""})
        remedy = f"{network.net.name} has road types {', '.join(known) or 'none'}"
    else:
        return set(network.edges)
    if not found:
        raise FelsinaError(f"speed_limit: no edge lies in the {ways[0]}; {remedy}")
    return found


def _zone_lanes(measure: SpeedLimit, network: Network) -> list[str]:
    """Lanes of a zone that are faster than its limit, with those of junctions inside it."""
    inside = zone(measure, network)
    # A way through a junction may be of two lanes: the second leads on from the first.
    for _ in range(2):
        vias = (c.via for c in network.connections if c.source in inside and c.target in inside)
        inside |= {network.lanes[via].edge for via in vias if via}
    limit = measure.km_h / 3.6
    lanes = [x.id for x in network.lanes.values() if x.edge in inside and x.speed_m_s > limit]
    if not lanes:
        raise FelsinaError(
            f"speed_limit: no lane of the zone is faster than {measure.km_h:g} km/h; a limit only"
            " lowers speeds, so give a lower one"
        )
    return lanes


def _taken_lane(measure: LaneTaken, network: Network) -> str:
    network.require([measure.edge], "lane")
    lanes = network.edges[measure.edge].lanes
    what = f"lane {measure.lane} of edge {measure.edge}"
    if measure.lane >= len(lanes):
        raise FelsinaError(f"{what}: the edge has lanes 0 to {len(lanes) - 1}, from the kerb")
    lane = lanes[measure.lane]
    if not lane.admits("passenger"):
        raise FelsinaError(f"{what} is closed to cars already; take another lane")
    if not any(other.admits("passenger") for other in lanes if other is not lane):
        raise FelsinaError(f"{what} is the last for cars; use kind = 'closure', or another lane")
    standing = [stop for stop, at in network.stops.items() if at == lane.id]
    if standing and measure.taken_for != "bus":
        raise FelsinaError(f"{what} has bus stop {standing[0]}; take it for buses, or another lane")
    return lane.id


def _check_turns(
    network: Network, taken: dict[str, str], driven: Mapping[str, set[tuple[str, str]]]
) -> None:
    """Refuse lanes without which traffic could not turn as it does today: SUMO would jam there."""
    for vehicle_class, turns in driven.items() if taken else ():
        lost = turns & (network.turns(vehicle_class) - network.turns(vehicle_class, taken))
        if lost:
            source, target = min(lost)
            raise FelsinaError(
                f"lane {', '.join(taken)}: no other lane leads {vehicle_class} traffic from edge"
                f" {source} to {target}; take another lane, or close an edge"
            )
