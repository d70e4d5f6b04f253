"""The keys of an inundation scenario's TOML file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipelines.domains.flood.embanked_plain import PlainDesign
from pipelines.domains.scenarios import Frozen

EMBEDDED = "embedded"
INLET = "inlet"
Scheme = Literal["local_inertial", "muscl"]
EdgeKind = Literal["wall", "open"]


class RasterKeys(Frozen):
    """A raster of bed levels.

    Attributes:
        file: GeoTIFF in metres, relative to the scenario's file.
        fill: fill cells without data from those around.
        clip: west, south, east, north edge of the part that is used, m.
        coarsen: side of the blocks of cells that become one.
    """

    file: str | None = None
    fill: bool = False
    clip: tuple[float, float, float, float] | None = None
    coarsen: int = Field(default=1, ge=1)


class TerrainKeys(RasterKeys):
    """Where water runs: a raster, whose embankments keep their crests, or an invented plain.

    Attributes:
        synthetic: the invented plain, instead of ``file``.
    """

    synthetic: PlainDesign | None = None


class EdgeKeys(Frozen):
    """What the grid's sides are: ``open`` lets water out, ``wall`` does not."""

    west: EdgeKind = "open"
    east: EdgeKind = "open"
    south: EdgeKind = "open"
    north: EdgeKind = "open"


class GumbelKeys(Frozen):
    """A depth by its return period.

    Attributes:
        years: return period that is asked.
        depths: two known ones, years and mm each; or
        location_mm: Gumbel's mode, and
        scale_mm: his spread.
        hours: duration that the depths are of.
    """

    years: float
    depths: tuple[tuple[float, float], tuple[float, float]] | None = None
    location_mm: float | None = None
    scale_mm: float | None = None
    hours: float = Field(default=24.0, gt=0)


class DesignRain(Frozen):
    """What uniform and Chicago storms share.

    Attributes:
        a_mm: of ``h = a d^n``, mm in one hour, for the return period that is asked; or
        gumbel: a return period, from which a follows.
        n: of the same.
        hours: duration.
        begin_h: when it begins.
    """

    a_mm: float | None = None
    gumbel: GumbelKeys | None = None
    n: float
    hours: float
    begin_h: float = Field(default=0.0, ge=0)


class UniformRain(DesignRain):
    """One intensity throughout."""

    kind: Literal["uniform"]


class ChicagoRain(DesignRain):
    """A peak, about which every duration has its design depth."""

    kind: Literal["chicago"]
    peak: float = 0.4
    step_minutes: float = 5.0


class TableRain(Frozen):
    """A CSV with ``hours`` or ``time_s`` and ``rain_mm_h``."""

    kind: Literal["table"]
    file: str
    begin_h: float = Field(default=0.0, ge=0)


class GridRain(Frozen):
    """A GeoTIFF of mm/h, one band a step."""

    kind: Literal["grid"]
    file: str
    step_minutes: float
    begin_h: float = Field(default=0.0, ge=0)


RainKeys = Annotated[UniformRain | ChicagoRain | TableRain | GridRain, Field(discriminator="kind")]


class InflowKeys(Frozen):
    """A river or sewer that brings water.

    Attributes:
        at: ``inlet``, where the synthetic river enters; or
        x: where, in the terrain's system, and
        y: the same, and
        width_m: across which it enters.
        file: CSV of flows; or a designed wave of
        peak_m3_s: highest flow,
        to_peak_h: hours to it, and
        volume_m3: above the base flow (a gamma curve), or
        duration_h: whole (a triangle).
        base_m3_s: before and after.
        begin_h: when the wave begins; its first flow holds until then.
    """

    at: Literal["inlet"] | None = None
    x: float | None = None
    y: float | None = None
    width_m: float = Field(default=0.0, ge=0)
    file: str | None = None
    peak_m3_s: float | None = None
    to_peak_h: float | None = None
    volume_m3: float | None = None
    duration_h: float | None = None
    base_m3_s: float = 0.0
    begin_h: float = Field(default=0.0, ge=0)


class BreachKeys(Frozen):
    """A levee that breaks.

    Attributes:
        x: where, in the terrain's system, and
        y: the same; or
        river: share of the synthetic river's course, downstream, and
        side: of it, looking downstream.
        width_m: of the gap.
        sill_m: level that is left, or
        depth_m: of the gap below the crest; the ground beside the levee without either.
        hour: when it begins.
        minutes: how long it takes.
    """

    x: float | None = None
    y: float | None = None
    river: float | None = Field(default=None, ge=0, le=1)
    side: Literal["left", "right"] | None = None
    width_m: float = Field(gt=0)
    sill_m: float | None = None
    depth_m: float | None = None
    hour: float = Field(ge=0)
    minutes: float = Field(default=30.0, ge=0)


class Scenario(Frozen):
    """The file.

    Attributes:
        name: for people.
        domain: as registered.
        hours: how long.
        scheme: how water is moved: ``local_inertial`` for gentle plains, ``muscl`` where flow is
            fast.
        roughness: Manning's n in s/m^(1/3), a number or a GeoTIFF.
        infiltration_mm_h: what the ground takes, a number or a GeoTIFF.
        terrain: a GeoTIFF, or the keys above.
        edges: the sides of the grid.
        rain: what falls.
        inflow: what comes by rivers.
        breach: levees that break.
        homes: CSV of homes, or ``embedded`` for those of the synthetic plain.
    """

    name: str = Field(min_length=1)
    domain: Literal["flood"]
    hours: float = Field(gt=0, le=720)
    scheme: Scheme = "local_inertial"
    roughness: float | str = 0.05
    infiltration_mm_h: float | str = 0.0
    terrain: TerrainKeys
    edges: EdgeKeys = EdgeKeys()
    rain: RainKeys | None = None
    inflow: tuple[InflowKeys, ...] = ()
    breach: tuple[BreachKeys, ...] = ()
    homes: str | None = None

    @field_validator("terrain", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value
