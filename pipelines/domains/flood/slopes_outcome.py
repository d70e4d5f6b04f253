"""What a slopes scenario came to, as numpy arrays: run, written, and in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.contracts import BoolArray, FloatArray
from models.physics.slope_response import slope_response
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.slopes_setting import SlopesSetting
from pipelines.domains.flood.storms import HOUR_S, MM_H_IN_M_S

MM_DAY_IN_M_S = MM_H_IN_M_S / 24
SAFETY = (1.0, 1.25, 1.5)
"""Where classes of the factor of safety end; below the first a slope fails."""
SAFETY_CLASSES = ("fails, under 1", "1 to 1.25", "1.25 to 1.5", "over 1.5")
UNDECIDED = (0.1, 0.9)
"""Between these probabilities the input does not say whether a slope fails."""


@dataclass(frozen=True)
class SlopesOutcome:
    """A storm on one terrain; rasters are NaN where land is too flat to be asked.

    Attributes:
        asked: [Y, X] whether a cell is a slope that is asked.
        factor_of_safety: [Y, X] the least, over depths and times.
        failure_h: [Y, X] hour of failure, 0 before the storm, inf where it stands.
        probability: [Y, X] of failure at any depth, the greatest; None without scatter.
        critical_rain_mm_day: [Y, X] lasting net rain that brings failure; inf where none does.
        slope_degrees: [Y, X], of all land.
        cell_m: side of a cell.
    """

    asked: BoolArray
    factor_of_safety: FloatArray
    failure_h: FloatArray
    probability: FloatArray | None
    critical_rain_mm_day: FloatArray
    slope_degrees: FloatArray
    cell_m: float

    def km2(self, cells: BoolArray) -> float:
        """Area of cells, in plan."""
        return float(cells.sum()) * self.cell_m**2 / 1e6

    def share(self, cells: BoolArray) -> float:
        """Of the slopes that are asked; none where there is none."""
        return float((cells & self.asked).sum()) / max(int(self.asked.sum()), 1)

    def failed_by(self, hour: float) -> BoolArray:
        """[Y, X] what has failed until an hour."""
        return self.failed & (self.failure_h <= hour + 1e-9)

    @property
    def failed(self) -> BoolArray:
        """[Y, X] what fails at any time."""
        return np.isfinite(self.failure_h)

    def by_class(self) -> list[dict[str, Any]]:
        """Slopes by class of their least factor of safety."""
        kind = np.digitize(self.factor_of_safety[self.asked], SAFETY)
        count = np.bincount(kind, minlength=len(SAFETY_CLASSES))
        every = max(int(count.sum()), 1)
        area = self.cell_m**2 / 1e6
        return [
            {"factor of safety": name, "km2": float(n) * area, "share of slopes": float(n) / every}
            for name, n in zip(SAFETY_CLASSES, count.tolist(), strict=True)
        ]

    def chances(self) -> dict[str, float] | None:
        """What the soil's uncertainty comes to: expected share, and that which it leaves open."""
        if self.probability is None:
            return None
        low, high = UNDECIDED
        chance = np.nan_to_num(self.probability)
        return {
            "expected_share": float(chance.sum()) / max(int(self.asked.sum()), 1),
            "likely_share": self.share(chance >= high),
            "undecided_share": self.share((chance > low) & (chance < high)),
        }

    def write(self, setting: SlopesSetting, out: Path) -> list[str]:
        """Write the grids as GeoTIFFs; what is not finite, flat land with it, is no data."""
        grids = {
            "factor_of_safety": (self.factor_of_safety, ""),
            "failure_hour": (self.failure_h, "h"),
            "critical_rain": (self.critical_rain_mm_day, "mm/day"),
        }
        if self.probability is not None:
            grids["probability"] = (self.probability, "")
        for name, (values, unit) in grids.items():
            write_raster(out / f"{name}.tif", values, setting.terrain, unit)
        return [f"{name}.tif" for name in grids]


def run_slopes(setting: SlopesSetting) -> SlopesOutcome:
    """Bring a setting's storm on its slopes."""
    keys = setting.asked.soil
    time_s, rain_m_s = setting.falling()
    if rain_m_s.ndim == 1:
        rain_m_s = rain_m_s[:, None, None]
    wetness = None if keys.wetness is None else torch.tensor(keys.wetness, dtype=torch.float64)
    with torch.no_grad():
        found = slope_response(
            torch.from_numpy(np.array(setting.terrain.bed_m, float)),
            setting.terrain.cell_m,
            setting.soil,
            time_s,
            rain_m_s,
            antecedent_m_s=(keys.antecedent_mm_day or 0.0) * MM_DAY_IN_M_S,
            wetness=wetness,
            scatter=setting.scatter,
            times_s=time_s,
            sealed=keys.sealed,
        )
    slope = np.degrees(found.slope_rad.numpy())
    asked = slope >= setting.asked.least_slope_degrees

    def on_slopes(values: torch.Tensor, unit: float = 1.0) -> FloatArray:
        return np.where(asked, values.numpy() / unit, np.nan)

    return SlopesOutcome(
        asked,
        on_slopes(found.factor_of_safety),
        on_slopes(found.failure_s, HOUR_S),
        None if setting.scatter is None else on_slopes(found.probability),
        on_slopes(found.critical_rain_m_s, MM_DAY_IN_M_S),
        slope,
        setting.terrain.cell_m,
    )
