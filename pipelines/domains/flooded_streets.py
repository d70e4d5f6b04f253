"""Water on streets: the deepest along every edge of a network, and what it does to traffic there.

A street is closed from a depth on; below it, drivers may be slowed by the depth-disruption function
of Pregnolato et al. 2017 (doi:10.1016/j.trd.2017.06.020): from 300 mm on a car stands or floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import BoolArray, FelsinaError, FloatArray, IntArray
from pipelines.domains.flood.rasters import open_raster, require_rasterio
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.traffic.georeference import StreetPoints, georeference, street_points
from pipelines.domains.traffic.network import Network

STANDSTILL_M = 0.3
"""Depth at which a car stands or floats."""
SLOW_CLASSES = 3


@dataclass(frozen=True)
class FloodedStreets:
    """A network's streets on the cells of a terrain.

    Attributes:
        network: the streets.
        terrain: where water runs.
        points: along their lanes.
        xy_m: [P, 2] the same points in the terrain's axes.
        cells: [P] flat index of each point's cell, -1 outside the terrain.
    """

    network: Network
    terrain: Terrain
    points: StreetPoints
    xy_m: FloatArray
    cells: IntArray

    @property
    def length_m(self) -> FloatArray:
        """[E] length of the edges."""
        return np.array([edge.length_m for edge in self.network.edges.values()])

    @property
    def outside(self) -> BoolArray:
        """[E] whether some of an edge lies outside the terrain."""
        return np.bincount(self.points.owner, self.cells < 0, len(self.points.edges)) > 0

    def deepest_m(self, depth_m: FloatArray) -> FloatArray:
        """[E] deepest water [Y, X] along each edge, 0 where the terrain does not reach."""
        there = self.cells >= 0
        found = np.zeros(len(self.points.edges))
        np.maximum.at(found, self.points.owner[there], depth_m.ravel()[self.cells[there]])
        return found

    def lanes(self, edge: int) -> list[FloatArray]:
        """Lines [P, 2] of an edge's lanes in the terrain's axes."""
        rows = np.flatnonzero(self.points.owner == edge)
        cuts = np.flatnonzero(np.diff(self.points.lane[rows])) + 1
        return np.split(self.xy_m[rows], cuts)


def read_depth_m(raster: Path) -> FloatArray:
    """[Y, X] depths that a flood wrote, 0 where it has no data."""
    with open_raster(raster) as opened:
        return opened.read(1, masked=True).astype(float).filled(0.0)


def flooded_streets(
    network: Network, terrain: Terrain, shift_m: tuple[float, float] | None
) -> FloodedStreets:
    """Lay a network over a terrain; its streets are looked at every half a cell.

    Args:
        network: of SUMO.
        terrain: where water runs.
        shift_m: x and y, in the network's axes, of the origin of a terrain without a place.

    Raises:
        FelsinaError: if one of them has a place and the other has none, or they do not overlap.
    """
    where = georeference(network)
    points = street_points(network, terrain.cell_m / 2)
    if terrain.crs and shift_m is not None:
        raise FelsinaError(
            f"roads.shift_m = {list(shift_m)}: the terrain has a place ({terrain.crs}); shift_m is"
            " for invented ones, leave it out"
        )
    if terrain.crs and not where.crs:
        raise FelsinaError(
            f"{network.net}: the network has no projection (location projParameter) and the terrain"
            f" is in {terrain.crs}; build it anew with netconvert --proj.utm"
        )
    if where.crs and not terrain.crs and shift_m is None:
        raise FelsinaError(
            f"the terrain has no coordinate reference system and {network.net.name} has one; name a"
            " GeoTIFF of that place, or lay an invented terrain there by roads.shift_m = [x, y]"
        )
    if terrain.crs:
        x, y = _projected(points.xy_m - np.array(where.offset_m), where.crs, terrain.crs)
    else:
        x, y = (points.xy_m - np.array(shift_m or (0.0, 0.0))).T
    cells = terrain.cells(x, y)
    if (cells < 0).all():
        west, east, south, north = terrain.extent_m
        raise FelsinaError(
            f"0 edges: the terrain and the network do not overlap: x {west:.0f} to {east:.0f}, y"
            f" {south:.0f} to {north:.0f} beside x {x.min():.0f} to {x.max():.0f}, y {y.min():.0f}"
            f" to {y.max():.0f}{f' ({terrain.crs})' if terrain.crs else ''}; name one place's"
        )
    return FloodedStreets(network, terrain, points, np.stack([x, y], axis=1), cells)


def _projected(xy_m: FloatArray, source: str, target: str) -> tuple[FloatArray, FloatArray]:
    """X and y of points [P, 2] in another system."""
    require_rasterio("a chain from terrain to network")
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    try:
        known = CRS.from_string(source)
    except CRSError as error:
        raise FelsinaError(f"the network's projection {source!r} is not known: {error}") from None
    found = transform(known, CRS.from_string(target), *xy_m.T.tolist())
    return np.asarray(found[0]), np.asarray(found[1])


def safe_km_h(depth_m: float) -> float:
    """Speed at which a car keeps control in so much water, up to ``STANDSTILL_M``."""
    depth_mm = 1000 * depth_m
    return 0.0009 * depth_mm**2 - 0.5529 * depth_mm + 86.9448


def measures_of(
    streets: FloodedStreets, deepest_m: FloatArray, closed_m: float, slow_m: float | None
) -> list[dict[str, Any]]:
    """What water on the streets is to traffic: a closure, and limits where it slows.

    Args:
        streets: with E edges.
        deepest_m: [E] on each.
        closed_m: depth from which an edge is closed.
        slow_m: depth from which an edge that is open is slowed; none is when left out.
    """
    ids = np.array(streets.points.edges)
    closed = deepest_m >= closed_m
    found: list[dict[str, Any]] = []
    if closed.any():
        found.append({"kind": "closure", "edges": ids[closed].tolist()})
    if slow_m is None:
        return found
    bounds = np.linspace(slow_m, closed_m, SLOW_CLASSES + 1)
    fastest = np.array(
        [max(lane.speed_m_s for lane in edge.lanes) for edge in streets.network.edges.values()]
    )
    for low, high in pairwise(bounds.tolist()):
        km_h = round(safe_km_h((low + high) / 2), 1)
        rows = ~closed & (deepest_m >= low) & (deepest_m < high) & (fastest > km_h / 3.6)
        if rows.any():
            found.append({"kind": "speed_limit", "km_h": km_h, "edges": ids[rows].tolist()})
    return found
