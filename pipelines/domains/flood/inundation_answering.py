"""An inundation answered by a surrogate: depths with a band, arrival, whom it meets, at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError, FloatArray
from models.physics.inundation import WET_M
from models.scenario import ScenarioSpec
from pipelines.domains.flood.exposure import HAZARDS, exposure, exposure_records, exposure_tables
from pipelines.domains.flood.forcing import Setting, open_setting
from pipelines.domains.flood.inundation_question import described
from pipelines.domains.flood.inundation_surrogate import SNAPSHOTS_H
from pipelines.domains.flood.outcome import Outcome, flooded_land
from pipelines.domains.flood.rasters import require_rasterio, write_raster
from pipelines.domains.flood.scenario import AREAS, HOMES, MAP, homes_of
from pipelines.domains.flood.scenario_file import Scenario
from pipelines.domains.flood.storms import HOUR_S
from pipelines.domains.scenarios import read_keys
from serving.surrogate import SurrogateRelease

_UNKNOWN = ("max_speed_m_s", "max_hazard_m2_s", "hazard_class")
"""What a surrogate does not say of homes."""


def answer_scenario(
    scenario: dict[str, Any],
    base: Path,
    out: Path,
    progress: Callable[[str, float], None],
    surrogates: list[SurrogateRelease],
) -> dict[str, Any]:
    """Highest depth with its 80 % band, depths in between and arrival, of every cell.

    Writes ``max_depth.tif``, ``max_depth_low.tif``, ``max_depth_high.tif``, ``probability.tif`` of
    being flooded, ``arrival.tif``, a ``depth_...h.tif`` for each time, ``map.png`` and, with homes,
    ``areas.parquet`` and ``homes.parquet``.

    Args:
        scenario: as simulated.
        base: folder that its paths are relative to.
        out: folder to write.
        progress: told a text and the share that is done.
        surrogates: of the domain; the one of this grid answers.

    Raises:
        FelsinaError: if none is of this grid, or it was not trained on such a scenario.
    """
    if "gauge" in scenario:
        from pipelines.domains.flood.outlook import run_outlook

        return run_outlook(scenario, base, out, progress, surrogates)
    asked = read_keys(Scenario, scenario)
    require_rasterio(f"scenario {asked.name!r}")
    setting = open_setting(asked, base)
    surrogate = surrogates[0]
    scalars, fields, said = described(setting, surrogate.spec)
    if outside := surrogate.spec.outside(scalars[None], fields[None]):
        raise FelsinaError(f"surrogate {surrogate.id}: {outside[0]}; use --engine physics")
    progress(f"asked {surrogate.id}", 0.1)
    quantiles = surrogate.answer(scalars[None], fields[None])[0]
    answer = Answer(quantiles, surrogate.spec)
    outcome = _outcome(setting, answer)
    files = _write(setting, answer, outcome, out)
    land = outcome.km2_by_depth()
    report: dict[str, Any] = {
        "surrogate": {
            "release": surrogate.id,
            "simulator": surrogate.spec.simulator,
            "errors": surrogate.report["tests"],
            "approximated": said,
        },
        "flooded_km2": land,
        "flooded_over_time": {
            "hours": outcome.times_h.tolist(),
            "km2": outcome.flooded_km2.tolist(),
        },
        "tables": {"Land under water": [{"depth": n, "km2": area} for n, area in land.items()]},
    }
    found, homes = None, homes_of(setting, base)
    if homes is not None:
        unknown = np.full_like(outcome.max_depth_m, np.nan)
        found, areas = exposure(homes, outcome.max_depth_m, unknown, unknown, outcome.arrival_s)
        found = found.drop(columns=list(_UNKNOWN))
        areas = areas.drop(
            columns=[f"{who} {c}" for who in ("buildings", "people") for c in HAZARDS]
        )
        areas.to_parquet(out / AREAS, index=False)
        found.to_parquet(out / HOMES, index=False)
        files += [AREAS, HOMES]
        report["areas"] = exposure_records(areas)
        report["tables"] |= exposure_tables(areas)
    from pipelines.domains.flood.inundation_picture import draw_inundation

    draw_inundation(out / MAP, setting, outcome, found)
    progress("drawn", 1.0)
    return report | {"files": [*files, MAP]}


class Answer:
    """Quantiles [P, O, Q] of one scenario as maps [Y, X]."""

    def __init__(self, quantiles: FloatArray, spec: ScenarioSpec) -> None:
        self.quantiles, self.levels = quantiles, np.array(spec.quantiles)
        self.names = [output.name for output in spec.outputs]
        self.shape = spec.facts["rows"], spec.facts["columns"]

    def map(self, name: str, level: float = 0.5) -> FloatArray:
        """A quantile of an output."""
        values = self.quantiles[:, self.names.index(name), self.levels.tolist().index(level)]
        return values.reshape(self.shape).astype(float)

    def probability(self, name: str, least: float) -> FloatArray:
        """[Y, X] that an output is ``least`` or more.

        Linear between quantiles; beyond the outer ones half of what they leave.
        """
        below = flooded_share(self.quantiles[:, self.names.index(name)], self.levels, least)
        return below.reshape(self.shape)


def flooded_share(quantiles: FloatArray, levels: FloatArray, least: float) -> FloatArray:
    """Probability [...] of ``least`` or more, from rising quantiles [..., Q]."""
    under = quantiles < least
    count = under.sum(-1)
    low = np.clip(count - 1, 0, len(levels) - 1)
    high = np.clip(count, 0, len(levels) - 1)
    a, b = (np.take_along_axis(quantiles, i[..., None], -1)[..., 0] for i in (low, high))
    share = np.clip((least - a) / np.maximum(b - a, 1e-9), 0, 1)
    level = levels[low] + (levels[high] - levels[low]) * share
    level = np.where(count == 0, levels[0] / 2, level)
    return 1 - np.where(count == len(levels), (1 + levels[-1]) / 2, level)


def _outcome(setting: Setting, answer: Answer) -> Outcome:
    """The medians; what a surrogate does not say is not a number."""
    depth = answer.map("max_depth_m")
    arrival = np.where(depth >= WET_M, answer.map("arrival_h") * HOUR_S, np.inf)
    unknown, land = np.full_like(depth, np.nan), flooded_land(setting)
    wet = [(answer.map(f"depth_{hour:g}h_m") >= WET_M) & land for hour in SNAPSHOTS_H]
    cell_m = setting.terrain.cell_m
    km2 = [0.0, *(float(one.sum()) * cell_m**2 / 1e6 for one in wet)]
    times = np.array([0.0, *SNAPSHOTS_H])
    return Outcome(
        depth, unknown, unknown, arrival, unknown, land, times, np.array(km2), {}, 0.0, cell_m
    )


def _write(setting: Setting, answer: Answer, outcome: Outcome, out: Path) -> list[str]:
    """GeoTIFFs, no data where nothing is expected; their names."""
    chance = answer.probability("max_depth_m", WET_M)
    grids = {
        "max_depth": (np.where(outcome.wet, outcome.max_depth_m, np.nan), "m"),
        "max_depth_low": (answer.map("max_depth_m", 0.1), "m"),
        "max_depth_high": (answer.map("max_depth_m", 0.9), "m"),
        "probability": (chance, "1"),
        "arrival": (np.where(outcome.wet, outcome.arrival_s / HOUR_S, np.nan), "h"),
    }
    for hour in SNAPSHOTS_H:
        grids[f"depth_{hour:g}h"] = (answer.map(f"depth_{hour:g}h_m"), "m")
    for name, (values, unit) in grids.items():
        write_raster(out / f"{name}.tif", values, setting.terrain, unit)
    return [f"{name}.tif" for name in grids]
