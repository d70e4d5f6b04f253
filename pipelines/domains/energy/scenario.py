"""What measures would do to a building stock: today beside afterwards, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.energy.answering import Answerer
from pipelines.domains.energy.assumptions import Assumptions, NotNegative
from pipelines.domains.energy.calibration import Metered, calibrate
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.measures import Measure
from pipelines.domains.energy.outcome import BuildingHours, Outcome
from pipelines.domains.energy.picture import draw
from pipelines.domains.energy.plan import Works, choose
from pipelines.domains.energy.stock import Stock
from pipelines.domains.energy.stock_table import read_archetypes, read_stock
from pipelines.domains.energy.weather import Weather, embedded_weather, read_weather
from pipelines.domains.scenarios import Frozen, read_keys
from serving.surrogate import SurrogateRelease

EMBEDDED = "embedded"
COLDEST = 0.01
"""Share of the hours that a plant of unknown size need not cover with ease."""

Progress = Callable[[str, float], None]


class Search(Frozen):
    """What the best programme must keep to.

    Attributes:
        no_area_worse: quantities that rise in no area.
        spend_at_least_eur: area to what is spent there at least.
    """

    no_area_worse: tuple[Literal["bill", "co2", "energy", "cold_h"], ...] = ("bill",)
    spend_at_least_eur: dict[str, NotNegative] = Field(default_factory=dict)


class Scenario(Frozen):
    """The file's keys.

    Attributes:
        name: of the scenario.
        domain: as registered.
        weather: EPW file, or ``embedded`` for the embedded city's synthetic year.
        stock: table of buildings.
        archetypes: table of archetypes, where buildings name any.
        measures: works, in the order in which they are done.
        budget_eur: what may be spent; all that is eligible is done when left out.
        rank_by: what a euro should save most of: ``co2``, ``energy`` or the ``bill``.
        metered_mwh: totals that today's stock is calibrated to.
        hourly_by_building: whether each building's hours are written too.
        search: what ``felsina scenario search`` must keep to.
        assumptions: changes of what is taken for granted.
    """

    name: str
    domain: str
    weather: str
    stock: str
    archetypes: str | None = None
    measures: tuple[Measure, ...] = ()
    budget_eur: NotNegative | None = None
    rank_by: Literal["co2", "energy", "bill"] = "co2"
    metered_mwh: Metered | None = None
    hourly_by_building: bool = False
    search: Search = Search()
    assumptions: Assumptions = Assumptions()


@dataclass(frozen=True)
class City:
    """A scenario's stock, as the meters have it, in its weather.

    Attributes:
        plan: the scenario.
        weather: its year.
        engine: what answers: the simulator or the surrogate.
        stock: with plants' sizes known and set-points calibrated.
        calibration: for the report; None where nothing was metered.
    """

    plan: Scenario
    weather: Weather
    engine: Simulator | Answerer
    stock: Stock
    calibration: dict[str, Any] | None

    def outcome(self, stage: str, stock: Stock, progress: Progress) -> Outcome:
        """What a state of the stock takes, by the engine."""
        demand = self.engine.run(stock, partial(progress, stage))
        return Outcome(stock, demand, self.plan.assumptions)

    def about(self) -> dict[str, Any]:
        """What every report says of it."""
        return {
            "weather": self.weather.name,
            "buildings": len(self.stock),
            "floor_m2": float(self.stock.floor_m2.sum()),
            "calibration": self.calibration,
        }


def open_city(
    plan: Scenario, base: Path, progress: Progress, surrogate: SurrogateRelease | None = None
) -> City:
    """Read a scenario's stock and weather, and calibrate.

    Args:
        plan: the scenario.
        base: folder that its paths are relative to.
        progress: told stage and share done.
        surrogate: what answers; the simulator when left out.
    """
    weather = embedded_weather() if plan.weather == EMBEDDED else read_weather(base / plan.weather)
    archetypes = read_archetypes(base / plan.archetypes) if plan.archetypes else None
    coldest = float(np.quantile(weather.outdoor_c, COLDEST))
    stock = read_stock(base / plan.stock, archetypes).with_plants(coldest)
    engine = Simulator(weather, plan.assumptions)
    if surrogate is not None:
        engine = Answerer(weather, plan.assumptions, surrogate)
    record = None
    if plan.metered_mwh is not None:
        tell = partial(progress, "Calibrate to the meters")
        found = calibrate(engine, stock, plan.metered_mwh, tell)
        stock, record = found.stock, found.record
    return City(plan, weather, engine, stock, record)


def run_scenario(
    scenario: dict[str, Any], base: Path, out: Path, progress: Progress
) -> dict[str, Any]:
    """Simulate the stock today and with the measures that the budget buys.

    Args:
        scenario: as in ``Scenario``.
        base: folder that the scenario's paths are relative to.
        out: folder for ``buildings.parquet``, ``hourly.parquet`` and ``overview.png``.
        progress: told stage and share done.

    Returns:
        Report for JSON, with ``tables`` to show.
    """
    return _report(open_city(read_keys(Scenario, scenario), base, progress), out, progress)


def answer_scenario(
    scenario: dict[str, Any],
    base: Path,
    out: Path,
    progress: Progress,
    surrogates: list[SurrogateRelease],
) -> dict[str, Any]:
    """Answer the same by a surrogate: no hourly curves, and its error stated.

    Args:
        scenario: as in ``Scenario``.
        base: folder that the scenario's paths are relative to.
        out: folder for ``buildings.parquet`` and ``overview.png``.
        progress: told stage and share done.
        surrogates: of this domain; the first answers.

    Returns:
        Report for JSON, with ``tables`` to show.
    """
    plan, surrogate = read_keys(Scenario, scenario), surrogates[0]
    if plan.hourly_by_building:
        raise FelsinaError("hourly_by_building: a surrogate has no hours; use --engine physics")
    city = open_city(plan, base, progress, surrogate)
    return _report(city, out, progress) | {"surrogate": stated(surrogate)}


def stated(surrogate: SurrogateRelease) -> dict[str, Any]:
    """What a report says of the surrogate that answered."""
    errors = {
        name: {
            output: {key: found["places"]["year"][key] for key in ("cvrmse", "coverage_80")}
            for output, found in scores["outputs"].items()
        }
        for name, scores in surrogate.report["tests"].items()
    }
    return {
        "release": surrogate.id,
        "simulator": surrogate.spec.simulator,
        "error_of_a_year": errors,
    }


def _report(city: City, out: Path, progress: Progress) -> dict[str, Any]:
    """Today beside afterwards."""
    plan, stock = city.plan, city.stock

    def outcome(stage: str, state: str, buildings: Stock) -> Outcome:
        if not plan.hourly_by_building:
            return city.outcome(stage, buildings, progress)
        assert isinstance(city.engine, Simulator)
        hours = BuildingHours(str(out / f"building_hours_{state}.parquet"))
        demand = city.engine.run(buildings, partial(progress, stage), hours)
        hours.close()
        return Outcome(buildings, demand, plan.assumptions)

    today = outcome("The stock today", "today", stock)
    saved = _savings(plan, city.engine, today, partial(progress, "Each measure alone"))
    works = choose(plan.measures, stock, saved, plan.budget_eur)
    after = outcome("The stock with the measures", "after", works.done(stock))
    write_outcomes(out, city.weather, today, after, works)
    draw(out / "overview.png", plan.name, city.weather.times, today, after)
    found = compared(today, after, works)
    if city.calibration is not None:
        row = {n: value for n, value in city.calibration.items() if n != "metered_mwh"}
        found["tables"]["Calibration to the meters"] = [row]
    if today.demand.simulated is not None and after.demand.simulated is not None:
        found["simulated_buildings"] = int((today.demand.simulated | after.demand.simulated).sum())
    return {
        **city.about(),
        "budget_eur": plan.budget_eur,
        "rank_by": plan.rank_by,
        "spent_eur": float(works.cost_eur.sum()),
        **found,
        "assumptions": plan.assumptions.model_dump(),
    }


def _savings(
    plan: Scenario,
    engine: Simulator | Answerer,
    today: Outcome,
    progress: Callable[[float], None],
) -> FloatArray:
    """What each measure alone saves in a year, [M, B]; NaN where it is not eligible.

    Without a budget nothing is ranked, so that nothing is asked either.
    """
    stock = today.stock
    saved = np.full((len(plan.measures), len(stock)), np.nan)
    for m, measure in enumerate(plan.measures):
        rows = measure.eligible(stock)
        saved[m, rows] = 0.0
        if plan.budget_eur is not None and rows.any():
            alone = measure.done(stock.part(rows))
            found = Outcome(alone, engine.run(alone), plan.assumptions)
            saved[m, rows] = judged(today, plan.rank_by)[rows] - judged(found, plan.rank_by)
        progress((m + 1) / len(plan.measures))
    return saved


def judged(outcome: Outcome, rank_by: str) -> FloatArray:
    """[B] what ``rank_by`` means."""
    values = {"co2": "co2_t", "energy": "energy_kwh", "bill": "bill_eur"}
    return getattr(outcome, values[rank_by])


def write_outcomes(
    out: Path, weather: Weather, today: Outcome, after: Outcome, works: Works
) -> None:
    """One row a building, and one an hour and area where there are hours."""
    stock = today.stock
    columns: dict[str, Any] = {"id": stock.id, "area": stock.area, "floor_m2": stock.floor_m2}
    columns |= {"works": works.by_building(), "cost_eur": works.cost_eur.sum(axis=0)}
    for state, outcome in (("today", today), ("after", after)):
        columns |= {f"{name}_{state}": v for name, v in outcome.by_building().items()}
    pd.DataFrame(columns).to_parquet(out / "buildings.parquet", index=False)
    if today.demand.hourly_kw is None:
        return
    hours = [o.hourly(weather.times, s) for s, o in (("today", today), ("after", after))]
    pd.concat(hours).to_parquet(out / "hourly.parquet", index=False)


def compared(today: Outcome, after: Outcome, works: Works) -> dict[str, Any]:
    """City, works and areas, for JSON and as tables."""
    city = {"today": today.summary(), "after": after.summary()}
    kinds = [
        {"works": measure.kind, "buildings": int(rows.sum()), "cost_eur": float(cost.sum())}
        for measure, rows, cost in zip(works.measures, works.chosen, works.cost_eur, strict=True)
    ]
    areas, shown = {}, []
    for name in map(str, today.demand.areas):
        invested = float(works.cost_eur[:, today.stock.area == name].sum())
        areas[name] = {"today": today.summary(name), "after": after.summary(name)}
        areas[name]["invested_eur"] = invested
        shown.append(_area_row(name, areas[name]["today"], areas[name]["after"], invested))
    quantities = [
        {"quantity": name.replace("_", " "), "today": value, "after": city["after"][name]}
        for name, value in city["today"].items()
    ]
    tables = {"City, a year": quantities, "Works": kinds, "Areas": shown}
    tables = {title: rows for title, rows in tables.items() if rows}
    return {"works": kinds, "city": city, "areas": areas, "tables": tables}


def _area_row(
    area: str, today: dict[str, float], after: dict[str, float], invested: float
) -> dict[str, Any]:
    return {
        "area": area,
        "keur": invested / 1000,
        "kwh_m2": today["kwh_m2"],
        "after": after["kwh_m2"],
        "saved_t_co2": today["co2_t"] - after["co2_t"],
        "saved_keur_a_year": (today["bill_eur"] - after["bill_eur"]) / 1000,
        "cold_h": today["cold_h"],
        "cold_h_after": after["cold_h"],
    }
