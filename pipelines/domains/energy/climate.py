"""A weather year as a surrogate sees it: what each month's hours amount to for a building.

Heating is decided by the days of the heating season, cooling by all, so that the figures of a month
that is heated in part are those of its heated days (of all its days where none is).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import FloatArray
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.weather import ORIENTATIONS, Weather

MONTHS = tuple(str(month) for month in range(1, 13))
QUARTERS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
BELOW_C = tuple(float(base) for base in range(-8, 24, 2))
ABOVE_C = tuple(float(base) for base in range(14, 36, 2))
"""Bases of degree days: evenly spaced, since a surrogate looks between them."""

WALLS = ("north", "east", "south", "west")


def _fields() -> dict[str, tuple[str, str]]:
    """Name of each field to its unit and what it is."""
    found = {"heated_share": ("", "Share of the month's days that are heated.")}
    for part, days in (("heated", "its heated days"), ("all", "all its days")):
        for quarter, (begin, end) in QUARTERS.items():
            found[f"{part}_{quarter}_c"] = "degC", f"Mean outdoor air {begin}-{end} h, {days}."
        found[f"{part}_extreme_c"] = (
            "degC",
            f"{'Coldest' if part == 'heated' else 'Hottest'} daily mean, {days}.",
        )
        found[f"{part}_days_k"] = "K", f"Standard deviation of the daily mean, {days}."
        for base in BELOW_C if part == "heated" else ABOVE_C:
            side = "below" if part == "heated" else "above"
            for of, text in (("hours", "hours"), ("days", "daily means")):
                name = f"{of}_{side}_{base:g}_k"
                found[name] = "K", f"Mean shortfall of {text} {side} {base:g} degC, {days}."
        for wall in WALLS:
            found[f"{part}_{wall}_w_m2"] = "W/m2", f"Mean irradiance facing {wall}, {days}."
        found[f"{part}_sun_days_w_m2"] = (
            "W/m2",
            f"Standard deviation of the daily mean sun, {days}.",
        )
        found[f"{part}_sunny_k"] = "K", f"By how much warmer sunny days are than others, {days}."
    return found


FIELDS = _fields()


def monthly_climate(weather: Weather, assumptions: Assumptions) -> FloatArray:
    """[12, C] the ``FIELDS`` of a weather year under a heating season."""
    month = weather.times.month.to_numpy()
    season = assumptions.in_season(weather.times)
    rows = []
    for number in range(1, 13):
        whole = month == number
        heated = whole & season
        parts = {"heated": heated if heated.any() else whole, "all": whole}
        row = [heated.sum() / whole.sum()]
        for part, hours in parts.items():
            row += _figures(weather, hours, part)
        rows.append(row)
    return np.array(rows, np.float32)


def _figures(weather: Weather, hours: NDArray[np.bool_], part: str) -> list[float]:
    outdoor = weather.outdoor_c[hours].reshape(-1, 24)
    walls = [list(ORIENTATIONS).index(wall) for wall in WALLS]
    sun = weather.irradiance_w_m2[hours][:, walls].reshape(-1, 24, len(WALLS))
    found = [outdoor[:, begin:end].mean() for begin, end in QUARTERS.values()]
    days, bright = outdoor.mean(axis=1), sun.mean(axis=(1, 2))
    found += [days.min() if part == "heated" else days.max(), days.std()]
    for base in BELOW_C if part == "heated" else ABOVE_C:
        sign = 1.0 if part == "heated" else -1.0
        found += [np.maximum(sign * (base - x), 0).mean() for x in (outdoor, days)]
    found += list(sun.mean(axis=(0, 1)))
    spread = bright.std()
    sunny = ((days - days.mean()) * (bright - bright.mean())).mean() / spread if spread else 0.0
    return [float(x) for x in (*found, spread, sunny)]


def varied(weather: Weather, rng: np.random.Generator) -> Weather:
    """Another year in the manner of a climate: weeks drawn anew, and morphed.

    Two of three years have weeks from within three weeks of their place. Then temperatures are
    shifted, their days and seasons stretched, and the sun scaled (in the manner of Belcher et al.
    2005, doi:10.1191/0143624405bt112oa), a little or a lot, so that one year stands for many
    places and itself.
    """
    days = len(weather.times) // 24
    outdoor = weather.outdoor_c.reshape(days, 24)
    sun = weather.irradiance_w_m2.reshape(days, 24, -1)
    weeks = range(0, days, 7)
    moved = rng.integers(-21, 22, len(weeks)) * (rng.random() < 2 / 3)
    order = np.concatenate(
        [(np.arange(w, w + 7) + m) % days for w, m in zip(weeks, moved, strict=True)]
    )[:days]
    outdoor, sun = outdoor[order], sun[order]
    month = pd.DatetimeIndex(weather.times[::24]).month.to_numpy()
    means = np.array([outdoor[month == m].mean() for m in range(1, 13)])[month - 1][:, None]
    year, daily = outdoor.mean(), outdoor.mean(axis=1, keepdims=True)
    strength = rng.uniform(0, 1)
    shift = strength * rng.uniform(-4, 4)
    season, spell, swing = 1 + strength * rng.uniform(-0.25, 0.3, 3)
    outdoor = (
        year + shift + season * (means - year) + spell * (daily - means) + swing * (outdoor - daily)
    )
    bright = 1 + strength * rng.uniform(-0.2, 0.2, 12)[month - 1][:, None, None]
    facing = 1 + strength * rng.uniform(-0.1, 0.1, sun.shape[-1])
    return replace(
        weather,
        outdoor_c=outdoor.reshape(-1),
        irradiance_w_m2=(sun * bright * facing).reshape(len(weather.times), -1),
    )
