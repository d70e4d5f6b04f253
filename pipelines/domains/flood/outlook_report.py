"""What an outlook says in numbers and words: the gauge, the water, the areas and their alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FloatArray, IntArray
from models.physics.inundation import WET_M
from pipelines.domains.flood.forcing import Setting
from pipelines.domains.flood.gauge import GaugeForecast
from pipelines.domains.flood.gauge_checks import crest_doubt
from pipelines.domains.flood.member_floods import Floods
from pipelines.domains.flood.outlook_areas import alerts
from pipelines.domains.flood.outlook_file import Outlook
from pipelines.domains.flood.overtopping import Spills

DEPTHS_M = (WET_M, 0.3, 0.5)
"""Of which there are maps of probability."""
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


def report_of(told: Told, engine: dict[str, Any]) -> dict[str, Any]:
    """The report, ready for JSON.

    Args:
        told: the outlook.
        engine: what made floods of the members, and how well it does.
    """
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
        {"member": name} | {f"{q:.0%}": float(np.quantile(own, q)) for q in _SHOWN}
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
        report["areas"] = records
        report["alerts"] = alerts(
            records, asked.alerts, lambda h: gauge.valid_time(asked.from_h + h), end
        )
        tables["Alerts"] = [
            {
                k: one[k]
                for k in ("area", "level", "event", "probability", "onset", "people_expected")
            }
            for one in report["alerts"]
        ]
        tables["People in water"] = [_shown(row, asked.alerts.depth_m) for row in records]
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
    said = list(gauge.warnings)
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
    if doubt := crest_doubt(asked.gauge, gauge.levels_m):
        said.append(doubt)
    return said


def _shown(row: dict[str, Any], depth_m: float) -> dict[str, Any]:
    """An area for people to read."""
    return {
        "area": row["area"],
        "people": row["people"],
        "P wet": row["home_wet"],
        f"P {depth_m:g} m": row["home_grave"],
        "P many": row["many_grave"],
        "expected": row["people_expected"],
        "10 %": row["people_10"],
        "90 %": row["people_90"],
        "from h": row["first_h"],
    }
