"""Synthetic terrain: a valley in hills like the Apennines', with ridges, hollows and homes.

A river runs from west to east on a flat floor; streams come down to it on both sides, and hollows
to the streams. Above all of them the land rises as steeply as the seed says until it meets what
rises from the next one: there the ridges are. All is invented: another seed is another valley.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator
from scipy import ndimage
from scipy.spatial import distance

from models.contracts import BoolArray, FelsinaError, FloatArray
from pipelines.domains.flood.exposure import Homes
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.scenarios import Frozen

VILLAGE, RIDGE, HAMLETS, FARMS = "Borgo Fondovalle", "Castel del Crinale", "Le Coste", "Poderi"
_BASE_M = 180.0
"""Level of the river where it leaves."""
_SPACING_M = 15.0
"""Between the points of streams and hollows."""
_MARGIN = 6
"""Cells beyond each edge that are made and left out."""
_BLOCK = 1024
"""Cells that are looked at together."""

_Degrees = Annotated[float, Field(ge=5, le=60)]


class HillsDesign(Frozen):
    """What a valley is like.

    Attributes:
        seed: another one is another valley.
        rows: cells from north to south.
        columns: cells from west to east.
        cell_m: side of a cell.
        slope_degrees: of the hillsides between ridge and stream, least and most.
        floor_m: half the width of the valley's floor.
        streams_m: between the mouths of streams.
        hollows_m: between the mouths of hollows along a stream.
        roughness_m: standard deviation of the ground's unevenness.
    """

    seed: int = Field(default=0, ge=0)
    rows: int = Field(default=240, ge=40, le=400)
    columns: int = Field(default=280, ge=40, le=400)
    cell_m: float = Field(default=10.0, ge=2, le=50)
    slope_degrees: tuple[_Degrees, _Degrees] = (20.0, 35.0)
    floor_m: float = Field(default=80.0, ge=0, le=1000)
    streams_m: float = Field(default=420.0, ge=100, le=3000)
    hollows_m: float = Field(default=150.0, ge=50, le=2000)
    roughness_m: float = Field(default=0.4, ge=0, le=5)

    @field_validator("slope_degrees")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("give the least slope first, then the most")
        return value


@dataclass(frozen=True)
class Hills:
    """A synthetic valley.

    Attributes:
        terrain: the ground.
        floor: [Y, X] whether a cell is of the valley's flat floor.
    """

    terrain: Terrain
    floor: BoolArray


def synthetic_hills(design: HillsDesign) -> Hills:
    """The valley of a design.

    Its level is the lower envelope of cones that stand on points of river, streams and hollows.

    Raises:
        FelsinaError: if no stream comes down to the river.
    """
    rng = np.random.default_rng([design.seed, 11])
    cell = design.cell_m
    wide, tall = design.columns * cell, design.rows * cell
    # Ground is smoothed below, and its edge would be flatter than the rest: so there is more of it.
    shape = (design.rows + 2 * _MARGIN, design.columns + 2 * _MARGIN)
    within = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    x, y = Terrain(np.zeros(shape), cell, -_MARGIN * cell, tall + _MARGIN * cell).centres()
    river = _river(rng, wide, tall)
    points = [river]
    for stream in _streams(rng, design, river, tall):
        points += [stream, *_hollows(rng, design, stream)]
    if len(points) == 1:
        raise FelsinaError(
            f"terrain.synthetic: streams_m = {design.streams_m:g} leaves no stream on {wide:g} m of"
            " river; give a smaller one, or more columns"
        )
    low, high = design.slope_degrees
    middle, spread = (low + high) / 2, (high - low) / 3
    angle = middle + _bumps(rng, shape, 120 / cell, spread)
    rise = np.tan(np.radians(np.clip(angle, low, high))).ravel()
    ground, from_river = _envelope(x, y, river, np.concatenate(points[1:]), rise, design.floor_m)
    bed = ndimage.gaussian_filter(ground.reshape(shape), max(12 / cell, 0.6), mode="nearest")
    floor = (from_river <= design.floor_m).reshape(shape)
    uneven = _bumps(rng, shape, 25 / cell, design.roughness_m)
    bed += np.where(floor, 0.1, 1.0) * uneven
    return Hills(Terrain(bed[within], cell, 0.0, tall), floor[within])


def _river(rng: np.random.Generator, wide: float, tall: float) -> FloatArray:
    """[P, 3] x, y and level of the river, which falls eastwards by 8 per mille."""
    east = np.arange(-200.0, wide + 200, 10.0)
    phase = rng.uniform(0, 2 * np.pi, 2)
    swing = 0.045 * tall * np.sin(2 * np.pi * east / 1700 + phase[0])
    swing += 0.02 * tall * np.sin(2 * np.pi * east / 730 + phase[1])
    north = tall * rng.uniform(0.42, 0.58) + swing
    return np.column_stack([east, north, _BASE_M + 0.008 * (wide - east)])


def _streams(
    rng: np.random.Generator, design: HillsDesign, river: FloatArray, tall: float
) -> list[FloatArray]:
    """[P, 3] of each stream, upwards from the river, ever steeper; on both sides in turn."""
    found = []
    for side in (-1.0, 1.0):
        mouth = river[0, 0] + rng.uniform(0.3, 1.0) * design.streams_m
        while mouth < river[-1, 0]:
            place = river[int(np.argmin(np.abs(river[:, 0] - mouth)))]
            longest = (tall - place[1] if side > 0 else place[1]) - 0.06 * tall
            length = max(longest, 100.0) * rng.uniform(0.7, 1.0)
            along = np.arange(0, length, _SPACING_M)
            bend = rng.normal(0, 0.12) * along + 0.06 * length * np.sin(
                2 * np.pi * along / (0.8 * length) + rng.uniform(0, 2 * np.pi)
            )
            bend -= bend[0]
            beyond = np.maximum(along - design.floor_m, 0)
            level = place[2] + 0.09 * beyond + 0.2 * beyond**2 / length
            found.append(np.column_stack([place[0] + bend, place[1] + side * along, level]))
            mouth += design.streams_m * rng.uniform(0.75, 1.25)
    return found


def _hollows(rng: np.random.Generator, design: HillsDesign, stream: FloatArray) -> list[FloatArray]:
    """[P, 3] of each hollow, upwards from its stream, less steep than the hillsides."""
    found = []
    at = design.floor_m + rng.uniform(0.3, 1) * design.hollows_m
    side = rng.choice([-1.0, 1.0])
    while at < len(stream) * _SPACING_M - design.hollows_m / 2:
        here = int(at / _SPACING_M)
        ahead = stream[min(here + 1, len(stream) - 1)] - stream[here - 1]
        heading = np.arctan2(ahead[1], ahead[0]) + side * rng.uniform(0.7, 1.1)
        length = design.streams_m * rng.uniform(0.2, 0.42)
        along = np.arange(0, length, _SPACING_M)
        steep = np.tan(np.radians(design.slope_degrees[0])) * rng.uniform(0.85, 1.2)
        found.append(
            np.column_stack(
                [
                    stream[here, 0] + along * np.cos(heading),
                    stream[here, 1] + along * np.sin(heading),
                    stream[here, 2] + steep * along,
                ]
            )
        )
        at += design.hollows_m * rng.uniform(0.35, 0.65)
        side = -side
    return found


def _envelope(
    x: FloatArray,
    y: FloatArray,
    river: FloatArray,
    streams: FloatArray,
    rise: FloatArray,
    floor_m: float,
) -> tuple[FloatArray, FloatArray]:
    """Lowest of all cones at each cell, those of the river on its floor, and how far that is."""
    ground, nearest = np.empty(len(x)), np.empty(len(x))
    for begin in range(0, len(x), _BLOCK):
        cells = slice(begin, begin + _BLOCK)
        place, up = np.column_stack([x[cells], y[cells]]), rise[cells, None]
        away = distance.cdist(place, river[:, :2])
        nearest[cells] = away.min(axis=1)
        over_river = (river[:, 2] + up * np.maximum(away - floor_m, 0)).min(axis=1)
        over_streams = distance.cdist(place, streams[:, :2]) * up
        over_streams += streams[:, 2]
        ground[cells] = np.minimum(over_river, over_streams.min(axis=1))
    return ground, nearest


def _bumps(rng: np.random.Generator, shape: tuple[int, int], cells: float, sd: float) -> FloatArray:
    """[Y, X] smooth noise with so many cells' reach and a standard deviation."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), max(cells, 0.5), mode="reflect")
    return sd * noise / max(float(noise.std()), 1e-12)


def synthetic_hill_homes(hills: Hills, seed: int = 0) -> Homes:
    """A village on the valley's floor, one on a ridge, hamlets under slopes, farms about.

    Raises:
        FelsinaError: if the hills have no place for any of them.
    """
    rng = np.random.default_rng([seed, 13])
    terrain, cell = hills.terrain, hills.terrain.cell_m
    bed = terrain.bed_m
    south, east = np.gradient(bed, cell)
    slope = np.degrees(np.arctan(np.hypot(south, east)))
    # How high ground stands over all within 150 m: near 1 on ridges, near 0 under slopes.
    size = 2 * round(150 / cell) + 1
    least, most = ndimage.minimum_filter(bed, size), ndimage.maximum_filter(bed, size)
    stand = (bed - least) / np.maximum(most - least, 1)
    inner = np.zeros(bed.shape, bool)
    edge = max(3, round(60 / cell))
    inner[edge:-edge, edge:-edge] = True
    foot = ~hills.floor & (slope < 24) & (stand < 0.25) & inner
    places = {
        VILLAGE: (0.45, hills.floor & (slope < 8) & inner, 0.10, 4.0),
        RIDGE: (0.15, (stand > 0.85) & (slope < 16) & inner, 0.06, 3.0),
        HAMLETS: (0.2, foot, np.inf, 2.5),
        FARMS: (0.2, ~hills.floor & (slope < 22) & inner, np.inf, 2.0),
    }
    x, y = (axis.reshape(bed.shape) for axis in terrain.centres())
    west, far_east, bottom, top = terrain.extent_m
    size_m = min(far_east - west, top - bottom)
    count = max(40, round(45 * bed.size * cell**2 / 1e6))
    cells, areas, people = [], [], []
    for name, (share, where, spread, persons) in places.items():
        allowed = np.flatnonzero(where)
        if not len(allowed):
            continue
        weight = np.ones(len(allowed))
        if np.isfinite(spread):
            heart = rng.choice(allowed)
            away = np.hypot(x.ravel()[allowed] - x.flat[heart], y.ravel()[allowed] - y.flat[heart])
            weight = np.exp(-0.5 * (away / (spread * size_m)) ** 2)
        number = min(round(share * count), int((weight > 1e-6).sum()))
        drawn = rng.choice(allowed, number, replace=False, p=weight / weight.sum())
        cells.append(np.sort(drawn))
        areas += [name] * number
        people.append(1 + rng.poisson(persons, number))
    if not cells:
        rows, columns = bed.shape
        raise FelsinaError(
            f"homes: synthetic hills of {rows} x {columns} cells of {cell:g} m have no place for"
            " any; give them more rows and columns or a larger cell_m, or leave homes out"
        )
    cell_of = np.concatenate(cells)
    return Homes(
        np.array([f"h{number:05d}" for number in range(len(cell_of))]),
        np.array(areas),
        x.ravel()[cell_of],
        y.ravel()[cell_of],
        np.concatenate(people).astype(float),
        cell_of,
    )
