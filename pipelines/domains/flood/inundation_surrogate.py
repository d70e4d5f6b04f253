"""What the surrogate of an inundation is asked: one square of terrain, one storm, one breach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.contracts import FloatArray
from models.scenario import TRAIN, Input, Output, ScenarioSpec

if TYPE_CHECKING:
    from models.surrogates.conditional_unet import ConditionalUNet
    from training.experiments import Experiments

HOURS = 8.0
SNAPSHOTS_H = (1.0, 2.0, 4.0, 6.0, 8.0)
STEP_S = 600.0
"""Of hyetographs and hydrographs."""
STORM_N = 0.4
"""Of the storms' ``h = a d^n``."""
MOST = {
    "rain_mm": 150.0,
    "rain_h": 6.0,
    "rain_peak": 0.8,
    "inflow_m3_s": 150.0,
    "rise_h": 4.0,
    "fall_h": 8.0,
    "infiltration_mm_h": 15.0,
}
LEAST = {"rain_h": 0.5, "rain_peak": 0.2, "rise_h": 0.25, "fall_h": 1.0}
_ABOUT = {
    "rain_mm": ("mm", "Depth of a Chicago storm, everywhere alike; 0 for none.", 0.0),
    "rain_h": ("h", "Its duration, from the beginning on.", 2.0),
    "rain_peak": ("", "Share of it before its peak.", 0.4),
    "inflow_m3_s": ("m3/s", "Peak of what enters at source, as through a breach.", 0.0),
    "rise_h": ("h", "Hours in which the inflow rises, in a line, to its peak.", 1.0),
    "fall_h": ("h", "Hours in which it then falls to 37 %, and so on.", 3.0),
    "infiltration_mm_h": ("mm/h", "What the ground takes at most.", 2.0),
}
SCALARS = tuple(_ABOUT)
MANNING = (0.02, 0.15)
_VOLUME = 0.5
"""Weight of the error of the water's volume, beside that of cells' depths."""


def spec_of(
    name: str,
    rows: int,
    columns: int,
    cell_m: float,
    relief_m: float,
    presets: dict[str, list[list[float]]] | None = None,
) -> ScenarioSpec:
    """What is asked and answered on a grid, of terrains with so much relief.

    Args:
        name: of the surrogate.
        rows: of the grid.
        columns: of the grid.
        cell_m: width of a cell.
        relief_m: highest ground above the lowest.
        presets: terrains by name, [cells, 3] in the order of the fields.
    """
    depths = [Output("max_depth_m", "m", f"Largest depth within {HOURS:g} h.")]
    depths += [
        Output(f"depth_{hour:g}h_m", "m", f"Depth after {hour:g} h.", total_weight=_VOLUME)
        for hour in SNAPSHOTS_H
    ]
    arrival = Output("arrival_h", "h", "When the water first stands .05 m deep, where it does.")
    return ScenarioSpec(
        name=name,
        domain="flood",
        simulator="local inertial shallow water",
        axis="cell",
        places=tuple(f"r{y}c{x}" for y in range(rows) for x in range(columns)),
        scalars=tuple(
            Input(key, unit, LEAST.get(key, 0.0), MOST[key], about, default)
            for key, (unit, about, default) in _ABOUT.items()
        ),
        fields=(
            Input("bed_m", "m", 0, relief_m, "Height of the ground above the lowest cell."),
            Input("manning", "s/m^(1/3)", *MANNING, "Roughness.", 0.05),
            Input("source", "", 0, 1, "Share of the inflow that enters here; 1 in all.", 0.0),
        ),
        outputs=(*depths, arrival),
        presets=presets or {},
        facts={
            "rows": rows,
            "columns": columns,
            "cell_m": cell_m,
            "hours": HOURS,
            "storm": f"Chicago, h = a d^{STORM_N:g}, in steps of {STEP_S / 60:g} min",
            "edges": "open",
        },
    )


def storm_mm_h(depth_mm: FloatArray, hours: FloatArray, peak: FloatArray) -> FloatArray:
    """Intensity [K, B] of Chicago storms in steps of ``STEP_S``, 0 from their end on."""
    edges = np.arange(0, HOURS * 3600 + 1, STEP_S)[:, None] / 3600
    after = np.minimum(edges, hours) - peak * hours
    share = np.where(after < 0, peak, 1 - peak)
    fallen = np.sign(after) * share * (np.abs(after) / share / hours) ** STORM_N
    return depth_mm * np.diff(fallen, axis=0) * 3600 / STEP_S


def inflow_m3_s(peak_m3_s: FloatArray, rise_h: FloatArray, fall_h: FloatArray) -> FloatArray:
    """Flow [K + 1, B] at the ends of steps of ``STEP_S``."""
    hour = np.arange(0, HOURS * 3600 + 1, STEP_S)[:, None] / 3600
    return peak_m3_s * np.minimum(hour / rise_h, np.exp(-np.maximum(hour - rise_h, 0) / fall_h))


def network(experiments: Experiments) -> ConditionalUNet:
    """The network that learns drawn inundations."""
    from models.surrogates.conditional_unet import ConditionalUNet, Scales

    rows, facts = experiments.rows(TRAIN), experiments.spec.facts
    scalars, target = experiments.scalars[rows], experiments.target[rows]
    spread = np.nanstd(target, axis=(0, 1))
    scales = Scales(scalars.mean(0), scalars.std(0), spread, SNAPSHOTS_H, STORM_N)
    grid = facts["rows"], facts["columns"], facts["cell_m"]
    return ConditionalUNet(*grid, scales, experiments.spec.quantiles)
