"""Heat waves: cooling rises and heating never does, by simulator and surrogate alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.domains.chains import runner_of
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.climate import monthly_climate
from pipelines.domains.energy.heat_wave import HeatKeys, heat_wave
from pipelines.domains.energy.weather import embedded_weather
from pipelines.domains.scenarios import read_keys
from tests.fixtures.buildings import EXAMPLES, write_stock
from tests.fixtures.drawn import Oracle, experiments

NAME = "heat wave raises cooling"
STOCK = """name = "five buildings"
domain = "energy"
weather = "embedded"
stock = "stock.csv"
archetypes = "archetypes.csv"
budget_eur = 1000
[[measures]]
kind = "heat_pump"
eur_kw = 1
"""
AREAS = "Cooling by area"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_stock(tmp_path)
    shutil.copy(EXAMPLES / "archetypes.csv", tmp_path)
    (tmp_path / "stock.toml").write_text(STOCK)
    return tmp_path


def run(place: Path, heat: dict[str, Any], surrogate: Any = None, out: str = "out") -> Any:
    asked = {"name": "hot", "chain": NAME, "heat": heat, "energy": {"scenario": "stock.toml"}}
    (place / out).mkdir()
    engine = "physics" if surrogate is None else "surrogate"
    chain = runner_of(NAME, engine, lambda domain, release: [surrogate])
    report = chain(asked, place, place / out, lambda text, share: None)
    json.dumps(report, allow_nan=False)
    return report


def test_a_heat_wave_raises_cooling_and_never_heating(place: Path) -> None:
    report = run(place, {"delta_k": 5.0})
    usual, wave = report["city"]["usual"], report["city"]["wave"]
    assert wave["cooling_mwh"] > 1.05 * usual["cooling_mwh"] > 0
    assert wave["heating_mwh"] == usual["heating_mwh"]
    assert wave["bill_eur"] > usual["bill_eur"]
    table = pd.read_parquet(place / "out" / "2-energy" / "buildings.parquet").set_index("id")
    rise = table["cooling_kwh_wave"] - table["cooling_kwh_usual"]
    assert (rise[["b", "d", "e"]] > 0).all()  # those that have a cooler
    assert (table.loc[["a", "c"], "cooling_kwh_wave"] == 0).all()
    areas = {row["area"]: row for row in report["tables"][AREAS]}
    assert sum(row["rise_mwh"] for row in areas.values()) == pytest.approx(rise.sum() / 1000)
    assert areas["north"]["cooled_floor_percent"] == pytest.approx(100 * 800 / 1800)
    hours = pd.read_parquet(place / "out" / "2-energy" / "cooling.parquet")
    more = hours["cooling_kw_wave"] - hours["cooling_kw_usual"]
    assert more.min() > -1e-3
    assert (more[hours["time"] < "2023-07-10"].abs() < 1e-3).all()
    south = hours[hours["area"] == "south"].set_index("time")["cooling_kw_wave"]
    daily = south.resample("D").sum()
    assert areas["south"]["peak_day"] == f"{daily.idxmax():%m-%d}"
    assert areas["south"]["peak_kw"] == pytest.approx(south.max())
    cooler, asked, warmer = (
        row["rise_mwh"] for row in report["tables"]["Cooling, if the wave were another"]
    )
    assert 0 < cooler < asked < warmer
    heat, energy = report["hops"]
    assert (heat["engine"], energy["engine"]) == ("rule", "physics")
    assert "BESTEST" in energy["error"]
    assert heat["handed_on"].endswith("168 hours warmer by 5.0 K")


def test_warm_days_in_winter_save_heat(place: Path) -> None:
    report = run(place, {"delta_k": 3.0, "begin": "12-29", "days": 5})
    usual, wave = report["city"]["usual"], report["city"]["wave"]
    assert wave["heating_mwh"] < usual["heating_mwh"]
    assert wave["cooling_mwh"] >= usual["cooling_mwh"]
    climate = pd.read_parquet(place / "out" / "1-heat" / "climate.parquet")
    warm = climate[climate["wave"]]
    days = {f"{time:%m-%d}" for time in warm["time"]}
    assert days == {"12-29", "12-30", "12-31", "01-01", "01-02"}
    np.testing.assert_allclose(warm["outdoor_c_wave"] - warm["outdoor_c"], 3.0)
    assert report["hops"][0]["by"].endswith("in every hour, 12-29 to 01-02")
    rest = climate[~climate["wave"]]
    assert (rest["outdoor_c_wave"] == rest["outdoor_c"]).all()


class Seer(Oracle):
    """An oracle that knows the year by its fields."""

    sha256 = "0"

    def __init__(self, spec: Any, years: list[Any], assumptions: Assumptions) -> None:
        super().__init__(spec, years[0], assumptions)
        self.years = [(monthly_climate(year, assumptions), year) for year in years]

    def answer(self, scalars: np.ndarray, fields: np.ndarray, threads: int = 1) -> np.ndarray:
        near = [float(np.abs(known - fields[0]).sum()) for known, _ in self.years]
        self.weather = self.years[int(np.argmin(near))][1]
        return super().answer(scalars, fields, threads)


def seer(high: float) -> Seer:
    spec = experiments().spec
    wide = tuple(replace(one, low=-1e6, high=high) for one in spec.fields)
    wave = heat_wave(embedded_weather(), read_keys(HeatKeys, {"delta_k": 5.0}), Path())
    years = [embedded_weather(), wave.weather(), wave.weather(-1), wave.weather(1)]
    return Seer(replace(spec, fields=wide), years, Assumptions())


def test_a_surrogate_that_is_never_wrong_says_the_same(place: Path) -> None:
    truth = run(place, {"delta_k": 5.0}, out="a")
    found = run(place, {"delta_k": 5.0}, seer(1e6), out="b")
    for state in ("usual", "wave"):
        told, known = found["city"][state], truth["city"][state]
        assert told["cooling_mwh"] == pytest.approx(known["cooling_mwh"], rel=1e-3)
    energy = found["hops"][1]
    assert (energy["engine"], energy["by"]) == ("surrogate", "oracle-0")
    assert energy["range"].startswith("inside what it learned")
    assert "CVRMSE 0.0%" in energy["error"]
    assert "'climates'" in energy["error"]
    assert "peak_day" not in found["tables"][AREAS][0]


def test_a_climate_that_was_not_learned_is_simulated_in_both(place: Path) -> None:
    truth = run(place, {"delta_k": 5.0}, out="a")
    surrogate = seer(-1e5)
    found = run(place, {"delta_k": 5.0}, surrogate, out="b")
    assert surrogate.asked == 0
    assert found["city"] == truth["city"]
    energy = found["hops"][1]
    assert energy["engine"] == "physics"
    assert energy["range"].startswith("outside what oracle-0 learned (")
    assert energy["range"].endswith("simulated instead")


def test_a_wave_from_a_table(place: Path) -> None:
    hours = pd.date_range("2003-08-05", periods=48, freq="1h")
    table = pd.DataFrame({"time": hours, "outdoor_c": np.linspace(34, 41, 48)})
    table.to_csv(place / "wave.csv", index=False)
    report = run(place, {"file": "wave.csv"})
    assert report["city"]["wave"]["cooling_mwh"] > report["city"]["usual"]["cooling_mwh"]
    climate = pd.read_parquet(place / "out" / "1-heat" / "climate.parquet")
    warm = climate[climate["wave"]]
    np.testing.assert_allclose(warm["outdoor_c_wave"], table["outdoor_c"])
    assert list(warm["time"].dt.strftime("%m-%d %H")) == list(hours.strftime("%m-%d %H"))
    assert report["hops"][0]["by"] == "temperatures of wave.csv, 08-05 to 08-06"


def test_a_table_over_new_year_is_told_in_its_own_order(tmp_path: Path) -> None:
    hours = pd.date_range("2015-12-30", periods=72, freq="1h")
    table = pd.DataFrame({"time": hours, "outdoor_c": np.linspace(30, 34, 72)})
    table.to_csv(tmp_path / "wave.csv", index=False)
    wave = heat_wave(embedded_weather(), HeatKeys(file="wave.csv"), tmp_path)
    assert [f"{time:%m-%d %H}" for time in wave.span] == ["12-30 00", "01-01 23"]
    assert wave.rows.sum() == 72
    assert wave.outdoor_c[23] == 34


@pytest.mark.parametrize(
    ("heat", "table", "says"),
    [
        ({}, "", "give either delta_k"),
        ({"delta_k": -2.0}, "", "heat.delta_k = -2.0"),
        ({"delta_k": 2.0, "file": "wave.csv"}, "", "give either delta_k"),
        ({"file": "wave.csv", "days": 3}, "", "begin and days are delta_k's"),
        ({"delta_k": 2.0, "begin": "02-30"}, "", "begin '02-30' is no day"),
        ({"file": "none.csv"}, "", "none.csv: .*No such file"),
        ({"file": "wave.csv"}, "time,air\n07-10,3\n", "no column outdoor_c; give columns"),
        ({"file": "wave.csv"}, "time,outdoor_c\n2023-07-10 10:30,40\n", "line 2: .* no whole hour"),
        (
            {"file": "wave.csv"},
            "time,outdoor_c\n2023-07-10 10:00,40\n2022-07-10 10:00,40\n",
            "line 3: .* occurs twice",
        ),
        (
            {"file": "wave.csv"},
            "time,outdoor_c\n05/07/2023 00:00,40\n",
            "line 2: '05/07/2023 00:00' is no time in ISO 8601; write 2023-07-10T14:00",
        ),
        ({"file": "wave.csv"}, "time,outdoor_c\n1,40\n2,40\n", "line 2: '1' is no time in ISO"),
        (
            {"file": "wave.csv"},
            "time,outdoor_c\n2023-07-10T10:00Z,40\n",
            "line 2: 2023-07-10T10:00Z names a zone",
        ),
        (
            {"file": "wave.csv"},
            "time,outdoor_c\n2023-07-10T10:00,40\n2023-07-10T13:00,40\n",
            "line 3: 2023-07-10T13:00 is not an hour after 2023-07-10 10:00:00; give every hour",
        ),
        ({"file": "wave.csv"}, "time,outdoor_c\n2023-07-10 10:00,\n", "line 2: nan degC"),
        ({"file": "wave.csv"}, "time,outdoor_c\n2023-07-10 10:00,warm\n", "warm"),
        ({"file": "wave.csv"}, "time,outdoor_c\n", "no hours"),
        ({"file": "wave.csv"}, "time,outdoor_c\n2023-07-10 14:00,3\n", "K cooler than"),
    ],
)
def test_what_is_no_heat_wave_is_refused(
    place: Path, heat: dict[str, Any], table: str, says: str
) -> None:
    (place / "wave.csv").write_text(table)
    with pytest.raises(FelsinaError, match=says) as refused:
        run(place, heat)
    assert "\n" not in str(refused.value)
    assert list((place / "out").iterdir()) == []


def test_cooling_is_what_electricity_lacks_without_coolers(place: Path) -> None:
    """The simulator's own figure against two runs of it."""
    from pipelines.domains.energy.demand import Simulator
    from tests.fixtures.buildings import make_stock

    stock = make_stock(place)
    stock = replace(stock, pv_kwp=np.zeros(len(stock)))
    simulator = Simulator(embedded_weather(), Assumptions())
    with_coolers = simulator.run(stock)
    bare = simulator.run(replace(stock, cooling_c=np.full(len(stock), np.nan)))
    lacking = (with_coolers.delivered_kwh - bare.delivered_kwh).sum(axis=1)
    np.testing.assert_allclose(with_coolers.cooling_kwh, lacking, rtol=1e-3, atol=0.5)
    assert with_coolers.cooling_kw is not None
    assert with_coolers.cooling_kw.sum() == pytest.approx(with_coolers.cooling_kwh.sum(), rel=1e-4)
