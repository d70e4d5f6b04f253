"""Weather, roads and areas join a folder that has nodes."""

from __future__ import annotations

import json
import sqlite3
import struct
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairness.areas import read_areas
from models.contracts import FelsinaError
from pipelines.ingest.road_graph import line_of, read_lines
from tests.fixtures.portal import Answer, Portal, bring, times_of
from training.dataset import open_dataset


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    """Four nodes on a square of streets, hourly through February and March."""
    index = pd.date_range("2024-02-01", "2024-04-01", freq="h", inclusive="left")
    text = ["at,a,b,c,d", *(f"{t:%Y-%m-%dT%H:%MZ},{t.hour},2,3,4" for t in index)]
    (tmp_path / "data.csv").write_text("\n".join(text))
    (tmp_path / "places.csv").write_text(
        "id,lon,lat\na,11.340,44.490\nb,11.350,44.490\nc,11.350,44.500\nd,11.340,44.500\n"
    )
    (tmp_path / "mapping.toml").write_text(
        'domain = "traffic"\ntarget = "flow"\nunit = "veh/h"\nstep = "1h"\n'
        'timezone = "Europe/Rome"\nlookback = 24\nhorizon = 36\nfiles = "data.csv"\ntime = "at"\n'
        '[places]\nfile = "places.csv"\nid = "id"\nlon = "lon"\nlat = "lat"\n'
        '[source]\npublisher = "City"\nlicence = "CC0"\nattribution = "the City"\n'
    )
    folder = tmp_path / "city"
    bring("csv", folder, path=str(tmp_path / "mapping.toml"))
    return folder


def weather(portal: Portal) -> None:
    def route(path: str, query: dict[str, str]) -> Answer | bytes:
        if query["latitude"] != "44.495":
            return Answer(b'{"error":true,"reason":"Cannot initialize"}', 400)
        assert (query["timezone"], query["longitude"]) == ("UTC", "11.345")
        begin, end = date.fromisoformat(query["start_date"]), date.fromisoformat(query["end_date"])
        hours = pd.date_range(str(begin), str(end + timedelta(days=1)), freq="h", inclusive="left")
        hourly: dict[str, Any] = {"time": [f"{t:%Y-%m-%dT%H:%M}" for t in hours]}
        units = {"time": "iso8601"}
        for column in query["hourly"].split(","):
            values: list[Any] = [float(t.hour) for t in hours]
            hourly[column] = [None, *values[1:]] if begin.day == 1 else values
            units[column] = "mm" if column.startswith("precip") else "°C"
        return json.dumps({"hourly_units": units, "hourly": hourly}).encode()

    portal.route = route


def test_weather_joins_as_forecast_and_as_analysed(portal, loops) -> None:
    weather(portal)
    bring("open-meteo", loops, "2024-02-01", "2024-04-01", host=portal.url)
    assert portal.asked[0][0] == "/v1/forecast"
    assert (
        portal.asked[0][1]["hourly"] == "temperature_2m_previous_day2,precipitation_previous_day2"
    )
    bring(
        "open-meteo-archive",
        loops,
        *("2024-02-01", "2024-04-01"),
        host=portal.url,
        variables=("temperature_2m",),
    )
    assert portal.asked[-1][0] == "/v1/archive"
    dataset = open_dataset(loops)
    known = {f.name: f.known_future for f in dataset.spec.forcings}
    assert known == {"temp_c": True, "rain_mm": True, "temp_c_reanalysis": False}
    assert dataset.forcings is not None
    hours = times_of(dataset).hour
    assert np.array_equal(dataset.forcings[1:600, 0, 0], hours[1:600])
    assert np.isnan(dataset.forcings[0, 0]).all()
    assert dataset.header["source"]["licence"] == "CC0; CC BY 4.0"
    assert dataset.attribution == "the City; Weather data by Open-Meteo.com"


def test_weather_joins_a_folder_that_was_not_ingested(portal, loops) -> None:
    weather(portal)
    for path in sorted((loops / "raw").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    before = (loops / "series.parquet").read_bytes()
    for _ in range(2):
        bring("open-meteo", loops, "2024-02-01", "2024-04-01", host=portal.url)
    dataset = open_dataset(loops)
    assert (loops / "series.parquet").read_bytes() == before
    assert [f.name for f in dataset.spec.forcings] == ["temp_c", "rain_mm"]
    assert dataset.attribution == "the City; Weather data by Open-Meteo.com"


def test_a_header_that_is_no_toml_is_told(portal, loops) -> None:
    weather(portal)
    (loops / "dataset.toml").write_text("step = 1h")
    with pytest.raises(FelsinaError, match=r"dataset.toml: no TOML: .*; mend it, or delete it"):
        bring("open-meteo", loops, "2024-02-01", "2024-04-01", host=portal.url)
    assert portal.asked == []


def test_hours_on_other_steps_show_nothing_of_later(portal, loops, tmp_path) -> None:
    weather(portal)
    text = (tmp_path / "mapping.toml").read_text()
    fine = pd.date_range("2024-02-01", "2024-03-01", freq="15min", inclusive="left")
    for step, index in (("15min", fine), ("1D", pd.date_range("2024-02-01", "2024-06-01"))):
        rows = ["at,a,b,c,d", *(f"{t:%Y-%m-%dT%H:%MZ},{t.hour},2,3,4" for t in index)]
        (tmp_path / "data.csv").write_text("\n".join(rows))
        changed = text.replace('step = "1h"', f'step = "{step}"')
        (tmp_path / "mapping.toml").write_text(
            changed.replace("lookback = 24\nhorizon = 36", "lookback = 7\nhorizon = 2")
        )
        folder = tmp_path / step
        bring("csv", folder, path=str(tmp_path / "mapping.toml"))
        until = f"{index[-1] + pd.Timedelta('1D'):%Y-%m-%d}"
        bring("open-meteo", folder, "2024-02-01", until, host=portal.url)
        dataset = open_dataset(folder)
        assert dataset.forcings is not None
        temperature, rain = dataset.forcings[:, 0].T
        if step == "15min":
            hours = times_of(dataset).hour.to_numpy()
            assert np.array_equal(temperature[4:], hours[4:])
            assert np.allclose(rain[4:], hours[4:] / 4)
        else:
            assert np.isnan(temperature[0])  # an hour of that day is missing
            assert temperature[1] == np.arange(24).mean()
            assert rain[1] == np.arange(24).sum()


def geopackage(path: Path, system: int = 4326) -> Path:
    """A square of streets: a to b and b to c both ways, c to d one way, d to a far round."""
    a, b, c, d = (11.34, 44.49), (11.35, 44.49), (11.35, 44.50), (11.34, 44.50)
    file = sqlite3.connect(path)
    file.executescript(
        "CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT,"
        " geometry_type_name TEXT, srs_id INTEGER, z TINYINT, m TINYINT);"
        'CREATE TABLE "edges" (fid INTEGER PRIMARY KEY, geom LINESTRING, oneway BOOLEAN);'
    )
    file.execute(
        "INSERT INTO gpkg_geometry_columns VALUES ('edges', 'geom', 'LINESTRING', ?, 0, 0)",
        (system,),
    )
    streets = [((a, b), 0), ((b, c), False), ((c, d), 1), ((d, (11.30, 44.52), a), 0)]
    for n, (points, oneway) in enumerate(streets):
        order, byte = ("<", 1) if n % 2 else (">", 0)
        envelope = struct.pack(f"{order}4d", 0, 0, 0, 0) if n % 3 else b""
        flags = byte | (0b10 if envelope else 0)
        header = b"GP\0" + bytes([flags]) + struct.pack(f"{order}i", system) + envelope
        flat = [x for point in points for x in point]
        body = bytes([byte]) + struct.pack(f"{order}II{len(flat)}d", 2, len(points), *flat)
        file.execute("INSERT INTO edges (geom, oneway) VALUES (?, ?)", (header + body, oneway))
    file.commit()
    file.close()
    return path


def test_edges_go_by_road_and_its_direction(loops, tmp_path) -> None:
    before = pd.read_csv(loops / "edges.csv")
    bring("road-graph", loops, path=str(geopackage(tmp_path / "roads.gpkg")))
    edges = pd.read_csv(loops / "edges.csv").set_index(["source", "target"])["distance_m"]
    crow = before.set_index(["source", "target"])["distance_m"]
    assert edges["a", "b"] == pytest.approx(crow["a", "b"], rel=1e-3)
    assert edges["a", "c"] == pytest.approx(crow["a", "b"] + crow["b", "c"], rel=1e-3)
    assert edges["c", "d"] == pytest.approx(crow["c", "d"], rel=1e-3)
    assert edges["d", "c"] > 5 * crow["d", "c"]
    assert open_dataset(loops).attribution == "the City; © OpenStreetMap contributors"


def test_geopackages_that_are_none_are_told(loops, tmp_path) -> None:
    odd = tmp_path / "odd.gpkg"
    odd.write_bytes(b"not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(FelsinaError, match="no GeoPackage"):
        bring("road-graph", tmp_path / "city", path=str(odd))
    with pytest.raises(FelsinaError, match=r"in EPSG:32632; convert it: ogr2ogr -t_srs EPSG:4326"):
        read_lines(geopackage(tmp_path / "utm.gpkg", 32632))
    with pytest.raises(FelsinaError, match=r"missing.gpkg is missing"):
        bring("road-graph", tmp_path / "city", path=str(tmp_path / "missing.gpkg"))
    with pytest.raises(ValueError, match="does not begin with GP"):
        line_of(b"xx")


def test_areas_for_the_audit_with_the_sources_faults_mended(portal, loops) -> None:
    def square(west: float) -> dict[str, Any]:
        ring = [[west, 44.4], [west + 0.01, 44.4], [west + 0.01, 44.6], [west, 44.6], [west, 44.4]]
        return {"type": "Polygon", "coordinates": [ring]}

    said = {"zona": "Z", "quartiere": "Q", "cod_quar": 1}
    outlines = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": square(11.345), "properties": said
             | {"codice_area_statistica": "17", "area_statistica": "PIAZZA DELL'UNITA'"}},
            {"type": "Feature", "geometry": square(11.335), "properties": said
             | {"codice_area_statistica": 2, "area_statistica": "LA BIRRA"}},
        ],
    }  # fmt: skip
    fragility = (
        "Area statistica;Popolazione residente;% residenti oltre 65 anni che vive sola;"
        "% stranieri 0 - 19 anni;Reddito pro capite mediano delle famiglie;"
        "Indice complessivo fragilità;Anno;Cod Area Statistica\n"
        "La Birra;201948;28.7;26.4;20416.0;100;2021;2\n"
        "Piazza dell'Unita';110847;35.1;33.6;18046.0;107;2021;17\n"
        "La Birra;201;31.1;28.2;21.77;100;2022;2\n"
        "Piazza dell'Unita';110;36.0;30.0;18.5;106;2022;17\n"
    )
    income = (
        "Anno reddito;Area Statistica;N contribuenti;Reddito medio contribuente\n"
        "2020;La Birra;1456;20269.0\n2021;La Birra;1456;21000.0\n"
        "2021;Piazza dell'Unità;7196;19762.69\n2021;SENZA FISSA DIMORA;26;8316.23\n"
    )
    bodies = {
        "aree-statistiche": json.dumps(outlines),
        "indici-di-fragilita-dal-2021": fragility,
        "redditi-per-area-statistica": income,
    }
    portal.route = lambda path, query: bodies[path.split("/")[-3]].encode()
    bring("bologna-areas", loops, host=portal.url, pause_s=0.0)
    table = pd.read_csv(loops / "areas" / "area_attributes.csv").set_index("area_code")
    assert table["residents"].to_dict() == {2: 201948, 17: 110847}
    assert table["median_family_income_pc_eur"].to_dict() == {2: 21770, 17: 18500}
    assert table["mean_income_eur"].to_dict() == {2: 21000, 17: 19762.69}
    graph = open_dataset(loops).graph
    areas = read_areas(loops / "areas" / "areas.toml", graph)
    assert areas.of_node.tolist() == [0, 1, 1, 0]
