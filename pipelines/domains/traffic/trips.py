"""The trips of a SUMO scenario, and the copies of its files that closures and demand ask for."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from pipelines.domains.traffic.measures import Intervention
from pipelines.domains.traffic.network import Network, edges_of, parsed

PUBLIC = frozenset({"bus", "coach", "tram", "rail", "rail_urban", "rail_electric", "subway"})
"""SUMO's vehicle classes that keep a timetable."""
_DEFAULT_TYPE = "DEFAULT_VEHTYPE"


def type_classes(network: Network) -> dict[str, frozenset[str]]:
    """Vehicle type, or distribution of types, to the vehicle classes in it."""
    classes = {_DEFAULT_TYPE: frozenset({"passenger"})}
    for path in (*network.additional, *network.routes):
        root = parsed(path)
        for element in root.iter("vType"):
            classes[element.get("id", "")] = frozenset({element.get("vClass", "passenger")})
        for element in root.iter("vTypeDistribution"):
            members = [child.get("id", "") for child in element.iter("vType")]
            members += element.get("vTypes", "").split()
            classes[element.get("id", "")] = frozenset().union(
                *(classes.get(member, classes[_DEFAULT_TYPE]) for member in members)
            )
    return classes


def driven_turns(network: Network) -> dict[str, set[tuple[str, str]]]:
    """Vehicle class to the pairs of edges that its fixed routes pass one after the other."""
    classes = type_classes(network)
    named = _named_routes(network)
    turns: dict[str, set[tuple[str, str]]] = {}
    for path in network.routes:
        for trip in _trips(parsed(path)):
            own = trip.find("route")
            edges = named.get(trip.get("route", ""), []) if own is None else list(edges_of(own))
            for vehicle_class in _classes_of(trip, classes):
                turns.setdefault(vehicle_class, set()).update(pairwise(edges))
    return turns


def with_timetables(path: Path, factor: float, copy: Path) -> None:
    """Copy a file so that its public transport stays as it is under SUMO's ``--scale factor``."""
    root = parsed(path)
    for element in root.iter("vType"):
        if element.get("vClass") in PUBLIC:
            element.set("scale", repr(float(element.get("scale", 1)) / factor))
    _write(root, copy)


def without_closed(
    network: Network, paths: Iterable[Path], change: Intervention, folder: Path
) -> int:
    """Copy files of trips into ``folder`` without those that a closure makes impossible.

    A trip is left out that begins or ends on a closed edge or has no other way, for SUMO would let
    it pass; stops on closed edges are left out of the others.

    Returns:
        How many trips were left out (a flow counts as one).
    """
    classes = type_classes(network)
    named = _named_routes(network)
    ways: dict[frozenset[str], _Ways] = {}
    removed = 0
    for path in paths:
        root = parsed(path)
        for holder in list(root.iter()):  # a trip or its route
            for stop in holder.findall("stop"):
                if _stop_edge(network, stop) in change.closed:
                    holder.remove(stop)
        for trip in list(_trips(root)):
            own = trip.find("route")
            edges = list(edges_of(trip if own is None else own))
            fixed = own is not None or "route" in trip.attrib
            if not edges:
                edges = named.get(trip.get("route", ""), [])
            kind = _classes_of(trip, classes)
            if not edges or (fixed and not set(edges) & set(change.closed)):
                continue
            stops = [_stop_edge(network, stop) for stop in trip.iter("stop")]
            # A fixed route may be left between its stops; a trip must pass each edge it names.
            passed = [edges[0], *stops, edges[-1]] if fixed else edges
            if kind not in ways:
                ways[kind] = _Ways(network, kind, change)
            if not ways[kind].lead_through(passed):
                root.remove(trip)
                removed += 1
        _write(root, folder / path.name)
    return removed


class _Ways:
    """Where vehicles get to without the closed edges."""

    def __init__(self, network: Network, classes: frozenset[str], change: Intervention) -> None:
        turns = set.intersection(*(network.turns(name, change.taken) for name in classes))
        self._next: dict[str, list[str]] = {}
        for source, target in turns:
            if target not in change.closed:
                self._next.setdefault(source, []).append(target)
        self._closed = set(change.closed)
        self._reached: dict[str, set[str]] = {}

    def lead_through(self, edges: list[str]) -> bool:
        """Whether one can drive over ``edges`` in their order, others between them."""
        if self._closed & set(edges):
            return False
        return all(
            target == source or target in self._from(source) for source, target in pairwise(edges)
        )

    def _from(self, source: str) -> set[str]:
        if source not in self._reached:
            found, front = set[str](), [source]
            while front:
                new = set(self._next.get(front.pop(), ())) - found
                found |= new
                front += new
            self._reached[source] = found
        return self._reached[source]


def _trips(root: ET.Element) -> Iterable[ET.Element]:
    return (element for element in root if element.tag in ("vehicle", "trip", "flow"))


def _classes_of(trip: ET.Element, classes: dict[str, frozenset[str]]) -> frozenset[str]:
    return classes.get(trip.get("type", _DEFAULT_TYPE), classes[_DEFAULT_TYPE])


def _named_routes(network: Network) -> dict[str, list[str]]:
    found = (route for path in network.routes for route in parsed(path).iter("route"))
    return {route.get("id", ""): list(edges_of(route)) for route in found}


def _stop_edge(network: Network, stop: ET.Element) -> str:
    lane = network.stops.get(stop.get("busStop", "")) or stop.get("lane", "")
    return stop.get("edge") or (network.lanes[lane].edge if lane in network.lanes else "")


def _write(root: ET.Element, path: Path) -> None:
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
