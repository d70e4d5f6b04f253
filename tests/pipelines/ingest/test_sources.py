"""Each source of a target against a server that replays its shapes."""

from __future__ import annotations

import gzip
import json
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.domains.registry import source_of, sources
from tests.fixtures.portal import Answer, Portal, bring, times_of
from training.dataset import open_dataset


def test_every_source_that_is_listed_is_there() -> None:
    assert len(sources()) == 9
    for name in sources():
        source = source_of(name)
        assert source.name == name
        assert source.licence or source.credit
    with pytest.raises(FelsinaError, match="source 'odd' is unknown; use one of csv, open-meteo"):
        source_of("odd")


# Regional counts


def transits(day: date) -> str:
    rows = []
    for quarter in pd.date_range(str(day), periods=96, freq="15min"):
        if day == date(2024, 3, 31) and quarter.hour == 2:
            continue
        times = 2 if day == date(2024, 10, 27) and quarter.hour == 2 else 1
        for station, way in ((152, 0), (152, 1), (683, 0)):
            for vehicle, count in ((1, quarter.hour + station % 10), (7, 1)):
                row = f"{day:%Y},{day:%Y%m},{day:%Y%m%d},{quarter:%H:%M},{station},{way},{vehicle}"
                rows += [f"{row},{count}"] * times
    return "\n".join(rows) + "\n"


def test_regional_counts_over_both_changes_of_the_clock(portal, tmp_path) -> None:
    def route(path: str, query: dict[str, str]) -> bytes | None:
        known = {f"{y}/{m:02}_{n}_{y}.csv": (y, m) for y, m, n in
                 ((2024, 3, "Marzo"), (2024, 4, "Aprile"), (2024, 10, "Ottobre"))}  # fmt: skip
        if path.removeprefix("/open-datahub/DS-1944/") not in known:
            return None
        year, month = known[path.removeprefix("/open-datahub/DS-1944/")]
        days = pd.date_range(f"{year}-{month}-01", periods=31)
        text = "".join(transits(d.date()) for d in days if d.month == month)
        return b"ANNO_ID,MESE_ID,GIO_ID,HHMI_ID,APP_ID,DIRMAR_COD,VEI_ID,NUM_TRANSITI\n" + (
            text.encode()
        )

    portal.route = route
    places = tmp_path / "places.csv"
    places.write_text("NAME;LONG_WGS84;LAT_WGS84\n152;11,26;44,49\n999;11,0;44,0\n")
    spring = tmp_path / "spring"
    done = bring(
        "regional-counts", spring, "2024-03-01", "2024-06-01", host=portal.url, places=str(places)
    )
    assert done.absent == ("2024-05",)  # months come late
    dataset = open_dataset(spring)
    assert dataset.graph.ids == ("152-0", "152-1", "683-0")
    assert np.array_equal(dataset.graph.lon, [11.26, 11.26, np.nan], equal_nan=True)
    civil = times_of(dataset).tz_convert("Europe/Rome")
    expected = [[4 * (h + 2) + 4, 4 * (h + 2) + 4, 4 * (h + 3) + 4] for h in civil.hour]
    assert np.array_equal(dataset.values, expected)
    autumn = tmp_path / "autumn"
    bring("regional-counts", autumn, "2024-10-01", "2024-11-01", host=portal.url, stations=(683,))
    dataset = open_dataset(autumn)
    assert dataset.graph.ids == ("683-0",)
    assert len(dataset.values) == 31 * 24 + 1
    assert not np.isnan(dataset.values).any()


# Terna


@pytest.fixture
def grid_operator(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> Portal:
    def route(path: str, query: dict[str, str]) -> Answer | bytes | None:
        if path == "/public-api/access-token":
            return Answer(b'{"access_token":"abc","token_type":"bearer","expires_in":300}')
        assert portal.asked[-1][2]["authorization"] == "Bearer abc"
        assert path == "/load/v2.0/total-load"
        first, last = (pd.to_datetime(query[k], format="%d/%m/%Y") for k in ("dateFrom", "dateTo"))
        assert (last - first).days < 60
        begin = first.tz_localize("Europe/Rome")
        end = (last + pd.Timedelta("1D")).tz_localize("Europe/Rome")
        stamps = pd.date_range(begin, end, freq="15min", inclusive="left")
        records = [
            {
                "date": f"{t:%Y-%m-%d %H:%M:%S}",
                "date_tz": "Europe/Rome",
                "date_offset": f"{t:%z}"[:3] + ":00",
                "total_load_MW": f"{15000 + t.value // 900_000_000_000 % 5000}.5",
                "forecast_total_load_MW": "1.0",
                "bidding_zone": query["biddingZone"],
            }
            for t in stamps
        ]
        return json.dumps({"result": {}, "total_load": records}).encode()

    portal.route = route
    monkeypatch.setenv("TERNA_CLIENT_ID", "key")
    monkeypatch.setenv("TERNA_CLIENT_SECRET", "not-to-be-written")
    return portal


def test_terna_tells_the_repeated_hour_apart(grid_operator, tmp_path) -> None:
    folder = tmp_path / "load"
    bring("terna-load", folder, "2024-10-01", "2024-12-01", host=grid_operator.url)
    dataset = open_dataset(folder)
    assert (dataset.graph.ids, dataset.spec.step, dataset.spec.unit) == (("north",), "15min", "MW")
    quarters = times_of(dataset).as_unit("ns").asi8 // 900_000_000_000
    assert len(quarters) == 61 * 96 + 4
    assert np.array_equal(dataset.values[:, 0], 15000.5 + quarters % 5000)
    assert sum(path.endswith("access-token") for path, *_ in grid_operator.asked) == 1
    for path in folder.rglob("*"):
        assert not path.is_file() or b"not-to-be-written" not in path.read_bytes()


def test_terna_without_a_key_or_a_zone_is_told(grid_operator, tmp_path, monkeypatch) -> None:
    with pytest.raises(FelsinaError, match="setting zone = 'Norht': input should be 'North'"):
        bring("terna-load", tmp_path / "a", "2024-10-01", "2024-11-01", zone="Norht")
    monkeypatch.delenv("TERNA_CLIENT_SECRET")
    with pytest.raises(FelsinaError, match="TERNA_CLIENT_SECRET not set; register an application"):
        bring("terna-load", tmp_path / "a", "2024-10-01", "2024-11-01", host=grid_operator.url)


# ARPAE

GAUGES = {"Casalecchio Chiusa": (1128000, 4447500, 1.0), "Vergato": (1111000, 4428000, 0.3)}
RAIN = {"Monteombraro": (1101000, 4438000), "Vergato": (1111000, 4428000)}


def archive(month: str) -> bytes:
    begin = pd.Timestamp(f"{month}-01", tz="UTC")
    lines = []
    for n, t in enumerate(pd.date_range(begin, begin + pd.DateOffset(months=1), freq="15min")):
        for name, (lon, lat, level) in GAUGES.items():
            blocks = [
                {"vars": {"B01019": {"v": name}}},
                {"timerange": [1, 0, 900], "level": [1], "vars": {"B13215": {"v": 99}}},
                {"timerange": [254, 0, 0], "level": [1], "vars": {"B13215": {"v": level + n % 7}}},
            ]
            lines.append(observed("simnbo", lon, lat, t, blocks))
        for name, (lon, lat) in RAIN.items():
            blocks = [
                {"vars": {"B01019": {"v": name}}},
                {"timerange": [1, 0, 900], "level": [1], "vars": {"B13011": {"v": float(n % 3)}}},
                {"timerange": [1, 0, 3600], "level": [1], "vars": {"B13011": {"v": 50.0}}},
            ]
            lines.append(observed("agrmet", lon, lat, t, blocks))
        lines.append(observed("boa", 1400000, 4400000, t, [{"vars": {"B13215": {"v": 1}}}]))
        lines.append(observed("simnbo", 1128000, 4447500, t, [{"vars": {"B12101": {"v": 280}}}]))
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def observed(network: str, lon: int, lat: int, t: pd.Timestamp, data: list[Any]) -> str:
    record = {"version": "0.1", "network": network, "ident": None, "lon": lon, "lat": lat}
    return json.dumps(record | {"date": f"{t:%Y-%m-%dT%H:%M:%SZ}", "data": data})


def test_rivers_with_the_rain_of_their_neighbourhood(portal, tmp_path) -> None:
    known = {f"/opendata/osservati/meteo/storico/{m}.json.gz": archive(m) for m in ("2024-10",)}
    portal.route = lambda path, query: known.get(path)
    folder = tmp_path / "rivers"
    done = bring("arpae-rivers", folder, "2024-10-01", "2024-11-05", host=portal.url)
    assert done.absent == ("2024-11",)
    dataset = open_dataset(folder)
    assert dataset.graph.ids == ("Vergato", "Casalecchio Chiusa")
    assert dataset.graph.lon.tolist() == [11.11, 11.28]
    rows = np.arange(len(dataset.values))
    assert np.allclose(dataset.values[:, 1], 1.0 + 2 * rows % 7)
    assert dataset.forcings is not None
    quarters = np.arange(2 * len(rows)) % 3
    expected = quarters[2::2] + quarters[1:-1:2]
    assert np.isnan(dataset.forcings[0, 0, 0])
    assert np.array_equal(dataset.forcings[1:, 0, 0], expected)
    assert [(f.name, f.unit, f.known_future) for f in dataset.spec.forcings] == [
        ("rain", "mm", False)
    ]


def test_an_archive_that_is_cut_is_told(portal, tmp_path) -> None:
    portal.route = lambda path, query: archive("2024-10")[:-2000]
    with pytest.raises(FelsinaError, match=r"2024-10-\w+.json.gz: no whole gzip file"):
        bring("arpae-rivers", tmp_path / "rivers", "2024-10-01", "2024-11-01", host=portal.url)
