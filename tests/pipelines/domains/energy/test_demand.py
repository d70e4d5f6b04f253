"""From need to carriers: what goes in comes out, area by area and hour by hour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.domains.energy import demand as module
from pipelines.domains.energy.assumptions import CARRIERS, Assumptions, use_shape
from pipelines.domains.energy.demand import Demand, Simulator
from pipelines.domains.energy.outcome import Outcome
from pipelines.domains.energy.stock import Stock
from tests.fixtures.buildings import make_stock, winter

GAS, OIL, DISTRICT, ELECTRICITY = range(4)


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    return make_stock(tmp_path)


def run(stock: Stock, **changes) -> Demand:
    return Simulator(winter(), Assumptions(**changes)).run(stock)


def test_each_source_takes_its_carrier(stock: Stock) -> None:
    found = run(stock).delivered_kwh
    taken = found[:, :ELECTRICITY] > 0
    np.testing.assert_array_equal(taken, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert (found[:, ELECTRICITY] > 0).all()


def test_boilers_burn_what_rooms_and_water_need(stock: Stock) -> None:
    found = run(stock, boiler_efficiency=0.8)
    water = 15 * stock.floor_m2 * len(winter().times) / 8760
    made = 0.8 * found.delivered_kwh[0, GAS]
    assert made == pytest.approx(found.heat_kwh[0] + water[0], rel=1e-5)


def test_areas_add_up_to_their_buildings_and_peaks_do_not(stock: Stock) -> None:
    found = run(stock)
    assert list(found.areas) == ["north", "south"]
    of_areas = found.hourly_kw.sum(axis=0)
    north = found.delivered_kwh[stock.area == "north"].sum(axis=0)
    np.testing.assert_allclose(of_areas[0], north, rtol=1e-4)
    np.testing.assert_allclose(of_areas.sum(0), found.delivered_kwh.sum(axis=0), rtol=1e-4)
    outcome = Outcome(stock, found, Assumptions())
    city, south = outcome.summary(), outcome.summary("south")
    assert city["co2_t"] == pytest.approx(outcome.summary("north")["co2_t"] + south["co2_t"])
    assert city["electricity_peak_kw"] <= found.electricity_peak_kw.sum() + 1e-6
    assert city["kwh_m2"] == pytest.approx(found.delivered_kwh.sum() / stock.floor_m2.sum())


def test_chunks_change_nothing(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(stock)
    monkeypatch.setattr(module, "CHUNK", 2)
    parts = run(stock)
    np.testing.assert_allclose(parts.delivered_kwh, whole.delivered_kwh, rtol=1e-5)
    np.testing.assert_allclose(parts.hourly_kw, whole.hourly_kw, rtol=1e-3, atol=1e-3)
    seen: list[int] = []
    Simulator(winter(), Assumptions()).run(stock, sink=lambda part, kw: seen.append(kw.shape[2]))
    assert seen == [2, 2, 1]


def test_panels_save_electricity_and_sell_the_rest(stock: Stock) -> None:
    bare = replace(stock, pv_kwp=np.zeros(len(stock)))
    with_panels = replace(stock, pv_kwp=np.full(len(stock), 8.0))
    before, after = run(bare), run(with_panels)
    assert (before.exported_kwh == 0).all()
    sun = winter().irradiance_w_m2[:, -1].sum() / 1000
    made = before.delivered_kwh[:, ELECTRICITY] - after.delivered_kwh[:, ELECTRICITY]
    np.testing.assert_allclose(made + after.exported_kwh, 0.8 * 8.0 * sun, rtol=1e-3)
    np.testing.assert_allclose(after.heat_kwh, before.heat_kwh)


def test_a_heat_pump_makes_less_of_colder_air() -> None:
    performance = Assumptions().performance(np.array([-10.0, 0, 7, 15, 60]))
    assert (np.diff(performance) > 0).all()
    assert 2 < performance[0] < performance[2] < 4
    assert performance[-1] == 6


def test_rooms_are_heated_in_season_and_in_hours() -> None:
    times = pd.date_range("2023-01-01", periods=8760, freq="1h")
    set_up = Assumptions(season=("10-15", "04-15"), on_h=(6, 20))
    ids = np.array([f"b{n}" for n in range(60)])
    on = set_up.switched_on(times, ids)
    assert set(on.reshape(365, 24, -1).sum(axis=1).ravel()) == {0, 14}
    first = on[:24].argmax(axis=0)
    assert set(first) == {5, 6, 7}
    assert (np.bincount(first)[5:] > 10).all()
    np.testing.assert_array_equal(set_up.switched_on(times, ids[7:8])[:, 0], on[:, 7])
    together = pd.Series(
        set_up.model_copy(update={"spread_h": 0}).switched_on(times, ids[:1])[:, 0], index=times
    )
    assert together[["2023-04-15 06:00", "2023-10-15 19:00", "2023-12-31 12:00"]].all()
    assert not together[["2023-04-16 12:00", "2023-10-14 12:00", "2023-01-01 20:00"]].any()
    assert Assumptions(on_h=(0, 24)).switched_on(times[:24], ids).all()
    assert not Assumptions(season=("05-01", "06-01")).in_season(times[:24]).any()
    assert use_shape(times).mean() == pytest.approx(1)


def test_warmth_costs_and_cold_counts(stock: Stock) -> None:
    colder = replace(stock, heating_c=stock.heating_c - 3)
    before, after = run(stock), run(colder)
    assert (after.heat_kwh < before.heat_kwh).all()
    assert (after.cold_h > before.cold_h).all()
    small = replace(stock, heating_kw=stock.heating_kw / 10)
    starved = run(small)
    assert (starved.heat_peak_kw <= small.heating_kw * 1.001).all()
    assert (starved.cold_h > before.cold_h).all()


def test_bills_and_emissions_are_factors_times_carriers(stock: Stock) -> None:
    found = run(stock)
    outcome = Outcome(stock, found, Assumptions())
    assert CARRIERS[GAS] == "gas"
    gas, power = found.delivered_kwh[0, [GAS, ELECTRICITY]]
    assert outcome.co2_t[0] == pytest.approx((0.202 * gas + 0.296 * power) / 1000)
    paid = 0.11 * gas + 0.28 * power - 0.08 * found.exported_kwh[0]
    assert outcome.bill_eur[0] == pytest.approx(paid)
