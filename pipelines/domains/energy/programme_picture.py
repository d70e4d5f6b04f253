"""The picture of a retrofit programme: what more money would save, where it goes, who gains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from pipelines.domains.energy.outcome import Outcome
from pipelines.domains.energy.picture import AFTER, TODAY
from pipelines.domains.energy.plan import Works
from pipelines.domains.energy.scenario import Scenario

_SAVED = {
    "co2": (1.0, "t CO2 saved a year"),
    "energy": (1e-3, "MWh saved a year"),
    "bill": (1e-3, "bills fall by, 1000 euro a year"),
}
_KINDS = ("#2a7f9e", "#e0a030", "#8c5a9e", "#4d9a5b", "#b5533c", "#6b6b6b")


def draw_programme(
    path: Path,
    plan: Scenario,
    curve: list[dict[str, Any]],
    today: Outcome,
    after: Outcome,
    works: Works,
) -> None:
    """Write the picture.

    Args:
        path: PNG to write.
        plan: the scenario.
        curve: rows of budgets and what they would save.
        today: simulated.
        after: simulated, with the programme.
        works: of the programme.
    """
    figure, (budgets, money, gains) = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    factor, label = _SAVED[plan.rank_by]
    spent = [row["budget_keur"] / 1000 for row in curve]
    for key, colour, name in (
        ("saved_without_constraints", TODAY, "without constraints"),
        ("saved", AFTER, "with them"),
    ):
        values = [np.nan if row[key] is None else factor * row[key] for row in curve]
        budgets.plot(spent, values, "o-", color=colour, lw=1.4, ms=4, label=name)
    assert plan.budget_eur is not None
    budgets.axvline(plan.budget_eur / 1e6, color="#b5533c", lw=1, ls=":")
    budgets.annotate(
        " this budget", (plan.budget_eur / 1e6, 0), color="#b5533c", fontsize=8, va="bottom"
    )
    budgets.set_xlabel("budget, million euro")
    budgets.set_ylabel(label)
    budgets.set_xlim(left=0)
    budgets.set_ylim(bottom=0)
    budgets.legend(frameon=False, fontsize=8)
    areas = [str(area) for area in today.demand.areas]
    place = np.arange(len(areas))
    left = np.zeros(len(areas))
    for m, measure in enumerate(works.measures):
        by_area = np.array([works.cost_eur[m, today.stock.area == a].sum() for a in areas]) / 1e6
        if by_area.any():
            kind = measure.kind.replace("_", " ")
            money.barh(place, by_area, 0.6, left, color=_KINDS[m % len(_KINDS)], label=kind)
            left += by_area
    money.set_xlabel("spent, million euro")
    money.legend(frameon=False, fontsize=8)
    floor = np.array([today.stock.floor_m2[today.stock.area == a].sum() for a in areas])
    fall = [(today.bill_eur - after.bill_eur)[today.stock.area == a].sum() for a in areas]
    gains.barh(place, np.array(fall) / floor, 0.6, color=AFTER)
    gains.set_xlabel("bills fall by, euro a m2 and year")
    for axes in (money, gains):
        axes.set_yticks(place, areas)
        axes.invert_yaxis()
    for axes in (budgets, money, gains):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{plan.name}: the best programme under {plan.budget_eur / 1e6:g} million euro")
    figure.savefig(path, dpi=110)
    plt.close(figure)
