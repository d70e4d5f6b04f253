"""Trips that drive alike, and the ways that are left to them where streets are closed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.domains.traffic.network import Network, edges_of, parsed
from pipelines.domains.traffic.trips import type_classes


@dataclass(frozen=True)
class Stream:
    """Vehicles of one kind on one route.

    Attributes:
        classes: vehicle classes among them.
        route: edges in order of travel.
        trips: how many vehicles.
    """

    classes: frozenset[str]
    route: tuple[str, ...]
    trips: int


def streams(network: Network) -> list[Stream]:
    """The vehicles that have a fixed route, gathered by it; largest first."""
    classes, found = type_classes(network), Counter[tuple[frozenset[str], tuple[str, ...]]]()
    elements = [element for path in network.routes for element in parsed(path)]
    named = {e.get("id", ""): tuple(edges_of(e)) for e in elements if e.tag == "route"}
    for vehicle in (element for element in elements if element.tag == "vehicle"):
        own = vehicle.find("route")
        route = named.get(vehicle.get("route", "")) if own is None else tuple(edges_of(own))
        kind = classes.get(vehicle.get("type", ""), frozenset({"passenger"}))
        if route:
            found[kind, route] += 1
    return [Stream(kind, route, count) for (kind, route), count in found.most_common()]


class Ways:
    """Quickest ways over a network for vehicles of some classes.

    Args:
        network: whose turns are driven.
        classes: that all must be able to drive a turn.
        seconds: time that each edge takes.
    """

    def __init__(
        self, network: Network, classes: Iterable[str], seconds: Mapping[str, float]
    ) -> None:
        self._seconds = seconds
        self._next: dict[str, list[str]] = {}
        for source, target in sorted(set.intersection(*(network.turns(c) for c in classes))):
            self._next.setdefault(source, []).append(target)

    def quickest(self, start: str, end: str, closed: Collection[str]) -> tuple[str, ...] | None:
        """Edges from ``start`` to ``end`` without the closed ones; None where there is no way."""
        if start in closed or end in closed:
            return None
        before: dict[str, str] = {}
        least, front = {start: 0.0}, [(0.0, start)]
        while front:
            spent, edge = heapq.heappop(front)
            if edge == end:
                break
            if spent > least[edge]:
                continue
            for target in self._next.get(edge, ()):
                then = spent + self._seconds[target]
                if target not in closed and then < least.get(target, float("inf")):
                    least[target], before[target] = then, edge
                    heapq.heappush(front, (then, target))
        if end not in least:
            return None
        way = [end]
        while way[-1] != start:
            way.append(before[way[-1]])
        return tuple(reversed(way))


def free_flow(network: Network) -> dict[str, float]:
    """Seconds that each edge takes at its limit."""
    return {edge.id: edge.length_m / edge.lanes[0].speed_m_s for edge in network.edges.values()}


class Lost:
    """How many trips closures would make impossible."""

    def __init__(self, network: Network, driven: list[Stream]) -> None:
        self._streams = driven
        times = free_flow(network)
        self._ways = {c: Ways(network, c, times) for c in {stream.classes for stream in driven}}

    def __call__(self, closed: Collection[str]) -> int:
        """Trips that begin or end on one of these edges, or have no other way."""
        return sum(
            stream.trips
            for stream in self._streams
            if not set(closed).isdisjoint(stream.route)
            and not self._ways[stream.classes].quickest(stream.route[0], stream.route[-1], closed)
        )


def same_traffic(driven: list[Stream]) -> list[tuple[str, ...]]:
    """Driven edges, gathered where the same streams pass: closing one is closing the other."""
    passing: dict[str, set[int]] = {}
    for number, stream in enumerate(driven):
        for edge in stream.route:
            passing.setdefault(edge, set()).add(number)
    groups: dict[frozenset[int], list[str]] = {}
    for edge, numbers in passing.items():
        groups.setdefault(frozenset(numbers), []).append(edge)
    return [tuple(group) for group in groups.values()]


def alternatives(
    network: Network, driven: Sequence[Stream], times: Sequence[Mapping[str, float]]
) -> list[list[tuple[str, ...]]]:
    """For each stream its route, the quickest way, and those round any one or two closed edges.

    Args:
        network: where.
        driven: the streams.
        times: seconds that each edge takes, each a view of what is quickest.

    Returns:
        For each stream the different ways, its own first.
    """
    ways = {
        (number, classes): Ways(network, classes, seconds)
        for number, seconds in enumerate(times)
        for classes in {stream.classes for stream in driven}
    }
    found = []
    for stream in driven:
        known = {stream.route: None}
        start, end = stream.route[0], stream.route[-1]
        for number in range(len(times)):
            quickest = ways[number, stream.classes].quickest
            anew = quickest(start, end, ())
            known |= {anew: None} if anew else {}
            for first in stream.route:
                around = quickest(start, end, {first})
                known |= {around: None} if around else {}
                for second in around or ():
                    further = quickest(start, end, {first, second})
                    known |= {further: None} if further else {}
        found.append(list(known))
    return found
