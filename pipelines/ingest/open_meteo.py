"""Weather from Open-Meteo as forcings: as it was forecast, and as it was analysed afterwards.

The Previous Runs API gives ``temperature_2m_previous_day1``: the value that was predicted 24 hours
before its time, ``_previous_day2`` 48 hours, up to 7 days (its documentation; most models from
January 2024). For a horizon of up to 24 hours the first is what was known at the latest when a
forecast was made: known ahead, and honest in a backtest. A longer horizon takes a longer lead. The
archive is a reanalysis: it tells the past better than anybody knew it, so it is never known ahead,
and its forcings have names of their own.

Stamps are UTC and stand as published: a sum or mean (rain, radiation) is of the hour before.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from pydantic import Field

from models.contracts import FelsinaError, step_seconds
from pipelines.ingest.assemble import read_header
from pipelines.ingest.source import Ask, ForcingUnit, Settings, Source, Span, Tables

Variable = Literal[
    "temperature_2m",
    "precipitation",
    "relative_humidity_2m",
    "wind_speed_10m",
    "shortwave_radiation",
]
_FORCINGS: dict[str, tuple[str, str, bool]] = {
    "temperature_2m": ("temp_c", "degC", False),
    "precipitation": ("rain_mm", "mm", True),
    "relative_humidity_2m": ("humidity_pct", "%", False),
    "wind_speed_10m": ("wind_m_s", "m/s", False),
    "shortwave_radiation": ("ghi_w_m2", "W/m2", False),
}
"""Variable to forcing, unit, and whether it adds up."""
_UNITS = {"degC": "°C", "mm": "mm", "%": "%", "m/s": "m/s", "W/m2": "W/m²"}
_MOST_DAYS = 7


class WeatherSettings(Settings):
    """What can be set.

    Attributes:
        latitude: of the place; by default the mean of the folder's nodes.
        longitude: of the same.
        variables: of those that Open-Meteo has.
        model: a weather model by its name there; its best match when empty.
        days_ahead: lead of the forecasts; by default the least that covers the horizon.
    """

    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    variables: tuple[Variable, ...] = ("temperature_2m", "precipitation")
    model: str = ""


class ForecastSettings(WeatherSettings):
    """Of forecasts as they were issued."""

    host: str = "https://previous-runs-api.open-meteo.com"
    days_ahead: int = Field(0, ge=0, le=_MOST_DAYS)


class ArchiveSettings(WeatherSettings):
    """Of the reanalysis."""

    host: str = "https://archive-api.open-meteo.com"


def _settle(settings: WeatherSettings, folder: Path) -> Settings:
    """Fill in place and lead from the folder, once and for all: addresses must not wander."""
    found: dict[str, Any] = {}
    if settings.latitude is None or settings.longitude is None:
        path = folder / "nodes.csv"
        nodes = pd.read_csv(path) if path.exists() else pd.DataFrame()
        places = nodes.reindex(columns=["lat", "lon"]).to_numpy(float)
        places = places[~np.isnan(places).any(axis=1)]
        if not len(places):
            raise FelsinaError(
                f"{folder}: no node with a place yet; set latitude=44.49 and longitude=11.34"
            )
        latitude, longitude = places.mean(axis=0).round(3).tolist()
        found = {"latitude": latitude, "longitude": longitude}
    if isinstance(settings, ForecastSettings) and not settings.days_ahead:
        path = folder / "dataset.toml"
        header = read_header(path) if path.exists() else {}
        hours = header.get("horizon", 24) * step_seconds(header.get("step", "1h")) / 3600
        if hours > 24 * _MOST_DAYS:
            raise FelsinaError(
                f"{path}: no forecast is kept {hours / 24:.0f} days ahead; 7 at most"
            )
        found["days_ahead"] = ceil(hours / 24)
    return settings.model_copy(update=found)


def _asks(settings: WeatherSettings, span: Span) -> list[Ask]:
    ahead = isinstance(settings, ForecastSettings)
    path = "/v1/forecast" if ahead else "/v1/archive"
    asks = []
    for month, first, last in span.months():
        asked = {
            "latitude": settings.latitude,
            "longitude": settings.longitude,
            "start_date": first,
            "end_date": min(last, span.until - timedelta(days=1)),
            "hourly": ",".join(map(_column(settings), settings.variables)),
            "wind_speed_unit": "ms",
            "timezone": "UTC",
        } | ({"models": settings.model} if settings.model else {})
        asks.append(Ask(month, f"{settings.host.rstrip('/')}{path}?{urlencode(asked)}"))
    return asks


def _column(settings: WeatherSettings) -> Any:
    if isinstance(settings, ForecastSettings):
        return lambda variable: f"{variable}_previous_day{settings.days_ahead}"
    return lambda variable: variable


def _read(
    settings: WeatherSettings, documents: dict[str, Path], nodes: pd.DataFrame | None
) -> Tables:
    ahead = isinstance(settings, ForecastSettings)
    parts = [_month(path, settings) for path in documents.values()]
    table = pd.concat(parts)
    table = table.loc[~table.index.duplicated(keep="last")].sort_index()
    units = {}
    for variable in settings.variables:
        name, unit, adds_up = _FORCINGS[variable]
        units[name if ahead else f"{name}_reanalysis"] = ForcingUnit(unit, ahead, adds_up)
    table.columns = pd.Index(list(units))
    return Tables(forcings=table, forcing_units=units)


def _month(path: Path, settings: WeatherSettings) -> pd.DataFrame:
    try:
        answer = json.loads(path.read_bytes())
        hourly, units = answer["hourly"], answer["hourly_units"]
        index = pd.DatetimeIndex(pd.to_datetime(hourly["time"], utc=True))
        columns = {}
        for variable in settings.variables:
            column = _column(settings)(variable)
            expected = _UNITS[_FORCINGS[variable][1]]
            if units[column] != expected:
                raise FelsinaError(f"{path}: {column} is in {units[column]}; expected {expected}")
            columns[variable] = np.array(hourly[column], float)
        return pd.DataFrame(columns, index)
    except (ValueError, KeyError, TypeError) as error:
        raise FelsinaError(
            f"{path}: {type(error).__name__}: {error}; expected hourly values of Open-Meteo. If "
            "variables were changed, ingest from the first day again"
        ) from error


FORECAST = Source(
    name="open-meteo",
    publisher="Open-Meteo",
    licence="CC BY 4.0",
    attribution="Weather data by Open-Meteo.com",
    settings=ForecastSettings,
    asks=_asks,
    read=_read,
    settle=_settle,
)
ARCHIVE = replace(FORECAST, name="open-meteo-archive", settings=ArchiveSettings)
