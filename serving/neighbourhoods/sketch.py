"""A map without a script: neighbourhoods as outlines, or as circles where they have none.

It repeats what the list beside it says, so it is hidden from those who hear a page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contracts import FloatArray
from serving.neighbourhoods.places import Place, outlines

WIDTH = 720
_EDGE = 12


@dataclass(frozen=True)
class Shape:
    """A neighbourhood on the map.

    Attributes:
        place: which.
        path: outline in the drawing's units; empty for a circle.
        x: where its name stands.
        y: the same.
    """

    place: Place
    path: str
    x: float
    y: float


@dataclass(frozen=True)
class Sketch:
    """All neighbourhoods, drawn; ``outlined`` where they have their borders."""

    shapes: tuple[Shape, ...]
    height: int
    outlined: bool


def sketch_of(places: list[Place]) -> Sketch | None:
    """The map of some neighbourhoods; None where it is known of none where it lies."""
    known = {name: [ring for polygon in parts for ring in polygon] for name, parts in outlines()}
    lines = {place.key: known[place.key] for place in places if place.key in known}
    outlined = bool(lines)
    if not outlined:
        lines = {p.key: [middle] for p in places if (middle := _middle(p)) is not None}
    if not lines:
        return None
    every = np.concatenate([ring for rings in lines.values() for ring in rings])
    low, high = every.min(axis=0), every.max(axis=0)
    margin = _EDGE if outlined else 90
    narrow = np.cos(np.radians((low[1] + high[1]) / 2))
    wide = max((high[0] - low[0]) * narrow, 1e-6)
    scale = (WIDTH - 2 * margin) / wide
    height = int(min((high[1] - low[1]) * scale + 2 * margin, WIDTH))
    scale = min(scale, (height - 2 * margin) / max(high[1] - low[1], 1e-6))
    left = (WIDTH - wide * scale) / 2

    def drawn(ring: FloatArray) -> FloatArray:
        x = left + (ring[:, 0] - low[0]) * narrow * scale
        return np.stack([x, height - margin - (ring[:, 1] - low[1]) * scale], axis=1)

    shapes = []
    for place in sorted(places, key=lambda one: one.worse):  # whose border must be seen comes last
        if place.key in lines:
            rings = [drawn(ring) for ring in lines[place.key]]
            x, y = np.concatenate(rings).mean(axis=0)
            path = "".join(_path(ring) for ring in rings) if outlined else ""
            shapes.append(Shape(place, path, round(float(x), 1), round(float(y), 1)))
    return Sketch(tuple(shapes), height, outlined)


def _path(ring: FloatArray) -> str:
    points = np.round(ring).astype(int)
    kept = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    return "M" + "L".join(f"{x} {y}" for x, y in kept) + "Z"


def _middle(place: Place) -> FloatArray | None:
    """[1, 2] the mean place of a neighbourhood's sensors."""
    found = []
    for entry in place.entries:
        graph = entry.served.release.graph
        here = np.array([area == place.key for area in graph.areas])
        found.append(np.stack([graph.lon[here], graph.lat[here]], axis=1))
    points = np.concatenate(found)
    points = points[np.isfinite(points).all(axis=1)]
    return points.mean(axis=0, keepdims=True) if len(points) else None
