"""The best programme is the best, keeps to its limits, and is simulated before it is shown."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.domains.energy import scenario as module
from pipelines.domains.energy.programme import Limits, Options, search, solve
from tests.fixtures.buildings import EXAMPLES, winter, write_stock

AREAS = np.array(["north", "north", "south", "south"])
WORKS = [
    {"kind": "insulation", "wall_w_m2k": 0.28, "eur_m2": 100, "where": {"built_before": 1976}},
    {"kind": "heat_pump", "eur_kw": 1000},
]


def options(seed: int) -> Options:
    """Three options on each of four buildings, some of which raise the bill."""
    rng = np.random.default_rng(seed)
    building = np.repeat(np.arange(4), 3)
    change = {name: rng.normal(-1, 2, 12) for name in ("bill", "co2", "energy", "cold_h")}
    works = np.ones((12, 1), bool)
    return Options(building, works, rng.uniform(1, 5, 12), rng.uniform(1, 9, 12), change, 12)


def allowed(found: Options, chosen: list[int], limits: Limits) -> bool:
    cost = sum(found.cost_eur[k] for k in chosen)
    area = AREAS[found.building]
    kept = all(
        sum(found.change[name][k] for k in chosen if area[k] == one) <= 1e-9
        for name in limits.no_area_worse
        for one in np.unique(AREAS)
    )
    for one, least in limits.spend_at_least_eur.items():
        kept &= sum(found.cost_eur[k] for k in chosen if area[k] == one) >= least - 1e-9
    return bool(cost <= limits.budget_eur + 1e-9 and kept)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "limits",
    [Limits(8.0), Limits(8.0, ("bill",)), Limits(9.0, ("bill", "cold_h"), {"south": 2.0})],
)
def test_no_other_choice_saves_more(seed: int, limits: Limits) -> None:
    found = options(seed)
    ways = [
        [3 * b + k for b, k in enumerate(picks) if k < 3] for picks in product(range(4), repeat=4)
    ]
    values = [sum(found.saved[k] for k in way) for way in ways if allowed(found, way, limits)]
    if not values:
        with pytest.raises(FelsinaError, match="no programme of"):
            solve(found, AREAS, limits)
        return
    chosen = solve(found, AREAS, limits)
    assert allowed(found, chosen.tolist(), limits)
    assert found.saved[chosen].sum() == pytest.approx(max(values), rel=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_margin_is_kept_too(seed: int) -> None:
    """Asked for nearly the largest fall that a budget buys in the south, it is found."""
    found = options(seed)
    south = AREAS[found.building] == "south"
    ways = [
        [3 * b + k for b, k in enumerate(picks) if k < 3] for picks in product(range(4), repeat=4)
    ]
    falls = [
        -sum(found.change["bill"][k] for k in way if south[k])
        for way in ways
        if allowed(found, way, Limits(20.0, ("bill",)))
    ]
    margin = 0.99 * max(falls)
    assert margin > 0
    chosen = solve(found, AREAS, Limits(20.0, ("bill",), margin={("south", "bill"): margin}))
    assert -found.change["bill"][chosen][south[chosen]].sum() >= margin - 1e-6


def test_works_judged_alone_are_read_off_the_options() -> None:
    works = np.array([[1, 0], [0, 1], [1, 1]], bool)
    none = {name: np.zeros(3) for name in ("bill", "co2", "energy", "cold_h")}
    found = Options(np.array([0, 1, 1]), works, np.ones(3), np.array([5.0, 6.0, 9.0]), none, 3)
    np.testing.assert_array_equal(found.alone(3), [[5, np.nan, np.nan], [np.nan, 6, np.nan]])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "embedded_weather", winter)
    write_stock(tmp_path)
    shutil.copy(EXAMPLES / "archetypes.csv", tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


def run(place: Path, **keys) -> dict:
    base = {"name": "a", "domain": "energy", "weather": "embedded", "stock": "stock.csv"}
    base |= {"archetypes": "archetypes.csv", "measures": WORKS, "budget_eur": 150_000}
    return search(base | keys, place, place / "out", lambda stage, share: None, [])


def test_the_programme_is_simulated_and_told(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = run(place)
    json.dumps(report, allow_nan=False)
    assert report["spent_eur"] <= 150_000
    check = report["check"]
    assert check["saved_by_engine"] == pytest.approx(check["saved_by_simulator"], rel=1e-3)
    assert check["saved_by_simulator"] >= 0.999 * check["saved_by_works_judged_alone"]
    assert all(one["kept"] for one in report["constraints"])
    table = pd.read_parquet(place / "out" / "buildings.parquet")
    assert table["cost_eur"].sum() == pytest.approx(report["spent_eur"])
    saved = table["co2_t_today"].sum() - table["co2_t_after"].sum()
    assert saved == pytest.approx(check["saved_by_simulator"])
    spent = [row["saved"] for row in report["tables"]["Budgets"]]
    assert spent == sorted(spent)
    assert (place / "out" / "programme.png").stat().st_size > 10_000
    assert capfd.readouterr().out == ""  # stdout is for answers


def test_an_area_gets_what_is_set_aside_for_it(place: Path) -> None:
    report = run(place, search={"spend_at_least_eur": {"south": 20_000}})
    assert report["areas"]["south"]["invested_eur"] >= 20_000


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"budget_eur": None}, "a search needs budget_eur"),
        ({"measures": []}, "a search needs budget_eur"),
        ({"search": {"spend_at_least_eur": {"west": 5}}}, "no area 'west'; use north, south"),
        ({"search": {"spend_at_least_eur": {"south": 1e9}}}, "no programme of 150,000 euro"),
        ({"search": {"no_area_worse": ["luck"]}}, "search.no_area_worse.0 = 'luck'"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(place: Path, keys: dict, said: str) -> None:
    with pytest.raises(FelsinaError, match=said) as caught:
        run(place, **keys)
    assert "\n" not in str(caught.value)
