"""Where a breach cuts a levee: from a place, a width and a sill to cells of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from models.contracts import BoolArray, FelsinaError, FloatArray, IntArray
from pipelines.domains.flood.embanked_plain import Plain
from pipelines.domains.flood.terrain import STANDS_OUT_M, Terrain, connected, embankments

_REACH_M = 60.0
"""Half of the thickest levee; half a dozen cells where those are more."""


@dataclass(frozen=True)
class Cut:
    """The part of a levee that a breach takes away.

    Attributes:
        cells: [S] flat cells that sink.
        x_m: of the crest's cell there.
        y_m: of the same.
        crest_m: its level.
        ground_m: lowest level beside the levee, on the side where that is higher.
        sill_m: what the cells sink to.
        width_m: in the grid; a cell at least.
    """

    cells: IntArray
    x_m: float
    y_m: float
    crest_m: float
    ground_m: float
    sill_m: float
    width_m: float


def levee_cut(
    terrain: Terrain,
    x_m: float,
    y_m: float,
    width_m: float,
    sill_m: float | None = None,
    depth_m: float | None = None,
    what: str = "breach",
) -> Cut:
    """Find the levee at a place, and cut through it from foot to foot.

    The crest is the highest cell within two cells of the place; it runs where what is as high lies.
    All cells of a strip across it that stand above the sill, and above the ground on the higher
    side, sink. The strip is as wide as asked, or as wide as lets water pass from side to side.

    Args:
        terrain: with the levee.
        x_m: place, in the terrain's system.
        y_m: the same.
        width_m: along the crest.
        sill_m: level that is left.
        depth_m: of it under the crest, instead; the ground beside the levee without either.
        what: what errors call it.

    Raises:
        FelsinaError: outside the terrain, where no levee is, or if the sill is not below its crest.
    """
    cell, bed = terrain.cell_m, terrain.bed_m
    terrain.cell(x_m, y_m, what)
    x, y = (axis.reshape(bed.shape) for axis in terrain.centres())
    snap = np.hypot(x - x_m, y - y_m) <= 2 * cell
    place = int(np.argmax(np.where(snap, bed, -np.inf)))
    crest = float(bed.flat[place])
    dx, dy = x - x.flat[place], y - y.flat[place]
    distance = np.hypot(dx, dy)
    reach = max(6 * cell, _REACH_M)
    stands = crest - float(np.median(bed[distance <= reach]))
    if stands < STANDS_OUT_M:
        raise FelsinaError(
            f"{what}: no levee at x = {x_m:g}, y = {y_m:g}: the highest cell within {2 * cell:g} m"
            f" stands {stands:.2f} m above the land around; {_nearest(terrain, x_m, y_m)}"
        )
    along = _direction(bed, place, dx, dy, distance <= max(4 * cell, 40), crest - stands / 2)
    across = dy * along[0] - dx * along[1]
    # Across sides of cells, a strip must be so wide to hang together.
    half = max(width_m, cell * float(np.abs(along).sum())) / 2
    strip = (np.abs(dx * along[0] + dy * along[1]) <= half + 1e-9) & (np.abs(across) <= reach)
    sides = [bed[strip & (across * sign > cell / 2)] for sign in (-1, 1)]
    if not all(len(side) for side in sides):
        raise FelsinaError(
            f"{what}: the levee at x = {x_m:g}, y = {y_m:g} lies on the terrain's edge; move the"
            " breach inwards"
        )
    ground = max(float(side.min()) for side in sides)
    sill = ground if sill_m is None else sill_m
    sill = sill if depth_m is None else crest - depth_m
    if not sill < crest:
        raise FelsinaError(
            f"{what}: its sill of {sill:g} m is not below the crest, {crest:.2f} m; give a sill_m"
            f" from {ground:.2f} m (the ground there) to under the crest, or a depth_m above 0"
        )
    pieces = connected(strip & (bed > max(sill, ground)))
    cells = np.flatnonzero(pieces == pieces.flat[place])
    centre = float(x.flat[place]), float(y.flat[place])
    return Cut(cells, *centre, crest, ground, sill, 2 * half)


def crest_place(plain: Plain, share: float, side: str) -> tuple[float, float]:
    """X and y of the crest left or right (looking downstream) of a share of the river's course."""
    point = round(share * (len(plain.course_m) - 1))
    here = plain.course_m[point]
    ahead = plain.course_m[min(point + 1, len(plain.course_m) - 1)]
    behind = plain.course_m[max(point - 1, 0)]
    flow = (ahead - behind) / np.linalg.norm(ahead - behind)
    cells = np.flatnonzero(plain.crest)
    offset = np.column_stack(plain.terrain.centres(cells)) - here
    leftward = flow[0] * offset[:, 1] - flow[1] * offset[:, 0]
    wanted = leftward > 0 if side == "left" else leftward < 0
    away = np.where(wanted, np.abs(offset @ flow) * 4 + np.abs(leftward), np.inf)
    x, y = plain.terrain.centres(cells[[int(np.argmin(away))]])
    return float(x[0]), float(y[0])


def lies_left(plain: Plain, cells: IntArray) -> BoolArray:
    """[P] whether flat cells lie left, looking downstream, of the river's course beside them."""
    place = np.column_stack(plain.terrain.centres(cells))
    point = KDTree(plain.course_m).query(place)[1]
    flow = np.gradient(plain.course_m, axis=0)[point]
    offset = place - plain.course_m[point]
    return flow[:, 0] * offset[:, 1] - flow[:, 1] * offset[:, 0] > 0


def _direction(
    bed_m: FloatArray, place: int, dx: FloatArray, dy: FloatArray, near: BoolArray, from_m: float
) -> FloatArray:
    """Unit vector [2] along which what is as high as the crest lies."""
    pieces = connected(near & (bed_m >= from_m), corners=True)
    own = pieces == pieces.flat[place]
    weight = bed_m[own] - from_m + 1e-6
    offset = np.stack([dx[own], dy[own]])
    spread = (offset * weight) @ offset.T / weight.sum()
    return np.linalg.eigh(spread)[1][:, -1]


def _nearest(terrain: Terrain, x_m: float, y_m: float) -> str:
    cells = np.flatnonzero(embankments(terrain.bed_m, 5))
    if not len(cells):
        return "the terrain has none that stands out of it"
    x, y = terrain.centres(cells)
    nearest = int(np.argmin(np.hypot(x - x_m, y - y_m)))
    return f"the nearest is at x = {x[nearest]:g}, y = {y[nearest]:g}"
