"""Measures on a network: what they come to, and what is refused in one line."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from models.contracts import FelsinaError
from pipelines.domains.traffic.measures import Intervention, Measure, intervention, zone
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.trips import driven_turns
from tests.fixtures.streets import STRAIGHT, THROUGH

READ = TypeAdapter(tuple[Measure, ...])


def worked_out(network: Network, *measures: dict[str, Any]) -> Intervention:
    return intervention(READ.validate_python(measures), network, driven_turns(network))


def limit(**zone: Any) -> dict[str, Any]:
    return {"kind": "speed_limit", "km_h": 30, **zone}


def test_a_zone_is_a_list_a_polygon_or_a_road_type(streets: Network) -> None:
    listed = worked_out(streets, limit(edges=[THROUGH])).speed_limits
    assert listed == {f"{THROUGH}_{k}": 30 / 3.6 for k in (0, 1)}
    square = [[150, 150], [450, 150], [450, 250], [150, 250]]  # B1 and C1 are its ends
    (measure,) = READ.validate_python([limit(polygon=square)])
    assert zone(measure, streets) == {"B1C1", "C1B1"}
    typed = worked_out(streets, limit(road_types=["side"])).speed_limits
    assert {streets.lanes[lane].edge for lane in typed} == {"A0A1"}


def test_the_whole_network_is_limited_where_no_zone_is_given(streets: Network) -> None:
    limited = worked_out(streets, limit()).speed_limits
    fast = {lane.id for lane in streets.lanes.values() if lane.speed_m_s > 30 / 3.6}
    assert set(limited) == fast
    assert any(lane.startswith(":") for lane in fast)


def test_a_junction_is_limited_only_between_edges_of_the_zone(streets: Network) -> None:
    alone = worked_out(streets, limit(edges=["B1C1"])).speed_limits
    row = worked_out(streets, limit(edges=["B1C1", "C1D1"])).speed_limits
    assert not any(lane.startswith(":") for lane in alone)
    assert any(lane.startswith(":C1") for lane in row)


def test_measures_act_together(streets: Network) -> None:
    both = worked_out(
        streets,
        limit(),
        limit(km_h=20, edges=[THROUGH]),
        {"kind": "closure", "edges": ["C1C2", "B1B2"]},
        {"kind": "demand", "factor": 0.5},
        {"kind": "demand", "factor": 1.5},
        {"kind": "lane", "edge": STRAIGHT, "lane": 0, "for": "bus"},
    )
    assert both.speed_limits[f"{THROUGH}_0"] == pytest.approx(20 / 3.6)
    assert both.speed_limits["A1B1_0"] == pytest.approx(30 / 3.6)
    assert both.closed == ("B1B2", "C1C2")
    assert both.demand == pytest.approx(0.75)
    assert both.taken == {f"{STRAIGHT}_0": "bus"}


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        ({"kind": "closure", "edges": ["B1C1", "nowhere"]}, "closure: nowhere not among the 48"),
        (limit(edges=["72[0]"]), r"speed_limit: 72\[0\] not among the 48 edges of town.net.xml;"),
        ({"kind": "lane", "edge": "x", "lane": 0, "for": "bus"}, "lane: x not among the 48 edges"),
        (limit(edges=["B1C1"], road_types=["side"]), "edges and road_types are given; describe"),
        (limit(polygon=[[9, 9], [9, 10], [10, 9]]), "no edge lies in the polygon; .* metres"),
        (limit(road_types=["alley"]), "in the road_types; town.net.xml has road types side"),
        (limit(km_h=90), "no lane of the zone is faster than 90 km/h; .* give a lower one"),
        (
            {"kind": "lane", "edge": "B1C1", "lane": 2, "for": "bus"},
            "lane 2 of edge B1C1: the edge has lanes 0 to 1",
        ),
        (
            {"kind": "lane", "edge": "A3B3", "lane": 0, "for": "cycles"},
            "lane 0 of edge A3B3 has bus stop stop; take it for buses",
        ),
        (
            {"kind": "lane", "edge": "B1C1", "lane": 0, "for": "bus"},
            "lane B1C1_0: no other lane leads passenger traffic from edge B1C1 to C1C0; take",
        ),
    ],
)
def test_a_measure_that_the_network_cannot_bear_is_refused(
    streets: Network, measure: dict[str, Any], says: str
) -> None:
    with pytest.raises(FelsinaError, match=says) as refused:
        worked_out(streets, measure)
    assert "\n" not in str(refused.value)


def test_the_last_lane_for_cars_is_not_taken(streets: Network) -> None:
    lanes = [{"kind": "lane", "edge": STRAIGHT, "lane": k, "for": "bus"} for k in (0, 1)]
    with pytest.raises(FelsinaError, match="no other lane leads passenger traffic"):
        worked_out(streets, *lanes)
