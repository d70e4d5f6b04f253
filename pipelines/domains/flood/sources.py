"""Rain, inflows and breaches from a scenario's keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.contracts import FelsinaError, IntArray
from pipelines.domains.flood.embanked_plain import Plain
from pipelines.domains.flood.hydrographs import (
    Hydrograph,
    gamma_hydrograph,
    read_hydrograph,
    read_hyetograph,
    triangular_hydrograph,
)
from pipelines.domains.flood.levee import Cut, crest_place, levee_cut
from pipelines.domains.flood.scenario_file import (
    BreachKeys,
    ChicagoRain,
    GridRain,
    InflowKeys,
    RainKeys,
    TableRain,
    UniformRain,
)
from pipelines.domains.flood.storms import (
    HOUR_S,
    DepthDuration,
    Gumbel,
    Hyetograph,
    chicago_storm,
    rain_grid,
    uniform_storm,
)
from pipelines.domains.flood.terrain import Terrain

CHANNEL_M = 1.0
"""Cells of an inflow lie no more than this above the lowest of them."""


@dataclass(frozen=True)
class Inlet:
    """A hydrograph and the cells that it enters, in equal parts."""

    cells: IntArray
    hydrograph: Hydrograph


def hyetograph(keys: RainKeys, base: Path, terrain: Terrain) -> Hyetograph:
    """The rain that keys ask for, from its own beginning on."""
    if isinstance(keys, GridRain):
        return rain_grid(base / keys.file, terrain, keys.step_minutes)
    if isinstance(keys, TableRain):
        return read_hyetograph(base / keys.file)
    curve = _curve(keys)
    if isinstance(keys, ChicagoRain):
        return chicago_storm(curve, keys.hours, keys.peak, keys.step_minutes)
    return uniform_storm(curve.depth_mm(keys.hours) if keys.hours > 0 else 0.0, keys.hours)


def _curve(keys: UniformRain | ChicagoRain) -> DepthDuration:
    if (keys.a_mm is None) == (keys.gumbel is None):
        raise FelsinaError("rain: give either a_mm (mm in one hour) or gumbel = {years = ...}")
    if keys.gumbel is None:
        assert keys.a_mm is not None
        return DepthDuration(keys.a_mm, keys.n)
    known = keys.gumbel
    if known.depths is not None:
        law = Gumbel.through(*known.depths)
    elif known.location_mm is not None and known.scale_mm is not None:
        law = Gumbel(known.location_mm, known.scale_mm)
    else:
        raise FelsinaError(
            "rain.gumbel: give depths = [[years, mm], [years, mm]], or both"
            " location_mm and scale_mm"
        )
    unit = DepthDuration(1.0, keys.n)
    return DepthDuration(law.depth_mm(known.years) / unit.depth_mm(known.hours), keys.n)


def inlet(
    keys: InflowKeys, what: str, hours: float, base: Path, terrain: Terrain, plain: Plain | None
) -> Inlet:
    """The cells where water enters, and its hydrograph from the scenario's beginning on.

    ``hours`` is the scenario's end, before which it has to begin.
    """
    if keys.at is not None:
        if plain is None:
            raise FelsinaError(f"{what}: at = {keys.at!r} is the synthetic river's; give x and y")
        cells = plain.inlet
    elif keys.x is None or keys.y is None:
        raise FelsinaError(f"{what}: give x and y, or at = 'inlet' on a synthetic plain")
    else:
        cells = cells_near(terrain, keys.x, keys.y, keys.width_m, what)
    wave = _wave(keys, what, base)
    dry = int(np.argmax(wave.flow_m3_s > 0)) - 1  # the last row before any flow
    first = keys.begin_h + float(wave.time_s[max(dry, 0)]) / HOUR_S
    if first >= hours:
        source = "" if keys.file is None else f" ({base / keys.file})"
        raise FelsinaError(
            f"{what}{source}: it begins at {first:g} h (begin_h = {keys.begin_h:g}), not before the"
            f" end at {hours:g} h; let it begin earlier, or lengthen hours"
        )
    if keys.begin_h > 0:
        times = np.append(0.0, wave.time_s + keys.begin_h * HOUR_S)
        wave = Hydrograph(times, np.append(wave.flow_m3_s[0], wave.flow_m3_s))
    return Inlet(cells, wave)


def cells_near(terrain: Terrain, x_m: float, y_m: float, width_m: float, what: str) -> IntArray:
    """Flat cells within a width about a place that lie low: no bank beside a channel."""
    x, y = terrain.centres()
    here = terrain.cell(x_m, y_m, what)
    near = np.hypot(x - x_m, y - y_m) <= width_m / 2
    near[here] = True
    bed = terrain.bed_m.ravel()
    return np.flatnonzero(near & (bed <= bed[near].min() + CHANNEL_M))


def _wave(keys: InflowKeys, what: str, base: Path) -> Hydrograph:
    if keys.file is not None:
        return read_hydrograph(base / keys.file)
    peak, rise = keys.peak_m3_s, keys.to_peak_h
    if peak is None or rise is None or (keys.volume_m3 is None) == (keys.duration_h is None):
        raise FelsinaError(
            f"{what}: give file = 'FLOWS.csv', or peak_m3_s, to_peak_h and either volume_m3 or"
            " duration_h"
        )
    if keys.volume_m3 is not None:
        return gamma_hydrograph(peak, rise, keys.volume_m3, keys.base_m3_s)
    assert keys.duration_h is not None
    return triangular_hydrograph(peak, rise, keys.duration_h, keys.base_m3_s)


def breach_cut(
    keys: BreachKeys, what: str, hours: float, terrain: Terrain, plain: Plain | None
) -> Cut:
    """The cells that a breach takes away; ``hours`` is the scenario's end."""
    if keys.hour >= hours:
        raise FelsinaError(
            f"{what}: hour = {keys.hour:g} is not before the end at {hours:g} h; lengthen hours"
        )
    if keys.sill_m is not None and keys.depth_m is not None:
        raise FelsinaError(f"{what}: sill_m and depth_m are both given; give one, or neither")
    if keys.river is not None and keys.side is not None:
        if plain is None:
            raise FelsinaError(f"{what}: river and side are the synthetic river's; give x and y")
        place = crest_place(plain, keys.river, keys.side)
    elif keys.x is not None and keys.y is not None:
        place = keys.x, keys.y
    else:
        raise FelsinaError(f"{what}: give x and y, or river and side on a synthetic plain")
    return levee_cut(terrain, *place, keys.width_m, keys.sill_m, keys.depth_m, what)
