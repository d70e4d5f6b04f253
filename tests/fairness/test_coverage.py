"""Sensors counted by hand, and Bologna's real loops: no direction presumed, silence shown."""

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fairness.areas import read_areas
from fairness.coverage import coverage
from fairness.groups import Areas
from models.contracts import CityGraph

LEVELS = {"area": ("a", "b", "c", "d"), "zona": ("Z", "Z", "Y", "Y")}


def city() -> Areas:
    """Four areas, one of 40 residents, one without a sensor; a node outside."""
    return Areas(
        np.array([0, 0, 1, 2, 2, -1]),
        LEVELS,
        np.array([1000.0, 2000, 40, 3000]),
        {"income": np.array([1.0, 2, 3, 4])},
        np.array([1.0, 2, 0.5, 4]),
    )


def told(found, attribute) -> dict:
    (grouping,) = [g for g in found["groupings"] if g["attribute"] == attribute]
    return {group["name"]: group for group in grouping["groups"]}


def test_sensors_are_counted_beside_residents_and_land():
    found = coverage(city(), np.array([True, True, False, True, True, True]))
    assert (found["sensors"], found["silent"], found["outside"]) == (6, 1, 1)
    assert (found["areas"], found["areas_without"]) == (4, 2)
    assert found["names_without"] == ["b", "d"]
    assert found["residents_without"] == pytest.approx(5000 / 6040, abs=1e-4)
    areas = told(found, "area")
    assert areas["a"]["per_10000"] == 20
    assert (areas["b"]["sensors"], areas["b"]["silent"], areas["b"]["per_10000"]) == (1, 1, 0)
    assert areas["rest of Y"]["merged"] == ["c"]
    assert "c" not in areas
    zone = told(found, "zona")["Z"]
    assert (zone["residents"], zone["per_10000"]) == (3000, 6.67)
    assert zone["per_km2"] == pytest.approx(2 / 3, abs=1e-3)
    assert zone["residents_without"] == pytest.approx(2 / 3, abs=1e-4)


def test_an_areas_sensors_that_are_dropped_are_seen():
    heard = np.ones(6, bool)
    before = coverage(city(), heard)
    dropped = city()
    kept = dropped.of_node != 0
    after = coverage(Areas(dropped.of_node[kept], LEVELS, dropped.residents), heard[kept])
    assert "a" not in before["names_without"]
    assert "a" in after["names_without"]
    assert after["residents_without"] > before["residents_without"]
    silent = coverage(city(), dropped.of_node != 0)
    assert "a" in silent["names_without"]
    assert told(silent, "area")["a"]["silent"] == 2


def test_land_and_numbers_may_be_unknown():
    areas = Areas(np.array([0, 1]), {"area": ("a", "b")}, np.array([np.nan, np.nan]))
    found = coverage(areas, np.ones(2, bool))
    assert found["residents_without"] is None
    (group,) = told(found, "area").values()
    assert (group["name"], group["merged"]) == ("rest of the city", ["a", "b"])
    assert group["per_km2"] is None
    assert found["ranks"] == []


@pytest.mark.parametrize(("turn", "rho"), [(1, 1.0), (-1, -1.0)])
def test_a_rank_correlation_has_the_sign_of_what_it_finds(turn, rho):
    of_node = np.repeat(np.arange(4), np.array([1, 2, 3, 4])[::turn])
    income = {"income": np.arange(4.0)}
    areas = Areas(of_node, {"area": tuple("abcd")}, np.full(4, 1000.0), income)
    (rank,) = coverage(areas, np.ones(len(of_node), bool))["ranks"]
    assert rank["rho"] == pytest.approx(rho)
    assert rank["chance"] == 1.13


@pytest.mark.skipif("FELSINA_DATA" not in os.environ, reason="FELSINA_DATA is not set")
def test_bolognas_loops_give_the_published_densities(tmp_path):
    """Loops for 10 000 residents, of areas that are no hospital, park or station."""
    data = Path(os.environ["FELSINA_DATA"]) / "data" / "bologna-areas"
    loops = pq.read_table(data / "loop_coverage_by_area.parquet").to_pydict()
    count = dict(zip(map(str, loops["area_code"]), loops["loop_stations"], strict=True))
    with (data / "area_attributes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["excluded"] == "0"]
    with (tmp_path / "areas.csv").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "areas.toml").write_text(
        'table = "areas.csv"\ncode = "area_code"\nlevels = ["area", "zona", "quartiere"]\n'
        'residents = "residents_2021"\nkm2 = "area_km2"\n'
        'attributes = ["income_quintile", "median_family_income_pc_eur"]\n'
    )
    stands = tuple(row["area_code"] for row in rows for _ in range(count[row["area_code"]]))
    nowhere, ids = np.full(len(stands), np.nan), tuple(f"loop {i}" for i in range(len(stands)))
    limits = np.full((len(ids), 3), np.nan)
    graph = CityGraph(ids, nowhere, nowhere, ids, stands, limits)
    found = coverage(read_areas(tmp_path / "areas.toml", graph), np.ones(len(ids), bool))
    quintiles = told(found, "income_quintile")
    assert quintiles["1"]["per_10000"] == pytest.approx(17.6, abs=0.05)
    assert quintiles["5"]["per_10000"] == pytest.approx(25.5, abs=0.05)
    districts = told(found, "quartiere")
    assert districts["Borgo Panigale - Reno"]["per_10000"] == pytest.approx(14.4, abs=0.05)
    assert districts["Santo Stefano"]["per_10000"] == pytest.approx(25.2, abs=0.05)
    income = found["ranks"][1]
    assert abs(income["rho"]) < income["chance"], "by area next to none, whatever quintiles say"
    assert 0 < found["residents_without"] < 0.2
