"""What makes a reader doubt what an outlook's file says of its gauge: refused, or said aloud."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError, FloatArray, ForecastSpec
from pipelines.domains.flood.outlook_file import GaugeKeys
from serving.catalogue import now

FAR_M = 2.0
"""A crest that lies so much and the range of all alert levels over the highest is no stage."""

LATE_STEPS = 3
"""What was observed last is old when more than so many steps have passed since."""


def check_series(folder: Path, own: ForecastSpec, release: str, spec: ForecastSpec) -> None:
    """Refuse a folder whose series are not what the release speaks of, such as cm for m."""
    for key in ("target", "unit", "step"):
        found, wanted = getattr(own, key), getattr(spec, key)
        if found != wanted:
            raise FelsinaError(
                f"{folder}: its {key} is {found}, that of {release} is {wanted}; release it anew:"
                f" felsina run --dataset {folder}"
            )


def check_crest(keys: GaugeKeys, levels_m: FloatArray) -> None:
    """Refuse a crest far over every alert level: it would never be reached, and all be clear.

    Args:
        keys: with ``crest_m``.
        levels_m: [L] the gauge's known alert levels, rising.
    """
    if len(levels_m) and keys.crest_m > levels_m[-1] + _range_m(levels_m) + FAR_M:
        raise FelsinaError(
            f"gauge.crest_m = {keys.crest_m:g} lies {keys.crest_m - levels_m[-1]:.1f} m over the"
            f" highest alert level of {keys.node}, {levels_m[-1]:g} m; give the stage of the"
            " gauge's own zero, not metres above sea level"
        )


def crest_doubt(keys: GaugeKeys, levels_m: FloatArray) -> str | None:
    """A sentence where the crest lies oddly to the alert levels, or there are none to compare."""
    ask = "is it of the gauge's own zero?"
    if not len(levels_m):
        return (
            f"no alert level of {keys.node} is known: whether crest_m = {keys.crest_m:g} is of the"
            " gauge's own zero was not checked"
        )
    low, high = float(levels_m[0]), float(levels_m[-1])
    if keys.crest_m < low:
        return (
            f"crest_m = {keys.crest_m:g} lies under the gauge's first alert level, {low:g} m: {ask}"
        )
    if keys.crest_m > high + _range_m(levels_m):
        return (
            f"crest_m = {keys.crest_m:g} lies {keys.crest_m - high:.1f} m over the gauge's highest"
            f" alert level, {high:g} m: {ask}"
        )
    return None


def age_doubt(init: np.datetime64, seconds: int) -> str | None:
    """A sentence where the latest observation is no longer the present.

    Args:
        init: of the forecast whose time the file left out.
        seconds: of a step.
    """
    late_h = float((now() - init) / np.timedelta64(1, "s")) / 3600
    if late_h * 3600 <= LATE_STEPS * seconds:
        return None
    ago = f"{late_h:.0f} hours" if late_h < 72 else f"{late_h / 24:,.0f} days"
    return (
        f"gauge.at is left out: the latest observation is of {init}Z, {ago} ago, and the outlook"
        " begins there, not now"
    )


def span_doubt(init: np.datetime64, seconds: int, data: Mapping[str, Any]) -> str | None:
    """A sentence where the release has seen what it is asked to forecast.

    Args:
        init: of the forecast.
        seconds: of a step; the first one after ``init`` is forecast.
        data: what the release's manifest says of its data.
    """
    first = init + np.timedelta64(seconds, "s")
    for span, key in (("training", "train_end"), ("validation", "validation_end")):
        if key in data and first < np.datetime64(data[key].rstrip("Z"), "s"):
            return (
                f"{init}Z lies within the release's {span} span (until {data[key]}): it has seen"
                " these hours, and its forecast of them is no proof of skill"
            )
    return None


def _range_m(levels_m: FloatArray) -> float:
    """Of all alert levels; of the only one, from the gauge's zero."""
    return abs(float(levels_m[-1] - (levels_m[0] if len(levels_m) > 1 else 0)))
