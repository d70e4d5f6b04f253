"""A stock answered by a surrogate: the simulator's figures, if the surrogate were never wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.energy.abstraction import INPUTS, NAMES, buildings_of, described
from pipelines.domains.energy.answering import Answerer
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.scenario import answer_scenario
from pipelines.domains.energy.stock import Stock
from pipelines.domains.energy.weather import embedded_weather
from tests.fixtures.buildings import EXAMPLES, make_stock
from tests.fixtures.drawn import Oracle, experiments


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    return make_stock(tmp_path)


def oracle(assumptions: Assumptions) -> Oracle:
    spec = experiments().spec
    wide = tuple(replace(one, low=-1e6, high=1e6) for one in spec.fields)
    return Oracle(replace(spec, fields=wide), embedded_weather(), assumptions)


def test_a_building_described_is_the_building(stock: Stock) -> None:
    whole, described_ = stock.buildings(), buildings_of(described(stock, Assumptions()))
    floor = whole.floor_m2
    for name in ("opaque_w_k", "window_w_k", "ventilation_w_k", "mass_j_k", "mass_area_m2"):
        np.testing.assert_allclose(getattr(described_, name), getattr(whole, name) / floor, 1e-5)
    per_m2 = whole.aperture_m2 / floor[:, None]
    np.testing.assert_allclose(described_.aperture_m2, per_m2, rtol=1e-5)
    np.testing.assert_allclose(described_.heating_w, whole.heating_w / floor, rtol=1e-5)


def test_it_keeps_books_as_the_simulator_does(stock: Stock) -> None:
    """Only solar electricity is netted otherwise: cooling's hours are not known."""
    set_up = Assumptions(on_h=(6, 20), internal_w_m2=4.0)
    year = embedded_weather()
    truth = Simulator(year, set_up).run(stock)
    found = Answerer(year, set_up, oracle(set_up)).run(stock)
    np.testing.assert_allclose(found.heat_kwh, truth.heat_kwh, rtol=1e-3)
    np.testing.assert_allclose(found.delivered_kwh[:, :3], truth.delivered_kwh[:, :3], rtol=1e-3)
    np.testing.assert_allclose(found.cold_h, truth.cold_h, atol=2)
    np.testing.assert_allclose(found.heat_peak_kw, truth.heat_peak_kw, rtol=1e-3)
    electricity = found.delivered_kwh[:, 3], truth.delivered_kwh[:, 3]
    without = stock.pv_kwp == 0
    np.testing.assert_allclose(electricity[0][without], electricity[1][without], rtol=1e-3)
    np.testing.assert_allclose(*electricity, rtol=0.03)
    np.testing.assert_allclose(found.exported_kwh[without], 0)
    np.testing.assert_allclose(found.exported_kwh, truth.exported_kwh, rtol=0.1)
    assert found.hourly_kw is None
    assert not found.simulated.any()


def test_what_it_was_not_trained_on_is_simulated(stock: Stock) -> None:
    odd = replace(stock, air_change_h=np.where(np.arange(5) == 2, 3.0, stock.air_change_h))
    year, set_up = embedded_weather(), Assumptions()
    found = Answerer(year, set_up, oracle(set_up)).run(odd)
    assert found.simulated.tolist() == [False, False, True, False, False]
    truth = Simulator(year, set_up).run(odd)
    np.testing.assert_allclose(found.delivered_kwh[2], truth.delivered_kwh[2], rtol=1e-6)
    np.testing.assert_allclose(found.heat_kwh_band[2], truth.heat_kwh[2], rtol=1e-6)


def test_a_climate_it_was_not_trained_on_is_simulated(stock: Stock) -> None:
    year, set_up = embedded_weather(), Assumptions()
    hot = replace(year, outdoor_c=year.outdoor_c + 40)
    narrow = Oracle(experiments().spec, hot, set_up)
    assert not Answerer(hot, set_up, narrow).inside(stock).any()


def test_assumptions_that_it_does_not_know_are_refused() -> None:
    set_up = Assumptions(heat_pump_supply_c=35)
    with pytest.raises(FelsinaError, match="heat_pump_supply_c is 35; "):
        Answerer(embedded_weather(), set_up, oracle(set_up))


def test_a_surrogate_of_other_inputs_is_refused() -> None:
    other = oracle(Assumptions())
    other.spec = replace(other.spec, scalars=other.spec.scalars[1:])
    with pytest.raises(FelsinaError, match=r"other inputs \(wall_ratio\); build it anew"):
        Answerer(embedded_weather(), Assumptions(), other)


def test_a_scenario_answered_says_by_what_and_how_well(tmp_path: Path, stock: Stock) -> None:
    keys = {"name": "a", "domain": "energy", "weather": "embedded", "stock": "stock.csv"}
    keys["archetypes"] = str(EXAMPLES / "archetypes.csv")
    keys["measures"] = [{"kind": "insulation", "wall_w_m2k": 0.28, "eur_m2": 100}]
    out = tmp_path / "out"
    out.mkdir()
    surrogates = [oracle(Assumptions())]
    report = answer_scenario(keys, tmp_path, out, lambda stage, share: None, surrogates)
    assert report["surrogate"]["release"] == "oracle-0"
    assert report["surrogate"]["error_of_a_year"]["climates"]["heating_kwh_m2"]["cvrmse"] == 0
    assert report["city"]["after"]["gas_mwh"] < report["city"]["today"]["gas_mwh"]
    assert "peak_kw" not in report["city"]["today"]
    assert not (out / "hourly.parquet").exists()
    with pytest.raises(FelsinaError, match="hourly_by_building: a surrogate has no hours"):
        answer_scenario(
            keys | {"hourly_by_building": True}, tmp_path, out, lambda s, d: None, surrogates
        )


def test_defaults_are_within_their_ranges() -> None:
    assert all(one.low <= one.default <= one.high for one in INPUTS)
    assert len(set(NAMES)) == len(NAMES)
