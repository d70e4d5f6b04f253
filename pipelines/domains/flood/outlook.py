"""From a gauge to a map: where a river's forecast puts water, with what probability, and whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError
from pipelines.domains.flood.forcing import open_setting
from pipelines.domains.flood.gauge import ask_gauge
from pipelines.domains.flood.member_floods import answered_floods, simulated_floods
from pipelines.domains.flood.outlook_areas import area_table
from pipelines.domains.flood.outlook_file import Outlook
from pipelines.domains.flood.outlook_report import DEPTHS_M, Told, report_of
from pipelines.domains.flood.overtopping import landing, spills
from pipelines.domains.flood.rasters import require_rasterio, write_raster
from pipelines.domains.flood.scenario import AREAS, MAP, METHODS, homes_of
from pipelines.domains.scenarios import read_keys
from serving.surrogate import SurrogateRelease

ARRIVALS = (0.1, 0.5)
"""Probabilities of which there are maps of the hour by which water has come."""


def run_outlook(
    scenario: dict[str, Any],
    base: Path,
    out: Path,
    progress: Callable[[str, float], None],
    surrogates: list[SurrogateRelease] | None = None,
) -> dict[str, Any]:
    """Probability of water, by cell and by area, in the hours that a gauge's forecast covers.

    Writes ``probability_005.tif`` and its like for ``DEPTHS_M``, ``expected_depth.tif``,
    ``arrival_10.tif`` and ``arrival_50.tif``, ``map.png`` and, with homes, ``areas.parquet``.

    Args:
        scenario: the parsed file (``Outlook``).
        base: folder that its paths are relative to.
        out: folder to write.
        progress: told a text and the share that is done.
        surrogates: of the domain, the first of which answers; the solver does without.

    Returns:
        The report, ready for JSON, with ``tables`` to show.
    """
    asked = read_keys(Outlook, scenario)
    for key in ("rain", "inflow", "breach"):
        if getattr(asked, key):
            raise FelsinaError(
                f"outlook {asked.name!r}: {key} is a scenario's; an outlook's water comes by its"
                " gauge alone"
            )
    require_rasterio(f"outlook {asked.name!r}")
    setting = open_setting(asked, base)
    cells = landing(asked.gauge, setting.terrain, setting.plain)
    homes = homes_of(setting, base)
    progress(f"gauge {asked.gauge.node} asked", 0.02)
    gauge = ask_gauge(asked.gauge, base)
    if asked.from_h >= gauge.hours[-1]:
        raise FelsinaError(
            f"from_h = {asked.from_h:g}: the forecast ends after {gauge.hours[-1]:g} h; begin"
            " before"
        )
    if asked.hours < 2 * gauge.hours[1]:
        raise FelsinaError(
            f"hours = {asked.hours:g}: the forecast has steps of {gauge.hours[1]:g} h; an outlook"
            " spans two of them or more"
        )
    spilled = spills(asked.gauge, gauge.hours, gauge.stage_m, asked.from_h, asked.hours)

    def tell(share: float) -> None:
        progress("members' water moves", 0.05 + 0.9 * share)

    if surrogates:
        floods, by = answered_floods(setting, cells, spilled, surrogates[0], tell)
        engine: dict[str, Any] = {
            "surrogate": surrogates[0].id,
            "simulator": surrogates[0].spec.simulator,
            "errors": surrogates[0].report["tests"],
            **by,
        }
    else:
        floods = simulated_floods(setting, cells, spilled, tell)
        engine = {"simulator": METHODS[asked.scheme]}
    areas = None if homes is None else area_table(homes, floods, asked.alerts)
    told = Told(setting, cells, gauge, spilled, floods, areas)
    progress("written", 0.96)
    files = _write(told, out)
    report = report_of(told, engine)
    if homes is not None:
        report["homes_outside"] = int((homes.cell < 0).sum())
    from pipelines.domains.flood.outlook_picture import draw_outlook

    draw_outlook(out / MAP, told, homes)
    progress("done", 1.0)
    return report | {"files": [*files, MAP]}


def _write(told: Told, out: Path) -> list[str]:
    """GeoTIFFs and the table of areas; their names."""
    floods = told.floods
    chance = {d: floods.probability(d) for d in DEPTHS_M}
    grids = {f"probability_{round(100 * d):03d}": (value, "1") for d, value in chance.items()}
    grids["expected_depth"] = (floods.expected_depth_m(), "m")
    for level in ARRIVALS:
        hours = floods.arrived(level)
        shown = np.where(np.isfinite(hours), hours, np.nan)
        grids[f"arrival_{round(100 * level)}"] = (shown, "h")
    for name, (values, unit) in grids.items():
        write_raster(out / f"{name}.tif", told.map(values), told.setting.terrain, unit)
    files = [f"{name}.tif" for name in grids]
    if told.areas is not None:
        told.areas.to_parquet(out / AREAS, index=False)
        files.append(AREAS)
    return files
