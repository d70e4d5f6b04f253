"""The open data of energy: load of an Italian bidding zone, from Terna's public API.

``/load/v2.0/total-load?dateFrom=01/03/2024&dateTo=31/03/2024&biddingZone=North``, at most 60 days a
request, answers ``total_load``: records of a quarter of an hour with ``date`` (its begin on the
Italian clock), ``date_offset`` (``+02:00``), ``total_load_MW`` and ``bidding_zone``. A token
(OAuth, client credentials) lasts 300 s. Fields and limits are those that users of the API state in
their code; its documentation was not at hand. An unknown zone is answered by an empty list: hence
the list of zones here.

Register an application at Terna's developer portal, and set ``TERNA_CLIENT_ID`` and
``TERNA_CLIENT_SECRET`` in the environment; they are written nowhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
import numpy as np
import pandas as pd

from models.contracts import FelsinaError
from pipelines.ingest.grid import pivot
from pipelines.ingest.source import Ask, Settings, Source, Span, Tables

_TOKEN_S = 240.0
Zone = Literal[
    "North", "Centre-North", "Centre-South", "South", "Calabria", "Sicily", "Sardinia", "Italy"
]


class LoadSettings(Settings):
    """What can be set: host, and the bidding zone (Bologna lies in North)."""

    host: str = "https://api.terna.it"
    pause_s: float = 1.5
    zone: Zone = "North"


def _asks(settings: LoadSettings, span: Span) -> list[Ask]:
    asks = []
    for month, first, last in span.months():
        asked = {
            "dateFrom": f"{first:%d/%m/%Y}",
            "dateTo": f"{min(last, span.until - timedelta(days=1)):%d/%m/%Y}",
            "biddingZone": settings.zone,
        }
        url = f"{settings.host.rstrip('/')}/load/v2.0/total-load?{urlencode(asked)}"
        asks.append(Ask(month, url))
    return asks


def _read(settings: LoadSettings, documents: dict[str, Path], nodes: pd.DataFrame | None) -> Tables:
    stamps: list[str] = []
    values: list[float] = []
    for path in documents.values():
        for number, record in enumerate(_records(path), 1):
            try:
                stamps.append(f"{record['date']}{record['date_offset']}")
                text = record["total_load_MW"]
                values.append(np.nan if text in (None, "") else float(text))
            except (KeyError, TypeError, ValueError) as error:
                raise FelsinaError(
                    f"{path}: record {number}: {type(error).__name__}: {error}; expected date, "
                    "date_offset and total_load_MW"
                ) from error
    times = pd.DatetimeIndex(pd.to_datetime(stamps, utc=True, errors="coerce"))
    if times.isna().any():
        bad = stamps[int(np.flatnonzero(times.isna())[0])]
        raise FelsinaError(f"terna-load: {bad!r} is no stamp like 2024-03-31 03:00:00+02:00")
    series, _ = pivot(times, np.full(len(times), settings.zone.lower(), object), np.array(values))
    header = {
        "name": f"terna-{settings.zone.lower()}",
        "domain": "energy",
        "target": "load",
        "unit": "MW",
        "step": "15min",
        "timezone": "Europe/Rome",
        "lookback": 672,
        "horizon": 96,
        "nonnegative": True,
    }
    table = pd.DataFrame({"id": [str(c) for c in series.columns], "name": f"Zone {settings.zone}"})
    return Tables(header=header, nodes=table, series=series)


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(path.read_bytes())["total_load"] or []
    except (ValueError, KeyError, TypeError) as error:
        raise FelsinaError(f"{path}: no answer with a list total_load: {error}") from error


def _headers(settings: LoadSettings) -> Callable[[httpx.Client], dict[str, str]]:
    """A token, taken anew before it runs out."""
    held = {"token": "", "since": -_TOKEN_S}

    def headers(client: httpx.Client) -> dict[str, str]:
        if time.monotonic() - float(held["since"]) >= _TOKEN_S:
            held.update(token=_token(settings.host, client), since=time.monotonic())
        return {"authorization": f"Bearer {held['token']}"}

    return headers


def _token(host: str, client: httpx.Client) -> str:
    known = {
        name: os.environ.get(f"TERNA_{name.upper()}", "") for name in ("client_id", "client_secret")
    }
    if lacking := [f"TERNA_{name.upper()}" for name, value in known.items() if not value]:
        raise FelsinaError(
            f"terna-load: {' and '.join(lacking)} not set; register an application at Terna's "
            "developer portal and export its key and secret"
        )
    url = f"{host.rstrip('/')}/public-api/access-token"
    answer = client.post(url, data=known | {"grant_type": "client_credentials"})
    if answer.status_code in (400, 401, 403):
        raise FelsinaError(f"{url}: answered {answer.status_code}; check key and secret")
    answer.raise_for_status()
    return str(answer.json()["access_token"])


SOURCE = Source(
    name="terna-load",
    publisher="Terna",
    licence="free to reuse with attribution, not confirmed for the API",
    attribution="Terna",
    settings=LoadSettings,
    asks=_asks,
    read=_read,
    targets=True,
    headers=_headers,
)
