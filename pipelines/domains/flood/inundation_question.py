"""An inundation scenario in a surrogate's terms, and what cannot be said in them."""

from __future__ import annotations

import numpy as np
from scipy.optimize import root_scalar

from models.contracts import FelsinaError, FloatArray
from models.scenario import ScenarioSpec
from pipelines.domains.flood.forcing import Setting
from pipelines.domains.flood.hydrographs import Hydrograph
from pipelines.domains.flood.inundation_surrogate import HOURS, SCALARS, STORM_N
from pipelines.domains.flood.scenario_file import ChicagoRain
from pipelines.domains.flood.storms import HOUR_S
from pipelines.domains.flood.terrain import Terrain

_OTHER_N = 0.1
"""A storm's n may differ by so much from the one that was learned."""
_PHYSICS = "use --engine physics"


def described(setting: Setting, spec: ScenarioSpec) -> tuple[FloatArray, FloatArray, list[str]]:
    """Scalars [F], fields [P, C] and what was approximated, one sentence each.

    Raises:
        FelsinaError: naming what the surrogate was not trained on.
    """
    asked = setting.asked
    require_grid(setting.terrain, spec)
    if asked.breach:
        raise FelsinaError(
            f"breach: surrogates know no river; give its flow as an [[inflow]], or {_PHYSICS}"
        )
    if asked.hours != HOURS:
        raise FelsinaError(f"hours = {asked.hours:g}: surrogates know {HOURS:g}; {_PHYSICS}")
    if walls := [side for side, kind in asked.edges.model_dump().items() if kind != "open"]:
        raise FelsinaError(f"edges.{walls[0]}: surrogates know open edges; {_PHYSICS}")
    if np.ndim(setting.infiltration_mm_h):
        raise FelsinaError(f"infiltration_mm_h: surrogates know one number; {_PHYSICS}")
    values = {
        one.name: float(np.max(one.default)) for one in spec.scalars if one.default is not None
    }
    values["infiltration_mm_h"] = float(setting.infiltration_mm_h)
    said = _storm(setting, values)
    fields = fields_of(setting.terrain, setting.manning)
    if len(setting.inlets) > 1:
        raise FelsinaError(f"inflow: {len(setting.inlets)} of them, surrogates know 1; {_PHYSICS}")
    for entry in setting.inlets:
        fields[entry.cells, 2] = 1 / len(entry.cells)
        wave, off = fitted_wave(entry.hydrograph)
        values |= wave
        said.append(
            f"inflow: a rise of {wave['rise_h']:.2g} h to {wave['inflow_m3_s']:.3g} m3/s, a fall by"
            f" {wave['fall_h']:.2g} h; of the same volume, {off:.0%} of it at another time"
        )
    return np.array([values[name] for name in SCALARS], float), fields, said


def require_grid(terrain: Terrain, spec: ScenarioSpec) -> None:
    """Refuse a terrain on another grid than the surrogate's."""
    known = spec.facts["rows"], spec.facts["columns"], spec.facts["cell_m"]
    if (*terrain.bed_m.shape, terrain.cell_m) != known:
        rows, columns = terrain.bed_m.shape
        raise FelsinaError(
            f"terrain: {rows} x {columns} cells of {terrain.cell_m:g} m; {spec.name} knows"
            f" {known[0]} x {known[1]} of {known[2]:g} m: clip and coarsen to it, or {_PHYSICS}"
        )


def fields_of(terrain: Terrain, manning: FloatArray) -> FloatArray:
    """Height above the lowest cell, roughness and no source, [P, 3]."""
    bed = terrain.bed_m - terrain.bed_m.min()
    return np.stack([bed, np.broadcast_to(manning, bed.shape), np.zeros_like(bed)], -1).reshape(
        -1, 3
    )


def _storm(setting: Setting, values: dict[str, float]) -> list[str]:
    """Put the storm into ``values``."""
    asked, rain = setting.asked.rain, setting.rain
    values["rain_mm"] = 0.0
    if asked is None or rain is None:
        return []
    if not isinstance(asked, ChicagoRain) or asked.begin_h:
        raise FelsinaError(f"rain: surrogates know Chicago storms from hour 0 on; {_PHYSICS}")
    if abs(asked.n - STORM_N) > _OTHER_N + 1e-9:
        raise FelsinaError(
            f"rain.n = {asked.n:g}: surrogates know {STORM_N:g} and what is {_OTHER_N:g} beside it;"
            f" {_PHYSICS}"
        )
    values |= {"rain_h": asked.hours, "rain_peak": asked.peak, "rain_mm": float(rain.depth_mm())}
    return [f"rain: n = {STORM_N:g} instead of {asked.n:g}"] if asked.n != STORM_N else []


def fitted_wave(wave: Hydrograph) -> tuple[dict[str, float], float]:
    """The surrogate's inflow with a hydrograph's peak, its time and its volume until the end.

    Returns:
        ``inflow_m3_s``, ``rise_h`` and ``fall_h``; the share of the volume that it brings at other
        times.
    """
    hours = np.linspace(0, HOURS, 481)
    flow = np.interp(hours, wave.time_s / HOUR_S, wave.flow_m3_s)
    peak, rise = float(flow.max()), max(float(hours[flow.argmax()]), 0.25)
    if peak <= 0:
        return {"inflow_m3_s": 0.0, "rise_h": 1.0, "fall_h": 3.0}, 0.0
    volume = np.trapezoid(flow, hours)

    def shape(fall: float) -> FloatArray:
        return peak * np.minimum(hours / rise, np.exp(-np.maximum(hours - rise, 0) / fall))

    def lacking(fall: float) -> float:
        return float(np.trapezoid(shape(fall), hours) - volume)

    low, high = 0.05, 50.0
    if lacking(low) >= 0:
        fall = low
    elif lacking(high) <= 0:
        fall = high
    else:
        fall = root_scalar(lacking, bracket=(low, high)).root
    off = np.trapezoid(np.abs(shape(fall) - flow), hours) / 2 / volume
    return {"inflow_m3_s": peak, "rise_h": rise, "fall_h": fall}, float(off)
