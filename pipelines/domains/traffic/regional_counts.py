"""Counts of the regional stations (MTS) of Emilia-Romagna, by direction, from its data hub.

A CSV a month, ``DS-1944/2024/03_Marzo_2024.csv``: ``ANNO_ID``, ``MESE_ID``, ``GIO_ID``
(20240331), ``HHMI_ID`` (the quarter of an hour, 07:45), ``APP_ID`` (station), ``DIRMAR_COD`` (0 or
1), ``VEI_ID`` (class of vehicle, 0 to 10) and ``NUM_TRANSITI``. Months come weeks late.

Read off the hub's index and the code of people who use it, no document of the Region at hand; not
confirmed: the zone of the stamps (taken as the civil clock), whether a quarter without a vehicle
has a row (an hour is the sum of the rows there are, and missing where there is none), and the
licence. Places are published as a spreadsheet; saved as CSV it is given by ``--set places=FILE``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.traffic.hourly_counts import HEADER, TIMEZONE
from pipelines.ingest.clock import utc_of
from pipelines.ingest.columns import header_of, numbers, read_columns
from pipelines.ingest.grid import pivot
from pipelines.ingest.places import edges_between
from pipelines.ingest.source import Ask, Settings, Source, Span, Tables

_MONTHS = (
    *("Gennaio", "Febbraio", "Marzo", "Aprile", "Maggio", "Giugno"),
    *("Luglio", "Agosto", "Settembre", "Ottobre", "Novembre", "Dicembre"),
)
_LATE = timedelta(days=120)
_COUNTS = ("GIO_ID", "APP_ID", "DIRMAR_COD", "VEI_ID", "NUM_TRANSITI")
_PLACES = ("NAME", "LONG_WGS84", "LAT_WGS84")


class CountSettings(Settings):
    """What can be set.

    Attributes:
        host: of the data hub.
        stations: numbers of those wanted; all when empty.
        places: CSV of stations with ``NAME``, ``LONG_WGS84`` and ``LAT_WGS84``.
        neighbours: nearest nodes that each is joined to; 0 leaves ``edges.csv`` alone.
    """

    host: str = "https://rerdatahub.blob.core.windows.net"
    stations: tuple[int, ...] = ()
    places: str = ""
    neighbours: int = Field(8, ge=0)


def _asks(settings: CountSettings, span: Span) -> list[Ask]:
    base = f"{settings.host.rstrip('/')}/open-datahub/DS-1944"
    asks = []
    for month, first, last in span.months():
        name = f"{first.month:02}_{_MONTHS[first.month - 1]}_{first.year}.csv"
        late = last > span.until - _LATE
        asks.append(Ask(month, f"{base}/{first.year}/{name}", optional=late))
    if settings.places:
        asks.append(Ask("places", Path(settings.places)))
    return asks


def _read(
    settings: CountSettings, documents: dict[str, Path], nodes: pd.DataFrame | None
) -> Tables:
    times, names, counts, lost = [], [], [], 0
    for key, path in documents.items():
        if key == "places":
            continue
        hour, node, count = _month(path, settings.stations)
        lost += int(count[hour.isna()].sum())
        times.append(hour.tz_localize(None).to_numpy().astype("M8[s]"))
        names.append(node)
        counts.append(count)
    if not times:
        raise FelsinaError("regional-counts: no month is there yet; ask for an earlier --since")
    index = pd.DatetimeIndex(np.concatenate(times)).tz_localize("UTC")
    series, _ = pivot(index, np.concatenate(names), np.concatenate(counts), adds_up=True)
    table = _places([str(c) for c in series.columns], documents.get("places"))
    notes = [f"{lost} transits left out: hours that the clock skips or repeats"] if lost else []
    header = {"name": "regional-counts", **HEADER}
    edges = edges_between(table, settings.neighbours)
    return Tables(header=header, nodes=table, series=series, edges=edges, notes=notes)


def _month(
    path: Path, stations: tuple[int, ...]
) -> tuple[pd.DatetimeIndex, np.ndarray, FloatArray]:
    """Hour in UTC, node ``STATION-DIRECTION`` and transits of each row."""
    types: dict[str, pa.DataType] = dict.fromkeys(_COUNTS, pa.int64())
    types["HHMI_ID"] = pa.dictionary(pa.int32(), pa.string())
    table = read_columns(path, types, _separator(path))
    day, station, direction, vehicle, transits = (
        table[name].to_numpy(zero_copy_only=False) for name in _COUNTS
    )
    clock = table["HHMI_ID"].to_pandas().array
    minutes = np.array([_minutes(str(text)) for text in clock.categories] or [0])[clock.codes]
    if (bad := np.flatnonzero((minutes < 0) | (clock.codes < 0))).size:
        row = int(bad[0])
        said = table["HHMI_ID"][row].as_py()
        raise FelsinaError(f"{path}: line {row + 2}, HHMI_ID: {said!r} is no time like 07:45")
    wanted = np.isin(station, stations) if stations else np.ones(len(station), bool)
    days, unique = pd.factorize(day[wanted])
    dates = pd.to_datetime(pd.Index(unique).astype(str), format="%Y%m%d", errors="coerce")
    if (wrong := np.asarray(pd.isna(dates))).any():
        raise FelsinaError(f"{path}: GIO_ID: {unique[wrong][0]} is no day like 20240331")
    begin = pd.DatetimeIndex(dates).to_numpy().astype("M8[s]")[days]
    quarter = pd.DatetimeIndex(begin + minutes[wanted].astype("m8[m]"))
    node = station[wanted] * 1000 + direction[wanted] * 100
    utc = utc_of(quarter, TIMEZONE, node + vehicle[wanted]).floor("h")
    codes, ids = pd.factorize(node)
    names = np.array([f"{n // 1000}-{n % 1000 // 100}" for n in ids], object)
    return utc, names[codes], transits[wanted].astype(float)


def _separator(path: Path) -> str:
    return ";" if ";" in header_of(path, "\n")[0] else ","


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    known = hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60
    return int(hour) * 60 + int(minute) if known else -1


def _places(ids: list[str], path: Path | None) -> pd.DataFrame:
    table = pd.DataFrame({"id": ids})
    table["name"] = [f"MTS {n} direction {d}" for n, _, d in (i.partition("-") for i in ids)]
    if path is None:
        return table
    separator = _separator(path)
    rows = read_columns(path, dict.fromkeys(_PLACES, pa.string()), separator)
    decimal = "," if separator == ";" else "."
    lon, lat = (numbers(rows[n], path, n, decimal) for n in _PLACES[1:])
    known = dict(zip(rows["NAME"].to_pylist(), zip(lon, lat, strict=True), strict=True))
    places = [known.get(i.partition("-")[0], (np.nan, np.nan)) for i in ids]
    return table.assign(lon=[p[0] for p in places], lat=[p[1] for p in places])


SOURCE = Source(
    name="regional-counts",
    publisher="Regione Emilia-Romagna, Sistema MTS",
    licence="not confirmed; see the Region's data catalogue",
    attribution="Regione Emilia-Romagna, MTS",
    settings=CountSettings,
    asks=_asks,
    read=_read,
    targets=True,
)
