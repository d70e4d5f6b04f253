"""The keys of a slopes scenario's TOML file: what may slip under a storm."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from pipelines.domains.flood.scenario_file import RainKeys, RasterKeys
from pipelines.domains.flood.synthetic_hills import HillsDesign
from pipelines.domains.scenarios import Frozen

SOIL_BOUNDS = {
    "cohesion_kpa": (0.0, 100.0, "effective cohesion, that of roots with it"),
    "friction_degrees": (5.0, 60.0, "effective angle of internal friction"),
    "unit_weight_kn_m3": (12.0, 26.0, "unit weight of the wet soil"),
    "depth_m": (0.1, 20.0, "vertical depth of the mantle"),
    "conductivity_m_s": (1e-10, 1e-2, "saturated hydraulic conductivity"),
    "diffusivity_m2_s": (1e-9, 1e-1, "hydraulic diffusivity when nearly saturated"),
}
"""Key to the least and greatest value that a mantle of soil has, and what it is."""


class HillTerrainKeys(RasterKeys):
    """Whose slopes: a raster, coarsened by plain means, or invented hills.

    Attributes:
        synthetic: the invented hills, instead of ``file``.
    """

    synthetic: HillsDesign | None = None


class ScatterKeys(Frozen):
    """How uncertain the strength is: coefficients of variation, by the mean over the terrain.

    Attributes:
        cohesion_cv: of the cohesion.
        friction_cv: of the tangent of the angle of friction.
        correlation: between the two.
    """

    cohesion_cv: float = Field(ge=0, le=1)
    friction_cv: float = Field(ge=0, le=0.5)
    correlation: float = Field(default=0.0, ge=-1, le=1)


class SoilKeys(Frozen):
    """The mantle of soil; each of the first six a number or a GeoTIFF, within ``SOIL_BOUNDS``.

    Attributes:
        cohesion_kpa: effective cohesion.
        friction_degrees: effective angle of internal friction.
        unit_weight_kn_m3: of the wet soil.
        depth_m: vertical depth.
        conductivity_m_s: saturated; rain beyond it runs off.
        diffusivity_m2_s: hydraulic, when nearly saturated.
        sealed: whether water stops at that depth (rock below) or drains on.
        antecedent_mm_day: net rain before the storm, that lasted; or
        wetness: share of the mantle that was saturated then, everywhere alike.
        scatter: how uncertain the strength is; without it there is no probability.
    """

    cohesion_kpa: float | str
    friction_degrees: float | str
    unit_weight_kn_m3: float | str
    depth_m: float | str
    conductivity_m_s: float | str
    diffusivity_m2_s: float | str
    sealed: bool = False
    antecedent_mm_day: float | None = Field(default=None, ge=0, le=50)
    wetness: float | None = Field(default=None, ge=0, le=1)
    scatter: ScatterKeys | None = None


class ThresholdKeys(Frozen):
    """A region's own threshold of rain, ``floor + scale duration^-exponent`` in mm/h and h.

    Attributes:
        name: who published it.
        scale_mm_h: intensity above the floor at one hour.
        exponent: how fast it falls with duration.
        floor_mm_h: intensity that it never falls below.
        shortest_h: least duration that it was drawn from.
        longest_h: greatest.
    """

    name: str = Field(min_length=1)
    scale_mm_h: float
    exponent: float
    floor_mm_h: float = 0.0
    shortest_h: float = 0.0
    longest_h: float = 1000.0


LONGEST_H = 240.0
"""Slopes are followed no longer: sealed ground would keep weeks of water."""


class SlopesScenario(Frozen):
    """The file; ``[soil]`` tells it from an inundation's.

    Attributes:
        name: for people.
        domain: as registered.
        hours: how long slopes are followed; half as long again as the storm when left out, and
            no longer than ``LONGEST_H``.
        least_slope_degrees: flatter land is not asked.
        reach_degrees: angle of reach of what slips; its way is one cell wide, and on gentler ground
            it has none.
        beside_m: homes so near to such a way or to a cell that fails are in reach too.
        terrain: a GeoTIFF, or the keys above.
        rain: what falls.
        soil: on what.
        threshold: of a region, beside the worldwide ones.
        homes: CSV of homes, or ``embedded`` for those of the synthetic hills.
        otherwise: whether to ask again with each of the soil's values changed.
    """

    name: str = Field(min_length=1)
    domain: Literal["flood"]
    hours: float | None = Field(default=None, gt=0, le=LONGEST_H)
    least_slope_degrees: float = Field(default=15.0, ge=5, le=45)
    reach_degrees: float = Field(default=26.0, ge=10, le=45)
    beside_m: float = Field(default=10.0, ge=0, le=200)
    terrain: HillTerrainKeys
    rain: RainKeys
    soil: SoilKeys
    threshold: tuple[ThresholdKeys, ...] = ()
    homes: str | None = None
    otherwise: bool = False

    @field_validator("terrain", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value
