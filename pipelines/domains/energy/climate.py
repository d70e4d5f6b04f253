"""A weather year as a surrogate sees it: what each month's hours amount to for a building.

Heating is decided by the days of the heating season, cooling by all, so that the figures of a month
that is heated in part are those of its heated days (of all its days where none is).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import FloatArray
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.weather import ORIENTATIONS, Weather

MONTHS = tuple(str(month) for month in range(1, 13))
QUARTERS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
BELOW_C = tuple(float(base) for base in range(-8, 24, 2))
"""Bases of degree days: evenly spaced, since a surrogate looks between them."""

SPREADS = tuple(-3 + k / 2 for k in range(14))
SUN_K = (0.0, 0.012, 0.035, 0.1)
"""K by which a W/m2 of sun on the walls warms a building: its glass over its losses."""
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
        for wall in WALLS:
            found[f"{part}_{wall}_w_m2"] = "W/m2", f"Mean irradiance facing {wall}, {days}."
        found[f"{part}_sun_days_w_m2"] = (
            "W/m2",
            f"Standard deviation of the daily mean sun, {days}.",
        )
        found[f"{part}_sunny_k"] = "K", f"By how much warmer sunny days are than others, {days}."
    for kind, text in {"hours": "hours", "days": "daily means"}.items():
        for base in BELOW_C:
            name = f"{kind}_below_{base:g}_k"
            found[name] = "K", f"Mean shortfall of {text} below {base:g} degC, its heated days."
    for kind, text in KINDS.items():
        found[f"{kind}_mean_c"] = "degC", f"Mean of {text}, all its days."
        found[f"{kind}_variance_k2"] = "K2", f"Variance of {text}, all its days."
        found[f"{kind}_sunny_kw_m2"] = "K W/m2", f"Covariance of {text} and of the sun alike."
        found[f"{kind}_sun_w2_m4"] = "W2/m4", f"Variance of the sun on the walls, of {text}."
        for sun_k in SUN_K:
            for spread in SPREADS:
                found[f"{kind}_above_{spread:g}_sun_{sun_k:g}"] = (
                    "",
                    f"Mean excess of {text}, {sun_k:g} K warmer for a W/m2 of sun, above their"
                    f" mean and {spread:g} standard deviations, in these; less a normal one's.",
                )
    return found


KINDS = {
    "hours": "hours",
    "halves": "hours, half as far from their day's mean",
    "pairs": "means of a day and the one before",
    "spells": "means of five days",
}
FIELDS = _fields()


def monthly_climate(weather: Weather, assumptions: Assumptions) -> FloatArray:
    """[12, C] the ``FIELDS`` of a weather year under a heating season."""
    days = len(weather.times) // 24
    month = weather.times.month.to_numpy()[::24]
    season = assumptions.in_season(weather.times)[::24]
    walls = [list(ORIENTATIONS).index(wall) for wall in WALLS]
    outdoor = weather.outdoor_c.reshape(days, 24)
    sun = weather.irradiance_w_m2[:, walls].reshape(days, 24, len(WALLS))
    bright = sun.mean(axis=2)
    means = [x.mean(axis=1, keepdims=True) for x in (outdoor, bright)]
    kinds = {
        "hours": (outdoor, bright),
        "halves": ((outdoor + means[0]) / 2, (bright + means[1]) / 2),
        "pairs": tuple(_running(x, (0, 1)) for x in means),
        "spells": tuple(_running(x, (-2, -1, 0, 1, 2)) for x in means),
    }
    rows = []
    for number in range(1, 13):
        whole = month == number
        heated = whole & season
        some = heated if heated.any() else whole
        row = [heated.sum() / whole.sum()]
        row += _figures(outdoor[some], sun[some], np.min)
        row += _figures(outdoor[whole], sun[whole], np.max)
        for air in (outdoor, means[0]):
            row += _excess(-air[some], [-base for base in BELOW_C])
        for air, light in kinds.values():
            row += _spread(air[whole].ravel(), light[whole].ravel())
        rows.append(row)
    return np.array(rows, np.float32)


def _running(days: FloatArray, back: Sequence[int]) -> FloatArray:
    """Means [D, 1] of days that lie so many back, in a year that closes."""
    return np.mean([np.roll(days, k, axis=0) for k in back], axis=0)


def _excess(temperatures: FloatArray, bases: Sequence[float]) -> list[float]:
    """Mean excess above each base."""
    return [float(np.maximum(temperatures - base, 0).mean()) for base in bases]


def _spread(air: FloatArray, sun: FloatArray) -> list[float]:
    """How temperatures [D] that sun warms lie about their mean: moments, and what these lack."""
    (variance, sunny), (_, bright) = np.cov(air, sun, bias=True)
    found = [float(x) for x in (air.mean(), variance, sunny, bright)]
    for sun_k in SUN_K:
        warm = air - air.mean() + sun_k * (sun - sun.mean())
        warm = warm / max(warm.std(), 1e-3)
        excess = zip(_excess(warm, SPREADS), SPREADS, strict=True)
        found += [mean - _normal(base) for mean, base in excess]
    return found


def _normal(base: float) -> float:
    """Mean excess of a standard normal distribution above a base."""
    above = math.erfc(base / math.sqrt(2)) / 2
    return math.exp(-(base**2) / 2) / math.sqrt(2 * math.pi) - base * above


def _figures(outdoor: FloatArray, sun: FloatArray, extreme: Callable[..., Any]) -> list[float]:
    """Means and spreads of days [D, 24] and [D, 24, 4]."""
    found = [outdoor[:, begin:end].mean() for begin, end in QUARTERS.values()]
    days, bright = outdoor.mean(axis=1), sun.mean(axis=(1, 2))
    found += [extreme(days), days.std(), *sun.mean(axis=(0, 1))]
    spread = bright.std()
    sunny = ((days - days.mean()) * (bright - bright.mean())).mean() / spread if spread else 0.0
    return [float(x) for x in (*found, spread, sunny)]


def varied(weather: Weather, rng: np.random.Generator, others: Sequence[Weather] = ()) -> Weather:
    """Another year in the manner of a climate: weeks drawn anew, and morphed.

    Two of three years have weeks from within three weeks of their place. Then temperatures are
    shifted, their days and seasons stretched, and the sun scaled (in the manner of Belcher et al.
    2005, doi:10.1191/0143624405bt112oa), a little or a lot, so that one year stands for many
    places and itself. With others, climates become a continuum: months are as warm as between two
    climates, seasons come earlier or later, and half of the years have another climate's sun.
    """
    days = len(weather.times) // 24
    month = pd.DatetimeIndex(weather.times[::24]).month.to_numpy()
    outdoor = weather.outdoor_c.reshape(days, 24)
    sun = weather.irradiance_w_m2.reshape(days, 24, -1)
    if others and rng.random() < 1 / 2:
        other = others[int(rng.integers(len(others)))].irradiance_w_m2.reshape(sun.shape)
        sun = other[_matched(other.mean(axis=(1, 2)), outdoor.mean(axis=1), month, rng)]
    weeks = range(0, days, 7)
    moved = rng.integers(-21, 22, len(weeks)) * (rng.random() < 2 / 3)
    order = np.concatenate(
        [(np.arange(w, w + 7) + m) % days for w, m in zip(weeks, moved, strict=True)]
    )[:days]
    outdoor, sun = outdoor[order], sun[order]
    if others and rng.random() < 1 / 2:
        outdoor = np.roll(outdoor, rng.integers(-10, 11), axis=0)
    own = means = _monthly(outdoor, month)
    if others and rng.random() < 2 / 3:
        other = others[int(rng.integers(len(others)))].outdoor_c.reshape(days, 24)
        means = own + rng.uniform(0, 1) * (_monthly(other, month) - own)
    year, daily = means.mean(), outdoor.mean(axis=1, keepdims=True)
    strength = rng.uniform(0, 1)
    shift = strength * rng.uniform(-4, 4)
    season, spell, swing = 1 + strength * rng.uniform(-0.25, 0.3, 3)
    outdoor = (
        year + shift + season * (means - year) + spell * (daily - own) + swing * (outdoor - daily)
    )
    bright = 1 + strength * rng.uniform(-0.2, 0.2, 12)[month - 1][:, None, None]
    facing = 1 + strength * rng.uniform(-0.1, 0.1, sun.shape[-1])
    return replace(
        weather,
        outdoor_c=outdoor.reshape(-1),
        irradiance_w_m2=(sun * bright * facing).reshape(len(weather.times), -1),
    )


def _monthly(outdoor: FloatArray, month: NDArray[np.int64]) -> FloatArray:
    """Each day's month's mean [D, 1] of days [D, 24]."""
    return np.array([outdoor[month == m].mean() for m in range(1, 13)])[month - 1][:, None]


def _matched(
    bright: FloatArray, daily: FloatArray, month: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """[D] days whose sun another climate's days get: of the same month.

    The warmer days are the sunnier ones in summer, and the colder ones as often in winter, more or
    less strictly, as it is here or there.
    """
    order = np.zeros(len(month), np.int64)
    tie = rng.uniform(0, 1)
    for number in range(1, 13):
        rows = np.flatnonzero(month == number)
        sign = 1.0 if 3 < number < 11 else rng.choice([1.0, -1.0, 0.0])
        warmth = (daily[rows] - daily[rows].mean()) / daily[rows].std()
        wanted = tie * sign * warmth + np.sqrt(1 - tie**2) * rng.standard_normal(len(rows))
        order[rows[np.argsort(wanted)]] = rows[np.argsort(bright[rows])]
    return order
