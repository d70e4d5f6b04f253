"""Distances between places, and edges from each to its nearest."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.contracts import FloatArray

EARTH_M = 6_371_008.8


def distances_m(
    lon: FloatArray, lat: FloatArray, to_lon: FloatArray, to_lat: FloatArray
) -> FloatArray:
    """[A, B] great-circle distances from A places to B others, in degrees; NaN if unknown."""
    here, there = np.radians(lat)[:, None], np.radians(to_lat)[None, :]
    east = np.radians(to_lon)[None, :] - np.radians(lon)[:, None]
    chord = np.sin((there - here) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(east / 2) ** 2
    return 2 * EARTH_M * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))


def nearest_edges(ids: list[str], far_m: FloatArray, neighbours: int) -> pd.DataFrame:
    """Directed edges to each node from the ``neighbours`` that are least far.

    Args:
        ids: the N nodes.
        far_m: [N, N] metres from row to column; not finite where there is no way.
        neighbours: most edges that come in at a node.
    """
    far = np.where(np.isfinite(far_m), far_m, np.inf)
    np.fill_diagonal(far, np.inf)
    order = np.argsort(far, axis=0, kind="stable")[:neighbours]
    target = np.broadcast_to(np.arange(len(ids)), order.shape)
    length = far[order, target]
    rows = [
        (ids[s], ids[t], round(float(d), 1))
        for t, (column, along) in enumerate(zip(order.T, length.T, strict=True))
        for s, d in zip(column, along, strict=True)
        if np.isfinite(d)
    ]
    return pd.DataFrame(rows, columns=pd.Index(["source", "target", "distance_m"]))


def edges_between(nodes: pd.DataFrame, neighbours: int) -> pd.DataFrame | None:
    """Edges to each node from the nearest as the crow flies; None without places, or for 0."""
    if not neighbours or len(nodes) < 2 or not {"lon", "lat"} <= set(nodes.columns):
        return None
    lon, lat = nodes["lon"].to_numpy(float), nodes["lat"].to_numpy(float)
    if np.isnan(lon).all():
        return None
    return nearest_edges(list(nodes["id"]), distances_m(lon, lat, lon, lat), neighbours)
