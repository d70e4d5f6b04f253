"""What an inundation scenario came to, as numpy arrays: run, written, and in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.contracts import BoolArray, FloatArray
from models.physics.inundation import SCHEMES, WET_M, Flood, simulate
from pipelines.domains.flood.exposure import DEPTH_CLASSES, DEPTHS_M
from pipelines.domains.flood.forcing import Setting
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.storms import HOUR_S

KEPT = 24
"""Looks at the flooded area between beginning and end, fewer where the grid is large."""
_MOST_KEPT = 40_000_000
"""Depths that are held for them."""


@dataclass(frozen=True)
class Outcome:
    """A flood on one terrain.

    Attributes:
        max_depth_m: [Y, X].
        max_speed_m_s: [Y, X] where it was flooded.
        max_hazard_m2_s: [Y, X] highest depth times speed.
        arrival_s: [Y, X], inf where it never came.
        duration_s: [Y, X] how long a place was flooded.
        land: [Y, X] what counts as flooded land: not the synthetic river between its levees.
        times_h: [S] when the flooded area was looked at.
        flooded_km2: [S] of the land.
        volumes_m3: where water came from and went.
        mass_error: share of it that arithmetic made or lost.
        cell_m: side of a cell.
    """

    max_depth_m: FloatArray
    max_speed_m_s: FloatArray
    max_hazard_m2_s: FloatArray
    arrival_s: FloatArray
    duration_s: FloatArray
    land: BoolArray
    times_h: FloatArray
    flooded_km2: FloatArray
    volumes_m3: dict[str, float]
    mass_error: float
    cell_m: float

    @property
    def wet(self) -> BoolArray:
        """[Y, X] whether a place was flooded at any time."""
        return self.max_depth_m >= WET_M

    def km2_by_depth(self) -> dict[str, float]:
        """Flooded land by class of depth."""
        kind = np.digitize(self.max_depth_m[self.land], DEPTHS_M)
        area = np.bincount(kind, minlength=len(DEPTHS_M) + 1) * self.cell_m**2 / 1e6
        return dict(zip(DEPTH_CLASSES, area[1:].tolist(), strict=True))

    def write(self, setting: Setting, out: Path) -> list[str]:
        """Write the grids as GeoTIFFs, no data where it was never flooded; their names."""
        grids = {
            "max_depth": (self.max_depth_m, "m"),
            "max_speed": (self.max_speed_m_s, "m/s"),
            "hazard": (self.max_hazard_m2_s, "m2/s"),
            "arrival": (self.arrival_s / HOUR_S, "h"),
            "duration": (self.duration_s / HOUR_S, "h"),
        }
        for name, (values, unit) in grids.items():
            shown = np.where(self.wet, values, np.nan)
            write_raster(out / f"{name}.tif", shown, setting.terrain, unit)
        return [f"{name}.tif" for name in grids]


def flooded_land(setting: Setting) -> BoolArray:
    """[Y, X] all but the synthetic river and its levees."""
    if setting.plain is None:
        return np.ones(setting.terrain.bed_m.shape, bool)
    return ~(setting.plain.floodway | setting.plain.crest)


def run_setting(setting: Setting, progress: Callable[[float], None]) -> Outcome:
    """Move the water of a setting from beginning to end."""
    cells = setting.terrain.bed_m.size
    end_s = setting.asked.hours * HOUR_S
    kept = max(2, min(KEPT, _MOST_KEPT // cells))
    times = np.linspace(0, end_s, kept + 1)
    with torch.no_grad():
        flood = simulate(
            setting.basin(),
            SCHEMES[setting.asked.scheme],
            end_s,
            rain=setting.falling(),
            inflow=setting.entering(),
            breach=setting.breaking(),
            times_s=times.tolist(),
            progress=progress,
        )
    return _outcome(setting, flood, times)


def _outcome(setting: Setting, flood: Flood, times_s: FloatArray) -> Outcome:
    cell_m, land = setting.terrain.cell_m, flooded_land(setting)
    wet = flood.depths_m[0].numpy() >= WET_M
    names = ("start", "rain", "inflow", "infiltrated", "left", "end")
    return Outcome(
        flood.max_depth_m[0].numpy(),
        flood.max_speed_m_s[0].numpy(),
        flood.max_hazard_m2_s[0].numpy(),
        flood.arrival_s[0].numpy(),
        flood.duration_s[0].numpy(),
        land,
        times_s / HOUR_S,
        (wet & land).sum((1, 2)) * cell_m**2 / 1e6,
        {name: float(getattr(flood.volumes, name)[0]) for name in names},
        float(flood.volumes.error[0]),
        cell_m,
    )
