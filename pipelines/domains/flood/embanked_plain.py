"""Synthetic terrain: an alluvial plain like the Po's, with a river that runs between levees.

The land falls northwards from the hills like a fan, ever more gently. The river meanders from the
southern to the northern edge on a ridge of its own sediment, above the plain; levees hold it, and
their crest falls with the river. Ridges of old channels and basins between them lie about, fields
are uneven, and roads and railways cross on banks that culverts open. All of it is invented, drawn
by the seed: another seed is another plain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy import ndimage
from scipy.spatial import KDTree

from models.contracts import BoolArray, FloatArray, IntArray
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.scenarios import Frozen

LEVEE_FLANK = 1 / 3
"""Slope of a levee's sides."""
CREST_WIDTH_M = 6.0
_BASE_M = 20.0
"""Level of the plain at its northern edge."""
_CULVERT_M = 900.0
"""Distance between the culverts of a bank."""
_SPACING_M = 2.0
"""Between the points of the river's course."""


class PlainDesign(Frozen):
    """What a plain is like; what is left out is drawn by the seed.

    Attributes:
        seed: another one is another plain.
        rows: cells from north to south.
        columns: cells from west to east.
        cell_m: side of a cell.
        slope: fall of the plain northwards.
        channel_width_m: of the river, between its banks.
        channel_depth_m: of its bed under its banks.
        berm_m: from bank to levee.
        levee_m: height of the crests over the banks.
        ridge_m: height of the river's banks over the plain.
        meander_m: how far its course swings.
        old_channels: ridges of old courses.
        roughness_m: standard deviation of the fields' unevenness.
        banks: roads and railways on banks.
        bank_m: their height.
    """

    seed: int = Field(default=0, ge=0)
    rows: int = Field(default=160, ge=24, le=4096)
    columns: int = Field(default=160, ge=24, le=4096)
    cell_m: float = Field(default=25.0, ge=5, le=200)
    slope: float | None = Field(default=None, gt=0, le=0.02)
    channel_width_m: float | None = Field(default=None, gt=0)
    channel_depth_m: float | None = Field(default=None, gt=0, le=15)
    berm_m: float | None = Field(default=None, ge=0)
    levee_m: float | None = Field(default=None, gt=0.5, le=15)
    ridge_m: float | None = Field(default=None, ge=0, le=10)
    meander_m: float | None = Field(default=None, ge=0)
    old_channels: int | None = Field(default=None, ge=0, le=12)
    roughness_m: float | None = Field(default=None, ge=0, le=2)
    banks: int | None = Field(default=None, ge=0, le=12)
    bank_m: float | None = Field(default=None, gt=0, le=10)


@dataclass(frozen=True)
class Plain:
    """A synthetic terrain and where its river runs.

    Attributes:
        terrain: the bed.
        inlet: flat cells of the channel at the southern edge.
        channel: [Y, X] whether a cell is of the channel.
        floodway: [Y, X] whether it lies between the levees' crests.
        crest: [Y, X] whether it is a levee's crest.
        course_m: [P, 2] x and y along the channel's middle, downstream.
        crest_m: [P] level of the levees' crest there.
        brimful_m3_s: what flows between the levees, half a metre under their crests, in a straight
            reach by Manning's formula with n = 0.035; sharp bends take a third of it.
    """

    terrain: Terrain
    inlet: IntArray
    channel: BoolArray
    floodway: BoolArray
    crest: BoolArray
    course_m: FloatArray
    crest_m: FloatArray
    brimful_m3_s: float


def drawn(design: PlainDesign) -> PlainDesign:
    """The design with all that it left out drawn by its seed."""
    rng = np.random.default_rng([design.seed, 1])
    wide = design.columns * design.cell_m
    found = {
        "slope": 10 ** rng.uniform(-3.3, -2.6),
        "channel_width_m": rng.uniform(30, 70),
        "channel_depth_m": rng.uniform(2, 4),
        "berm_m": rng.uniform(10, 60),
        "levee_m": rng.uniform(2.5, 5),
        "ridge_m": rng.uniform(0.5, 3),
        "meander_m": wide * rng.uniform(0.02, 0.12),
        "old_channels": int(rng.integers(1, 4)),
        "roughness_m": rng.uniform(0.05, 0.25),
        "banks": int(rng.integers(1, 4)),
        "bank_m": rng.uniform(1, 3),
    }
    return design.model_copy(
        update={name: value for name, value in found.items() if getattr(design, name) is None}
    )


def embanked_plain(design: PlainDesign) -> Plain:
    """The plain of a design.

    Every crest is as wide as a cell at least, so that cells left and right of it share no side:
    water that stands under the crests stays between them, on any grid.
    """
    full = drawn(design)
    rng = np.random.default_rng([full.seed, 2])
    shape, cell = (full.rows, full.columns), full.cell_m
    x, y = Terrain(np.zeros(shape), cell, 0.0, full.rows * cell).centres()
    tall, wide, slope = full.rows * cell, full.columns * cell, _given(full.slope)
    apex = np.array([wide / 2 + rng.uniform(-0.2, 0.2) * wide, -tall * rng.uniform(0.5, 1.5)])

    def plain(px: FloatArray, py: FloatArray) -> FloatArray:
        """A fan: it falls with the distance to its apex, half as steeply at the far edge."""
        run = np.hypot(px - apex[0], py - apex[1]) - np.hypot(wide / 2 - apex[0], tall - apex[1])
        return _BASE_M - slope * run * (1 - run / (4 * tall))

    middle = wide * rng.uniform(0.35, 0.65)
    course = _course(rng, middle, _given(full.meander_m), wide, tall, cell)
    course[:, 0] = np.clip(course[:, 0], 0.15 * wide, 0.85 * wide)
    distance, station = KDTree(course).query(np.column_stack([x, y]))
    ground = plain(x, y) + _old_channels(rng, full, x, y)
    ground += _bumps(rng, shape, 200 / cell, 0.3)
    ground += _bumps(rng, shape, 50 / cell, _given(full.roughness_m))
    # Banks fall evenly along the river, so that no crest is lower than one downstream of it.
    fall = plain(*course.T) + _given(full.ridge_m)
    bank = np.minimum.accumulate(ndimage.gaussian_filter1d(fall, 600 / _SPACING_M, mode="nearest"))
    spread = 250 + 200 * rng.random()
    ground += (bank[station] - ground) * np.exp(-((np.maximum(distance - 100, 0) / spread) ** 2))
    bed = _with_banks(rng, full, ground, x, y, course)
    half = max(_given(full.channel_width_m) / 2, 0.75 * cell)
    toe = half + max(_given(full.berm_m), cell)
    thick = max(CREST_WIDTH_M, cell)
    crest_m = bank + _given(full.levee_m)
    beyond = np.maximum(np.maximum(toe - distance, distance - toe - thick), 0)
    levee = crest_m[station] - LEVEE_FLANK * beyond
    inside, channel = distance < toe, distance <= half
    bed = np.maximum(np.where(inside, bank[station], bed), levee)
    bed = np.where(channel, bank[station] - _given(full.channel_depth_m), bed)
    crest = (distance >= toe) & (distance <= toe + thick)
    terrain = Terrain(bed.reshape(shape), cell, 0.0, tall)
    fall_m = (bank[0] - bank[-1]) / (len(bank) * _SPACING_M)
    return Plain(
        terrain,
        np.flatnonzero(channel & (y < cell)),
        channel.reshape(shape),
        inside.reshape(shape),
        crest.reshape(shape),
        course,
        crest_m,
        _brimful(full, half, toe, float(fall_m)),
    )


def _given(value: float | None) -> float:
    """A trait that ``drawn`` has set."""
    assert value is not None
    return float(value)


def _course(
    rng: np.random.Generator, middle: float, swing: float, wide: float, tall: float, cell: float
) -> FloatArray:
    """[P, 2] points of a course from beyond the southern to beyond the northern edge."""
    north = np.arange(-4 * cell, tall + 4 * cell, _SPACING_M)
    turns = rng.uniform(1.0, 3.0, 3) * np.array([0.5, 1.0, 2.0]) * max(1.0, tall / wide)
    share = np.array([1.0, 0.6, 0.3]) * rng.uniform(0.6, 1.2, 3) / np.array([1.0, 1.3, 2.0])
    phase = rng.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * np.outer(north / tall, turns) + phase) @ share
    east = middle + swing * waves
    return np.column_stack([ndimage.gaussian_filter1d(east, 100, mode="nearest"), north])


def _old_channels(
    rng: np.random.Generator, design: PlainDesign, x: FloatArray, y: FloatArray
) -> FloatArray:
    """Ridges of courses that the river has left, some with a trace of the channel on top."""
    tall, wide = design.rows * design.cell_m, design.columns * design.cell_m
    height = np.zeros(len(x))
    for _ in range(int(_given(design.old_channels))):
        course = _course(rng, wide * rng.uniform(0, 1), 0.1 * wide, wide, tall, design.cell_m)
        distance, _ = KDTree(course).query(np.column_stack([x, y]))
        width, ridge = rng.uniform(150, 400), rng.uniform(0.4, 1.5)
        height += ridge * np.exp(-((distance / width) ** 2))
        height -= 0.5 * ridge * np.exp(-((distance / 40) ** 2)) * (rng.random() < 0.5)
    return height


def _bumps(rng: np.random.Generator, shape: tuple[int, int], cells: float, sd: float) -> FloatArray:
    """[Y * X] smooth noise with so many cells' reach and a standard deviation."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), max(cells, 0.5), mode="reflect")
    return (sd * noise / max(float(noise.std()), 1e-12)).ravel()


def _with_banks(
    rng: np.random.Generator,
    design: PlainDesign,
    ground: FloatArray,
    x: FloatArray,
    y: FloatArray,
    course: FloatArray,
) -> FloatArray:
    """The ground with straight banks over it, each opened by culverts as wide as a cell or more."""
    tall, wide, cell = design.rows * design.cell_m, design.columns * design.cell_m, design.cell_m
    bed = ground.copy()
    smooth = ndimage.gaussian_filter(ground.reshape(design.rows, design.columns), 100 / cell)
    for number in range(int(_given(design.banks))):
        across = number % 2 == 0
        heading = rng.normal(0, 0.25) + (0 if across else np.pi / 2)
        through = np.array([rng.uniform(0.2, 0.8) * wide, rng.uniform(0.25, 0.75) * tall])
        if not across:  # beside the river, or it would run in it
            side = 0.25 if np.interp(through[1], course[:, 1], course[:, 0]) > wide / 2 else 0.8
            through[0] = wide * rng.uniform(side - 0.1, side + 0.1)
        dx, dy = x - through[0], y - through[1]
        along = dx * np.cos(heading) + dy * np.sin(heading)
        off = np.abs(dy * np.cos(heading) - dx * np.sin(heading))
        spacing = _CULVERT_M * rng.uniform(0.7, 1.5)
        open_m = np.abs((along + rng.uniform(0, spacing)) % spacing - spacing / 2)
        crest = smooth.ravel() + _given(design.bank_m) * rng.uniform(0.7, 1.3)
        bank = crest - 0.5 * np.maximum(off - max(6.0, 0.75 * cell), 0)
        bed = np.where(open_m > max(0.75 * cell, 8.0), np.maximum(bed, bank), bed)
    return bed


def _brimful(design: PlainDesign, half: float, toe: float, slope: float) -> float:
    """Manning's flow of the channel and of the berms beside it, half a metre under the crest."""
    over = _given(design.levee_m) - 0.5
    channel = 2 * half * (over + _given(design.channel_depth_m)) ** (5 / 3)
    berms = 2 * (toe - half) * over ** (5 / 3)
    return float((channel + berms) * np.sqrt(max(slope, 1e-5)) / 0.035)
