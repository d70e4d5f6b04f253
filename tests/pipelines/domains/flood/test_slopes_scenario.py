"""Slopes scenarios from their files: what comes out, what is refused."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio

from models.contracts import FelsinaError
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.scenario import run_scenario
from pipelines.domains.flood.slopes_exposure import reach_of
from pipelines.domains.flood.slopes_file import SlopesScenario
from pipelines.domains.flood.slopes_outcome import SlopesOutcome, run_slopes
from pipelines.domains.flood.slopes_scenario import OTHERWISE
from pipelines.domains.flood.slopes_setting import (
    SlopesSetting,
    altered,
    even_steps,
    homes_on,
    open_slopes,
)
from pipelines.domains.flood.storms import Hyetograph
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.scenarios import read_keys
from tests.fixtures.tiny import ROOT

EXAMPLES = ROOT / "pipelines" / "domains" / "flood" / "examples"
CELL_M, ROWS, COLUMNS = 10.0, 36, 30
WEST, NORTH = 690_000.0, 4_900_000.0
SOIL: dict[str, Any] = {
    "cohesion_kpa": 4.0,
    "friction_degrees": 31,
    "unit_weight_kn_m3": 19,
    "depth_m": 1.5,
    "conductivity_m_s": 3e-6,
    "diffusivity_m2_s": 1e-4,
    "antecedent_mm_day": 0.3,
    "scatter": {"cohesion_cv": 0.3, "friction_cv": 0.1},
}
RAIN = {"kind": "table", "file": "rain.csv"}


def silent(text: str, share: float) -> None: ...


def hill() -> Terrain:
    """A hillside that steepens upwards from a flat floor in the south, with a hollow in it."""
    rng = np.random.default_rng(2)
    up = np.maximum(np.arange(ROWS)[::-1] - 9, 0) * CELL_M
    bed = 0.3 * up[:, None] + 0.0009 * up[:, None] ** 2 + np.zeros((1, COLUMNS))
    bed += 0.04 * up[:, None] * np.abs(np.arange(COLUMNS) - 14) / 6
    return Terrain(100 + bed + rng.normal(0, 0.1, bed.shape), CELL_M, WEST, NORTH, "EPSG:25832")


def at(row: int, column: int) -> tuple[float, float]:
    return WEST + (column + 0.5) * CELL_M, NORTH - (row + 0.5) * CELL_M


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    write_raster(folder / "dtm.tif", hill().bed_m, hill(), "m")
    write_raster(folder / "flat.tif", hill().bed_m * 0.01, hill(), "m")
    gaps = hill().bed_m.copy()
    gaps[3, 4] = np.nan
    write_raster(folder / "gaps.tif", gaps, hill(), "m")
    degrees = Terrain(hill().bed_m, 1e-4, 11.3, 44.2, "EPSG:4326")
    write_raster(folder / "degrees.tif", degrees.bed_m, degrees, "m")
    write_raster(folder / "depth.tif", np.full((ROWS, COLUMNS), 1.5), hill(), "m")
    write_raster(folder / "steep.tif", np.full((ROWS, COLUMNS), 95.0), hill(), "degrees")
    rows = ["id,x,y,people,area"]
    places = [(4, 14, "upper"), (20, 14, "lower"), (26, 14, "lower"), (34, 2, "floor")]
    for number, (row, column, area) in enumerate(places):
        x, y = at(row, column)
        rows.append(f"h{number},{x},{y},{number + 1},{area}")
    rows.append(f"h9,{WEST - 500},{NORTH},7,outside")
    (folder / "homes.csv").write_text("\n".join(rows) + "\n")
    hours = range(25)
    rain = [2 if hour < 8 else 12 if hour < 16 else 0 for hour in hours]
    pairs = zip(hours, rain, strict=True)
    (folder / "rain.csv").write_text("hours,rain_mm_h\n" + "".join(f"{h},{r}\n" for h, r in pairs))
    (folder / "wet.csv").write_text("hours,rain_mm_h\n0,2\n1,-3\n2,0\n")
    return folder


def asked(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"name": "what slips", "domain": "flood", "terrain": "dtm.tif"}
    return whole | {"rain": RAIN, "soil": SOIL, "homes": "homes.csv"} | changes


def soil(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in (SOIL | changes).items() if v is not None}


def opened(base: Path, **changes: Any) -> SlopesSetting:
    return open_slopes(read_keys(SlopesScenario, asked(**changes)), base)


def answered(base: Path, **changes: Any) -> SlopesOutcome:
    return run_slopes(opened(base, **changes))


def read(path: Path) -> np.ma.MaskedArray:
    with rasterio.open(path) as raster:
        return raster.read(1, masked=True)


def test_what_comes_out_is_one_story(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shares: list[float] = []
    report = run_scenario(asked(), base, out, lambda text, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {path.name for path in out.iterdir()} == set(report["files"])
    with rasterio.open(out / "critical_rain.tif") as raster:
        assert raster.crs.to_string() == "EPSG:25832"
        assert (raster.transform.c, raster.transform.f) == (WEST, NORTH)
        assert raster.units == ("mm/day",)
    safety, hour = read(out / "factor_of_safety.tif"), read(out / "failure_hour.tif")
    slopes = ~safety.mask
    every = int(slopes.sum())
    assert report["terrain"]["slopes_km2"] == pytest.approx(every * 1e-4)
    fails = slopes & (safety.filled(9) < 1)
    assert 0.02 < fails.sum() / every < 0.9
    assert np.array_equal(fails, ~hour.mask)
    found = report["slopes"]
    assert found["unstable_share"] == pytest.approx(fails.sum() / every)
    assert found["unstable_before_share"] == pytest.approx((hour.filled(9) == 0).sum() / every)
    over_time = report["over_time"]
    for when, share in zip(over_time["hours"], over_time["share"], strict=True):
        assert share == pytest.approx((hour.filled(1e9) <= when).sum() / every)
    chance = read(out / "probability.tif")
    assert np.array_equal(chance.mask, safety.mask)
    assert chance.min() >= 0
    assert chance.max() <= 1
    assert found["expected_share"] == pytest.approx(chance.mean(), rel=1e-5)
    classes = report["tables"]["Slopes by their least factor of safety"]
    assert sum(row["share of slopes"] for row in classes) == pytest.approx(1)
    assert classes[0]["share of slopes"] == pytest.approx(found["unstable_share"])
    assert report["rain_mm"] == pytest.approx(8 * 2 + 8 * 12)
    areas = pd.read_parquet(out / "areas.parquet").set_index("area")
    assert areas["people"].to_dict() == {"upper": 1, "lower": 5, "floor": 4}
    assert areas.loc["floor", "people_reached"] == areas.loc["floor", "people_possible"] == 0
    assert report["homes_outside"] == 1
    homes = pd.read_parquet(out / "homes.parquet")
    assert (homes["reached"] | ~homes["on_failing"]).all()
    assert areas["people_reached"].sum() == homes.loc[homes["reached"], "people"].sum() > 0


def test_a_smaller_angle_of_reach_and_more_room_reach_no_fewer(base: Path, tmp_path: Path) -> None:
    reached = []
    for number, (angle, beside) in enumerate([(40, 0), (30, 0), (15, 0), (15, 30)]):
        out = tmp_path / f"out{number}"
        out.mkdir()
        keys = asked(reach_degrees=angle, beside_m=beside)
        report = run_scenario(keys, base, out, silent)
        reached.append(sum(area["people_reached"] for area in report["areas"]))
    assert reached == sorted(reached)
    assert reached[-1] > reached[0]


def test_room_beside_a_way_is_never_less_than_asked(base: Path) -> None:
    def reached(beside_m: float) -> int:
        setting = opened(base, terrain={"file": "dtm.tif", "coarsen": 2}, beside_m=beside_m)
        return int(reach_of(setting, run_slopes(setting)).first_s.isfinite().sum())

    none, ten, twenty, more = map(reached, (0.0, 10.0, 20.0, 21.0))  # cells of 20 m
    assert none < ten == twenty < more


def test_it_is_told_of_what_fails_and_reaches_nobody(base: Path, tmp_path: Path) -> None:
    shares, notes = [], []
    for angle in (45, 10):
        out = tmp_path / f"out{angle}"
        out.mkdir()
        report = run_scenario(asked(reach_degrees=angle), base, out, silent)
        json.dumps(report, allow_nan=False)
        shares.append(report["without_way_share"])
        notes.append(report["note"])
    assert shares[0] > 0.9
    assert shares[1] < 0.1
    assert "of what fails has no way at reach_degrees = 45" in notes[0]
    assert not notes[1]


@pytest.mark.parametrize("wet", [{"antecedent_mm_day": 0.3}, {"wetness": 0.2}])
def test_more_rain_is_never_safer(base: Path, wet: dict[str, float]) -> None:
    before = None
    given = soil(**({"antecedent_mm_day": None} | wet))
    for a_mm in (1.0, 15.0, 30.0, 60.0):
        rain = {"kind": "chicago", "a_mm": a_mm, "n": 0.45, "hours": 24, "step_minutes": 60}
        now = answered(base, rain=rain, soil=given)
        slopes = now.asked
        assert now.probability is not None
        if before is not None:
            assert before.probability is not None
            assert (now.factor_of_safety <= before.factor_of_safety + 1e-12)[slopes].all()
            assert (now.failure_h <= before.failure_h)[slopes].all()
            assert (now.probability >= before.probability - 1e-12)[slopes].all()
            np.testing.assert_array_equal(now.critical_rain_mm_day, before.critical_rain_mm_day)
        before = now


def test_weaker_or_wetter_soil_is_never_safer(base: Path) -> None:
    given = answered(base)
    for changes in ({"cohesion_kpa": 2.0}, {"friction_degrees": 27}, {"antecedent_mm_day": 2.0}):
        other = answered(base, soil=soil(**changes))
        assert (other.factor_of_safety <= given.factor_of_safety + 1e-12)[given.asked].all()
        assert other.failed.sum() > given.failed.sum()


def test_a_raster_of_one_value_is_that_value(base: Path) -> None:
    number, raster = answered(base), answered(base, soil=soil(depth_m="depth.tif"))
    np.testing.assert_allclose(raster.factor_of_safety, number.factor_of_safety)
    np.testing.assert_allclose(raster.probability, number.probability)


def test_soil_otherwise_is_soil_otherwise(base: Path, tmp_path: Path) -> None:
    setting = opened(base)
    halved = run_slopes(altered(setting, cohesion_pa=0.5))
    np.testing.assert_allclose(
        halved.factor_of_safety, answered(base, soil=soil(cohesion_kpa=2.0)).factor_of_safety
    )
    wetter = run_slopes(altered(setting, wetness=2.0))
    np.testing.assert_allclose(
        wetter.factor_of_safety, answered(base, soil=soil(antecedent_mm_day=0.6)).factor_of_safety
    )
    full = soil(antecedent_mm_day=None, wetness=0.8)
    assert altered(opened(base, soil=full), wetness=2.0).asked.soil.wetness == 1
    report = run_scenario(asked(otherwise=True), base, tmp_path, silent)
    rows = report["otherwise"]
    assert [row["were it"] for row in rows] == list(OTHERWISE)
    weak, strong = rows[0], rows[1]
    own = report["slopes"]["unstable_share"]
    assert weak["fails at any time (share)"] > own > strong["fails at any time (share)"]


def test_without_scatter_there_is_no_probability(base: Path, tmp_path: Path) -> None:
    report = run_scenario(asked(soil=soil(scatter=None)), base, tmp_path, silent)
    assert "probability.tif" not in report["files"]
    assert "expected_share" not in report["slopes"]
    areas = pd.read_parquet(tmp_path / "areas.parquet")
    assert areas[["people_possible", "buildings_possible"]].isna().all(axis=None)
    assert all(area["people_possible"] is None for area in report["areas"])
    shown = report["tables"]["Homes on or below what fails"]
    assert [row["people, P over 0.1"] for row in shown] == [None] * 3
    assert any(row["people in reach"] for row in shown)


def test_flat_land_is_an_answer(base: Path, tmp_path: Path) -> None:
    report = run_scenario(asked(terrain="flat.tif"), base, tmp_path, silent)
    assert "nothing to fail" in report["note"]
    assert report["tables"]["Note"] == [{"note": report["note"]}]
    assert report["slopes"]["unstable_share"] == 0
    assert report["terrain"]["slopes_km2"] == 0
    assert read(tmp_path / "factor_of_safety.tif").mask.all()
    assert sum(area["people_reached"] for area in report["areas"]) == 0
    json.dumps(report, allow_nan=False)


def test_no_rain_leaves_slopes_as_they_were(base: Path, tmp_path: Path) -> None:
    (base / "dry.csv").write_text("hours,rain_mm_h\n0,0\n1,0\n2,0\n")
    report = run_scenario(asked(rain={"kind": "table", "file": "dry.csv"}), base, tmp_path, silent)
    found = report["slopes"]
    assert found["unstable_share"] == found["unstable_before_share"]
    assert all(row["ratio"] is None and not row["exceeded"] for row in report["thresholds"])


def test_a_storm_that_the_end_cuts_is_told(base: Path, tmp_path: Path) -> None:
    report = run_scenario(asked(hours=12), base, tmp_path, silent)
    assert report["rain_mm"] == pytest.approx(8 * 2 + 4 * 12)
    assert report["note"].startswith("the storm is cut by the end at 12 h: 48 of its 112 mm")
    assert report["tables"]["Note"] == [{"note": report["note"]}]
    # Later steps of the table are dry.
    assert not opened(base, hours=16).cut


def test_no_storm_is_followed_for_longer_than_may_be_asked(base: Path) -> None:
    rain = {"kind": "uniform", "a_mm": 10, "n": 0.4, "hours": 400}
    setting = opened(base, rain=rain)
    assert setting.hours[-1] == 240
    assert setting.cut.startswith("the storm is cut by the end at 240 h")
    assert opened(base, rain=rain | {"hours": 100}).hours[-1] == 150


def test_a_storm_is_set_beside_thresholds(base: Path, tmp_path: Path) -> None:
    own = {"name": "ours", "scale_mm_h": 24.0, "exponent": 0.0, "shortest_h": 8.0}
    report = run_scenario(asked(threshold=[own]), base, tmp_path, silent)
    rows = {row["threshold"]: row for row in report["thresholds"]}
    assert set(rows) == {"Caine 1980", "Guzzetti et al. 2008", "ours"}
    assert rows["ours"] == {
        "threshold": "ours",
        "source": "the scenario's file",
        "ratio": pytest.approx(0.5),
        "over h": 8.0,
        "exceeded": False,
    }
    # 12 mm/h for 8 h: 14.82 * 8^-0.39 mm/h is the least.
    assert rows["Caine 1980"]["ratio"] == pytest.approx(12 / (14.82 * 8**-0.39))
    assert rows["Caine 1980"]["source"].startswith("worldwide")


def test_steps_of_rain_keep_what_falls() -> None:
    rain = Hyetograph(np.array([0.0, 600, 2400, 9000]), np.array([30.0, 6.0, 1.0]))
    steps = even_steps(rain, 0.5, 1.0, 4)
    np.testing.assert_allclose(steps.sum() * 1.0, rain.depth_mm())
    np.testing.assert_allclose(steps[0], 30 / 6 + 6 / 3)
    grid = Hyetograph(rain.time_s, rain.intensity_mm_h[:, None, None] * np.ones((2, 3)))
    np.testing.assert_allclose(
        even_steps(grid, 0.5, 1.0, 4), steps[:, None, None] * np.ones((2, 3))
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"terrain": "degrees.tif"}, r"degrees.tif is in degrees .*reproject it to metres"),
        ({"terrain": "gaps.tif"}, r"gaps.tif: 1 of 1080 cells have no data, .*fill = true"),
        ({"terrain": "no.tif"}, r"no.tif is missing"),
        ({"terrain": {}}, r"terrain: give either file"),
        ({"terrain": {"synthetic": {"seed": 1, "rows": 40, "columns": 40}, "fill": True}}, "fill"),
        ({"rain": {"kind": "table", "file": "wet.csv"}}, r"wet.csv row 3: rain_mm_h -3.* negative"),
        (
            {"rain": {"kind": "uniform", "a_mm": -5, "n": 0.4, "hours": 3}},
            r"a_mm = -5 is not above",
        ),
        ({"rain": None}, r"rain = None"),
        ({"rain": RAIN | {"begin_h": 24}, "hours": 24}, r"it begins at 24 h .*at 24 h; .*hours"),
        ({"soil": soil(cohesion_kpa=-1)}, r"soil.cohesion_kpa = -1 is not within 0 to 100"),
        ({"soil": soil(friction_degrees=95)}, r"soil.friction_degrees = 95 is not within 5 to"),
        (
            {"soil": soil(friction_degrees="steep.tif")},
            r"steep.tif: 95 in 1080 of 1080 cells is no",
        ),
        ({"soil": soil(unit_weight_kn_m3=9)}, r"unit_weight_kn_m3 = 9 is not within 12 to 26"),
        ({"soil": soil(depth_m=0)}, r"soil.depth_m = 0 is not within 0.1 to 20"),
        ({"soil": soil(conductivity_m_s=5)}, r"soil.conductivity_m_s = 5 is not within 1e-10"),
        ({"soil": soil(depth_m=float("nan"))}, r"soil.depth_m.* = nan: .*finite number"),
        ({"reach_degrees": float("nan")}, r"reach_degrees = nan: .*finite number"),
        ({"rain": {"kind": "uniform", "a_mm": 5, "n": 0.4, "hours": math.inf}}, r"hours = inf: "),
        ({"soil": soil(wetness=0.5)}, r"give either antecedent_mm_day .* or wetness"),
        ({"soil": soil(antecedent_mm_day=None)}, r"give either antecedent_mm_day .* or wetness"),
        ({"soil": soil(wetness=1.5, antecedent_mm_day=None)}, r"soil.wetness = 1.5: .*less than"),
        ({"soil": soil(antecedent_mm_day=-1)}, r"soil.antecedent_mm_day = -1: .*greater than"),
        ({"soil": soil(depth_m=None)}, r"soil.depth_m: field required"),
        ({"soil": soil(scatter={"cohesion_cv": -1, "friction_cv": 0})}, r"cohesion_cv = -1"),
        ({"soil": soil(colour="red")}, r"soil.colour = 'red'"),
        ({"hours": 500}, r"hours = 500: .*less than or equal to 240"),
        ({"reach_degrees": 90}, r"reach_degrees = 90"),
        ({"homes": "embedded"}, r"homes = 'embedded' are the synthetic hills'; name a CSV"),
        ({"homes": "no.csv"}, r"no.csv is missing; name a CSV with id"),
        ({"threshold": [{"name": "x", "scale_mm_h": -1, "exponent": 1}]}, r"threshold x: scale"),
        ({"breach": []}, r"breach = \[\]: extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    base: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(FelsinaError, match=says) as refused:
        run_scenario(asked(**changes), base, tmp_path, silent)
    assert "\n" not in str(refused.value)


def test_the_example_is_a_scenario_and_small_hills_run(tmp_path: Path) -> None:
    whole = tomllib.loads((EXAMPLES / "slopes.toml").read_text())
    whole["terrain"]["synthetic"] |= {"rows": 60, "columns": 60}
    setting = open_slopes(read_keys(SlopesScenario, whole), EXAMPLES)
    assert setting.hills is not None
    homes = homes_on(setting, EXAMPLES)
    assert homes is not None
    assert (homes.cell >= 0).all()
    report = run_scenario(whole, EXAMPLES, tmp_path, silent)
    assert {"areas.parquet", "homes.parquet", "map.png", "probability.tif"} <= set(report["files"])
    assert report["tables"]["Homes on or below what fails"]


@pytest.mark.slow
def test_the_example_runs_as_written(tmp_path: Path) -> None:
    whole = tomllib.loads((EXAMPLES / "slopes.toml").read_text())
    report = run_scenario(whole, EXAMPLES, tmp_path, silent)
    found = report["slopes"]
    assert found["unstable_before_share"] < 0.005
    assert 0.02 < found["unstable_share"] < 0.2
    assert sum(area["people_reached"] for area in report["areas"]) > 0
