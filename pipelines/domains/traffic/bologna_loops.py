"""Hourly counts of Bologna's induction loops, from the city's open data portal.

A dataset a year, ``rilevazione-flusso-veicoli-tramite-spire-anno-YYYY``, with a row a loop and day:
24 columns ``00:00-01:00`` ... ``23:00-24:00`` (field names ``00_00_01_00`` ...), vehicles in that
civil hour. ``accuratezza-spire-anno-YYYY`` says what share of each hour was measured: ``85%``, and
``-1%`` where nothing is known (fields ``codice_spira_2``, ``data_2``, ``08_00_09``).

Read off the portal's own pages and the code of people who use it; not confirmed by a document of
the city: that ``data`` and ``data_2`` are dates (the export of a month depends on it); what the
column of the hour that March skips and October repeats holds. Those hours are left out.

Places come from ``geopoint`` alone: in ``longitudine`` and ``latitudine`` some exports have
thousands separators. A code that two loops share on one day stands for neither: each is a node,
``CODE/id_uni``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from models.contracts import FelsinaError
from pipelines.domains.traffic.hourly_counts import HEADER, TIMEZONE
from pipelines.domains.traffic.loop_exports import accuracy, flows
from pipelines.ingest.clock import utc_of
from pipelines.ingest.opendatasoft import INTERRUPTED, export_url
from pipelines.ingest.places import edges_between
from pipelines.ingest.source import Ask, Settings, Source, Span, Tables

_FLOWS = "rilevazione-flusso-veicoli-tramite-spire-anno-{year}"
_ACCURACY = "accuratezza-spire-anno-{year}"


class LoopSettings(Settings):
    """What can be set.

    Attributes:
        host: of the portal.
        accuracy: percent of an hour that must be measured for its count to stand; 0 for any.
        neighbours: nearest loops that each is joined to; 0 leaves ``edges.csv`` alone.
    """

    host: str = "https://opendata.comune.bologna.it"
    accuracy: int = Field(95, ge=0, le=100)
    neighbours: int = Field(8, ge=0)


def _asks(settings: LoopSettings, span: Span) -> list[Ask]:
    asks = []
    for month, first, last in span.months():
        after = last + timedelta(days=1)
        for key, dataset, day, optional in (
            (month, _FLOWS, "data", after >= span.until),
            (f"{month}-accuracy", _ACCURACY, "data_2", True),
        ):
            where = f"{day} >= date'{first}' and {day} < date'{after}'"
            url = export_url(settings.host, dataset.format(year=first.year), "csv", where)
            asks.append(Ask(key, url, optional, INTERRUPTED))
    return asks


def _read(settings: LoopSettings, documents: dict[str, Path], nodes: pd.DataFrame | None) -> Tables:
    months = []
    gated = unrated = negative = 0
    for key, path in documents.items():
        if key.endswith("-accuracy"):
            continue
        rows, hours = flows(path)
        negative += int((hours < 0).sum())
        hours[hours < 0] = np.nan
        rated = documents.get(f"{key}-accuracy")
        if settings.accuracy and rated is not None and len(rows):
            share = accuracy(rated, rows)
            low = share < settings.accuracy
            gated += int((low & ~np.isnan(hours)).sum())
            unrated += int((np.isnan(share) & ~np.isnan(hours)).sum())
            hours[low] = np.nan
        months.append((rows, hours))
    table = pd.concat([rows for rows, _ in months], ignore_index=True)
    if table.empty:
        raise FelsinaError("bologna-loops: no row in what is held; ask for an earlier --since")
    table["node"] = _nodes_of(table)
    ids = sorted(set(table["node"]))
    first, last = table["day"].min(), table["day"].max()
    days = (last - first).days + 1
    wide = np.full((days, 24, len(ids)), np.nan, np.float32)
    day = (table["day"] - first).dt.days.to_numpy()
    column = pd.Index(ids).get_indexer(table["node"].tolist())
    begin = 0
    for rows, hours in months:  # by month: all of it at once would take twice the memory
        part = slice(begin, begin + len(rows))
        wide[day[part], :, column[part]] = hours
        begin += len(rows)
    civil = pd.date_range(first, periods=days * 24, freq="h")
    utc = utc_of(civil, TIMEZONE)
    known = np.flatnonzero(utc.notna())
    flat = wide.reshape(days * 24, len(ids))
    lost = int((~np.isnan(flat[utc.isna()])).sum())
    series = pd.DataFrame(flat[known], index=utc[known].rename("time"), columns=pd.Index(ids))
    places = _places(table, ids)
    return Tables(
        header={"name": "bologna-loops", **HEADER},
        nodes=places,
        series=series,
        edges=edges_between(places, settings.neighbours),
        notes=_notes(settings, documents, gated, unrated, negative, lost),
    )


def _notes(
    settings: LoopSettings,
    documents: dict[str, Path],
    gated: int,
    unrated: int,
    negative: int,
    lost: int,
) -> list[str]:
    notes = []
    if settings.accuracy:
        notes.append(f"{gated} values left out: less than {settings.accuracy} % of their hour")
        if unrated:
            notes.append(f"{unrated} values kept although no accuracy is given for them")
        bare = [k for k in documents if k[-2:].isdigit() and f"{k}-accuracy" not in documents]
        if bare:
            notes.append(f"no accuracy is published for {', '.join(bare)}: all values kept")
    if negative:
        notes.append(f"{negative} values left out: below 0")
    if lost:
        notes.append(f"{lost} values left out: hours that the clock skips or repeats")
    return notes


def _nodes_of(table: pd.DataFrame) -> list[str]:
    """Each row's node: its code, with the loop's own number where a code means two loops."""
    twice = table.duplicated(["codice_spira", "day"], keep=False)
    shared = set(table["codice_spira"].to_numpy(object)[twice.to_numpy()])
    rows = zip(table["codice_spira"], table["id_uni"], strict=True)
    return [f"{code}/{own}" if own and code in shared else code for code, own in rows]


def _places(table: pd.DataFrame, ids: list[str]) -> pd.DataFrame:
    """Each node as its last row tells."""
    last = table.drop_duplicates("node", keep="last").set_index("node").loc[ids]
    street, heading = last["nome_via"], last["direzione"]
    return pd.DataFrame(
        {
            "id": ids,
            "lon": last["lon"].to_numpy(),
            "lat": last["lat"].to_numpy(),
            "name": (street + " " + heading).str.strip().to_numpy(),
            "street": street.to_numpy(),
            "heading": heading.to_numpy(),
        }
    )


SOURCE = Source(
    name="bologna-loops",
    publisher="Comune di Bologna",
    licence="CC BY 4.0",
    attribution="Comune di Bologna, Open Data",
    settings=LoopSettings,
    asks=_asks,
    read=_read,
    targets=True,
)
