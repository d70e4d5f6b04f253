"""The picture of a building scenario: areas before and after, and the coldest week."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pipelines.domains.energy.assumptions import CARRIERS
from pipelines.domains.energy.outcome import Outcome

TODAY, AFTER = "#8a8a8a", "#2a7f9e"
WEEK_H = 168


def draw(path: Path, name: str, times: pd.DatetimeIndex, today: Outcome, after: Outcome) -> None:
    """Write a picture of energy by area, emissions by carrier, and the week that takes most."""
    figure, (areas, carriers, week) = plt.subplots(
        1, 3, figsize=(13, 4.2), width_ratios=(4, 3, 6), layout="constrained"
    )
    states = ((today, TODAY, "today", -0.2), (after, AFTER, "with the measures", 0.2))
    peak = today.demand.hourly_kw.sum(axis=(1, 2))
    begin = int(np.argmax(np.convolve(peak, np.ones(WEEK_H), "valid")))
    span = slice(begin, begin + WEEK_H)
    for outcome, colour, label, shift in states:
        names = [str(area) for area in outcome.demand.areas]
        place = np.arange(len(names)) + shift
        intensity = [outcome.summary(area)["kwh_m2"] for area in names]
        areas.barh(place, intensity, 0.4, color=colour, label=label)
        areas.set_yticks(range(len(names)), names)
        factors = outcome.assumptions.co2_t_mwh.array()
        emitted = outcome.demand.delivered_kwh.sum(axis=0) * factors / 1000
        carriers.bar(np.arange(len(CARRIERS)) + shift, emitted, 0.4, color=colour)
        total = outcome.demand.hourly_kw[span].sum(axis=(1, 2)) / 1000
        week.plot(times[span], total, color=colour, lw=1.4)
    areas.invert_yaxis()
    areas.set_xlabel("delivered energy, kWh/m2 a year")
    carriers.set_xticks(range(len(CARRIERS)), [c.replace("_", "\n") for c in CARRIERS], fontsize=8)
    carriers.set_ylabel("t CO2 a year")
    week.set_ylabel("all carriers, MW")
    week.set_ylim(bottom=0)
    week.xaxis.set_major_formatter(dates.ConciseDateFormatter(week.xaxis.get_major_locator()))
    week.set_title("the week that takes most", fontsize=10)
    for axes in (areas, carriers, week):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(name)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
