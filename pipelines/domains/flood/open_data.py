"""The open data of flood: river stage and rain in Emilia-Romagna, from ARPAE-SIMC's archive.

``/opendata/osservati/meteo/storico/2024-03.json.gz`` has a line a station and moment, with
``network``, ``lon`` and ``lat`` (degrees times 100 000), ``date`` (UTC) and ``data``, blocks of
``timerange``, ``level`` and ``vars`` by BUFR code: stage in m is ``B13215`` where ``timerange`` is
[254, 0, 0], rain in mm of the quarter of an hour before is ``B13011`` where it is [1, 0, 900], a
station's name is ``B01019``. Codes are those of WMO's table B; the layout is as users of the
archive state in their code, no document of ARPAE at hand.

Gauges in a box become nodes; each has the mean rain of the nearest rain stations as ``rain``. A
row's rain fell in the step that ends at its stamp, so no row shows rain of later.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from pydantic import Field

from models.contracts import FelsinaError, FloatArray
from pipelines.ingest.places import distances_m, edges_between
from pipelines.ingest.source import Ask, ForcingUnit, Settings, Source, Span, Tables

STEP = "30min"
_STAGE, _RAIN, _NAME = "B13215", "B13011", "B01019"
_LON, _LAT = re.compile(rb'"lon": ?(-?\d+)'), re.compile(rb'"lat": ?(-?\d+)')
_WANTED = re.compile(f"{_STAGE}|{_RAIN}".encode())
_PIECE = 1 << 24
_RENO = (10.75, 44.0, 11.95, 44.85)
Station = tuple[int, int, str]
Read = dict[Station, dict[str, float]]


class ArchiveSettings(Settings):
    """What can be set.

    Attributes:
        host: of the archive.
        box: west, south, east, north in degrees; by default the Reno's basin.
        rain_stations: how many nearest rain stations a gauge's rain is the mean of.
        neighbours: nearest gauges that each is joined to; 0 leaves ``edges.csv`` alone.
    """

    host: str = "https://dati-simc.arpae.it"
    pause_s: float = 2.0
    box: tuple[float, float, float, float] = _RENO
    rain_stations: int = Field(3, ge=0)
    neighbours: int = Field(4, ge=0)


def _asks(settings: ArchiveSettings, span: Span) -> list[Ask]:
    base = f"{settings.host.rstrip('/')}/opendata/osservati/meteo/storico"
    months = span.months()
    return [
        Ask(month, f"{base}/{month}.json.gz", optional=month == months[-1][0])
        for month, _, _ in months
    ]


def _read(
    settings: ArchiveSettings, documents: dict[str, Path], nodes: pd.DataFrame | None
) -> Tables:
    stage: Read = defaultdict(dict)
    rain: Read = defaultdict(dict)
    names: dict[Station, str] = {}
    for path in documents.values():
        _month(path, settings.box, stage, rain, names)
    if not stage:
        raise FelsinaError(f"arpae-rivers: no stage within box {settings.box}; set box wider")
    gauges = sorted(stage)
    ids = _ids(gauges, names)
    series = _table(stage, gauges, ids)
    # On the grid: a stage is read at its moment, rain adds up over the step that ends there.
    grid = pd.date_range(series.index[0].ceil(STEP), series.index[-1].floor(STEP), freq=STEP)
    place = np.array([station[:2] for station in gauges], float) / 1e5
    table = pd.DataFrame(
        {
            "id": ids,
            "lon": place[:, 0],
            "lat": place[:, 1],
            "name": [names.get(station, name) for station, name in zip(gauges, ids, strict=True)],
        }
    )
    forcings = _rain(settings.rain_stations, rain, place, ids, grid)
    return Tables(
        header={
            "name": "arpae-rivers",
            "domain": "flood",
            "target": "stage",
            "unit": "m",
            "step": STEP,
            "timezone": "Europe/Rome",
            "lookback": 96,
            "horizon": 24,
            "nonnegative": False,
        },
        nodes=table,
        series=series.reindex(grid.rename("time")),
        edges=edges_between(table, settings.neighbours),
        forcings=forcings,
        forcing_units={"rain": ForcingUnit("mm", known_future=False, adds_up=True)},
        notes=[f"{len(gauges)} gauges, {len(rain)} rain stations in the box"],
    )


def _month(
    path: Path,
    box: tuple[float, float, float, float],
    stage: Read,
    rain: Read,
    names: dict[Station, str],
) -> None:
    west, south, east, north = (round(side * 1e5) for side in box)
    number = 0
    try:
        for line in _lines(path):
            number += 1
            # A glance at the text tells most lines apart: reading one takes ten times as long.
            if (lon := _LON.search(line)) and not west <= int(lon[1]) <= east:
                continue
            if (lat := _LAT.search(line)) and not south <= int(lat[1]) <= north:
                continue
            if _WANTED.search(line):
                record = orjson.loads(line)
                station = (int(record["lon"]), int(record["lat"]), str(record["network"]))
                _values(record, station, stage, rain, names)
    except (OSError, EOFError, zlib.error) as error:
        raise FelsinaError(
            f"{path}: no whole gzip file: {error}; delete it and ingest again"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FelsinaError(
            f"{path}: line {number}: {type(error).__name__}: {error}; the archive may have changed"
        ) from error


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a gzip file, unpacked in large pieces: line by line takes three times as long."""
    with gzip.open(path) as stream:
        rest = b""
        while piece := stream.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        if rest:
            yield rest


def _values(
    record: dict[str, Any], station: Station, stage: Read, rain: Read, names: dict[Station, str]
) -> None:
    for block in record["data"]:
        found = block["vars"]
        kind = block.get("timerange")
        if kind is None:
            if _NAME in found:
                names[station] = str(found[_NAME]["v"])
        elif kind == [254, 0, 0] and _STAGE in found:
            value = found[_STAGE]["v"]
            stage[station][record["date"]] = np.nan if value is None else float(value)
        elif kind == [1, 0, 900] and _RAIN in found:
            value = found[_RAIN]["v"]
            rain[station][record["date"]] = np.nan if value is None else float(value)


def _ids(stations: list[Station], names: dict[Station, str]) -> list[str]:
    """Names of the gauges, with their place where two have one name."""
    plain = [names.get(s, f"{s[0]},{s[1]}") for s in stations]
    return [
        name if plain.count(name) == 1 else f"{name} ({s[0]},{s[1]})"
        for name, s in zip(plain, stations, strict=True)
    ]


def _table(found: Read, stations: list[Station], ids: list[str]) -> pd.DataFrame:
    columns = {}
    for station, name in zip(stations, ids, strict=True):
        index = pd.DatetimeIndex(pd.to_datetime(list(found[station]), utc=True))
        columns[name] = pd.Series(list(found[station].values()), index, dtype=float)
    return pd.DataFrame(columns).sort_index()


def _rain(
    count: int, rain: Read, gauges: np.ndarray, ids: list[str], grid: pd.DatetimeIndex
) -> pd.DataFrame | None:
    if not count or not rain:
        return None
    stations = sorted(rain)
    quarters = _table(rain, stations, [str(n) for n in range(len(stations))])
    ends = pd.DatetimeIndex(quarters.index).ceil(STEP)
    place = np.array([station[:2] for station in stations], float) / 1e5
    far = distances_m(gauges[:, 0], gauges[:, 1], place[:, 0], place[:, 1])
    nearest = np.argsort(far, axis=1, kind="stable")[:, :count]
    values = _sums(quarters.to_numpy(float), grid.get_indexer(ends), len(grid))
    with np.errstate(invalid="ignore"):
        parts = [
            np.nansum(values[:, n], axis=1) / (~np.isnan(values[:, n])).sum(1) for n in nearest
        ]
    columns = [f"rain@{name}" for name in ids]
    return pd.DataFrame(np.column_stack(parts), grid, pd.Index(columns))


def _sums(quarters: FloatArray, row: np.ndarray, rows: int) -> FloatArray:
    """Quarters [Q, R] added up to rows; unknown where not both quarters of a row are there."""
    held = row >= 0
    sums, count = np.zeros((2, rows, quarters.shape[1]))
    np.add.at(sums, row[held], np.nan_to_num(quarters[held]))
    np.add.at(count, row[held], ~np.isnan(quarters[held]))
    return np.where(count >= 2, sums, np.nan)


SOURCE = Source(
    name="arpae-rivers",
    publisher="Arpae-SIMC",
    licence="IODL 2.0 or CC BY 4.0, as users state it: check with Arpae",
    attribution="Arpae Emilia-Romagna, Struttura Idro-Meteo-Clima",
    settings=ArchiveSettings,
    asks=_asks,
    read=_read,
    targets=True,
)
