"""Where water goes on a terrain: slope, filled hollows, and the area that drains through a cell.

Grids are regular with square cells. Beyond its edge the terrain goes on as a plane, so that an
inclined plane is exact to its last cell; what flows there has left.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve_triangular
from torch import Tensor

from models.contracts import FelsinaError

_AROUND = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""Steps (rows, columns) to the eight neighbours, in circular order from the east."""


@dataclass(frozen=True)
class Drainage:
    """How a terrain drains, each [Y, X].

    Attributes:
        area_m2: area that drains through the cell, its own with it.
        contour_m: length of contour that this area crosses in the cell.
        left_m2: the part of the area whose water leaves the terrain from here.
    """

    area_m2: Tensor
    contour_m: Tensor
    left_m2: Tensor

    @property
    def per_contour_m(self) -> Tensor:
        """Contributing area by contour length, a / b."""
        return self.area_m2 / self.contour_m


def _check(bed_m: Tensor, cell_m: float) -> None:
    if bed_m.ndim < 2 or min(bed_m.shape[-2:]) < 3:
        raise FelsinaError(f"terrain of {tuple(bed_m.shape)} cells; give at least 3 by 3")
    if gaps := int((~bed_m.isfinite()).sum()):
        row, column = (~bed_m.isfinite()).nonzero()[0, -2:].tolist()
        raise FelsinaError(
            f"terrain lacks {gaps} of {bed_m.numel()} elevations, the first at row {row}, column"
            f" {column}; fill them"
        )
    if not 0 < cell_m < math.inf:
        raise FelsinaError(f"cell_m is {cell_m}; give the side of a cell in metres")


def _extended(bed_m: Tensor) -> Tensor:
    """The terrain with one more row and column on each side, each on the line of the last two."""
    z = torch.cat([2 * bed_m[..., :1, :] - bed_m[..., 1:2, :], bed_m], dim=-2)
    z = torch.cat([z, 2 * z[..., -1:, :] - z[..., -2:-1, :]], dim=-2)
    return torch.cat([2 * z[..., :1] - z[..., 1:2], z, 2 * z[..., -1:] - z[..., -2:-1]], dim=-1)


def surface_slope_rad(bed_m: Tensor, cell_m: float) -> Tensor:
    """Angle of the surface by Horn's weighted differences (1981, doi:10.1109/PROC.1981.11918).

    Args:
        bed_m: [..., Y, X] elevation.
        cell_m: side of a cell.
    """
    _check(bed_m, cell_m)
    z = _extended(bed_m)
    across = z[..., 2:] - z[..., :-2]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    along = z[..., 2:, :] - z[..., :-2, :]
    along = along[..., :-2] + 2 * along[..., 1:-1] + along[..., 2:]
    return torch.atan(torch.hypot(across, along) / (8 * cell_m))


def filled(bed_m: np.ndarray) -> np.ndarray:
    """The terrain with hollows raised until each cell has a lower neighbour or is at the edge.

    Priority flood with the least rise that a float can tell, so that flats drain too (Barnes,
    Lehman and Mulla 2014, doi:10.1016/j.cageo.2013.04.024). Cells that drain keep their elevation.

    Args:
        bed_m: [Y, X] elevation, float64.
    """
    rows, columns = bed_m.shape
    width = columns + 2
    level = np.pad(bed_m.astype(np.float64), 1).ravel().tolist()
    reached = np.pad(np.zeros(bed_m.shape, bool), 1, constant_values=True)
    edge = np.zeros(bed_m.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    begin = np.flatnonzero(np.pad(edge, 1)).tolist()
    closed = bytearray(reached.ravel().tobytes())
    waiting = [(level[cell], cell) for cell in begin]
    heapq.heapify(waiting)
    for cell in begin:
        closed[cell] = 1
    steps = [row * width + column for row, column in _AROUND]
    push, pop, above = heapq.heappush, heapq.heappop, math.nextafter
    while waiting:
        height, cell = pop(waiting)
        for step in steps:
            near = cell + step
            if closed[near]:
                continue
            closed[near] = 1
            if level[near] <= height:
                level[near] = above(height, math.inf)
            push(waiting, (level[near], near))
    return np.array(level).reshape(rows + 2, width)[1:-1, 1:-1]


def receivers(filled_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """To which two cells each cell drains, the share of each, and how far: D-infinity.

    Water goes down the steepest of eight triangular facets and is shared between the two
    neighbours that its direction lies between (Tarboton 1997, doi:10.1029/96WR03137). Shares go by
    the tangent of the direction, where Tarboton's go by its angle: so water's mean way is the
    facet's own, and a plane's area by contour is right whichever way it faces. With square cells
    the direction needs no cell size.

    Args:
        filled_m: [Y, X] elevation without hollows.

    Returns:
        [2, Y * X] flat indices of lower cells and [2, Y * X] shares; what a cell's shares lack to
        one leaves the terrain. [Y * X] the mean way down the slope, by the cell's side.
    """
    rows, columns = filled_m.shape
    around = _extended(torch.from_numpy(filled_m)).numpy()
    inside = np.pad(np.ones(filled_m.shape, bool), 1)
    own = np.arange(rows * columns).reshape(rows, columns)
    steepest = np.zeros(filled_m.shape)
    to = np.zeros((2, rows, columns), np.int64)
    share = np.zeros((2, rows, columns))
    way = np.ones(filled_m.shape)
    for facet in range(8):
        # Of two neighbours in circular order one lies straight on, the other at the corner.
        pair = (_AROUND[facet], _AROUND[(facet + 1) % 8])
        steps = pair if facet % 2 == 0 else pair[::-1]
        windows = [np.s_[1 + r : 1 + r + rows, 1 + c : 1 + c + columns] for r, c in steps]
        straight, corner = (around[window] for window in windows)
        down, sideways = filled_m - straight, straight - corner
        turned = np.ones_like(down)  # tangent of the direction's angle from straight on
        np.divide(sideways, down, out=turned, where=(sideways > 0) & (sideways < down))
        turned[sideways <= 0] = 0
        fall = np.hypot(down, sideways)
        fall = np.where(turned == 0, down, fall)
        fall = np.where(turned == 1, (filled_m - corner) / math.sqrt(2), fall)
        better = fall > steepest
        steepest[better] = fall[better]
        way[better] = np.hypot(1, turned[better])
        parts = (1 - turned, turned)
        for k, ((row, column), window, part) in enumerate(zip(steps, windows, parts, strict=True)):
            given = better & inside[window] & (part > 0)
            to[k] = np.where(better, np.where(given, own + row * columns + column, own), to[k])
            share[k] = np.where(better, np.where(given, part, 0), share[k])
    return to.reshape(2, -1), share.reshape(2, -1), way.ravel()


def drain(bed_m: Tensor, cell_m: float) -> Drainage:
    """Follow the water of each cell to the edge of the terrain.

    Areas solve a system that is triangular once cells are in order of elevation, so that none is
    lost. Water that crosses a cell aslant steps further than its side; the contour is shorter by as
    much, so that a plane has the same area by contour whatever way it faces.

    Args:
        bed_m: [Y, X] elevation; hollows are filled for the routing.
        cell_m: side of a cell.
    """
    _check(bed_m, cell_m)
    if bed_m.ndim != 2:
        raise FelsinaError(f"terrain of {tuple(bed_m.shape)}: drain one at a time, [Y, X]")
    level = filled(bed_m.detach().cpu().numpy())
    to, share, way = receivers(level)
    cells = level.size
    place = np.empty(cells, np.int64)
    place[np.argsort(-level.ravel(), kind="stable")] = np.arange(cells)
    kept = share > 0
    source = np.broadcast_to(place, share.shape)
    handed = (-share[kept], (place[to[kept]], source[kept]))
    system = sparse.eye_array(cells, format="csr") + sparse.csr_array(handed, (cells, cells))
    areas = spsolve_triangular(system.tocsr(), np.ones(cells), unit_diagonal=True)[place]
    area_m2 = areas * cell_m**2
    found = (area_m2, cell_m / way, area_m2 * (1 - share.sum(axis=0)))
    return Drainage(*(torch.from_numpy(v.reshape(level.shape)).to(bed_m) for v in found))
