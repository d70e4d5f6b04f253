"""Works: who gets them, what they cost, what they leave alone; budgets; meters."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models.contracts import FelsinaError
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.calibration import Metered, calibrate
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.measures import Measure
from pipelines.domains.energy.plan import choose
from pipelines.domains.energy.stock import Stock
from tests.fixtures.buildings import make_stock, winter

INSULATION = {"kind": "insulation", "wall_w_m2k": 0.28, "eur_m2": 100}
WINDOWS = {"kind": "windows", "window_w_m2k": 1.4, "window_g": 0.6, "eur_m2": 400}
PUMP = {"kind": "heat_pump", "eur_kw": 1000}
DISTRICT = {"kind": "district_heat", "eur_kw": 400}
PANELS = {"kind": "pv", "kwp_m2": 0.1, "eur_kwp": 1500}
COLDER = {"kind": "set_point", "change_k": -1}


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    return make_stock(tmp_path)


def measure(values: dict, **where) -> Measure:
    return TypeAdapter(Measure).validate_python(values | {"where": where})


@pytest.mark.parametrize("values", [INSULATION, WINDOWS, PUMP, DISTRICT, PANELS, COLDER])
def test_works_done_leave_nothing_to_do(stock: Stock, values: dict) -> None:
    works = measure(values)
    rows = works.eligible(stock)
    assert rows.any()
    done = works.done(stock)
    if values is not COLDER:
        assert not works.eligible(done).any()
    assert (works.cost_eur(stock)[rows] > 0).all() == (values is not COLDER)


def test_heating_never_fights_cooling(stock: Stock) -> None:
    cooled = replace(stock, cooling_c=np.array([np.nan, 23, 23, 26, 26]))
    done = measure(COLDER | {"change_k": 5}).done(cooled)
    assert list(done.heating_c) == [25, 23, 23, 25, 25]


def test_costs_are_of_what_is_treated(stock: Stock) -> None:
    better = replace(stock, wall_w_m2k=np.array([1.2, 0.2, 1.2, 1.2, 1.2]))
    cost = measure(INSULATION).cost_eur(better)
    np.testing.assert_allclose(cost, 100 * stock.wall_m2 * [1, 0, 1, 1, 1])
    both = measure(INSULATION | {"roof_w_m2k": 0.24}).cost_eur(stock)
    np.testing.assert_allclose(both, 100 * (stock.wall_m2 + stock.roof_m2))
    assert measure(INSULATION).done(better).wall_w_m2k[1] == 0.2
    assert measure(PUMP).cost_eur(stock)[0] == pytest.approx(1000 * stock.heating_kw[0])
    added = 0.1 * stock.roof_m2 - stock.pv_kwp
    np.testing.assert_allclose(measure(PANELS).cost_eur(stock), 1500 * np.maximum(added, 0))


def test_rules_say_who(stock: Stock) -> None:
    def who(**where) -> str:
        return "".join(stock.id[measure(COLDER, **where).eligible(stock)])

    assert who() == "abcde"
    assert who(built_before=1961) == "ac"  # e's year is not known
    assert who(built_from=1961) == "bd"
    assert who(area="south", built_before=1961) == "c"
    assert who(heat_source=["heat_pump", "electric"]) == "de"
    assert who(archetype="block-from-2006") == "e"
    assert who(heat_source="oil_boiler", area="north") == ""
    with pytest.raises(ValidationError, match="built_by"):
        measure(COLDER, built_by=1961)
    with pytest.raises(FelsinaError, match=r"^where: area east is not in the stock; use north, s"):
        who(area=["south", "east"])
    with pytest.raises(FelsinaError, match="heat_source fire is not in the stock; use gas_boiler"):
        who(heat_source="fire")


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "insulation", "eur_m2": 100},
        {"kind": "insulation", "eur_m2": -1, "wall_w_m2k": 0.2},
        {"kind": "magic"},
        {"kind": "pv", "kwp_m2": 3, "eur_kwp": 1},
    ],
)
def test_works_that_mean_nothing_are_refused(values: dict) -> None:
    with pytest.raises(ValidationError):
        measure(values)


def test_a_budget_buys_what_saves_most_for_a_euro(stock: Stock) -> None:
    works = (measure(INSULATION), measure(PUMP), measure(DISTRICT))
    costs = np.array([one.cost_eur(stock) for one in works])
    rng = np.random.default_rng(0)
    saved = np.where(rng.random(costs.shape) < 0.2, np.nan, rng.uniform(-5, 100, costs.shape))
    spent = [0.0]
    gained = [0.0]
    for budget in np.linspace(0, np.nansum(costs), 30):
        plan = choose(works, stock, saved, budget)
        assert plan.cost_eur.sum() <= budget
        assert (saved[plan.chosen] > 0).all()
        assert (plan.chosen[1:].sum(axis=0) <= 1).all()  # one heat source
        spent.append(plan.cost_eur.sum())
        gained.append(saved[plan.chosen].sum())
    assert gained[-1] == max(gained)
    worth = saved / costs
    first = choose(works, stock, saved, float(np.nanmax(np.where(saved > 0, costs, 0))))
    best = np.unravel_index(np.nanargmax(np.where(saved > 0, worth, np.nan)), worth.shape)
    assert first.chosen[best]


def test_without_a_budget_all_that_is_eligible_is_done(stock: Stock) -> None:
    works = (measure(DISTRICT, area="north"), measure(PUMP), measure(INSULATION))
    eligible = np.array([one.eligible(stock) for one in works])
    plan = choose(works, stock, np.where(eligible, 0.0, np.nan), None)
    assert plan.by_building() == [
        "district_heat+insulation",
        "heat_pump+insulation",
        "heat_pump+insulation",
        "insulation",
        "heat_pump+insulation",
    ]
    done = plan.done(stock)
    expected = ["district_heat", *["heat_pump"] * 4]
    assert list(done.heat_source) == expected
    assert (done.wall_w_m2k == 0.28).all()
    untouched = {f.name for f in fields(Stock)} - {"heat_source", "wall_w_m2k"}
    for name in untouched:
        np.testing.assert_array_equal(getattr(done, name), getattr(stock, name))


def test_meters_are_met_by_moving_set_points(stock: Stock) -> None:
    simulator = Simulator(winter(), Assumptions())
    gas = simulator.run(stock).delivered_kwh[:, 0].sum() / 1000
    for share in (0.75, 1.0, 1.1):
        seen: list[float] = []
        found = calibrate(simulator, stock, Metered(gas=share * gas), seen.append)
        again = simulator.run(found.stock).delivered_kwh[:, 0].sum() / 1000
        assert again == pytest.approx(share * gas, rel=1e-3)
        assert found.record["under_heating_factor"] == pytest.approx(share)
        assert np.sign(found.record["set_points_moved_k"]) == np.sign(round(share - 1, 3))
        assert seen[-1] == 1


def test_meters_that_no_set_point_explains_are_refused(stock: Stock) -> None:
    simulator = Simulator(winter(), Assumptions())
    with pytest.raises(FelsinaError, match=r"metered gas of 5000 MWh can not be met") as caught:
        calibrate(simulator, stock, Metered(gas=5000), lambda share: None)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError, match="give gas, heating_oil or district_heat"):
        Metered()
