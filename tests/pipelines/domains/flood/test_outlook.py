"""From a gauge's forecast to the probability of water, by cell and by area."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio

from models.contracts import FelsinaError
from pipelines.domains.flood import member_floods
from pipelines.domains.flood.exposure import Homes
from pipelines.domains.flood.forcing import Setting, open_setting
from pipelines.domains.flood.gauge import ask_gauge
from pipelines.domains.flood.inundation_answering import answer_scenario
from pipelines.domains.flood.inundation_sampling import Grid, simulated
from pipelines.domains.flood.inundation_surrogate import spec_of
from pipelines.domains.flood.member_floods import (
    DRAWN,
    Floods,
    answered_floods,
    asked_wave,
    drawn,
    earliest,
    simulated_floods,
)
from pipelines.domains.flood.outcome import run_setting
from pipelines.domains.flood.outlook_areas import alerts, area_table, level_of
from pipelines.domains.flood.outlook_file import AlertKeys, Outlook
from pipelines.domains.flood.overtopping import Spills, landing, spills
from pipelines.domains.flood.scenario import homes_of, run_scenario
from pipelines.domains.flood.scenario_file import Scenario
from pipelines.domains.scenarios import read_keys
from tests.factories import make_dataset

SIDE, HOURS = 32, 8.0
AT = "2024-04-10T06:00"


def silent(*told: object) -> None: ...


def asked(river: Path, crest_m: float = 3.0, **changes: Any) -> dict[str, Any]:
    gauge = {"dataset": str(river), "node": "d", "at": AT, "members": 20, "crest_m": crest_m}
    gauge |= {"width_m": 50.0, "river": 0.5, "side": "left"} | changes.pop("gauge", {})
    whole = {"name": "rising", "domain": "flood", "hours": HOURS, "homes": "embedded"}
    synthetic = {"seed": 4, "rows": SIDE, "columns": SIDE, "cell_m": 50}
    return whole | {"terrain": {"synthetic": synthetic}, "gauge": gauge} | changes


def opened(crest_m: float = 3.0, **changes: Any) -> tuple[Setting, np.ndarray]:
    keys = read_keys(Outlook, asked(Path("none"), crest_m, **changes))
    setting = open_setting(keys, Path())
    return setting, landing(keys.gauge, setting.terrain, setting.plain)


def poured(setting: Setting, stage_m: np.ndarray) -> Spills:
    assert isinstance(setting.asked, Outlook)
    clock = np.linspace(0, HOURS, stage_m.shape[1])
    return spills(setting.asked.gauge, clock, stage_m, 0.0, HOURS)


STAGES = 2.5 + np.linspace(0, 1.2, 8)[:, None] * np.sin(np.linspace(0, np.pi, 17))


def test_equal_members_make_the_map_of_one_simulation(tmp_path: Path) -> None:
    setting, cells = opened(infiltration_mm_h=2.0)
    spilled = poured(setting, np.repeat(STAGES[-1:], 5, axis=0))
    found = simulated_floods(setting, cells, spilled, silent)
    table = pd.DataFrame({"hours": spilled.hours, "flow_m3_s": spilled.flow_m3_s[0]})
    table.to_csv(tmp_path / "flows.csv", index=False)
    (x,), (y,) = setting.terrain.centres(cells)
    whole = asked(Path("none"), infiltration_mm_h=2.0)
    del whole["gauge"]
    river = {"x": x, "y": y, "width_m": 1, "file": "flows.csv"}
    single = open_setting(read_keys(Scenario, whole | {"inflow": [river]}), tmp_path)
    outcome = run_setting(single, silent)
    for depth in (0.05, 0.3):
        came = outcome.max_depth_m.ravel() >= depth
        np.testing.assert_array_equal(found.probability(depth), came.astype(float))
    assert outcome.wet.sum() > 20
    arrival = outcome.arrival_s.ravel() / 3600
    np.testing.assert_allclose(found.arrived(0.5), arrival, atol=1e-3)


def test_no_member_over_the_crest_needs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise AssertionError("nothing was to be run")

    monkeypatch.setattr(member_floods, "simulate", refuse)
    setting, cells = opened(crest_m=9.0)
    spilled = poured(setting, STAGES)
    assert not len(spilled.wet)
    found = simulated_floods(setting, cells, spilled, silent)
    assert found.draws == len(STAGES)
    assert not found.probability(0.05).any()
    assert np.isinf(found.arrived(0.1)).all()
    answered, _ = answered_floods(setting, cells, spilled, perfect(refuse), silent)
    assert not answered.probability(0.05).any()
    homes = homes_of(setting, Path())
    assert homes is not None
    areas = area_table(homes, found, AlertKeys())
    assert set(areas["level"]) == {"none"}
    assert not areas["people_expected"].any()


def test_water_is_less_probable_over_a_higher_crest_and_at_a_greater_depth() -> None:
    chances = []
    for crest in (2.6, 3.0, 3.4):
        setting, cells = opened(crest)
        found = simulated_floods(setting, cells, poured(setting, STAGES), silent)
        chances.append([found.probability(depth) for depth in (0.05, 0.3, 0.5)])
    chance = np.array(chances)
    assert (np.diff(chance, axis=0) <= 0).all()
    assert (np.diff(chance, axis=1) <= 0).all()
    assert (np.diff(chance[:, 0].mean(axis=-1)) < 0).all()


def test_an_area_lies_between_its_likeliest_home_and_the_sum_of_all() -> None:
    setting, cells = opened(2.6)
    found = simulated_floods(setting, cells, poured(setting, STAGES), silent)
    homes = homes_of(setting, Path())
    assert homes is not None
    table = area_table(homes, found, AlertKeys()).set_index("area")
    each = found.probability(0.05)[homes.cell]
    assert table["home_wet"].max() > 0.3
    for name, row in table.iterrows():
        own = each[homes.area == name]
        assert own.max() - 1e-9 <= row["home_wet"] <= own.sum() + 1e-9
        people = homes.people[homes.area == name]
        assert row["people_expected"] == pytest.approx(own @ people)
        assert row["people_10"] <= row["people_50"] <= row["people_90"]
        assert row["many_grave"] <= row["home_grave"] <= row["home_wet"]


def test_hours_count_draws_in_which_nothing_comes() -> None:
    hours = np.array([[1.0], [3.0], [2.0]])
    assert earliest(hours, 10, 0.1) == 1
    assert earliest(hours, 10, 0.3) == 3
    assert np.isinf(earliest(hours, 10, 0.5))


def test_levels_go_by_probability_and_gravity() -> None:
    assert [level_of(*pair, 0.4) for pair in ((0.05, 0), (0.1, 0), (0.4, 0))] == [
        "none",
        "yellow",
        "orange",
    ]
    assert level_of(0.2, 0.1, 0.4) == "orange"
    assert level_of(0.9, 0.4, 0.4) == "red"


@pytest.mark.parametrize(
    ("grave", "level", "certainty", "probability"),
    [
        (60, "red", "Likely", 0.6),
        (40, "red", "Possible", 0.4),
        (20, "orange", "Possible", 0.2),
        (5, "orange", "Likely", 0.95),
    ],
)
def test_an_alert_is_as_certain_as_the_event_that_set_its_level(
    grave: int, level: str, certainty: str, probability: float
) -> None:
    people = np.ones(10)
    ids, area = np.array(list("abcdefghij")), np.full(10, "Borgo")
    homes = Homes(ids, area, people, people, people, np.arange(10))
    depth = np.zeros((95, 10))
    depth[:, 0] = 0.06
    depth[:grave] = 0.35
    floods = Floods(100, depth, np.where(depth >= 0.05, 1.0, np.inf))
    rows: list[dict[str, Any]] = [
        {str(k): v for k, v in row.items()}
        for row in area_table(homes, floods, AlertKeys()).to_dict("records")
    ]
    (one,) = alerts(rows, AlertKeys(), lambda h: f"2024-04-10T0{h:.0f}:00:00Z", "2024-04-11Z")
    assert (one["level"], one["certainty"], one["probability"]) == (level, certainty, probability)
    grave_water = "water of 0.3 m or more at 10% of the people"
    assert one["event"] == ("water at a home" if grave == 5 else grave_water)
    assert one["onset"] == "2024-04-10T01:00:00-00:00"  # CAP 1.2, 3.3.2: never Z
    assert one["expires"] == "2024-04-11-00:00"
    assert one["level"] == rows[0]["level"]


def perfect(answer: Any) -> Any:
    """A stand-in for a surrogate's release."""
    spec = spec_of("perfect", SIDE, SIDE, 50.0, 40.0)
    return SimpleNamespace(id="perfect", spec=spec, answer=answer, report={"tests": {}})


def by_solver(scalars: np.ndarray, fields: np.ndarray) -> np.ndarray:
    fields = np.array(fields, np.float32)
    found = simulated(scalars.astype(np.float32), fields, Grid(SIDE, SIDE, 50.0))
    found[..., -1] = np.nan_to_num(found[..., -1], nan=8.0)
    return np.repeat(found[..., None], 7, axis=-1)


def test_a_perfect_surrogate_tells_what_the_solver_does() -> None:
    setting, cells = opened(3.0, infiltration_mm_h=2.0)
    spilled = poured(setting, STAGES)  # each spills from another hour on
    found, told = answered_floods(setting, cells, spilled, perfect(by_solver), silent)
    truth = simulated_floods(setting, cells, spilled, silent)
    assert told["members_simulated"] == 0
    assert found.draws == truth.draws * len(DRAWN)
    near, was = found.probability(0.05), truth.probability(0.05)
    some = (near > 0) | (was > 0)
    assert np.abs(near - was)[some].mean() < 0.06
    assert near.sum() == pytest.approx(was.sum(), rel=0.1)
    first, came = found.arrived(0.1), truth.arrived(0.1)
    both = np.isfinite(first) & np.isfinite(came)
    assert np.abs(first[both] - came[both]).mean() < 0.5


def test_a_band_is_drawn_by_its_levels() -> None:
    surrogate = perfect(None)
    levels, names = surrogate.spec.quantiles, [one.name for one in surrogate.spec.outputs]
    one = np.zeros((1, len(names), len(levels)))
    for name in names[:-1]:
        one[0, names.index(name)] = levels  # a depth in m of each level
    one[0, names.index("arrival_h")] = 1 + 6 * np.array(levels)
    depth, arrival = drawn(one, surrogate, 0.0, 8.0)
    np.testing.assert_allclose(depth[:, 0], DRAWN, atol=1e-6)
    assert (np.diff(arrival[:, 0]) < 0).all()  # early where it is deep
    late, _ = drawn(one, surrogate, 5.0, 8.0)
    assert (late <= depth + 1e-9).all()


def test_a_wave_keeps_its_volume_within_what_was_learned() -> None:
    spec, hours = perfect(None).spec, np.linspace(0, 8, 49)
    known = {one.name: one for one in spec.scalars}
    for flow in (np.where(hours > 5, 30.0, 0), 20 * hours, np.where(hours < 1, 3.0, 0)):
        found = asked_wave(hours, flow, spec)
        assert all(known[k].low <= v <= known[k].high for k, v in found.wave.items())
        after = hours[hours >= found.begin_h] - found.begin_h
        rise, fall = found.wave["rise_h"], found.wave["fall_h"]
        shape = np.minimum(after / rise, np.exp(-np.maximum(after - rise, 0) / fall))
        brought = found.wave["inflow_m3_s"] * np.trapezoid(shape, after)
        assert brought == pytest.approx(np.trapezoid(flow, hours), rel=1e-6)


def test_members_that_a_surrogate_does_not_know_are_simulated_or_refused() -> None:
    setting, cells = opened(3.0)
    most = poured(setting, STAGES)
    flow = np.tile(most.flow_m3_s[-1] / 10, (20, 1))
    flow[0] *= 80  # beyond its largest inflow
    spilled = replace(most, flow_m3_s=flow)
    found, told = answered_floods(setting, cells, spilled, perfect(by_solver), silent)
    assert told["members_simulated"] == 1
    assert len(found.depth_m) == found.draws == 20 * len(DRAWN)
    flow[1:4] *= 80
    with pytest.raises(FelsinaError, match=r"4 of 20 members .*inflow_m3_s .*--engine physics"):
        answered_floods(setting, cells, spilled, perfect(by_solver), silent)


def test_an_outlook_tells_the_gauge_the_map_and_whom_to_call(river: Path, tmp_path: Path) -> None:
    keys = read_keys(Outlook, asked(river))
    highest = ask_gauge(keys.gauge, Path()).stage_m.max(axis=1)
    crest = float(np.median(highest))
    report = run_scenario(asked(river, crest), Path(), tmp_path, silent)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {path.name for path in tmp_path.iterdir()} == set(report["files"])
    gauge = report["gauge"]
    assert gauge["release"].startswith("river-")
    assert gauge["share_that_spills"] == 0.5
    assert 0.2 < gauge["probability_over_crest"] < 0.8
    assert set(gauge["errors"]["by lead"]) == {"1", "2", "3", "4", "5", "6"}
    assert (report["from"], report["until"]) == ("2024-04-10T06:00:00Z", "2024-04-10T14:00:00Z")
    assert any("its last value is held until 8 h" in one for one in report["said"])
    assert any("no alert level of d is known" in one for one in report["said"])
    with rasterio.open(tmp_path / "probability_005.tif") as raster:
        chance = raster.read(1)
    assert 0 < chance.max() <= 0.5
    areas = pd.read_parquet(tmp_path / "areas.parquet").set_index("area")
    warned = {row["area"]: row for row in report["alerts"]}
    assert set(warned) == set(areas.index[areas["level"] != "none"])
    assert all(row["onset"] > report["from"] for row in warned.values() if row["onset"])
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    named = tmp_path / "named"  # observations of the test span are held under the name
    named.mkdir()
    again = run_scenario(asked(Path("river"), crest, homes=None), Path(), named, silent)
    assert again["expected_km2"] == report["expected_km2"]
    assert "areas" not in again
    assert {path.name for path in named.iterdir()} == set(again["files"])


def test_a_surrogate_answers_an_outlook(river: Path, tmp_path: Path) -> None:
    keys = read_keys(Outlook, asked(river))
    crest = float(np.median(ask_gauge(keys.gauge, Path()).stage_m.max(axis=1)))
    report = answer_scenario(asked(river, crest), Path(), tmp_path, silent, [perfect(by_solver)])
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["engine_of_floods"]["surrogate"] == "perfect"
    assert {path.name for path in tmp_path.iterdir()} == set(report["files"])
    assert max(row["home_wet"] for row in report["areas"]) <= 0.5
    with pytest.raises(FelsinaError, match=r"hours = 6.*--engine physics"):
        answer_scenario(asked(river, hours=6), Path(), tmp_path, silent, [perfect(by_solver)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gauge": {"node": "z"}}, "unknown node z"),
        ({"gauge": {"at": "2031-01-01T00:00"}}, "has forecasts from"),
        ({"gauge": {"at": "2024-04-10T06:20"}}, "off the grid"),
        ({"gauge": {"members": 500}}, "members = 500"),
        ({"gauge": {"dataset": "nowhere"}}, "no dataset folder"),
        ({"gauge": {"rating": {"a": 1, "b": 2}}}, "speaks of stage"),
        ({"gauge": {"river": None}}, "go together"),
        ({"gauge": {"crest": 3}}, "gauge.crest"),
        ({"from_h": 6}, "ends after 6 h"),
        ({"hours": 1}, "steps of 1 h"),
        ({"breach": [{"width_m": 5, "hour": 1}]}, "breach is a scenario's"),
    ],
)
def test_what_cannot_be_told_is_refused(
    river: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(FelsinaError, match=told) as refused:
        run_scenario(asked(river, **changes), Path(), tmp_path, silent)
    assert "\n" not in str(refused.value)


def test_a_dataset_without_a_release_is_refused(home: Path, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "dry", name="dry", domain="flood", target="stage", unit="m")
    with pytest.raises(FelsinaError, match=r"no release of dataset .dry.*felsina run"):
        run_scenario(asked(folder), Path(), tmp_path, silent)


def test_draws_are_counted_with_those_that_stay_dry() -> None:
    floods = Floods(4, np.array([[0.1, 0.4]]), np.array([[1.0, 0.5]]))
    np.testing.assert_allclose(floods.probability(0.3), [0, 0.25])
    np.testing.assert_allclose(floods.expected_depth_m(), [0.025, 0.1])
