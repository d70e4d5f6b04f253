"""What the embedded city's datasets share: areas, civil clock, weather, noise and planted faults.

The embedded city is invented. It lies where Bologna lies and has its climate and its calendar, so
that every command runs offline on data that behaves like a city's; no number in it was observed.

Planted unfairness, the same in each dataset, for audits to find. An area whose mean income is below
``LOW_INCOME_EUR`` (Canale Basso and Borgo Officine)

* has fewer sensors for each resident than the other areas together (counts: each dataset's page);
* has measurement noise with ``NOISE_RATIO`` times the standard deviation;
* misses ``GAP_SHARE_LOW`` of its values in bursts, against ``GAP_SHARE`` elsewhere;
* owns the sensor that appears late, after a quarter of the record.

Nothing else in this module depends on income; each dataset's page says what else differs there.
The sensor that dies for good, a third of the way into the test span, stands in an area that is not
poor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import holidays
import numpy as np
import pandas as pd

from models.contracts import FloatArray

TIMEZONE = "Europe/Rome"
COUNTRY = "IT-BO"
CENTRE_LON, CENTRE_LAT = 11.34, 44.49
LOW_INCOME_EUR = 22_000
NOISE_RATIO = 2.5
GAP_SHARE = 0.015
GAP_SHARE_LOW = 0.05
MEAN_GAP_H = 9
_KM_A_DEGREE = 111.2


@dataclass(frozen=True)
class Area:
    """One invented area of the city; its centre lies ``east_km``, ``north_km`` from the city's."""

    name: str
    residents: int
    mean_income_eur: int
    east_km: float
    north_km: float


AREAS = {
    area.name: area
    for area in (
        Area("Portavecchia", 32_000, 31_500, 0.0, 0.0),
        Area("Colle Alto", 14_000, 41_000, 0.3, -2.9),
        Area("Certosa Nuova", 30_000, 25_500, -3.1, 0.2),
        Area("Fossa Verde", 27_000, 28_000, 3.0, -0.3),
        Area("Canale Basso", 34_000, 19_800, -0.3, 2.4),
        Area("Borgo Officine", 29_000, 18_600, 0.4, 4.1),
    )
}


def place(nodes: pd.DataFrame) -> pd.DataFrame:
    """Turn ``east_km`` and ``north_km`` into lon and lat, and add what is known of each area."""
    lat = CENTRE_LAT + nodes["north_km"] / _KM_A_DEGREE
    lon = CENTRE_LON + nodes["east_km"] / (_KM_A_DEGREE * np.cos(np.radians(CENTRE_LAT)))
    areas = [AREAS[name] for name in nodes["area"]]
    nodes = nodes.assign(
        lon=lon.round(5),
        lat=lat.round(5),
        residents=[area.residents for area in areas],
        mean_income_eur=[area.mean_income_eur for area in areas],
    )
    first = ["id", "lon", "lat", "name", "area", "residents", "mean_income_eur"]
    rest = [name for name in nodes if name not in {*first, "east_km", "north_km"}]
    return nodes.reindex(columns=first + rest)


def grid(start: str, days: int, step: str) -> pd.DatetimeIndex:
    """A regular UTC time axis of whole days."""
    first = pd.Timestamp(start, tz="UTC")
    end = first + pd.Timedelta(days=days)
    return pd.date_range(first, end, freq=step, name="time", inclusive="left")


def step_hours(times: pd.DatetimeIndex) -> float:
    """Length of one step."""
    return float(np.diff(times[:2].to_numpy())[0] / np.timedelta64(1, "h"))


def split_times(times: pd.DatetimeIndex) -> tuple[datetime, datetime]:
    """End of training and of validation: 70 % and 85 % of the days, at a UTC midnight."""
    start, days = times[0].to_pydatetime(), len(times) * step_hours(times) / 24
    return (start + timedelta(days=round(0.70 * days)), start + timedelta(days=round(0.85 * days)))


def header(
    times: pd.DatetimeIndex,
    forecast: dict[str, Any],
    forcings: list[tuple[str, str, bool]],
) -> dict[str, Any]:
    """The content of ``dataset.toml``.

    Args:
        times: the dataset's time axis.
        forecast: the keys that say what is forecast, from ``name`` to ``nonnegative``.
        forcings: name, unit and ``known_future`` of each forcing.
    """
    train_end, validation_end = split_times(times)
    return {
        **forecast,
        "timezone": TIMEZONE,
        "country": COUNTRY,
        "synthetic": True,
        "splits": {"train_end": train_end, "validation_end": validation_end},
        "forcings": [
            {"name": name, "unit": unit, "known_future": known} for name, unit, known in forcings
        ],
        "source": {
            "publisher": "Felsina embedded city",
            "licence": "CC0-1.0",
            "attribution": "synthetic data made by Felsina, not observations",
        },
    }


@dataclass(frozen=True)
class CivilClock:
    """The clock and calendar that people live by, each [T].

    The day lived ends at four in the night: Friday's late hours are no Saturday yet.

    Attributes:
        hour: civil hour of day, 0 to 23.5.
        weekday: 0 on Mondays.
        day_off: Saturdays, Sundays and public holidays.
        rest_day: Sundays and public holidays.
        vacation: 24 December to 6 January and 5 to 25 August, when much of the city is away.
    """

    hour: FloatArray
    weekday: np.ndarray
    day_off: np.ndarray
    rest_day: np.ndarray
    vacation: np.ndarray


def civil_clock(times: pd.DatetimeIndex) -> CivilClock:
    """Read UTC times on the city's clock, daylight saving and local holidays included."""
    local = times.tz_convert(TIMEZONE).tz_localize(None)
    lived = local - pd.Timedelta("4h")
    years = sorted(set(lived.year))
    public_days = holidays.country_holidays(*COUNTRY.split("-"), years=years)
    public = lived.normalize().isin(pd.to_datetime(list(public_days)))
    weekday = lived.day_of_week.to_numpy()
    date = (lived.month * 100 + lived.day).to_numpy()
    return CivilClock(
        hour=(local.hour + local.minute / 60).to_numpy(float),
        weekday=weekday,
        day_off=public | (weekday >= 5),
        rest_day=public | (weekday == 6),
        vacation=(date >= 1224) | (date <= 106) | ((date >= 805) & (date <= 825)),
    )


def bump(when: FloatArray, centre: float, width: float, period: float = 24) -> FloatArray:
    """A bell, 1 at ``centre``, on the circle of a day (in hours) or of another ``period``."""
    distance = (when - centre + period / 2) % period - period / 2
    return np.exp(-0.5 * (distance / width) ** 2)


def recurrence(inputs: FloatArray, decay: float) -> FloatArray:
    """First-order recursion ``y[t] = decay * y[t-1] + inputs[t]`` along the first axis."""
    out = np.empty_like(inputs, dtype=float)
    state = np.zeros(inputs.shape[1:])
    for t, value in enumerate(inputs):
        state = decay * state + value
        out[t] = state
    return out


def ar_noise(rng: np.random.Generator, shape: tuple[int, int], phi: float) -> FloatArray:
    """Autoregressive noise of order one with unit variance, [T, N]."""
    return recurrence(rng.normal(size=shape) * np.sqrt(1 - phi**2), phi)


def air(rng: np.random.Generator, times: pd.DatetimeIndex) -> tuple[FloatArray, FloatArray]:
    """Temperature in degC and global horizontal irradiance in W/m2 of a Po-plain year, each [T].

    Irradiance is Haurwitz's (1945) clear sky under the cloud factor of Kasten and Czeplak (1980).
    """
    day = times.day_of_year.to_numpy(float)
    solar_hour = (times.hour + times.minute / 60).to_numpy(float) + CENTRE_LON / 15
    declination = np.radians(23.45) * np.sin(2 * np.pi * (day - 81) / 365)
    latitude = np.radians(CENTRE_LAT)
    noonward = np.cos(np.radians(15 * (solar_hour - 12)))
    sin_height = np.sin(latitude) * np.sin(declination)
    sin_height = sin_height + np.cos(latitude) * np.cos(declination) * noonward
    height = np.maximum(sin_height, 1e-3)
    clear_sky = np.where(sin_height > 0, 1098 * height * np.exp(-0.057 / height), 0)

    synoptic, sky = ar_noise(rng, (len(times), 2), math.exp(-step_hours(times) / 48)).T
    cloud = 1 / (1 + np.exp(-1.6 * sky))
    season = -np.cos(2 * np.pi * (day - 20) / 365)
    swing = (4 + 1.8 * season) * (1.25 - 0.8 * cloud)
    temp_c = 14.2 + 11.2 * season + 2.6 * synoptic + swing * np.cos(np.pi * (solar_hour - 15) / 12)
    ghi = clear_sky * (1 - 0.75 * cloud**3.4)
    return temp_c.round(2), ghi.round(1)


def storm_rain(
    rng: np.random.Generator, times: pd.DatetimeIndex, sites_km: FloatArray
) -> FloatArray:
    """Rain of storms that cross the sites, [T, S] mm in each step.

    A storm is a round cell that travels in a straight line, most from the south-west: a wide, slow
    front, or in the warm months a small, fast and fierce shower. Storms come about every five days,
    more often and wetter in autumn and spring.

    Args:
        rng: source of chance.
        times: regular time axis.
        sites_km: [S, 2] sites, east and north of the city's centre.
    """
    step_h = step_hours(times)
    hours = np.arange(len(times)) * step_h
    day = times.day_of_year.to_numpy(float)
    wet_season = 0.65 + 0.45 * bump(day, 115, 30, 365) + 0.6 * bump(day, 290, 45, 365)
    rain = np.zeros((len(times), len(sites_km)))
    arrival = rng.uniform(0, 72)
    while arrival < hours[-1]:
        t = int(arrival / step_h)
        shower = rng.random() < 0.35 * (120 < day[t] < 270)
        radius = rng.uniform(7, 13) if shower else rng.uniform(35, 70)
        speed = rng.uniform(15, 30) if shower else rng.uniform(12, 24)
        peak = (8.0 if shower else 2.6 * wet_season[t]) * rng.lognormal(0, 0.5)
        heading = rng.normal(np.pi / 4, 0.4)
        along = np.array([np.cos(heading), np.sin(heading)])
        across = np.array([-along[1], along[0]])
        miss = sites_km @ across - rng.normal(0, 0.6 * radius)
        passing = int(4 * radius / speed / step_h)
        near = slice(max(0, t - passing), t + passing)
        ahead = sites_km @ along - speed * (hours[near, None] - arrival)
        cell = peak * np.exp(-(ahead**2 + miss**2) / (2 * radius**2))
        rain[near] += cell * rng.gamma(2.0, 0.5, cell.shape) * step_h
        arrival += rng.gamma(5.0, 108 / 5) / wet_season[t]
    return np.where(rain < 0.05, 0, rain).round(1)


def observe(
    rng: np.random.Generator,
    truth: FloatArray,
    noise_sd: FloatArray | float,
    nodes: pd.DataFrame,
    times: pd.DatetimeIndex,
    late: str,
    dead: str,
) -> FloatArray:
    """What the sensors report of the truth: with noise, bursts of gaps, a late and a dead sensor.

    Args:
        rng: source of chance.
        truth: [T, N] true values.
        noise_sd: standard deviation of the measurement noise outside the poor areas.
        nodes: table of the N nodes from ``place``.
        times: [T] time axis.
        late: id of the node whose record starts after a quarter of the time.
        dead: id of the node that falls silent a third of the way into the test span.
    """
    steps, count = truth.shape
    poor = nodes["mean_income_eur"].to_numpy() < LOW_INCOME_EUR
    values = truth + noise_sd * np.where(poor, NOISE_RATIO, 1) * rng.normal(size=truth.shape)
    mean_gap = round(MEAN_GAP_H / step_hours(times))
    for node in range(count):
        share = GAP_SHARE_LOW if poor[node] else GAP_SHARE
        for start in rng.integers(0, steps, round(share * steps / mean_gap)):
            values[start : start + rng.geometric(1 / mean_gap), node] = np.nan
    ids = list(nodes["id"])
    before_test = split_times(times)[1] - times[0].to_pydatetime()
    test_start = round(before_test / timedelta(hours=step_hours(times)))
    values[: steps // 4, ids.index(late)] = np.nan
    values[test_start + (steps - test_start) // 3 :, ids.index(dead)] = np.nan
    return values
