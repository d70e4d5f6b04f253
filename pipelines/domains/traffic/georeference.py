"""Where a SUMO network lies: its axes, and points along its streets in those of a map."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from models.contracts import FloatArray, IntArray
from pipelines.domains.traffic.network import Network, parsed

_NO_PROJECTION = {"", "!", "-"}
_UTM = re.compile(r"\+proj=utm \+zone=(\d+)(?!.*\+south)")
_DECIMALS = 5
"""Of degrees: a metre."""


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


def edge_lines(network: Network) -> list[list[list[float]]] | None:
    """Each edge's line as degrees east and north, to be drawn on a map; None off northern UTM."""
    where = georeference(network)
    zone = _UTM.match(where.crs)
    if zone is None:
        return None
    return [
        degrees(edge.shape - where.offset_m, int(zone[1])).round(_DECIMALS).tolist()
        for edge in network.edges.values()
    ]


def degrees(xy_m: FloatArray, zone: int) -> FloatArray:
    """Longitude and latitude [P, 2] of points in a northern zone of UTM (WGS84).

    Krueger's series to the third power of the flattening, exact to less than a millimetre; see
    Karney, Transverse Mercator with an accuracy of a few nanometers, J. Geodesy 85 (2011).
    """
    flattening = 1 / 298.257223563
    n = flattening / (2 - flattening)
    radius = 0.9996 * 6378137 / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    xi, eta = xy_m[:, 1] / radius, (xy_m[:, 0] - 500_000) / radius
    beta = n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96, n**2 / 48 + n**3 / 15, 17 * n**3 / 480
    delta = 2 * n - 2 * n**2 / 3 - 2 * n**3, 7 * n**2 / 3 - 8 * n**3 / 5, 56 * n**3 / 15
    back = sum(b * np.sin(2 * j * (xi + 1j * eta)) for j, b in enumerate(beta, 1))
    xi, eta = xi - np.real(back), eta - np.imag(back)
    conformal = np.arcsin(np.sin(xi) / np.cosh(eta))
    north = conformal + sum(d * np.sin(2 * j * conformal) for j, d in enumerate(delta, 1))
    east = np.arctan2(np.sinh(eta), np.cos(xi))
    return np.degrees(np.stack([east + np.radians(6 * zone - 183), north], axis=1))


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
