"""Building scenarios: the example runs as written; files and report agree; refusals in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.commands.scenario import run_one
from pipelines.domains.energy import scenario as module
from pipelines.domains.energy.scenario import run_scenario
from tests.fixtures.buildings import EXAMPLES, winter, write_stock

WORKS = [
    {"kind": "insulation", "wall_w_m2k": 0.28, "eur_m2": 100, "where": {"built_before": 1976}},
    {"kind": "heat_pump", "eur_kw": 1000, "where": {"heat_source": "gas_boiler"}},
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stock of five; the year is two months."""
    monkeypatch.setattr(module, "embedded_weather", winter)
    write_stock(tmp_path)
    shutil.copy(EXAMPLES / "archetypes.csv", tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


def run(place: Path, **keys) -> dict:
    base = {"name": "a", "domain": "energy", "weather": "embedded", "stock": "stock.csv"}
    base |= {"archetypes": "archetypes.csv", "measures": WORKS}
    return run_scenario(base | keys, place, place / "out", lambda stage, share: None)


def test_files_and_report_agree(place: Path) -> None:
    report = run(place)
    json.dumps(report, allow_nan=False)
    table = pd.read_parquet(place / "out" / "buildings.parquet")
    assert list(table["works"]) == ["insulation+heat_pump", "", "insulation", "", ""]
    assert table["cost_eur"].sum() == pytest.approx(report["spent_eur"])
    for state in ("today", "after"):
        total = table[f"co2_t_{state}"].sum()
        assert total == pytest.approx(report["city"][state]["co2_t"])
    hours = pd.read_parquet(place / "out" / "hourly.parquet")
    assert len(hours) == 2 * len(winter().times) * 2
    gas = hours[hours["state"] == "after"]["gas_kw"].sum() / 1000
    assert gas == pytest.approx(report["city"]["after"]["gas_mwh"], rel=1e-3, abs=1e-6)
    assert gas == 0
    assert (place / "out" / "overview.png").stat().st_size > 10_000
    assert report["assumptions"]["co2_t_mwh"]["gas"] == 0.202
    areas = report["areas"]
    saved = {a: areas[a]["today"]["co2_t"] - areas[a]["after"]["co2_t"] for a in areas}
    assert all(value > 0 for value in saved.values())


def test_who_gets_nothing_stays_as_it_is(place: Path) -> None:
    report = run(place, measures=[])
    assert report["city"]["today"] == report["city"]["after"]
    assert report["spent_eur"] == 0
    report = run(place, budget_eur=0)
    assert report["spent_eur"] == 0


def test_a_budget_holds_and_more_money_saves_more(place: Path) -> None:
    after = []
    for budget in (0, 30_000, 100_000, 1e9):
        report = run(place, budget_eur=budget)
        assert report["spent_eur"] <= budget
        after.append(report["city"]["after"]["co2_t"])
    assert after == sorted(after, reverse=True)
    assert after[-1] < after[0]


def test_the_hours_of_each_building_on_request(place: Path) -> None:
    run(place, hourly_by_building=True)
    hours = pd.read_parquet(place / "out" / "building_hours_today.parquet")
    table = pd.read_parquet(place / "out" / "buildings.parquet").set_index("id")
    sums = hours.groupby("id", observed=True)["electricity_kw"].sum()
    np.testing.assert_allclose(sums, table.loc[sums.index, "electricity_kwh_today"], rtol=1e-4)
    assert (place / "out" / "building_hours_after.parquet").exists()


def test_calibration_is_told(place: Path) -> None:
    stated = run(place)["city"]["today"]["gas_mwh"]
    report = run(place, metered_mwh={"gas": 0.8 * stated})
    assert report["calibration"]["under_heating_factor"] == pytest.approx(0.8)
    assert report["city"]["today"]["gas_mwh"] == pytest.approx(0.8 * stated, rel=2e-3)
    assert "Calibration to the meters" in report["tables"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"measures": [{"kind": "magic"}]}, "measures.0: .*'magic'"),
        ({"budget": 5}, "budget = 5: extra inputs are not permitted"),
        ({"budget_eur": -5}, "budget_eur = -5: input should be greater than or equal to 0"),
        ({"weather": "none.epw"}, "none.epw is missing; name an EPW"),
        ({"stock": "none.csv"}, "none.csv is missing; name a building stock"),
        ({"rank_by": "luck"}, "rank_by = 'luck': input should be 'co2', 'energy' or 'bill'"),
        ({"assumptions": {"season": ["10-15", "04-31"]}}, "'04-31' is no day"),
        ({"assumptions": {"on_h": [20, 6]}}, r"on_h \[20, 6\] must rise"),
        ({"metered_mwh": {"electricity": 5}}, "metered_mwh.electricity = 5: extra"),
        (
            {"measures": [{"kind": "set_point", "change_k": 9}]},
            "change_k = 9: input should be less",
        ),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(place: Path, keys: dict, said: str) -> None:
    with pytest.raises(FelsinaError, match=said) as caught:
        run(place, **keys)
    assert "\n" not in str(caught.value)


def test_the_example_runs_as_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_one(EXAMPLES / "retrofit.toml", "physics", tmp_path / "retrofit", json=False)
    report = json.loads((tmp_path / "retrofit" / "report.json").read_text())
    assert report["buildings"] == 240
    assert 0 < report["spent_eur"] <= report["budget_eur"] == 12_000_000
    assert report["city"]["after"]["bill_eur"] < report["city"]["today"]["bill_eur"]
    assert 0.7 < report["calibration"]["under_heating_factor"] < 1
    shown = capsys.readouterr().out
    assert "Canale Basso" in shown
    assert "…" not in shown
