"""What measures would do to a building stock: today beside afterwards, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from models.contracts import FloatArray
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

EMBEDDED = "embedded"
COLDEST = 0.01
"""Share of the hours that a plant of unknown size need not cover with ease."""

Progress = Callable[[str, float], None]


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
    assumptions: Assumptions = Assumptions()


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
    plan = read_keys(Scenario, scenario)
    weather = _weather(plan.weather, base)
    archetypes = read_archetypes(base / plan.archetypes) if plan.archetypes else None
    coldest = float(np.quantile(weather.outdoor_c, COLDEST))
    stock = read_stock(base / plan.stock, archetypes).with_plants(coldest)
    simulator = Simulator(weather, plan.assumptions)
    record = None
    if plan.metered_mwh is not None:
        tell = partial(progress, "Calibrate to the meters")
        found = calibrate(simulator, stock, plan.metered_mwh, tell)
        stock, record = found.stock, found.record

    def simulate(stage: str, state: str, buildings: Stock) -> Outcome:
        hours = None
        if plan.hourly_by_building:
            hours = BuildingHours(str(out / f"building_hours_{state}.parquet"))
        demand = simulator.run(buildings, partial(progress, stage), hours)
        if hours is not None:
            hours.close()
        return Outcome(buildings, demand, plan.assumptions)

    today = simulate("Simulate the stock today", "today", stock)
    saved = _savings(plan, simulator, today, partial(progress, "Try each measure alone"))
    works = choose(plan.measures, stock, saved, plan.budget_eur)
    after = simulate("Simulate it with the measures", "after", works.done(stock))
    _write(out, weather, today, after, works)
    draw(out / "overview.png", plan.name, weather.times, today, after)
    found = _compared(today, after, works)
    if record is not None:
        row = {name: value for name, value in record.items() if name != "metered_mwh"}
        found["tables"]["Calibration to the meters"] = [row]
    return {
        "weather": weather.name,
        "buildings": len(stock),
        "floor_m2": float(stock.floor_m2.sum()),
        "calibration": record,
        "budget_eur": plan.budget_eur,
        "rank_by": plan.rank_by,
        "spent_eur": float(works.cost_eur.sum()),
        **found,
        "assumptions": plan.assumptions.model_dump(),
    }


def _weather(name: str, base: Path) -> Weather:
    return embedded_weather() if name == EMBEDDED else read_weather(base / name)


def _savings(
    plan: Scenario, simulator: Simulator, today: Outcome, progress: Callable[[float], None]
) -> FloatArray:
    """What each measure alone saves in a year, [M, B]; NaN where it is not eligible.

    Without a budget nothing is ranked, so that nothing is simulated either.
    """
    stock = today.stock
    saved = np.full((len(plan.measures), len(stock)), np.nan)
    for m, measure in enumerate(plan.measures):
        rows = measure.eligible(stock)
        saved[m, rows] = 0.0
        if plan.budget_eur is not None and rows.any():
            alone = measure.done(stock.part(rows))
            found = Outcome(alone, simulator.run(alone), plan.assumptions)
            saved[m, rows] = _judged(today, plan.rank_by)[rows] - _judged(found, plan.rank_by)
        progress((m + 1) / len(plan.measures))
    return saved


def _judged(outcome: Outcome, rank_by: str) -> FloatArray:
    values = {"co2": "co2_t", "energy": "energy_kwh", "bill": "bill_eur"}
    return getattr(outcome, values[rank_by])


def _write(out: Path, weather: Weather, today: Outcome, after: Outcome, works: Works) -> None:
    """One row a building, and one an hour and area."""
    stock = today.stock
    columns: dict[str, Any] = {"id": stock.id, "area": stock.area, "floor_m2": stock.floor_m2}
    columns |= {"works": works.by_building(), "cost_eur": works.cost_eur.sum(axis=0)}
    for state, outcome in (("today", today), ("after", after)):
        columns |= {f"{name}_{state}": v for name, v in outcome.by_building().items()}
    pd.DataFrame(columns).to_parquet(out / "buildings.parquet", index=False)
    hours = [o.hourly(weather.times, s) for s, o in (("today", today), ("after", after))]
    pd.concat(hours).to_parquet(out / "hourly.parquet", index=False)


def _compared(today: Outcome, after: Outcome, works: Works) -> dict[str, Any]:
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
