"""A SUMO scenario folder: its network, and what in it a measure can be refused for.

The folder holds one ``*.net.xml``, one ``*.rou.xml`` or more and any ``*.add.xml`` (vehicle types,
stops, loops, signal programmes). What a ``.sumocfg`` says beyond naming these files is not read.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from models.contracts import FelsinaError, FloatArray
from models.record import canonical_json, sha256_bytes, sha256_file

IGNORING = "ignoring"
"""SUMO's vehicle class that no lane is closed to."""


@dataclass(frozen=True)
class Lane:
    """A lane; those of junctions too.

    Attributes:
        id: such as ``72[0]_1``.
        edge: its edge.
        speed_m_s: its limit.
        length_m: its length.
        shape: [P, 2] metres, the network's own axes.
        allow: the vehicle classes that may use it; empty: all that ``disallow`` does not name.
        disallow: those that may not.
    """

    id: str
    edge: str
    speed_m_s: float
    length_m: float
    shape: FloatArray
    allow: frozenset[str]
    disallow: frozenset[str]

    def admits(self, vehicle_class: str) -> bool:
        """Whether vehicles of this class may use it."""
        if vehicle_class == IGNORING:
            return True
        if self.allow:
            return bool(self.allow & {vehicle_class, "all"})
        return not self.disallow & {vehicle_class, "all"}


@dataclass(frozen=True)
class Edge:
    """A street between two junctions, in one direction.

    Attributes:
        id: as in the network file.
        road_type: such as ``highway.residential``; empty where the network has none.
        lanes: from the kerb inwards.
    """

    id: str
    road_type: str
    lanes: tuple[Lane, ...]

    @property
    def length_m(self) -> float:
        """Length of its lanes."""
        return self.lanes[0].length_m

    @property
    def shape(self) -> FloatArray:
        """[P, 2] line of its middle lane, metres."""
        return self.lanes[len(self.lanes) // 2].shape

    @property
    def middle(self) -> FloatArray:
        """[2] the point half way along."""
        steps = np.hypot(*np.diff(self.shape, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        return np.array([np.interp(along[-1] / 2, along, self.shape[:, k]) for k in (0, 1)])


@dataclass(frozen=True)
class Connection:
    """A way from a lane to the next: ``via`` is the junction's lane, empty where it has none."""

    source: str
    source_lane: str
    target: str
    target_lane: str
    via: str


@dataclass(frozen=True)
class Network:
    """A scenario folder, read.

    Attributes:
        folder: where it lies.
        net: the network file.
        routes: the files of trips.
        additional: the other files.
        edges: by id, without those of junctions.
        lanes: by id, with those of junctions.
        connections: between lanes.
        stops: bus stop to its lane.
        loops: induction loop to the file, relative to the folder, that it writes.
    """

    folder: Path
    net: Path
    routes: tuple[Path, ...]
    additional: tuple[Path, ...]
    edges: Mapping[str, Edge]
    lanes: Mapping[str, Lane]
    connections: tuple[Connection, ...]
    stops: Mapping[str, str]
    loops: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the files, that a result or a surrogate is bound to."""
        files = (self.net, *self.routes, *self.additional)
        return sha256_bytes(canonical_json({path.name: sha256_file(path) for path in files}))

    def require(self, edges: Iterable[str], what: str) -> None:
        """Raise where one of ``edges`` is not in the network."""
        missing = [edge for edge in edges if edge not in self.edges]
        if missing:
            raise FelsinaError(
                f"{what}: {', '.join(missing[:3])} not among the {len(self.edges)} edges of"
                f" {self.net.name}; take ids from that file, or the network that is meant"
            )

    def turns(
        self, vehicle_class: str, taken: Mapping[str, str] | None = None
    ) -> set[tuple[str, str]]:
        """Pairs of edges that vehicles of a class can drive one after the other.

        Args:
            vehicle_class: of SUMO, such as ``passenger``.
            taken: lanes to the class that they are for alone.
        """

        def open_to(lane: str) -> bool:
            if taken and lane in taken and vehicle_class != IGNORING:
                return taken[lane] == vehicle_class
            return self.lanes[lane].admits(vehicle_class)

        return {
            (c.source, c.target)
            for c in self.connections
            if c.source in self.edges and open_to(c.source_lane) and open_to(c.target_lane)
        }


def open_network(folder: Path) -> Network:
    """Read a scenario folder.

    Raises:
        FelsinaError: if it has no network or no routes, is no XML, or its routes name edges that
            the network lacks.
    """
    nets, routes, additional = (
        tuple(sorted(folder.glob(f"*.{kind}.xml"))) for kind in ("net", "rou", "add")
    )
    for files, kind, wanted in ((nets, "net", "one"), (routes, "rou", "one or more")):
        if not files or (kind == "net" and len(files) > 1):
            found = ", ".join(path.name for path in files) or "none"
            raise FelsinaError(
                f"{folder}: a scenario folder holds {wanted} *.{kind}.xml, found {found};"
                " give the folder of a SUMO scenario"
            )
    lanes: dict[str, Lane] = {}
    edges: dict[str, Edge] = {}
    connections: list[Connection] = []
    for element in parsed(nets[0]):
        if element.tag == "edge":
            own = tuple(_lane(lane, element.get("id", "")) for lane in element.iter("lane"))
            lanes |= {lane.id: lane for lane in own}
            if not element.get("function") and own:
                edge = Edge(element.get("id", ""), element.get("type", ""), own)
                edges[edge.id] = edge
        elif element.tag == "connection":
            source, target = element.get("from", ""), element.get("to", "")
            connections.append(
                Connection(
                    source,
                    f"{source}_{element.get('fromLane')}",
                    target,
                    f"{target}_{element.get('toLane')}",
                    element.get("via", ""),
                )
            )
    stops, loops = {}, {}
    for path in additional:
        for element in parsed(path).iter():
            if element.tag == "busStop":
                stops[element.get("id", "")] = element.get("lane", "")
            elif element.tag in ("e1Detector", "inductionLoop"):
                loops[element.get("id", "")] = element.get("file", "")
    network = Network(
        folder, nets[0], routes, additional, edges, lanes, tuple(connections), stops, loops
    )
    for path in routes:
        for element in parsed(path).iter():
            network.require(
                edges_of(element), f"{path.name}: {element.tag} {element.get('id', 'of a vehicle')}"
            )
    return network


def network_beside(base: Path, name: str) -> Network:
    """The scenario folder that a file in ``base`` names; one that is not there is refused."""
    folder = base / name
    if not folder.is_dir():
        raise FelsinaError(f"network {folder}: no such folder; give one relative to {base}")
    return open_network(folder)


def parsed(path: Path) -> ET.Element:
    """The root of an XML file."""
    try:
        return ET.parse(path).getroot()
    except ET.ParseError as error:
        raise FelsinaError(f"{path}: no XML ({error}); write it anew with SUMO's tools") from error


def edges_of(element: ET.Element) -> Iterator[str]:
    """The edges that a route, trip or flow names, in order of travel."""
    if element.tag == "route":
        yield from element.get("edges", "").split()
    elif element.tag in ("trip", "flow"):
        for key in ("from", "via", "to"):
            yield from element.get(key, "").split()


def _lane(element: ET.Element, edge: str) -> Lane:
    points = [point.split(",")[:2] for point in element.get("shape", "").split()]
    return Lane(
        element.get("id", ""),
        edge,
        float(element.get("speed", "nan")),
        float(element.get("length", "nan")),
        np.array(points, float),
        frozenset(element.get("allow", "").split()),
        frozenset(element.get("disallow", "").split()),
    )
