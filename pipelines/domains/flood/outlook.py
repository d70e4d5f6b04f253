"""From a gauge to a map: where a river's forecast puts water, with what probability, and whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FelsinaError, FloatArray, IntArray
from models.physics.inundation import WET_M
from pipelines.domains.flood.forcing import Setting, open_setting
from pipelines.domains.flood.gauge import GaugeForecast, ask_gauge
from pipelines.domains.flood.member_floods import Floods, answered_floods, simulated_floods
from pipelines.domains.flood.outlook_areas import FIRST, alerts, area_table
from pipelines.domains.flood.outlook_file import Outlook
from pipelines.domains.flood.overtopping import Spills, landing, spills
from pipelines.domains.flood.rasters import require_rasterio, write_raster
from pipelines.domains.flood.scenario import AREAS, MAP, METHODS, homes_of
from pipelines.domains.scenarios import read_keys
from serving.surrogate import SurrogateRelease

DEPTHS_M = (WET_M, 0.3, 0.5)
"""Of which there are maps of probability."""
ARRIVALS = (0.1, 0.5)
_SHOWN = (0.1, 0.5, 0.9)
_LIMITS = (
    "the stage at the gauge is taken for that at the levee: no river is routed between them",
    "what leaves the river does not lower it, and water on land does not hold it back",
)


@dataclass(frozen=True)
class Told:
    """All that goes into a report and a picture.

    Attributes:
        setting: terrain and surface; its keys are an ``Outlook``.
        cells: where the water comes down.
        gauge: what the forecaster says.
        spills: what leaves the river.
        floods: where it goes.
        areas: whom it meets; None without homes.
    """

    setting: Setting
    cells: IntArray
    gauge: GaugeForecast
    spills: Spills
    floods: Floods
    areas: pd.DataFrame | None

    @property
    def asked(self) -> Outlook:
        """The file."""
        assert isinstance(self.setting.asked, Outlook)
        return self.setting.asked

    def map(self, values: FloatArray) -> FloatArray:
        """Values [P] of cells as [Y, X]."""
        return values.reshape(self.setting.terrain.bed_m.shape)


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
    report = _report(told, engine)
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


def _report(told: Told, engine: dict[str, Any]) -> dict[str, Any]:
    asked, gauge, spilled = told.asked, told.gauge, told.spills
    release, count = gauge.runtime.release, len(spilled.flow_m3_s)
    begin, end = (gauge.valid_time(asked.from_h + h) for h in (0, asked.hours))
    spilling = len(spilled.wet) / count
    rows = {
        "highest stage, m": spilled.stage_m.max(axis=1),
        "highest flow over the levee, m3/s": spilled.flow_m3_s.max(axis=1),
        "volume over it, 1000 m3": spilled.volume_m3 / 1000,
    }
    peaks = [
        {"member": name} | {f"{q:.0%}": float(v) for q, v in zip(_SHOWN, np.quantile(own, _SHOWN))}
        for name, own in rows.items()
    ]
    report: dict[str, Any] = {
        "from": begin,
        "until": end,
        "gauge": {
            "release": release.id,
            "node": asked.gauge.node,
            "issued_at": f"{gauge.forecast.init_time}Z",
            "observed_m": gauge.observed_m,
            "crest_m": asked.gauge.crest_m,
            "members": count,
            "share_that_spills": spilling,
            "share_that_breaks": float(spilled.broken.mean()),
            "share_held": float(spilled.held.mean()),
            "probability_over_crest": _over_crest(told),
            "errors": gauge.errors(),
        },
        "engine_of_floods": engine,
        "said": [*_said(told), *_LIMITS],
    }
    km2 = {
        f"{d:g} m": float(told.floods.probability(d).sum()) * told.setting.terrain.cell_m**2 / 1e6
        for d in DEPTHS_M
    }
    report["expected_km2"] = km2
    tables: dict[str, Any] = {
        f"Gauge {asked.gauge.node}: {spilling:.0%} of members spill": peaks,
        "Land under water, expected": [{"depth from": d, "km2": v} for d, v in km2.items()],
    }
    if told.areas is not None:
        records = [
            {str(k): None if v != v else v for k, v in row.items()}
            for row in told.areas.to_dict("records")
        ]
        onset = {
            row["area"]: None
            if row["first_h"] is None
            else gauge.valid_time(asked.from_h + row["first_h"])
            for row in records
        }
        report["areas"] = records
        report["alerts"] = alerts(told.areas, onset, end)
        tables["Alerts"] = report["alerts"]
        tables["Areas"] = [_shown(row, asked.alerts.depth_m) for row in records]
    return report | {"tables": tables}


def _over_crest(told: Told) -> float | None:
    """By the release's quantiles and all its ranks; None for a gauge of discharge."""
    keys, gauge = told.asked.gauge, told.gauge
    scale = {"m": 1.0, "cm": 100.0}.get(gauge.forecast.unit)
    if scale is None or told.asked.from_h:
        return None
    return gauge.reaching(scale * keys.crest_m, told.asked.hours)


def _said(told: Told) -> list[str]:
    """What was taken otherwise than it was forecast, a sentence each."""
    asked, gauge, spilled = told.asked, told.gauge, told.spills
    said = []
    end, known = asked.from_h + asked.hours, float(gauge.hours[-1])
    if end > known:
        said.append(f"the forecast ends after {known:g} h: its last value is held until {end:g} h")
    if spilled.held.any():
        most = asked.gauge.crest_m + asked.gauge.most_over_m
        said.append(
            f"{spilled.held.mean():.0%} of members pass {most:g} m, {asked.gauge.most_over_m:g} m"
            " over the crest: held there, since the levee is then overtopped far along"
        )
    if (spilled.before_m3 > 0).any():
        share = float((spilled.before_m3 > 0).mean())
        said.append(
            f"{share:.0%} of members spill before hour {asked.from_h:g}, up to"
            f" {spilled.before_m3.max():,.0f} m3: that water is not on the map"
        )
    if gauge.observed_m is None:
        said.append("nothing was observed at the time itself: the first forecast value stands in")
    elif gauge.observed_m >= asked.gauge.crest_m:
        said.append(f"the river already stands over the crest, at {gauge.observed_m:g} m")
    lowest = gauge.runtime.release.graph.thresholds[gauge.node]
    if gauge.forecast.unit == "m" and asked.gauge.crest_m < np.nanmin([*lowest, np.inf]):
        said.append(
            f"crest_m = {asked.gauge.crest_m:g} lies under the gauge's first alert level: is it of"
            " the gauge's own zero?"
        )
    return said


def _shown(row: dict[str, Any], depth_m: float) -> dict[str, Any]:
    """An area for people to read."""
    return {
        "area": row["area"],
        "alert": row["level"],
        "people": row["people"],
        "P home in water": row["home_wet"],
        f"P home {depth_m:g} m": row["home_grave"],
        "P many": row["many_grave"],
        "people in water": row["people_expected"],
        "10 %": row["people_10"],
        "90 %": row["people_90"],
        f"first h ({FIRST:.0%})": row["first_h"],
    }
