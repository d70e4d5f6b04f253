"""Where a SUMO network lies: its axes, and points along its streets in those of a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contracts import FloatArray, IntArray
from pipelines.domains.traffic.network import Network, parsed

_NO_PROJECTION = {"", "!", "-"}


@dataclass(frozen=True)
class Georeference:
    """How a network's axes lie in a map.

    Attributes:
        crs: projection as PROJ takes it; empty where the network has none.
        offset_m: what was added to the map's x and y to get the network's.
    """

    crs: str
    offset_m: tuple[float, float]


@dataclass(frozen=True)
class StreetPoints:
    """P points along the lanes of a network's edges.

    Attributes:
        edges: ids of the edges.
        owner: [P] index into ``edges``.
        lane: [P] number of the lane, over all edges; its points follow each other.
        xy_m: [P, 2] in the network's axes.
    """

    edges: tuple[str, ...]
    owner: IntArray
    lane: IntArray
    xy_m: FloatArray


def georeference(network: Network) -> Georeference:
    """Read the ``location`` of a network file."""
    location = parsed(network.net).find("location")
    if location is None:
        return Georeference("", (0.0, 0.0))
    crs = location.get("projParameter", "").strip()
    x, y = map(float, location.get("netOffset", "0,0").split(","))
    return Georeference("" if crs in _NO_PROJECTION else crs, (x, y))


def street_points(network: Network, spacing_m: float) -> StreetPoints:
    """Points along every lane of every edge, both ends among them, no wider apart than asked."""
    owner: list[int] = []
    points: list[FloatArray] = []
    for number, edge in enumerate(network.edges.values()):
        for lane in edge.lanes:
            steps = np.hypot(*np.diff(lane.shape, axis=0).T)
            along = np.concatenate([[0.0], np.cumsum(steps)])
            at = np.linspace(0, along[-1], 2 + int(along[-1] / spacing_m))
            at = np.union1d(at, along)  # bends too, or a point would cut the corner
            points.append(np.stack([np.interp(at, along, axis) for axis in lane.shape.T], axis=1))
            owner.append(number)
    count = [len(lane) for lane in points]
    lanes = np.repeat(np.arange(len(points)), count)
    return StreetPoints(
        tuple(network.edges), np.repeat(owner, count), lanes, np.concatenate(points)
    )
