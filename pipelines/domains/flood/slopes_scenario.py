"""A slopes scenario from its parsed TOML: what may slip under a storm, when, and above whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models.physics.rain_thresholds import CAINE_1980, GUZZETTI_2008, Threshold, exceedance
from pipelines.domains.flood.exposure import exposure_records
from pipelines.domains.flood.rasters import require_rasterio
from pipelines.domains.flood.slopes_exposure import (
    reach_of,
    slopes_exposure,
    slopes_exposure_table,
    without_way,
)
from pipelines.domains.flood.slopes_file import SlopesScenario
from pipelines.domains.flood.slopes_outcome import SlopesOutcome, run_slopes
from pipelines.domains.flood.slopes_setting import SlopesSetting, altered, homes_on, open_slopes
from pipelines.domains.scenarios import read_keys

MAP, AREAS, HOMES = "map.png", "areas.parquet", "homes.parquet"
SIMULATOR = (
    "infinite slope; steady wetness before (Montgomery and Dietrich 1994), transient pressure in"
    " the storm (Iverson 2000)"
)
FLAT = "nothing to fail: no land is as steep as least_slope_degrees"
_SHOWN_HOURS = 12
_MANY = 0.25
"""Share of what fails from which on it is told that nobody below it is counted."""
SOURCES = {
    CAINE_1980.name: "worldwide, doi:10.1080/04353676.1980.11879996",
    GUZZETTI_2008.name: "worldwide, least for shallow slides, doi:10.1007/s10346-007-0112-1",
}
OTHERWISE: dict[str, dict[str, float]] = {
    "cohesion halved": {"cohesion_pa": 0.5},
    "cohesion and a half": {"cohesion_pa": 1.5},
    "depth less by a quarter": {"depth_m": 0.75},
    "depth more by a quarter": {"depth_m": 1.25},
    "conductivity and diffusivity a third": {"conductivity_m_s": 1 / 3, "diffusivity_m2_s": 1 / 3},
    "conductivity and diffusivity threefold": {"conductivity_m_s": 3.0, "diffusivity_m2_s": 3.0},
    "half as wet before": {"wetness": 0.5},
    "twice as wet before": {"wetness": 2.0},
}
"""What is asked again with ``otherwise = true``: changes that soil has within a field."""


def run_slopes_scenario(
    scenario: dict[str, Any], base: Path, out: Path, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    """Bring a storm on a terrain's slopes.

    Args:
        scenario: the parsed file (``SlopesScenario``).
        base: folder that its paths are relative to.
        out: folder for the GeoTIFFs, ``map.png``, and with homes ``areas.parquet`` (a row an area)
            and ``homes.parquet`` (a row a home).
        progress: told a text and the share that is done.

    Returns:
        The report, ready for JSON, with ``tables`` to show.
    """
    asked = read_keys(SlopesScenario, scenario)
    require_rasterio(f"scenario {asked.name!r}")
    setting = open_slopes(asked, base)
    homes = homes_on(setting, base)
    runs = 1 + len(OTHERWISE) * asked.otherwise
    progress("water soaks in", 0.1)
    outcome = run_slopes(setting)
    progress("written", 0.1 + 0.8 / runs)
    files = outcome.write(setting, out)
    report = _report(setting, outcome)
    notes = [note for note in (setting.cut, "" if outcome.asked.any() else FLAT) if note]
    found = None
    if homes is not None:
        reach = reach_of(setting, outcome)
        report["without_way_share"] = without_way(outcome, reach)
        notes += _stays(report["without_way_share"], asked.reach_degrees)
        found, areas = slopes_exposure(homes, outcome, reach)
        areas.to_parquet(out / AREAS, index=False)
        found.to_parquet(out / HOMES, index=False)
        files += [AREAS, HOMES]
        report["homes_outside"] = int((homes.cell < 0).sum())
        report["areas"] = exposure_records(areas)
        report["tables"]["Homes on or below what fails"] = slopes_exposure_table(areas)
    if asked.otherwise:
        rows = []
        for number, (name, factors) in enumerate(OTHERWISE.items(), start=1):
            other = run_slopes(altered(setting, **factors))
            rows.append({"were it": name} | _unstable(other))
            progress("soil otherwise", 0.1 + 0.8 * (1 + number) / runs)
        report["otherwise"] = rows
        report["tables"]["Were the soil otherwise"] = [
            {"were it": "as given"} | _unstable(outcome),
            *rows,
        ]
    report["note"] = "; ".join(notes)
    if notes:
        report["tables"] = {"Note": [{"note": note} for note in notes]} | report["tables"]
    from pipelines.domains.flood.slopes_picture import draw_slopes

    draw_slopes(out / MAP, setting, outcome, found)
    progress("done", 1.0)
    return report | {"files": [*files, MAP]}


def _unstable(outcome: SlopesOutcome) -> dict[str, float]:
    return {
        "fails before (share of slopes)": outcome.share(outcome.failed_by(0)),
        "fails at any time (share)": outcome.share(outcome.failed),
    }


def _stays(share: float, reach_degrees: float) -> list[str]:
    """What is to be known of an angle of reach at which much that fails comes to nobody."""
    if share < _MANY:
        return []
    return [
        f"{share:.0%} of what fails has no way at reach_degrees = {reach_degrees:g}: the ground"
        " there is gentler than that, and nobody below it is counted; a smaller angle goes farther"
    ]


def _report(setting: SlopesSetting, outcome: SlopesOutcome) -> dict[str, Any]:
    """All but who lives there."""
    asked, terrain = setting.asked, setting.terrain
    hours = setting.hours.tolist()
    by_hour = [outcome.share(outcome.failed_by(hour)) for hour in hours]
    thresholds = [_beside(setting, threshold) for threshold in setting.thresholds]
    chances = outcome.chances()
    slopes_km2 = outcome.km2(outcome.asked)
    rain = setting.mean_rain_mm_h
    fallen = float(rain.sum()) * setting.step_h
    every = max(1, len(hours) // _SHOWN_HOURS)
    shown = sorted({*range(0, len(hours), every), len(hours) - 1})
    tables: dict[str, list[dict[str, Any]]] = {
        "Slopes": [
            {
                "when": when,
                "km2 that fails": outcome.km2(cells),
                "share of slopes": outcome.share(cells),
            }
            for when, cells in (
                ("before the storm", outcome.failed_by(0)),
                ("by the worst time", outcome.failed),
            )
        ],
        "Slopes by their least factor of safety": outcome.by_class(),
        "What has failed, by hour": [
            {
                "hour": hours[k],
                "rain so far mm": float(rain[:k].sum()) * setting.step_h,
                "share of slopes": by_hour[k],
            }
            for k in shown
        ],
        "Rain beside published thresholds": thresholds,
    }
    if chances is not None:
        tables["What the soil's uncertainty leaves open"] = [
            {"slopes": words, "share": chances[key]}
            for key, words in (
                ("expected_share", "expected to fail (mean probability)"),
                ("likely_share", "likely to fail (0.9 and over)"),
                ("undecided_share", "cannot be told (0.1 to 0.9)"),
            )
        ]
    rows, columns = terrain.bed_m.shape
    return {
        "simulator": SIMULATOR,
        "terrain": {
            "name": asked.terrain.file or "synthetic",
            "rows": rows,
            "columns": columns,
            "cell_m": terrain.cell_m,
            "crs": terrain.crs,
            "steepest_degrees": float(outcome.slope_degrees.max()),
            "least_slope_degrees": asked.least_slope_degrees,
            "slopes_km2": slopes_km2,
        },
        "soil": asked.soil.model_dump(),
        "reach_degrees": asked.reach_degrees,
        "rain_mm": fallen,
        "slopes": {
            "unstable_before_share": outcome.share(outcome.failed_by(0)),
            "unstable_share": outcome.share(outcome.failed),
            "unstable_before_km2": outcome.km2(outcome.failed_by(0)),
            "unstable_km2": outcome.km2(outcome.failed),
        }
        | (chances or {}),
        "over_time": {"hours": hours, "share": by_hour, "rain_mm_h": rain.tolist()},
        "thresholds": thresholds,
        "tables": tables,
    }


def _beside(setting: SlopesSetting, threshold: Threshold) -> dict[str, Any]:
    """How far the storm reaches beyond a threshold, at the duration where it reaches farthest."""
    rain = torch.from_numpy(setting.mean_rain_mm_h)
    found = exceedance(rain, setting.step_h, threshold)
    known = found.ratio.nan_to_num(nan=-1.0)
    worst = int(known.argmax())
    told = {
        "threshold": threshold.name,
        "source": SOURCES.get(threshold.name, "the scenario's file"),
    }
    if known[worst] <= 0:  # no rain, or no duration of the threshold's fits
        return told | {"ratio": None, "over h": None, "exceeded": False}
    return told | {
        "ratio": float(known[worst]),
        "over h": float(found.duration_h[worst]),
        "exceeded": bool(found.exceeded),
    }
