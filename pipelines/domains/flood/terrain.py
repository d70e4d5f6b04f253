"""Terrain as a grid of bed levels, and coarser grids that keep levees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from models.contracts import BoolArray, FelsinaError, FloatArray, IntArray

STANDS_OUT_M = 0.3
"""Height over the surroundings from which a narrow line of cells is an embankment."""
_LONG = 3
"""An embankment is this many times longer than the widest that is looked for."""


@dataclass(frozen=True)
class Terrain:
    """Bed levels on a square grid, north up.

    Attributes:
        bed_m: [Y, X] bed level; row 0 is north.
        cell_m: side of a cell.
        west_m: x of the grid's western edge.
        north_m: y of its northern edge.
        crs: coordinate reference system, such as ``EPSG:25832``; empty for own axes.
    """

    bed_m: FloatArray
    cell_m: float
    west_m: float = 0.0
    north_m: float = 0.0
    crs: str = ""

    @property
    def extent_m(self) -> tuple[float, float, float, float]:
        """West, east, south and north edge."""
        rows, columns = self.bed_m.shape
        east, south = self.west_m + columns * self.cell_m, self.north_m - rows * self.cell_m
        return self.west_m, east, south, self.north_m

    def cells(self, x_m: FloatArray, y_m: FloatArray) -> IntArray:
        """Flat index (row times X plus column) of the cells of points [P]; -1 outside."""
        rows, columns = self.bed_m.shape
        row = np.floor((self.north_m - np.asarray(y_m, float)) / self.cell_m)
        column = np.floor((np.asarray(x_m, float) - self.west_m) / self.cell_m)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.where(inside, row * columns + column, -1).astype(np.int64)

    def cell(self, x_m: float, y_m: float, what: str) -> int:
        """Flat index of the cell of a point.

        Raises:
            FelsinaError: naming ``what`` lies outside, and the extent.
        """
        found = int(self.cells(np.array([x_m]), np.array([y_m]))[0])
        if found < 0:
            west, east, south, north = self.extent_m
            raise FelsinaError(
                f"{what}: x = {x_m:g}, y = {y_m:g} lies outside the terrain; give x within"
                f" {west:g} to {east:g} and y within {south:g} to {north:g}"
                f"{' (' + self.crs + ')' if self.crs else ''}"
            )
        return found

    def centres(self, cells: IntArray | None = None) -> tuple[FloatArray, FloatArray]:
        """X and y of the centres of flat cells [P]; of all cells when left out."""
        count = self.bed_m.shape[1]
        flat = np.arange(self.bed_m.size) if cells is None else np.asarray(cells)
        return (
            self.west_m + (flat % count + 0.5) * self.cell_m,
            self.north_m - (flat // count + 0.5) * self.cell_m,
        )


def coarsened(terrain: Terrain, factor: int, crests: bool = True) -> Terrain:
    """Blocks of ``factor`` squared cells as one: their mean, but embankments keep their crest.

    A block with a piece of an embankment (``embankments``) gets that piece's highest level. Flow
    crosses sides of cells, never corners, and the blocks along a line that hangs together by sides
    or corners do so too: what held water still holds it. A gap narrower than a block is closed.
    Rows and columns at the southern and eastern edge that fill no block are left out. Without
    ``crests`` all is a mean: on hills every ridge is long and narrow.
    """
    rows, columns = (count // factor for count in terrain.bed_m.shape)
    if factor < 1 or min(rows, columns) < 1:
        raise FelsinaError(
            f"coarsen = {factor} leaves no cell of a grid of {terrain.bed_m.shape}; give a whole"
            " number from 1 on that is smaller"
        )
    if factor == 1:
        return terrain

    def blocks(values: FloatArray) -> FloatArray:
        cut = values[: rows * factor, : columns * factor]
        return cut.reshape(rows, factor, columns, factor)

    if not crests:
        return replace(
            terrain, bed_m=blocks(terrain.bed_m).mean(axis=(1, 3)), cell_m=terrain.cell_m * factor
        )
    crest = np.where(embankments(terrain.bed_m, 2 * factor + 1), terrain.bed_m, -np.inf)
    mean, kept = blocks(terrain.bed_m).mean(axis=(1, 3)), blocks(crest).max(axis=(1, 3))
    return replace(terrain, bed_m=np.maximum(mean, kept), cell_m=terrain.cell_m * factor)


def embankments(bed_m: FloatArray, width: int) -> BoolArray:
    """Cells [Y, X] of long, narrow heights: levees, roads and railways on banks.

    They stand ``STANDS_OUT_M`` above the morphological opening of the terrain by a square of
    ``width`` cells (which takes away whatever is narrower), reach at least half the height of what
    stands out within that square, and hang together over ``_LONG`` times its side.
    """
    above = bed_m - ndimage.grey_opening(bed_m, size=(width, width), mode="nearest")
    near = ndimage.maximum_filter(above, size=width, mode="nearest")
    high = (above >= STANDS_OUT_M) & (above >= near / 2)
    pieces = connected(high, corners=True)
    long = [
        max(axis.stop - axis.start for axis in box) >= _LONG * width
        for box in ndimage.find_objects(pieces)
    ]
    return np.array([False, *long])[pieces]


def connected(cells: BoolArray, corners: bool = False) -> IntArray:
    """Pieces [Y, X] that hang together by sides, or corners too, numbered from 1; 0 elsewhere."""
    pieces = np.zeros(cells.shape, np.int64)
    ndimage.label(cells, np.ones((3, 3)) if corners else None, output=pieces)
    return pieces
