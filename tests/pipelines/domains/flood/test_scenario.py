"""Inundation scenarios from their files: what comes out, what is refused."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio

from models.contracts import FelsinaError
from pipelines.domains.flood.exposure import HAZARDS, hazard_class
from pipelines.domains.flood.forcing import open_setting
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.scenario import run_scenario
from pipelines.domains.flood.scenario_file import Scenario
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.scenarios import read_keys
from tests.fixtures.tiny import ROOT

EXAMPLES = ROOT / "pipelines" / "domains" / "flood" / "examples"
CELL_M, SIDE = 20.0, 40
WEST, NORTH = 680_000.0, 4_930_000.0
LEVEE_COLUMN = 12


def silent(text: str, share: float) -> None: ...


def basin() -> Terrain:
    """A river in the west, a levee 3 m high beside it, and a plain that falls eastwards."""
    x = np.arange(SIDE) * CELL_M
    bed = np.tile(50 - 0.001 * x, (SIDE, 1)) - 0.0005 * np.arange(SIDE)[:, None] * CELL_M
    bed[:, :LEVEE_COLUMN] -= 0.2
    bed[:, LEVEE_COLUMN] += 3
    return Terrain(bed, CELL_M, WEST, NORTH, "EPSG:25832")


def at(row: int, column: int) -> dict[str, float]:
    return {"x": WEST + (column + 0.5) * CELL_M, "y": NORTH - (row + 0.5) * CELL_M}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    write_raster(folder / "dtm.tif", basin().bed_m, basin(), "m")
    rows = ["id,x,y,people,area"]
    for number, (row, column, area) in enumerate(
        [(20, 15, "east"), (20, 25, "east"), (5, 38, "far"), (20, 4, "river")]
    ):
        place = at(row, column)
        rows.append(f"h{number},{place['x']},{place['y']},{number + 1},{area}")
    rows.append(f"h9,{WEST - 500},{NORTH},7,outside")
    (folder / "homes.csv").write_text("\n".join(rows) + "\n")
    (folder / "flows.csv").write_text("hours,flow_m3_s\n0,20\n1,60\n2,60\n3,20\n")
    (folder / "late.csv").write_text("hours,flow_m3_s\n0,0\n1,0\n2,60\n3,20\n")
    return folder


def asked(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"name": "what if", "domain": "flood", "hours": 2.0}
    whole |= {"terrain": "dtm.tif", "homes": "homes.csv", "roughness": 0.04}
    whole["edges"] = {"west": "wall", "north": "wall"}
    return whole | {"inflow": [RIVER]} | changes


RIVER = at(1, 5) | {"width_m": 150, "file": "flows.csv"}
WAVE = {"peak_m3_s": 40, "to_peak_h": 1, "duration_h": 4, "base_m3_s": 5}
ON_RIVER = {"width_m": 9, "hour": 1, "river": 0.5, "side": "left"}
BREACH = at(20, LEVEE_COLUMN) | {"width_m": 60, "hour": 0.5, "minutes": 10}


def test_a_breach_floods_what_a_levee_kept_dry(base: Path, tmp_path: Path) -> None:
    out = {name: tmp_path / name for name in ("held", "broken")}
    for folder in out.values():
        folder.mkdir()
    shares: list[float] = []
    held = run_scenario(asked(), base, out["held"], silent)
    broken = run_scenario(
        asked(breach=[BREACH]), base, out["broken"], lambda text, share: shares.append(share)
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert json.loads(json.dumps(broken, allow_nan=False)) == broken
    for report in (held, broken):
        assert report["mass_error"] < 1e-6
        volumes = report["volumes_m3"]
        assert volumes["inflow"] == pytest.approx(3600 * 100)
        gone = volumes["end"] + volumes["left"] + volumes["infiltrated"]
        assert gone == pytest.approx(volumes["inflow"], rel=1e-6)
    assert {path.name for path in out["broken"].iterdir()} == set(broken["files"])
    depths = {}
    for name, folder in out.items():
        with rasterio.open(folder / "max_depth.tif") as raster:
            assert raster.crs.to_string() == "EPSG:25832"
            assert (raster.transform.c, raster.transform.f) == (WEST, NORTH)
            depths[name] = raster.read(1, masked=True)
    plain = np.s_[:, LEVEE_COLUMN + 1 :]
    assert depths["held"].mask[plain].all()
    assert (~depths["broken"].mask[plain]).sum() > 50
    with rasterio.open(out["broken"] / "arrival.tif") as raster:
        arrival = raster.read(1, masked=True)
        assert raster.units == ("h",)
    assert arrival[plain].min() >= 0.5
    assert np.array_equal(arrival.mask, depths["broken"].mask)
    table = pd.read_parquet(out["broken"] / "areas.parquet").set_index("area")
    assert set(table.index) == {"east", "far", "river"}
    assert table.loc["east", "people_wet"] == 3
    assert table.loc["far", "people_wet"] == 0
    assert broken["homes_outside"] == 1
    rows = {row["area"]: row for row in broken["tables"]["People by depth of water"]}
    assert rows["far"]["first h"] is None
    assert rows["east"]["first h"] >= 0.5
    assert broken["breaches"][0]["sill_m"] == pytest.approx(broken["breaches"][0]["ground_m"])
    assert held["flooded_over_time"]["km2"][-1] < broken["flooded_over_time"]["km2"][-1]
    assert (out["broken"] / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("scheme", ["local_inertial", "muscl"])
def test_rain_is_kept_by_every_scheme(base: Path, tmp_path: Path, scheme: str) -> None:
    rain = {"kind": "chicago", "a_mm": 40, "n": 0.3, "hours": 0.5, "step_minutes": 5}
    whole = asked(scheme=scheme, rain=rain, inflow=[], hours=0.75, infiltration_mm_h=2.0)
    report = run_scenario(whole, base, tmp_path, silent)
    depth_m = 0.040 * 0.5**0.3
    assert report["volumes_m3"]["rain"] == pytest.approx(depth_m * (CELL_M * SIDE) ** 2)
    assert report["volumes_m3"]["infiltrated"] > 0
    assert report["mass_error"] < 1e-6


def test_rain_that_the_end_cuts_is_told(base: Path, tmp_path: Path) -> None:
    rain = {"kind": "uniform", "a_mm": 40, "n": 0.5, "hours": 1, "begin_h": 0.25}
    report = run_scenario(asked(rain=rain, inflow=[], breach=[], hours=0.5), base, tmp_path, silent)
    assert report["volumes_m3"]["rain"] == pytest.approx(0.010 * (CELL_M * SIDE) ** 2)
    assert report["note"].startswith("the storm is cut by the end at 0.5 h: 30 of its 40 mm")
    assert report["tables"]["Note"] == [{"note": report["note"]}]
    whole = read_keys(Scenario, asked(rain=rain, hours=1.25))
    assert not open_setting(whole, base).cut


def test_a_river_that_begins_just_before_the_end_brings_water(base: Path, tmp_path: Path) -> None:
    late = RIVER | {"file": "late.csv", "begin_h": 0.5}
    report = run_scenario(asked(inflow=[late], hours=2.0), base, tmp_path, silent)
    assert report["volumes_m3"]["inflow"] == pytest.approx(30 * 1800 / 2)


def test_breaches_open_each_at_their_own_hour(base: Path, tmp_path: Path) -> None:
    second = at(30, LEVEE_COLUMN) | {"width_m": 40, "hour": 1.5, "minutes": 5}
    run_scenario(asked(breach=[BREACH, second]), base, tmp_path, silent)
    with rasterio.open(tmp_path / "arrival.tif") as raster:
        arrival = raster.read(1)
    assert 0.5 <= arrival[20, LEVEE_COLUMN + 1] < 1
    setting = open_setting(read_keys(Scenario, asked(breach=[BREACH, second])), base)
    breach = setting.breaking()
    assert breach is not None
    assert set(breach.begin_s.flatten().tolist()) == {1800.0, 5400.0}


def test_sources_reach_the_solver_as_they_were_asked(base: Path) -> None:
    rain = {"kind": "uniform", "a_mm": 30, "n": 0.5, "hours": 4, "begin_h": 1}
    second = at(3, 5) | {"peak_m3_s": 40, "to_peak_h": 1, "duration_h": 4, "begin_h": 0.5}
    whole = asked(rain=rain, hours=8.0)
    whole["inflow"] = [*whole["inflow"], second]
    setting = open_setting(read_keys(Scenario, whole), base)
    falling, entering = setting.falling(), setting.entering()
    assert falling is not None
    assert entering is not None
    assert falling.time_s.tolist() == [0, 3600, 5 * 3600]
    assert (falling.intensity_m_s.flatten() * 3.6e6).tolist() == pytest.approx([0, 15, 0])
    total = entering.flow_m3_s[:, 0].sum(1).tolist()
    hours = (entering.time_s / 3600).tolist()
    assert dict(zip(hours, total, strict=True)) == pytest.approx(
        {0: 20, 0.5: 40, 1: 60 + 20, 1.5: 60 + 40, 2: 60 + 40 * 5 / 6, 3: 20 + 20, 4.5: 20}
    )
    assert len(entering.cells) > 10


def test_rasters_give_roughness_and_infiltration(base: Path) -> None:
    values = np.full((SIDE, SIDE), 0.03)
    values[:, 20:] = 0.08
    write_raster(base / "n.tif", values, basin(), "")
    setting = open_setting(read_keys(Scenario, asked(roughness="n.tif")), base)
    assert np.allclose(setting.basin().manning[0].numpy(), values)
    write_raster(base / "n.tif", -values, basin(), "")
    with pytest.raises(FelsinaError, match=r"infiltration_mm_h = n.tif: -0.08 is not"):
        open_setting(read_keys(Scenario, asked(infiltration_mm_h="n.tif")), base)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inflow": []}, r"neither rain nor inflow .*add \[rain\]"),
        (
            {"rain": {"kind": "uniform", "a_mm": 9, "n": 0.4, "hours": 3, "begin_h": 5}},
            r"rain: it begins at 5 h \(begin_h = 5\), not before the end at 2 h; .*lengthen",
        ),
        ({"terrain": "no.tif"}, r"no.tif is missing; name a GeoTIFF"),
        ({"terrain": {}}, r"terrain: give either file"),
        ({"terrain": {"synthetic": {"seed": 1}, "coarsen": 2}}, r"coarsen are for files"),
        ({"terrain": {"synthetic": {"seeds": 1}}}, r"terrain.synthetic.seeds = 1: extra inputs"),
        ({"scheme": "magic"}, r"scheme = 'magic'"),
        ({"edges": {"west": "sea"}}, r"edges.west = 'sea'"),
        ({"roughness": -0.1}, r"roughness = -0.1: -0.1 is not a number from 0 on"),
        ({"hours": 0}, r"hours = 0: .*greater than 0"),
        ({"homes": "embedded"}, r"homes = 'embedded' are the synthetic plain's; name a CSV"),
        ({"homes": "no.csv"}, r"no.csv is missing; name a CSV with id"),
        ({"breach": [BREACH | {"hour": 5}]}, r"breach 1: hour = 5 is not before the end at 2 h"),
        (
            {"breach": [BREACH | at(20, 30)]},
            r"breach 1: no levee .*nearest is at x = 680250",
        ),
        ({"breach": [BREACH | {"x": 5.0}]}, r"breach 1: x = 5, .* lies outside the terrain; give"),
        ({"breach": [BREACH | {"sill_m": 60}]}, r"breach 1: its sill of 60 m is not below"),
        ({"breach": [BREACH | {"sill_m": 49, "depth_m": 1}]}, r"both given"),
        ({"breach": [{"width_m": 9, "hour": 1}]}, r"breach 1: give x and y, or river and side"),
        (
            {"breach": [{"width_m": 9, "hour": 1, "river": 0.5, "side": "left"}]},
            "synthetic river's",
        ),
        ({"inflow": [{"at": "inlet", "file": "flows.csv"}]}, r"inflow 1: at = 'inlet' is the syn"),
        ({"inflow": [at(1, 5)]}, r"inflow 1: give file = 'FLOWS.csv', or peak_m3_s"),
        ({"inflow": [{"x": 1.0, "y": 1.0, "file": "flows.csv"}]}, r"inflow 1: .* lies outside"),
        (
            {"inflow": [RIVER, RIVER | {"begin_h": 2}]},
            r"inflow 2 \(.*flows.csv\): it begins at 2 h \(begin_h = 2\), not before the end at",
        ),
        (
            {"inflow": [RIVER | {"file": "late.csv", "begin_h": 0.5}], "hours": 1.5},
            r"inflow 1 \(.*late.csv\): it begins at 1.5 h \(begin_h = 0.5\), .* or lengthen hours",
        ),
        (
            {"inflow": [at(1, 5) | WAVE | {"begin_h": 5}]},
            r"inflow 1: it begins at 5 h \(begin_h = 5\), not before the end at 2 h; let it begin",
        ),
        (
            {"rain": {"kind": "uniform", "a_mm": 30, "n": 1.4, "hours": 4}},
            r"rain: n = 1.4 is not above 0 and to 1",
        ),
        (
            {"rain": {"kind": "uniform", "a_mm": -30, "n": 0.4, "hours": 4}},
            r"rain: a_mm = -30 is not above 0",
        ),
        (
            {"rain": {"kind": "chicago", "a_mm": 30, "n": 0.4, "hours": 4, "peak": 2}},
            r"rain: peak = 2 is not within 0 to 1",
        ),
        ({"rain": {"kind": "uniform", "n": 0.4, "hours": 4}}, r"rain: give either a_mm"),
        ({"rain": {"kind": "snow"}}, r"rain: .*snow"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    base: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(FelsinaError, match=says) as refused:
        run_scenario(asked(**changes), base, tmp_path, silent)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,x,y,people\na,1,2,3\n", "column area is missing"),
        ("id,x,y,people,area\n", "has no rows"),
        ("id,x,y,people,area\na,1,2,-3,b\n", "row 2: people '-3' is not a number from 0 on"),
        ("id,x,y,people,area\na,1,east,3,b\n", "row 2: y 'east' is not a number"),
        ("id,x,y,people,area\na,11.3,44.5,3,b\n", "no home lies on the terrain .*EPSG:25832"),
        ("id,x,y,people,area\na,1,2,3,\n", "row 2: area is empty"),
    ],
)
def test_homes_that_cannot_be_are_refused(base: Path, tmp_path: Path, text: str, says: str) -> None:
    (base / "homes.csv").write_text(text)
    with pytest.raises(FelsinaError, match=rf"homes.csv.*{says}"):
        run_scenario(asked(), base, tmp_path, silent)


def test_hazard_classes_at_their_limits() -> None:
    depth = np.array([0.3, 0.31, 0.1, 0.5, 1.2, 2.0, 1.0, 4.0, 4.1, 0.1])
    speed = np.array([1.0, 0.1, 2.1, 1.2, 0.5, 0.5, 1.1, 1.0, 0.1, 5.0])
    found = [list(HAZARDS)[k] for k in hazard_class(depth, speed, depth * speed)]
    assert found == ["H1", "H2", "H5", "H2", "H3", "H4", "H5", "H5", "H6", "H6"]


@pytest.mark.parametrize("name", ["breach.toml", "storm.toml"])
def test_examples_are_scenarios(name: str) -> None:
    path = EXAMPLES / name
    setting = open_setting(read_keys(Scenario, tomllib.loads(path.read_text())), path.parent)
    assert setting.plain is not None
    assert setting.falling() is not None or setting.entering() is not None


def test_an_example_runs_on_a_small_plain(tmp_path: Path) -> None:
    whole = tomllib.loads((EXAMPLES / "breach.toml").read_text())
    whole |= {"hours": 1.0, "breach": [whole["breach"][0] | {"hour": 0.25}]}
    whole["terrain"]["synthetic"] |= {"rows": 40, "columns": 40}
    report = run_scenario(whole, EXAMPLES, tmp_path, silent)
    assert report["mass_error"] < 1e-6
    assert {"areas.parquet", "homes.parquet", "map.png"} <= set(report["files"])
    assert report["tables"]["People by depth of water"]
