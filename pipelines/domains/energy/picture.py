"""The picture of a building scenario: areas before and after, and the coldest week."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipelines.domains.energy.assumptions import CARRIERS
from pipelines.domains.energy.outcome import Outcome

TODAY, AFTER = "#8a8a8a", "#2a7f9e"
WEEK_H = 168


def draw(path: Path, name: str, times: pd.DatetimeIndex, today: Outcome, after: Outcome) -> None:
    """Write a picture of energy by area, emissions by carrier, and the week that takes most.

    Without hourly curves, which a surrogate has not, there is no week.
    """
    hourly = today.demand.hourly_kw is not None
    size, ratios = ((13, 4.2), (4, 3, 6)) if hourly else ((8, 4.2), (4, 3))
    figure, panels = plt.subplots(
        1, len(ratios), figsize=size, width_ratios=ratios, layout="constrained"
    )
    areas, carriers = panels[:2]
    states = ((today, TODAY, "today", -0.2), (after, AFTER, "with the measures", 0.2))
    for outcome, colour, label, shift in states:
        names = [str(area) for area in outcome.demand.areas]
        place = np.arange(len(names)) + shift
        intensity = [outcome.summary(area)["kwh_m2"] for area in names]
        areas.barh(place, intensity, 0.4, color=colour, label=label)
        areas.set_yticks(range(len(names)), names)
        factors = outcome.assumptions.co2_t_mwh.array()
        emitted = outcome.demand.delivered_kwh.sum(axis=0) * factors / 1000
        carriers.bar(np.arange(len(CARRIERS)) + shift, emitted, 0.4, color=colour)
    areas.invert_yaxis()
    areas.set_xlabel("delivered energy, kWh/m2 a year")
    carriers.set_xticks(range(len(CARRIERS)), [c.replace("_", "\n") for c in CARRIERS], fontsize=8)
    carriers.set_ylabel("t CO2 a year")
    if hourly:
        _draw_week(panels[2], times, today, after)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(name)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_week(axes: Axes, times: pd.DatetimeIndex, today: Outcome, after: Outcome) -> None:
    """The week that takes most today, before and after."""
    begin, span = 0, slice(0)
    for outcome, colour in ((today, TODAY), (after, AFTER)):
        assert outcome.demand.hourly_kw is not None
        total = outcome.demand.hourly_kw.sum(axis=(1, 2)) / 1000
        if outcome is today:
            begin = int(np.argmax(np.convolve(total, np.ones(WEEK_H), "valid")))
            span = slice(begin, begin + WEEK_H)
        axes.plot(times[span], total[span], color=colour, lw=1.4)
    axes.set_ylabel("all carriers, MW")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.set_title("the week that takes most", fontsize=10)
