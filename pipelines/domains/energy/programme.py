"""The best retrofit programme under a budget: every set of works tried on every building.

A building's works do not add up (a heat pump saves less behind insulation), so that each of its
sets is an option of its own, with what the surrogate says that it saves. Which option each building
gets is an integer programme, solved by HiGHS to a stated gap. The answer is simulated before it is
shown; where an area then turns out worse off, the programme is solved anew with that much margin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from models.contracts import FelsinaError, FloatArray, IntArray
from pipelines.domains.energy.answering import Answerer
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.outcome import Outcome
from pipelines.domains.energy.picture import draw
from pipelines.domains.energy.plan import Works, choose
from pipelines.domains.energy.programme_picture import draw_programme
from pipelines.domains.energy.scenario import (
    City,
    Scenario,
    compared,
    judged,
    open_city,
    stated,
    write_outcomes,
)
from pipelines.domains.energy.stock import Stock
from pipelines.domains.scenarios import read_keys
from serving.surrogate import SurrogateRelease

GAP = 1e-3
"""Of the best programme's saving that may be missed."""
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Of the budget, at which the curve is drawn."""
_ROUNDS = 4
_SECONDS = 60.0
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Options:
    """K sets of works on single buildings.

    Attributes:
        building: [K] which building.
        works: [K, M] which measures.
        cost_eur: [K].
        saved: [K] of what is ranked by.
        change: quantity to [K], after less today, as an area adds it up.
        tried: how many sets the engine was asked for.
    """

    building: IntArray
    works: np.ndarray
    cost_eur: FloatArray
    saved: FloatArray
    change: dict[str, FloatArray]
    tried: int

    def alone(self, buildings: int) -> FloatArray:
        """[M, B] what each measure saves by itself; NaN where it is not eligible or saves none."""
        saved = np.full((self.works.shape[1], buildings), np.nan)
        single = self.works.sum(axis=1) == 1
        measure = self.works[single].argmax(axis=1)
        saved[measure, self.building[single]] = self.saved[single]
        return saved


@dataclass(frozen=True)
class Limits:
    """What a programme must keep to.

    Attributes:
        budget_eur: what may be spent.
        no_area_worse: quantities that rise in no area.
        spend_at_least_eur: area to what is spent there at least.
        margin: (area, quantity) to how much it must fall at least.
    """

    budget_eur: float
    no_area_worse: tuple[str, ...] = ()
    spend_at_least_eur: dict[str, float] = field(default_factory=dict)
    margin: dict[tuple[str, str], float] = field(default_factory=dict)


def search(
    scenario: dict[str, Any],
    base: Path,
    out: Path,
    progress: Progress,
    surrogates: list[SurrogateRelease],
) -> dict[str, Any]:
    """Find the programme that saves most, simulate it, and report who gains.

    Args:
        scenario: as in ``Scenario``, with a budget.
        base: folder that the scenario's paths are relative to.
        out: folder for ``buildings.parquet``, ``hourly.parquet``, ``overview.png``,
            ``programme.png``.
        progress: told stage and share done.
        surrogates: the first tries the options; the simulator where there is none.

    Returns:
        Report for JSON, with ``tables`` to show.
    """
    plan = read_keys(Scenario, scenario)
    if plan.budget_eur is None or not plan.measures:
        raise FelsinaError(
            f"scenario {plan.name!r}: a search needs budget_eur and [[measures]] to choose from"
        )
    city = open_city(plan, base, progress)
    assert isinstance(city.engine, Simulator)
    unknown = set(plan.search.spend_at_least_eur) - set(city.stock.area)
    if unknown:
        known = ", ".join(np.unique(city.stock.area))
        raise FelsinaError(f"search.spend_at_least_eur: no area {min(unknown)!r}; use {known}")
    engine = city.engine
    if surrogates:
        engine = Answerer(city.weather, plan.assumptions, surrogates[0])
    begun = Outcome(city.stock, engine.run(city.stock), plan.assumptions)
    options = options_of(plan, engine, begun, partial(progress, "Try every set of works"))
    limits = Limits(plan.budget_eur, plan.search.no_area_worse, plan.search.spend_at_least_eur)
    today = city.outcome("Simulate the stock today", city.stock, progress)
    chosen, works, after, limits, rounds = _simulated_best(city, options, limits, today, progress)
    greedy = choose(plan.measures, city.stock, options.alone(len(city.stock)), plan.budget_eur)
    plain = city.outcome("Simulate works judged alone", greedy.done(city.stock), progress)
    curve = _curve(city, options, limits, partial(progress, "Draw the curve of budgets"))
    write_outcomes(out, city.weather, today, after, works)
    draw(out / "overview.png", plan.name, city.weather.times, today, after)
    draw_programme(out / "programme.png", plan, curve, today, after, works)
    saved = judged(today, plan.rank_by) - judged(after, plan.rank_by)
    by_greedy = float((judged(today, plan.rank_by) - judged(plain, plan.rank_by)).sum())
    found = compared(today, after, works)
    check = {
        "saved_by_engine": float(options.saved[chosen].sum()),
        "saved_by_simulator": float(saved.sum()),
        "saved_by_works_judged_alone": by_greedy,
        "unit": _UNITS[plan.rank_by],
    }
    found["tables"] = {"The programme, simulated": [check], **found["tables"], "Budgets": curve}
    return {
        **city.about(),
        "budget_eur": plan.budget_eur,
        "rank_by": plan.rank_by,
        "spent_eur": float(works.cost_eur.sum()),
        "sets_tried": options.tried,
        "rounds": rounds,
        "constraints": _kept(limits, today, after, works),
        "check": check,
        **found,
        "surrogate": stated(surrogates[0]) if surrogates else None,
        "assumptions": plan.assumptions.model_dump(),
    }


_UNITS = {"co2": "t CO2 a year", "energy": "kWh a year", "bill": "euro a year"}


def options_of(
    plan: Scenario,
    engine: Simulator | Answerer,
    today: Outcome,
    progress: Callable[[float], None],
) -> Options:
    """Every set of works, one of a slot, on every building that is eligible for all of them."""
    stock, measures = today.stock, plan.measures
    slots: dict[str, list[int]] = {}
    for m, measure in enumerate(measures):
        slots.setdefault(measure.slot, []).append(m)
    sets = [
        tuple(m for m in some if m is not None)
        for some in product(*([None, *members] for members in slots.values()))
    ]
    sets = [some for some in sets if some]
    costs = np.array([measure.cost_eur(stock) for measure in measures])
    eligible = np.array([measure.eligible(stock) for measure in measures])
    before = _quantities(today)
    parts: list[tuple[Any, ...]] = []
    for number, some in enumerate(sets):
        rows = np.flatnonzero(eligible[list(some)].all(axis=0))
        if len(rows):
            mask = np.zeros(len(stock), bool)
            mask[rows] = True
            changed = stock.part(mask)
            for m in sorted(some):
                changed = measures[m].done(changed)
            after = Outcome(changed, engine.run(changed), today.assumptions)
            saved = judged(today, plan.rank_by)[rows] - judged(after, plan.rank_by)
            change = {name: v - before[name][rows] for name, v in _quantities(after).items()}
            works = np.zeros((len(rows), len(measures)), bool)
            works[:, list(some)] = True
            parts.append((rows, works, costs[list(some)][:, rows].sum(axis=0), saved, change))
        progress((number + 1) / len(sets))
    if not parts:
        raise FelsinaError(f"scenario {plan.name!r}: no building is eligible for any measure")
    building, works, cost, saved = (np.concatenate([p[i] for p in parts]) for i in range(4))
    change = {name: np.concatenate([p[4][name] for p in parts]) for name in parts[0][4]}
    useful = saved > 0
    kept = {name: values[useful] for name, values in change.items()}
    tried = len(building)
    return Options(building[useful], works[useful], cost[useful], saved[useful], kept, tried)


def _quantities(outcome: Outcome) -> dict[str, FloatArray]:
    """[B] each, as areas add them up; cold hours weigh by floor."""
    return {
        "bill": outcome.bill_eur,
        "co2": outcome.co2_t,
        "energy": outcome.energy_kwh,
        "cold_h": outcome.demand.cold_h * outcome.stock.floor_m2,
    }


def solve(options: Options, areas: np.ndarray, limits: Limits) -> IntArray:
    """Which options are taken: what saves most within the limits, to ``GAP``.

    Args:
        options: K of them.
        areas: [B] each building's area.
        limits: what must be kept to.

    Raises:
        FelsinaError: where no programme keeps to them.
    """
    count = len(options.saved)
    area = areas[options.building]
    once = csr_array(
        (np.ones(count), (options.building, np.arange(count))), shape=(len(areas), count)
    )
    kept = [
        LinearConstraint(once, ub=1),
        LinearConstraint(options.cost_eur[None], ub=limits.budget_eur),
    ]
    for name in limits.no_area_worse:
        for one in np.unique(area):
            row = np.where(area == one, options.change[name], 0.0)
            margin = limits.margin.get((str(one), name), 0.0)
            kept.append(LinearConstraint(row[None], ub=-margin))
    for one, least in limits.spend_at_least_eur.items():
        kept.append(LinearConstraint(np.where(area == one, options.cost_eur, 0.0)[None], lb=least))
    with _quiet():
        found = milp(
            -options.saved,
            constraints=kept,
            integrality=np.ones(count),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": GAP, "time_limit": _SECONDS},
        )
    if found.x is None:
        raise FelsinaError(
            f"no programme of {limits.budget_eur:,.0f} euro keeps to no_area_worse ="
            f" {list(limits.no_area_worse)} and spend_at_least_eur ="
            f" {limits.spend_at_least_eur}; spend more or ask for less"
        )
    return np.flatnonzero(found.x > 0.5)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what HiGHS writes on stdout past its own switch; stdout is for answers."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def works_of(options: Options, chosen: IntArray, plan: Scenario, stock: Stock) -> Works:
    """The options taken, as works on the stock."""
    done = np.zeros((len(plan.measures), len(stock)), bool)
    done[:, options.building[chosen]] = options.works[chosen].T
    costs = np.array([measure.cost_eur(stock) for measure in plan.measures])
    return Works(plan.measures, done, np.where(done, costs, 0.0))


def _simulated_best(
    city: City, options: Options, limits: Limits, today: Outcome, progress: Progress
) -> tuple[IntArray, Works, Outcome, Limits, int]:
    """The best programme that keeps to the limits by simulation too."""
    rounds = 0
    while True:
        rounds += 1
        progress("Find the best programme", (rounds - 1) / _ROUNDS)
        chosen = solve(options, city.stock.area, limits)
        works = works_of(options, chosen, city.plan, city.stock)
        after = city.outcome(f"Simulate it (round {rounds})", works.done(city.stock), progress)
        broken = {
            (one["area"], one["quantity"]): one["change"]
            for one in _kept(limits, today, after, works)
            if not one["kept"] and one["quantity"] != "spent"
        }
        if not broken or rounds == _ROUNDS:
            progress("Find the best programme", 1.0)
            return chosen, works, after, limits, rounds
        margin = {key: limits.margin.get(key, 0.0) + 1.2 * by for key, by in broken.items()}
        limits = Limits(
            limits.budget_eur,
            limits.no_area_worse,
            limits.spend_at_least_eur,
            limits.margin | margin,
        )


def _kept(limits: Limits, today: Outcome, after: Outcome, works: Works) -> list[dict[str, Any]]:
    """Each constraint with what the simulator says of it."""
    before, then = _quantities(today), _quantities(after)
    area, rows = today.stock.area, []
    for name in limits.no_area_worse:
        for one in np.unique(area):
            among = area == one
            change = float((then[name] - before[name])[among].sum())
            slack = 1e-6 * float(np.abs(before[name][among]).sum())
            rows.append(
                {"area": str(one), "quantity": name, "change": change, "kept": change <= slack}
            )
    for one, least in limits.spend_at_least_eur.items():
        spent = float(works.cost_eur[:, area == one].sum())
        rows.append({"area": one, "quantity": "spent", "change": spent, "kept": spent >= least - 1})
    return rows


def _curve(
    city: City, options: Options, limits: Limits, progress: Callable[[float], None]
) -> list[dict[str, Any]]:
    """What other budgets would save, with the constraints and without them, by the engine."""
    rows = []
    for number, share in enumerate(SHARES):
        budget = share * limits.budget_eur
        row: dict[str, Any] = {"budget_keur": budget / 1000}
        row |= dict.fromkeys(("spent_keur", "buildings", "saved", "saved_without_constraints"))
        for name, asked in (
            ("saved", Limits(budget, limits.no_area_worse, limits.spend_at_least_eur)),
            ("saved_without_constraints", Limits(budget)),
        ):
            try:
                chosen = solve(options, city.stock.area, asked)
            except FelsinaError:  # too little for what is to be spent at least
                continue
            row[name] = float(options.saved[chosen].sum())
            if name == "saved":
                row["spent_keur"] = float(options.cost_eur[chosen].sum()) / 1000
                row["buildings"] = len(chosen)
        rows.append(row)
        progress((number + 1) / len(SHARES))
    return rows
