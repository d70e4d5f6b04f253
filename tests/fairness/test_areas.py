"""Areas from a city's files: by name, by outline, and what is wrong with them in one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fairness.areas import read_areas, read_outlines
from fairness.groups import groupings
from models.contracts import CityGraph, FelsinaError

TOML = """
table = "areas.csv"
outlines = "areas.geojson"
code = "code"
levels = ["area", "zona"]
residents = "people"
attributes = ["income"]
"""
CSV = "code,area,zona,people,income\n1,Alfa,Z,900,10\n2,Beta,Z,800,\n3,Gamma,Y,700,30\n"


def square(x, y, hole=False):
    ring = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]]
    inner = [[x + 0.4, y + 0.4], [x + 0.6, y + 0.4], [x + 0.6, y + 0.6], [x + 0.4, y + 0.6]]
    return [ring, inner] if hole else [ring]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    features = [
        {
            "properties": {"code": 1},
            "geometry": {"type": "Polygon", "coordinates": square(0, 0, True)},
        },
        {
            "properties": {"code": 2},
            "geometry": {"type": "MultiPolygon", "coordinates": [square(1, 0), square(5, 5)]},
        },
    ]
    (tmp_path / "areas.geojson").write_text(json.dumps({"features": features}))
    (tmp_path / "areas.csv").write_text(CSV)
    (tmp_path / "areas.toml").write_text(TOML)
    return tmp_path


def graph(places: list[tuple[float, float, str]]) -> CityGraph:
    lon, lat, areas = zip(*places, strict=True)
    ids = tuple(f"n{i}" for i in range(len(places)))
    return CityGraph(
        ids, np.array(lon), np.array(lat), ids, tuple(areas), np.full((len(places), 3), np.nan)
    )


def test_nodes_stand_where_they_are_said_to_or_where_an_outline_holds_them(folder):
    nan = np.nan
    found = read_areas(
        folder / "areas.toml",
        graph(
            [
                (0.2, 0.2, ""),
                (0.5, 0.5, ""),
                (1.5, 0.5, ""),
                (5.5, 5.5, ""),
                (3, 3, ""),
                (nan, nan, ""),
                (nan, nan, "Gamma"),
                (0.2, 0.2, "3"),
            ]
        ),
    )
    assert found.of_node.tolist() == [0, -1, 1, 1, -1, -1, 2, 2]
    assert found.levels == {"area": ("Alfa", "Beta", "Gamma"), "zona": ("Z", "Z", "Y")}
    assert found.residents.tolist() == [900, 800, 700]
    assert np.isnan(found.attributes["income"][1])


def test_land_vulnerable_residents_and_crossed_attributes_may_be_named(folder):
    path, places = folder / "areas.toml", graph([(0.2, 0.2, "")])
    plain = read_areas(path, places)
    assert np.isnan(plain.km2).all()
    assert plain.vulnerable is None
    more = 'attributes = ["income", "people"]\ncrossed = [["income", "people"]]\n'
    more += 'km2 = "income"\nvulnerable = "income"'
    path.write_text(TOML.replace('attributes = ["income"]', more))
    found = read_areas(path, places)
    assert found.km2.tolist()[::2] == [10, 30]
    assert found.vulnerable is not None
    assert found.vulnerable.tolist()[::2] == [90, 210], "per cent of the residents"
    assert found.crossed == (("income", "people"),)
    assert found.living_vulnerable(np.array([0])) == 90


def test_outlines_go_by_the_areas_names(folder):
    assert {name: len(shape) for name, shape in read_outlines(folder / "areas.toml").items()} == {
        "Alfa": 1,
        "Beta": 2,
        "Gamma": 0,
    }
    (folder / "areas.toml").write_text(TOML.replace('outlines = "areas.geojson"', ""))
    assert read_outlines(folder / "areas.toml") == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("areas.toml", '"people"', '"persons"', r"areas.csv: no column persons; it has code, area"),
        ("areas.toml", "residents", "resident", r"areas.toml: residents: field required"),
        ("areas.csv", "Z,900", "Z,many", r"areas.csv: row 2, people: 'many' is no number"),
        ("areas.geojson", '"code"', '"kode"', r"areas.geojson: no outlines with 'code'"),
        (
            "areas.toml",
            '["income"]',
            '["income"]\ncrossed = [["income", "age"]]',
            r"crossed: age is",
        ),
        ("areas.csv", "Gamma", "Delta", r"nodes stand in Gamma, which the table does not hold"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, file, old, new, message):
    path = folder / file
    places = graph([(0.2, 0.2, ""), (np.nan, np.nan, "Gamma")])
    assert read_areas(folder / "areas.toml", places).of_node.tolist() == [0, 2]
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(FelsinaError, match=message) as error:
        read_areas(folder / "areas.toml", places)
    assert "\n" not in str(error.value)


@pytest.mark.skipif("FELSINA_DATA" not in os.environ, reason="FELSINA_DATA is not set")
def test_bolognas_areas_hold_their_own_middles(tmp_path):
    data = Path(os.environ["FELSINA_DATA"]) / "data" / "bologna-areas"
    (tmp_path / "areas.toml").write_text(
        f'''table = "{data}/area_attributes.csv"
outlines = "{data}/aree_statistiche.geojson"
code = "area_code"
levels = ["area", "zona", "quartiere"]
residents = "residents_2021"
attributes = ["median_family_income_pc_eur", "over65_alone_pct"]
'''
    )
    import csv

    with (data / "area_attributes.csv").open() as file:
        rows = list(csv.DictReader(file))
    middles = [(float(r["centroid_lon"]), float(r["centroid_lat"]), "") for r in rows]
    city = graph([m for m in middles for _ in range(3)])
    areas = read_areas(tmp_path / "areas.toml", city)
    right = (areas.of_node == np.repeat(np.arange(90), 3)).mean()
    assert right > 0.9, "a bent area may lie beside its middle"
    found = {g.attribute: g for g in groupings(city, areas)}
    people = [g.residents for g in found["median_family_income_pc_eur"].groups]
    assert len(people) == 5
    assert max(people) < 1.4 * min(people), "quintiles of residents"


def test_a_file_that_is_no_text_is_named(folder):
    path = folder / "areas.toml"
    path.write_bytes(TOML.replace("people", "abitanti per età").encode("latin-1"))
    with pytest.raises(FelsinaError, match=r"areas.toml: no TOML: 'utf-8'"):
        read_outlines(path)
