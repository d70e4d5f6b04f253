"""A map of water and the streets that it closes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from models.contracts import BoolArray, FloatArray
from pipelines.domains.flooded_streets import FloodedStreets

_BOUNDS_M = (0.05, 0.3, 1.0, 100.0)
_LABELS = ("0.05 to 0.3 m of water", "0.3 to 1 m", "over 1 m")
_BLUES = ("#c6e2f2", "#7db7de", "#2f78b7")
_DRY, _WET, _CLOSED = "#8b9398", "#f2a104", "#d7263d"
_EDGE: dict[str, Any] = {"fc": "none", "ec": "#4a3f35", "ls": "--"}
_ROUND_M = 150.0
"""Of the map beyond the streets."""


def draw_streets(
    path: Path, streets: FloodedStreets, depth_m: FloatArray, closed: BoolArray, title: str
) -> None:
    """Write the map, north up, in the terrain's axes.

    Args:
        path: a PNG file.
        streets: E edges on a terrain of [Y, X] cells.
        depth_m: [Y, X] highest depth, 0 where it is dry.
        closed: [E] which edges are closed.
        title: of the picture.
    """
    figure, axes = plt.subplots(figsize=(9, 7.6), layout="constrained")
    water = np.ma.masked_less(depth_m, _BOUNDS_M[0])
    colours, norm = ListedColormap(_BLUES), BoundaryNorm(_BOUNDS_M, len(_BLUES))
    extent = streets.terrain.extent_m
    axes.imshow(water, cmap=colours, norm=norm, extent=extent, interpolation="nearest")
    wet = streets.deepest_m(depth_m) >= _BOUNDS_M[0]
    kinds = {
        "dry street": (_DRY, ~wet & ~closed, 1.4),
        "under less water": (_WET, wet & ~closed, 2.2),
        f"closed ({int(closed.sum())} of {len(closed)} edges)": (_CLOSED, closed, 2.6),
    }
    for colour, rows, width in kinds.values():
        _lines(axes, streets, rows, colour, width)
    handles = [
        Line2D([], [], color=colour, lw=3, label=name) for name, (colour, *_) in kinds.items()
    ]
    handles += [Patch(color=c, label=name) for c, name in zip(_BLUES, _LABELS, strict=True)]
    west, east, south, north = extent
    edge = Rectangle((west, south), east - west, north - south, **_EDGE)
    axes.add_patch(edge)
    handles.append(Line2D([], [], color=_EDGE["ec"], ls=_EDGE["ls"], label="edge of the terrain"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    low, high = streets.xy_m.min(axis=0) - _ROUND_M, streets.xy_m.max(axis=0) + _ROUND_M
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _lines(axes: Axes, streets: FloodedStreets, rows: BoolArray, colour: str, width: float) -> None:
    """The lanes of some edges."""
    for edge in np.flatnonzero(rows):
        for lane in streets.lanes(int(edge)):
            axes.plot(*lane.T, color=colour, lw=width, solid_capstyle="round")
