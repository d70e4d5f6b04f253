"""Edges by road: distances along a GeoPackage's streets between a folder's nodes.

A GeoPackage is an SQLite file; a geometry is a blob of header, envelope and well-known binary (OGC
12-128r19, clause 2.1.3). Its layer of lines is read as a directed graph, as OSMnx writes one: each
line goes from its first to its last point, both ways unless ``oneway`` is true. A node stands at
the street's end that is nearest to it. Matching sensors to lanes is another matter, not done here.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from models.contracts import FelsinaError, FloatArray
from pipelines.ingest.places import EARTH_M, distances_m, nearest_edges
from pipelines.ingest.source import Ask, Settings, Source, Span, Tables

_WGS84 = 4326
_ENVELOPE_DOUBLES = (0, 4, 6, 6, 8)
_LINE = 2


class RoadSettings(Settings):
    """What can be set.

    Attributes:
        path: the GeoPackage.
        layer: its layer of lines, where it has several.
        neighbours: nodes by road that each is joined to.
        reach_m: a node further from any street's end is left without edges.
    """

    path: str = ""
    layer: str = ""
    neighbours: int = Field(8, ge=1)
    reach_m: float = Field(300.0, gt=0)


def _asks(settings: RoadSettings, span: Span) -> list[Ask]:
    if not settings.path:
        raise FelsinaError("road-graph needs its file: felsina data ingest road-graph FILE.gpkg")
    return [Ask("streets", Path(settings.path))]


def _read(settings: RoadSettings, documents: dict[str, Path], nodes: pd.DataFrame | None) -> Tables:
    if nodes is None or not {"lon", "lat"} <= set(nodes.columns):
        raise FelsinaError("road-graph: no node of the folder has a place; add lon and lat")
    begin, end, length_m, oneway = read_lines(documents["streets"], settings.layer)
    ends, graph = _graph(begin, end, length_m, oneway)
    lon, lat = nodes["lon"].to_numpy(float), nodes["lat"].to_numpy(float)
    away = distances_m(lon, lat, ends[:, 0], ends[:, 1])
    near = np.nanmin(np.where(np.isnan(away), np.inf, away), axis=1)
    placed = np.flatnonzero(near <= settings.reach_m)
    if not len(placed):
        raise FelsinaError(
            f"road-graph: no node within {settings.reach_m:.0f} m of a street's end; is it the "
            "same city?"
        )
    at = np.argmin(away[placed], axis=1)
    far = dijkstra(graph, indices=at)[:, at]
    ids = [str(nodes["id"].tolist()[n]) for n in placed]
    edges = nearest_edges(ids, far, settings.neighbours)
    notes = [f"{len(edges)} edges by {len(length_m)} streets"]
    if left := len(nodes) - len(placed):
        notes.append(f"{left} nodes lie over {settings.reach_m:.0f} m from a street's end: no edge")
    return Tables(edges=edges, notes=notes)


def read_lines(
    path: Path, layer: str = ""
) -> tuple[FloatArray, FloatArray, FloatArray, np.ndarray]:
    """First and last points [L, 2] in degrees, lengths in m, and whether one way only."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            name, column = _layer(file, path, layer)
            known = {row[1] for row in file.execute(f'PRAGMA table_info("{name}")')}
            oneway = '"oneway"' if "oneway" in known else "0"
            rows = file.execute(f'SELECT "{column}", {oneway} FROM "{name}"').fetchall()
    except sqlite3.Error as error:
        raise FelsinaError(f"{path}: no GeoPackage: {error}") from error
    lines = []
    for number, (blob, _) in enumerate(rows, 1):
        try:
            lines.append(line_of(blob))
        except (ValueError, IndexError, struct.error, TypeError) as error:
            raise FelsinaError(f"{path}: {name}, row {number}: no line: {error}") from error
    if not lines:
        raise FelsinaError(f"{path}: {name} has no rows")
    length = np.array([_length_m(line) for line in lines])
    begin, end = np.array([line[0] for line in lines]), np.array([line[-1] for line in lines])
    return begin, end, length, np.array([bool(one) for _, one in rows])


def _layer(file: sqlite3.Connection, path: Path, layer: str) -> tuple[str, str]:
    found = file.execute(
        "SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns"
        " WHERE geometry_type_name IN ('LINESTRING', 'GEOMETRY') ORDER BY table_name"
    ).fetchall()
    names = [row[0] for row in found]
    if layer:
        found = [row for row in found if row[0] == layer]
    if len(found) != 1:
        raise FelsinaError(
            f"{path}: layers of lines are {', '.join(names) or 'none'}; name one: --set layer=NAME"
        )
    name, column, system = found[0]
    if system != _WGS84:
        raise FelsinaError(
            f"{path}: {name} is in EPSG:{system}; convert it: ogr2ogr -t_srs EPSG:4326 NEW.gpkg "
            f"{path.name}"
        )
    return name, column


def line_of(blob: bytes) -> FloatArray:
    """Points [P, 2] of a GeoPackage's line; heights and measures are left out."""
    if blob[:2] != b"GP":
        raise ValueError("does not begin with GP")
    flags = blob[3]
    if flags & 0b10000:
        raise ValueError("is empty")
    start = 8 + 8 * _ENVELOPE_DOUBLES[(flags >> 1) & 0b111]
    order = "<" if blob[start] else ">"
    kind, count = struct.unpack_from(f"{order}II", blob, start + 1)
    if kind % 1000 != _LINE or count < 2:
        raise ValueError(f"is of type {kind} with {count} points")
    width = {0: 2, 1: 3, 2: 3, 3: 4}[kind // 1000]
    points = np.frombuffer(blob, f"{order}f8", count * width, start + 9).reshape(count, width)
    return points[:, :2].astype(float)


def _length_m(line: FloatArray) -> float:
    here, there = np.radians(line[:-1]), np.radians(line[1:])
    east = (there[:, 0] - here[:, 0]) * np.cos((there[:, 1] + here[:, 1]) / 2)
    return float(EARTH_M * np.hypot(east, there[:, 1] - here[:, 1]).sum())


def _graph(
    begin: FloatArray, end: FloatArray, length_m: FloatArray, oneway: np.ndarray
) -> tuple[FloatArray, csr_matrix]:
    """Street ends [E, 2] and the lengths from each to each; of parallel streets the shortest."""
    ends, at = np.unique(np.round(np.concatenate([begin, end]), 7), axis=0, return_inverse=True)
    first, last = at.ravel()[: len(begin)], at.ravel()[len(begin) :]
    back = np.flatnonzero(~oneway)
    source = np.concatenate([first, last[back]])
    target = np.concatenate([last, first[back]])
    length = np.maximum(np.concatenate([length_m, length_m[back]]), 0.01)  # 0 would be no edge
    order = np.lexsort((length, target, source))
    pair = source[order] * len(ends) + target[order]
    kept = order[np.concatenate([[True], pair[1:] != pair[:-1]])]
    shape = len(ends), len(ends)
    return ends, csr_matrix((length[kept], (source[kept], target[kept])), shape)


SOURCE = Source(
    name="road-graph",
    publisher="OpenStreetMap",
    licence="ODbL 1.0",
    attribution="© OpenStreetMap contributors",
    settings=RoadSettings,
    asks=_asks,
    read=_read,
    dated=False,
)
