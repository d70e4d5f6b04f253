"""The civil clock: local hour, weekday and holidays of a regular UTC grid, DST included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays
import numpy as np
from numpy.typing import NDArray

from models.contracts import FelsinaError, IntArray

CALENDAR = (
    "step_of_day",
    "day_of_week",
    "day_kind",
    "day_of_year",
    "kind_yesterday",
    "kind_week_ago",
)
"""Columns of a calendar array; Monday is day 0, 1 January is day-of-year 0."""

DAY_KINDS = ("ordinary", "holiday", "eve", "bridge")
"""Kinds of day: public holiday, the day before one, a working day wedged beside one."""

_DEFAULT_SUBDIVISION = {"GB": "ENG", "IT": "BO"}


def zone(name: str) -> ZoneInfo:
    """The time zone ``name``; an unknown one is refused."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise FelsinaError(f"timezone {name!r} is unknown; use one like Europe/Rome") from error


@lru_cache
def country_of(timezone: str) -> str:
    """Country whose public holidays hold in ``timezone``, as ``CC`` or ``CC-SUB``; or ``""``."""
    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text()
    for line in table.splitlines():
        columns = line.split("\t")
        if not line.startswith("#") and columns[2] == timezone:
            sub = _DEFAULT_SUBDIVISION.get(columns[0])
            return f"{columns[0]}-{sub}" if sub else columns[0]
    return ""


def check_country(country: str) -> None:
    """Refuse a ``country`` that has no holiday calendar."""
    if country:
        _holidays(country, 2024)


@lru_cache
def _holidays(country: str, year: int) -> frozenset[date]:
    code, _, subdivision = country.partition("-")
    try:
        days = holidays.country_holidays(code, subdiv=subdivision or None, years=year)
    except NotImplementedError as error:
        raise FelsinaError(
            f"country {country!r} has no holiday calendar; use CC or CC-SUB"
        ) from error
    return frozenset(days)


@lru_cache(maxsize=100_000)
def _day_kind(day: date, country: str) -> int:
    if not country:
        return 0

    def free(shift: int) -> bool:
        other = day + timedelta(days=shift)
        return other in _holidays(country, other.year)

    if free(0):
        return 1
    if (day.weekday() == 4 and free(-1)) or (day.weekday() == 0 and free(1)):
        return 3
    return 2 if free(1) else 0


def utc_offsets(seconds: IntArray, timezone: str) -> IntArray:
    """Offset of the civil clock from UTC, in seconds, at each UTC epoch second."""
    clock = zone(timezone)

    def offset(second: int) -> int:
        shift = datetime.fromtimestamp(second, UTC).astimezone(clock).utcoffset()
        return 0 if shift is None else int(shift.total_seconds())

    days, inverse = np.unique(seconds // 86400, return_inverse=True)
    starts = np.array([offset(int(day) * 86400) for day in days], np.int64)
    ends = np.array([offset(int(day) * 86400 + 86399) for day in days], np.int64)
    offsets = starts[inverse]
    for i in np.flatnonzero((starts != ends)[inverse]):
        offsets[i] = offset(int(seconds[i]))
    return offsets


def calendar_columns(
    times: NDArray[np.datetime64], step: int, timezone: str, country: str
) -> IntArray:
    """Calendar of each stamp.

    Args:
        times: [S] UTC.
        step: seconds between stamps.
        timezone: civil clock.
        country: holiday calendar, ``CC`` or ``CC-SUB``; empty for none.

    Returns:
        [S, C] integers, columns ``CALENDAR``.
    """
    seconds = times.astype("datetime64[s]").astype(np.int64)
    local = seconds + utc_offsets(seconds, timezone)
    day = local // 86400
    unique, inverse = np.unique(day, return_inverse=True)
    dates = unique.astype("datetime64[D]")
    kinds = {
        number: _day_kind(date(1970, 1, 1) + timedelta(days=number), country)
        for number in np.unique(np.concatenate([unique, unique - 1, unique - 7])).tolist()
    }
    per_day = np.stack(
        [
            (unique + 3) % 7,
            np.array([kinds[d] for d in unique.tolist()], np.int64),
            (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64),
            np.array([kinds[d - 1] for d in unique.tolist()], np.int64),
            np.array([kinds[d - 7] for d in unique.tolist()], np.int64),
        ],
        axis=1,
    )
    return np.concatenate([((local % 86400) // step)[:, None], per_day[inverse]], axis=1)
