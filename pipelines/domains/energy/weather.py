"""Weather years: EnergyPlus files (EPW), and the sun on walls and roofs by pvlib."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta, timezone
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pvlib
from pvlib import atmosphere, iotools, irradiance, solarposition

from models.contracts import FelsinaError, FloatArray
from pipelines.domains import synthesis

ORIENTATIONS = {
    "north": (90, 0),
    "east": (90, 90),
    "south": (90, 180),
    "west": (90, 270),
    "roof": (0, 180),
    "array": (30, 180),
}
"""Tilt and azimuth in degrees: four walls, a flat roof, and the plane of solar panels."""

GROUND_ALBEDO = 0.2
HOURS = 8760
_HEADER = 8
_YEAR = 2023
"""Not a leap year, and it begins on a Sunday as typical years do; files mix years."""

_LIMITS = {"temp_air": (-70, 70), "ghi": (0, 1500), "dni": (0, 1500), "dhi": (0, 1500)}
"""What EPW calls valid, in degC and W/m2; it writes 99.9 and 9999 for missing values."""

_NAMES = {
    "temp_air": "dry-bulb temperature",
    "ghi": "global horizontal irradiance",
    "dni": "direct normal irradiance",
    "dhi": "diffuse horizontal irradiance",
}


class Place(NamedTuple):
    """Degrees north and east, and metres above the sea."""

    latitude: float
    longitude: float
    altitude_m: float


@dataclass(frozen=True)
class Weather:
    """One typical year by the hour.

    Attributes:
        name: where it is from.
        times: [T] beginning of each hour, local standard time without zone.
        outdoor_c: [T] air temperature.
        irradiance_w_m2: [T, S] global irradiance on each of ``ORIENTATIONS``.
    """

    name: str
    times: pd.DatetimeIndex
    outdoor_c: FloatArray
    irradiance_w_m2: FloatArray


def read_weather(path: Path) -> Weather:
    """Read an EPW file; one with a gap, a wrong length or a missing value is refused.

    Raises:
        FelsinaError: naming file and line.
    """
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name an EPW weather file")
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("LOCATION,"):
        raise FelsinaError(f"{path} is no EPW file: its first line does not begin with LOCATION")
    _check_calendar(path, lines[_HEADER:])
    try:
        data, site = iotools.read_epw(StringIO(text), coerce_year=_YEAR)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise FelsinaError(f"{path} is no EPW file that can be read: {reason}") from None
    for name, (low, high) in _LIMITS.items():
        values = np.asarray(pd.to_numeric(data[name], errors="coerce"), float)
        bad = np.flatnonzero(~((values >= low) & (values <= high)))
        if len(bad):
            line, shown = bad[0] + _HEADER + 1, data[name].iloc[bad[0]]
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise FelsinaError(
                f"{path} line {line}{more}: {_NAMES[name]} {shown} is not within {low} to {high}"
            )
    place = Place(*(float(site[key]) for key in ("latitude", "longitude", "altitude")))
    times = _year(float(site["TZ"]))
    planes = on_planes(times, place, data[["ghi", "dni", "dhi"]].to_numpy(float))
    name = f"{site['city']} ({site['data_type']})"
    return Weather(name, times.tz_localize(None), data["temp_air"].to_numpy(float), planes)


STATIONS = {"Greensboro": "723170TYA.CSV", "Miami": "12839.tm2", "Sand Point": "703165TY.csv"}
"""Typical years of three American stations (NREL: TMY3, TMY2, TMY3) that pvlib brings along."""


def station_file(station: str) -> Path:
    """Where pvlib keeps the year of one of ``STATIONS``."""
    return Path(pvlib.__file__).parent / "data" / STATIONS[station]


def station_weather(station: str) -> Weather:
    """The typical year of one of ``STATIONS``."""
    path = station_file(station)
    if path.suffix == ".tm2":
        data, site = iotools.read_tmy2(path)
        sun, outdoor = data[["GHI", "DNI", "DHI"]], data["DryBulb"] / 10
    else:
        data, site = iotools.read_tmy3(path, coerce_year=_YEAR)
        sun, outdoor = data[["ghi", "dni", "dhi"]], data["temp_air"]
    times = _year(float(site["TZ"]))
    place = Place(*(float(site[key]) for key in ("latitude", "longitude", "altitude")))
    planes = on_planes(times, place, sun.to_numpy(float))
    return Weather(station, times.tz_localize(None), outdoor.to_numpy(float), planes)


def embedded_weather(seed: int = 0) -> Weather:
    """The embedded city's weather: a synthetic year of the Po plain, no observation."""
    times = _year(1.0)
    outdoor, ghi = synthesis.air(np.random.default_rng(seed), times.tz_convert("UTC"))
    place = Place(synthesis.CENTRE_LAT, synthesis.CENTRE_LON, 50.0)
    middle, zenith, _ = _sun(times, place)
    parts = irradiance.erbs(ghi, zenith, middle)
    planes = on_planes(times, place, np.stack([ghi, parts["dni"], parts["dhi"]], axis=1))
    return Weather("the embedded city (synthetic)", times.tz_localize(None), outdoor, planes)


def on_planes(times: pd.DatetimeIndex, place: Place, sun: FloatArray) -> FloatArray:
    """Global irradiance on each of ``ORIENTATIONS`` in W/m2, [T, S] (Perez et al. 1990).

    Args:
        times: [T] beginning of each hour; the sun stands where it does half an hour later.
        place: where.
        sun: [T, 3] global horizontal, direct normal and diffuse horizontal irradiance, W/m2.
    """
    middle, zenith, azimuth = _sun(times, place)
    ghi, dni, dhi = sun.T
    extra = np.asarray(irradiance.get_extra_radiation(middle), float)
    airmass = np.asarray(atmosphere.get_relative_airmass(zenith), float)
    planes = []
    for tilt, facing in ORIENTATIONS.values():
        plane = irradiance.get_total_irradiance(
            tilt,
            facing,
            zenith,
            azimuth,
            dni,
            ghi,
            dhi,
            dni_extra=extra,
            airmass=airmass,
            albedo=GROUND_ALBEDO,
            model="perez",
        )
        # Perez has no value once the sun is down; what twilight is left is not worth a model.
        planes.append(np.nan_to_num(np.asarray(plane["poa_global"], float)))
    return np.stack(planes, axis=1)


def _year(hours_east: float) -> pd.DatetimeIndex:
    """A year's hours in standard time so many hours ahead of UTC."""
    zone = timezone(timedelta(hours=hours_east))
    return pd.date_range(f"{_YEAR}-01-01", periods=HOURS, freq="1h", tz=zone)


def _sun(times: pd.DatetimeIndex, place: Place) -> tuple[pd.DatetimeIndex, FloatArray, FloatArray]:
    """Middle of each hour, and the sun's zenith and azimuth there in degrees."""
    middle = times + pd.Timedelta("30min")
    sun = pd.DataFrame(solarposition.get_solarposition(middle, *place))
    return middle, sun["apparent_zenith"].to_numpy(float), sun["azimuth"].to_numpy(float)


def _check_calendar(path: Path, rows: list[str]) -> None:
    """Refuse a year that is not 8760 hours in order."""
    expected = _year(0)
    for line, row in enumerate(rows, start=_HEADER + 1):
        found = [part.strip() for part in row.split(",")[1:4]]
        if line - _HEADER > HOURS:
            raise FelsinaError(
                f"{path} has {len(rows)} hours, not {HOURS}: line {line} is after 31 December"
            )
        hour = expected[line - _HEADER - 1]
        wanted = [hour.month, hour.day, hour.hour + 1]
        if not all(part.isdigit() for part in found) or [int(p) for p in found] != wanted:
            month, day, end = wanted
            raise FelsinaError(
                f"{path} line {line}: month, day, hour are {', '.join(found) or 'missing'}"
                f" where {month}, {day}, {end} was due; an EPW year has all {HOURS} hours"
            )
    if len(rows) < HOURS:
        raise FelsinaError(f"{path} has {len(rows)} hours, not {HOURS}: it ends before 31 December")
