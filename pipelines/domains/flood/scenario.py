"""An inundation scenario from its parsed TOML: where the water goes, and whom it meets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from pipelines.domains.flood.exposure import (
    Homes,
    exposure,
    exposure_records,
    exposure_tables,
    read_homes,
)
from pipelines.domains.flood.forcing import Setting, open_setting
from pipelines.domains.flood.outcome import Outcome, run_setting
from pipelines.domains.flood.rasters import require_rasterio
from pipelines.domains.flood.scenario_file import EMBEDDED, Scenario
from pipelines.domains.flood.synthetic_homes import synthetic_homes
from pipelines.domains.scenarios import read_keys

MAP, AREAS, HOMES = "map.png", "areas.parquet", "homes.parquet"
METHODS = {
    "local_inertial": "local inertial (de Almeida et al. 2012)",
    "muscl": "shallow water, HLLC and MUSCL",
}


def run_scenario(
    scenario: dict[str, Any], base: Path, out: Path, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    """Simulate a storm, a river's wave or a breach on a terrain.

    With ``[soil]`` its slopes instead, with ``[gauge]`` what a gauge's forecast brings.

    Args:
        scenario: the parsed file (``Scenario``).
        base: folder that its paths are relative to.
        out: folder for the GeoTIFFs, ``map.png``, and with homes ``areas.parquet`` (a row an area)
            and ``homes.parquet`` (a row a home).
        progress: told a text and the share that is done.

    Returns:
        The report, ready for JSON, with ``tables`` to show.
    """
    if "soil" in scenario:
        from pipelines.domains.flood.slopes_scenario import run_slopes_scenario

        return run_slopes_scenario(scenario, base, out, progress)
    if "gauge" in scenario:
        from pipelines.domains.flood.outlook import run_outlook

        return run_outlook(scenario, base, out, progress)
    asked = read_keys(Scenario, scenario)
    if asked.rain is None and not asked.inflow:
        raise FelsinaError(
            f"scenario {asked.name!r}: neither rain nor inflow brings water; add [rain] or"
            " [[inflow]]"
        )
    require_rasterio(f"scenario {asked.name!r}")  # now, not after an hour of water
    setting = open_setting(asked, base)
    cut = setting.cut
    homes = homes_of(setting, base)
    outcome = run_setting(setting, lambda share: progress("water moves", 0.97 * share))
    progress("written", 0.97)
    files = outcome.write(setting, out)
    report: dict[str, Any] = _report(setting, outcome) | {"note": cut}
    if cut:
        report["tables"] = {"Note": [{"note": cut}]} | report["tables"]
    found = None
    if homes is not None:
        found, areas = exposure(
            homes,
            outcome.max_depth_m,
            outcome.max_speed_m_s,
            outcome.max_hazard_m2_s,
            outcome.arrival_s,
        )
        areas.to_parquet(out / AREAS, index=False)
        found.to_parquet(out / HOMES, index=False)
        files += [AREAS, HOMES]
        report["homes_outside"] = int((homes.cell < 0).sum())
        report["areas"] = exposure_records(areas)
        report["tables"] |= exposure_tables(areas)
    from pipelines.domains.flood.inundation_picture import draw_inundation

    draw_inundation(out / MAP, setting, outcome, found)
    progress("done", 1.0)
    return report | {"files": [*files, MAP]}


def homes_of(setting: Setting, base: Path) -> Homes | None:
    """The homes that a scenario names, if it does."""
    wanted = setting.asked.homes
    if wanted is None:
        return None
    if wanted != EMBEDDED:
        return read_homes(base / wanted, setting.terrain)
    keys = setting.asked.terrain.synthetic
    if setting.plain is None or keys is None:
        raise FelsinaError(
            f"homes = {EMBEDDED!r} are the synthetic plain's; name a CSV with id, x, y, people and"
            " area"
        )
    return synthetic_homes(setting.plain, keys.seed)


def _report(setting: Setting, outcome: Outcome) -> dict[str, Any]:
    """All but who is in the water."""
    asked, terrain = setting.asked, setting.terrain
    rows, columns = terrain.bed_m.shape
    land = outcome.km2_by_depth()
    cuts = [
        {
            "x": cut.x_m,
            "y": cut.y_m,
            "hour": keys.hour,
            "width_m": cut.width_m,
            "cells": len(cut.cells),
            "crest_m": cut.crest_m,
            "sill_m": cut.sill_m,
            "ground_m": cut.ground_m,
        }
        for keys, cut in zip(asked.breach, setting.cuts, strict=True)
    ]
    water = [
        {"water": name, "million m3": value / 1e6}
        for name, value in outcome.volumes_m3.items()
        if value or name == "end"
    ]
    tables = {
        "Water": [*water, {"water": "mass error (share)", "million m3": outcome.mass_error}],
        "Land under water": [{"depth": name, "km2": area} for name, area in land.items()],
    }
    return {
        "simulator": METHODS[asked.scheme],
        "terrain": {
            "name": asked.terrain.file or "synthetic",
            "rows": rows,
            "columns": columns,
            "cell_m": terrain.cell_m,
            "crs": terrain.crs,
            "lowest_m": float(terrain.bed_m.min()),
            "highest_m": float(terrain.bed_m.max()),
        },
        "hours": asked.hours,
        "volumes_m3": outcome.volumes_m3,
        "mass_error": outcome.mass_error,
        "flooded_km2": land,
        "flooded_over_time": {
            "hours": outcome.times_h.tolist(),
            "km2": outcome.flooded_km2.tolist(),
        },
        "breaches": cuts,
        "tables": tables | ({"Breaches": cuts} if cuts else {}),
    }
