"""From a slopes scenario's keys to what the simulator is given: terrain, soil, rain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.contracts import FelsinaError, FloatArray
from models.physics.rain_thresholds import CAINE_1980, GUZZETTI_2008, Threshold
from models.physics.soil import Scatter, Soil
from pipelines.domains.flood.exposure import Homes, read_homes
from pipelines.domains.flood.rasters import read_on, read_terrain
from pipelines.domains.flood.scenario_file import EMBEDDED
from pipelines.domains.flood.slopes_file import LONGEST_H, SOIL_BOUNDS, SlopesScenario, SoilKeys
from pipelines.domains.flood.sources import hyetograph
from pipelines.domains.flood.storms import HOUR_S, MM_H_IN_M_S, Hyetograph, cut_at_end
from pipelines.domains.flood.synthetic_hills import Hills, synthetic_hill_homes, synthetic_hills
from pipelines.domains.flood.terrain import Terrain, coarsened

_LOOKS = 24
"""Storms are looked at each hour, or so many times where that is more."""


@dataclass(frozen=True)
class SlopesSetting:
    """A slopes scenario with all its files read.

    Attributes:
        asked: its keys.
        terrain: the ground.
        hills: the synthetic hills that it is, if it is.
        soil: on it, in SI units, each field one value or [Y, X].
        scatter: how uncertain its strength is.
        step_h: between looks, the length of the steps of rain.
        rain_mm_h: [J] or [J, Y, X] mean of each step; the first begins at hour 0.
        cut: what the end cuts off the storm, a sentence; empty where it falls whole.
    """

    asked: SlopesScenario
    terrain: Terrain
    hills: Hills | None
    soil: Soil
    scatter: Scatter | None
    step_h: float
    rain_mm_h: FloatArray
    cut: str

    @property
    def hours(self) -> FloatArray:
        """[J + 1] when slopes are looked at, from 0."""
        return self.step_h * np.arange(len(self.rain_mm_h) + 1)

    @property
    def mean_rain_mm_h(self) -> FloatArray:
        """[J] mean over the terrain."""
        return self.rain_mm_h.reshape(len(self.rain_mm_h), -1).mean(axis=1)

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """Worldwide ones, and those that the file brings."""
        own = (Threshold(**keys.model_dump()) for keys in self.asked.threshold)
        return (CAINE_1980, GUZZETTI_2008, *own)

    def falling(self) -> tuple[Tensor, Tensor]:
        """When each intensity begins, s, and the intensities, m/s; dry at the end."""
        dry = np.zeros_like(self.rain_mm_h[:1])
        rain = np.concatenate([self.rain_mm_h, dry]) * MM_H_IN_M_S
        return torch.from_numpy(self.hours * HOUR_S), torch.from_numpy(rain)


def open_slopes(asked: SlopesScenario, base: Path) -> SlopesSetting:
    """Read all that a scenario names.

    Args:
        asked: its keys.
        base: folder that its paths are relative to.

    Raises:
        FelsinaError: naming file or key, value and remedy.
    """
    if (asked.soil.antecedent_mm_day is None) == (asked.soil.wetness is None):
        raise FelsinaError(
            "soil: give either antecedent_mm_day (net rain that lasted before the storm) or wetness"
            " (saturated share of the mantle, 0 to 1)"
        )
    terrain, hills = _terrain(asked, base)
    soil, scatter = _soil(asked.soil, base, terrain)
    rain = hyetograph(asked.rain, base, terrain)
    begin = asked.rain.begin_h
    end = begin + float(rain.time_s[-1]) / HOUR_S
    hours = min(end * 1.5, LONGEST_H) if asked.hours is None else asked.hours
    step = min(1.0, hours / _LOOKS)
    count = max(1, math.ceil(hours / step - 1e-9))
    return SlopesSetting(
        asked,
        terrain,
        hills,
        soil,
        scatter,
        step,
        even_steps(rain, begin, step, count),
        cut_at_end(rain, begin, count * step),
    )


def even_steps(rain: Hyetograph, begin_h: float, step_h: float, count: int) -> FloatArray:
    """Mean intensity, [J] or [J, Y, X], of ``count`` even steps; no rain is lost within them."""
    edges = rain.time_s / HOUR_S + begin_h
    steps = step_h * np.arange(count + 1)
    low = np.maximum(edges[:-1], steps[:-1, None])
    high = np.minimum(edges[1:], steps[1:, None])
    return np.tensordot(np.maximum(high - low, 0) / step_h, rain.intensity_mm_h, axes=1)


def homes_on(setting: SlopesSetting, base: Path) -> Homes | None:
    """The homes that a scenario names, if it does."""
    wanted = setting.asked.homes
    if wanted is None:
        return None
    if wanted != EMBEDDED:
        return read_homes(base / wanted, setting.terrain)
    design = setting.asked.terrain.synthetic
    if setting.hills is None or design is None:
        raise FelsinaError(
            f"homes = {EMBEDDED!r} are the synthetic hills'; name a CSV with id, x, y, people and"
            " area"
        )
    return synthetic_hill_homes(setting.hills, design.seed)


def _terrain(asked: SlopesScenario, base: Path) -> tuple[Terrain, Hills | None]:
    keys = asked.terrain
    if (keys.file is None) == (keys.synthetic is None):
        raise FelsinaError("terrain: give either file = 'DTM.tif' or synthetic = {seed = 1}")
    if keys.file is not None:
        terrain = read_terrain(base / keys.file, keys.fill, keys.clip)
        return coarsened(terrain, keys.coarsen, crests=False), None
    assert keys.synthetic is not None
    if keys.coarsen > 1 or keys.clip or keys.fill:
        raise FelsinaError(
            "terrain: fill, clip and coarsen are for files; give the synthetic hills another"
            " cell_m, rows and columns"
        )
    hills = synthetic_hills(keys.synthetic)
    return hills.terrain, hills


def _soil(keys: SoilKeys, base: Path, terrain: Terrain) -> tuple[Soil, Scatter | None]:
    values = {name: soil_values(name, getattr(keys, name), base, terrain) for name in SOIL_BOUNDS}
    cohesion = values["cohesion_kpa"] * 1e3
    friction = np.radians(values["friction_degrees"])
    soil = Soil(
        *map(
            torch.from_numpy,
            (
                cohesion,
                friction,
                values["unit_weight_kn_m3"] * 1e3,
                values["depth_m"],
                values["conductivity_m_s"],
                values["diffusivity_m2_s"],
            ),
        )
    )
    if keys.scatter is None:
        return soil, None
    given = keys.scatter
    return soil, Scatter(
        given.cohesion_cv * float(cohesion.mean()),
        given.friction_cv * float(np.tan(friction).mean()),
        given.correlation,
    )


def soil_values(name: str, value: float | str, base: Path, terrain: Terrain) -> FloatArray:
    """A number [1, 1] or the first band of a raster [Y, X], within the bounds of its key."""
    least, most, meaning = SOIL_BOUNDS[name]
    if isinstance(value, str):
        found = read_on(base / value, terrain, f"soil.{name}")[0]
    else:
        found = np.full((1, 1), value, float)
    bad = ~((found >= least) & (found <= most))
    if bad.any():
        shown = f"{found[bad][0]:g}"
        if isinstance(value, str):
            shown = f"{value}: {shown} in {int(bad.sum())} of {bad.size} cells"
        raise FelsinaError(
            f"soil.{name} = {shown} is not within {least:g} to {most:g}; give the {meaning}"
        )
    return found


def altered(setting: SlopesSetting, **factors: float) -> SlopesSetting:
    """The same with fields of its soil (or ``wetness``, what lasted before) times a factor."""
    before = factors.pop("wetness", 1.0)
    changed = {name: getattr(setting.soil, name) * by for name, by in factors.items()}
    keys = setting.asked.soil
    scaled = {
        name: None if value is None else value * before
        for name, value in (
            ("antecedent_mm_day", keys.antecedent_mm_day),
            ("wetness", None if keys.wetness is None else min(keys.wetness, 1 / before)),
        )
    }
    asked = setting.asked.model_copy(update={"soil": keys.model_copy(update=scaled)})
    return replace(setting, asked=asked, soil=replace(setting.soil, **changed))
