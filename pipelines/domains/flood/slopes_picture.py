"""The picture of a slopes scenario: what is how safe, who lives below, and how it came about."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.domains.flood.map_frame import name_areas, scale_bar, shaded_relief
from pipelines.domains.flood.slopes_outcome import SAFETY, SlopesOutcome
from pipelines.domains.flood.slopes_setting import SlopesSetting

_BEFORE, _FAILS, _CLOSE, _NEAR = "#5b1a6b", "#c81e2c", "#f28e2b", "#f7d774"
"""Fails before the storm, in it, factors to 1.25 and to 1.5."""
_SAFE, _REACHED = "#5f6b73", "#0b7fd4"
_RAIN = "#7fa7c9"


def draw_slopes(
    path: Path, setting: SlopesSetting, outcome: SlopesOutcome, homes: pd.DataFrame | None
) -> None:
    """Write a map of the least factors of safety, beside the rain and what has failed by hour.

    Args:
        path: a PNG file.
        setting: the scenario.
        outcome: what it came to.
        homes: of ``slopes_exposure``; none are marked when left out.
    """
    rows, columns = outcome.asked.shape
    tall = float(np.clip(8.4 * rows / columns, 4.8, 11))
    figure = plt.figure(figsize=(13.2, tall + 1.1), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.3, 1))
    axes = figure.add_subplot(grid[:, 0])
    handles = [*_map(axes, setting, outcome), *_homes(axes, homes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    above, below = (figure.add_subplot(grid[row, 1]) for row in (0, 1))
    _rain(above, setting)
    _failed(below, setting, outcome)
    figure.suptitle(setting.asked.name, fontsize=15)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _map(axes: Axes, setting: SlopesSetting, outcome: SlopesOutcome) -> list[Patch]:
    terrain = setting.terrain
    extent = terrain.extent_m
    axes.imshow(shaded_relief(terrain), extent=extent, interpolation="bilinear")
    before = outcome.failed_by(0)
    shown = np.where(before, 0.0, outcome.factor_of_safety.clip(0.5))
    shown = np.ma.masked_invalid(np.where(shown >= SAFETY[-1], np.nan, shown))
    colours = ListedColormap([_BEFORE, _FAILS, _CLOSE, _NEAR])
    norm = BoundaryNorm((-0.1, 0.25, *SAFETY), 4)
    axes.imshow(shown, cmap=colours, norm=norm, extent=extent, interpolation="nearest", alpha=0.65)
    invented = ", in invented hills" if setting.hills else ""
    axes.set_title(f"least factor of safety{invented}", fontsize=11)
    axes.set_aspect("equal")
    axes.autoscale(False)
    axes.set_xticks([])
    axes.set_yticks([])
    scale_bar(axes, extent)
    during = outcome.failed & ~before
    labels = (
        (_BEFORE, f"fails before the storm ({outcome.share(before):.1%} of the slopes)"),
        (_FAILS, f"fails in it ({outcome.share(during):.1%})"),
        (_CLOSE, "factor 1 to 1.25"),
        (_NEAR, "factor 1.25 to 1.5"),
    )
    return [Patch(color=colour, label=label) for colour, label in labels]


def _homes(axes: Axes, homes: pd.DataFrame | None) -> list[Line2D]:
    """Dots for homes, large where they stand on or below what fails."""
    if homes is None:
        return []
    reached = homes["reached"].to_numpy(bool)
    x, y = homes["x"].to_numpy(float), homes["y"].to_numpy(float)
    axes.scatter(x[~reached], y[~reached], s=4, color=_SAFE, linewidths=0)
    axes.scatter(x[reached], y[reached], s=22, color=_REACHED, linewidths=0.7, edgecolors="white")
    name_areas(axes, homes)
    people = homes["people"].to_numpy(float)
    words = (f"home on or below what fails ({people[reached].sum():,.0f} people)", "other home")
    looks = ((_REACHED, 6), (_SAFE, 3))
    return [
        Line2D([], [], ls="", marker="o", color=colour, ms=size, label=word)
        for word, (colour, size) in zip(words, looks, strict=True)
    ]


def _rain(axes: Axes, setting: SlopesSetting) -> None:
    rain = setting.mean_rain_mm_h
    axes.stairs(rain, setting.hours, fill=True, color=_RAIN)
    total = float(rain.sum()) * setting.step_h
    axes.set_title(f"rain, {total:.0f} mm in all", fontsize=11)
    axes.set_ylabel("mm/h")
    axes.set_ylim(0, 1.08 * max(float(rain.max()), 1e-6))
    _hours(axes, setting)


def _failed(axes: Axes, setting: SlopesSetting, outcome: SlopesOutcome) -> None:
    hours = setting.hours
    share = [100 * outcome.share(outcome.failed_by(hour)) for hour in hours]
    axes.fill_between(hours, share, color=_FAILS, alpha=0.25, lw=0)
    axes.plot(hours, share, color=_FAILS)
    axes.axhline(share[0], color=_BEFORE, lw=1.2, ls="--")
    least = setting.asked.least_slope_degrees
    axes.set_title(f"slopes of {least:g} degrees and over that have failed", fontsize=11)
    axes.set_ylabel("%")
    axes.set_ylim(0, 1.08 * max(*share, 1e-6))
    axes.set_xlabel("hours")
    _hours(axes, setting)


def _hours(axes: Axes, setting: SlopesSetting) -> None:
    axes.set_xlim(0, setting.hours[-1])
    axes.spines[["top", "right"]].set_visible(False)
