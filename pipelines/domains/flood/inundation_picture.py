"""The picture of an inundation: how deep, where, whom it meets, and how it came about."""

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

from pipelines.domains.flood.forcing import Setting
from pipelines.domains.flood.map_frame import HALO, name_areas, scale_bar, shaded_relief
from pipelines.domains.flood.outcome import Outcome
from pipelines.domains.flood.storms import HOUR_S
from pipelines.domains.flood.terrain import Terrain, embankments

_BOUNDS_M = (0.05, 0.3, 0.5, 1.0, 2.0, 100.0)
_LABELS = ("0.05 to 0.3 m", "0.3 to 0.5 m", "0.5 to 1 m", "1 to 2 m", "over 2 m")
_BLUES = ("#c6e2f2", "#8cc1e3", "#4b97cb", "#1f68ab", "#0a3a72")
"""Even steps of lightness."""
_LEVEE, _BREACH, _DRY, _WET = "#4a3f35", "#d7263d", "#6f6a5f", "#f2a104"
_RAIN, _FLOW, _AREA = "#7fa7c9", "#0a3a72", "#1f68ab"


def draw_inundation(
    path: Path, setting: Setting, outcome: Outcome, homes: pd.DataFrame | None
) -> None:
    """Write a map of the highest depths, beside what brought the water and what it covered.

    Args:
        path: a PNG file.
        setting: the scenario.
        outcome: what it came to.
        homes: of ``exposure.exposure``; none are marked when left out.
    """
    rows, columns = outcome.max_depth_m.shape
    tall = float(np.clip(8.2 * rows / columns, 4.8, 11))
    figure = plt.figure(figsize=(13.2, tall + 1.1), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.05, 1))
    axes = figure.add_subplot(grid[:, 0])
    _map(axes, setting, outcome)
    banks = Patch(color=_LEVEE, label="levee" if setting.plain else "levee or bank")
    handles = [*_depth_handles(), banks, *_homes(axes, homes), *_breaches(axes, setting)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9.5)
    above, below = (figure.add_subplot(grid[row, 1]) for row in (0, 1))
    _sources(above, setting)
    _flooded(below, setting, outcome)
    figure.suptitle(setting.asked.name, fontsize=15)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _map(axes: Axes, setting: Setting, outcome: Outcome) -> None:
    terrain = setting.terrain
    extent = terrain.extent_m
    axes.imshow(shaded_relief(terrain), extent=extent, interpolation="bilinear")
    depth = np.ma.masked_less(outcome.max_depth_m, _BOUNDS_M[0])
    colours, norm = ListedColormap(_BLUES), BoundaryNorm(_BOUNDS_M, len(_BLUES))
    axes.imshow(depth, cmap=colours, norm=norm, extent=extent, interpolation="nearest", alpha=0.85)
    levees = (
        setting.plain.crest if setting.plain else embankments(terrain.bed_m, levee_width(terrain))
    )
    shown = np.ma.masked_equal(levees.astype(float), 0)
    axes.imshow(shown, cmap=ListedColormap([_LEVEE]), extent=extent, interpolation="nearest")
    invented = ", on an invented plain" if setting.plain else ""
    axes.set_title(f"highest depth of water{invented}", fontsize=11)
    axes.set_aspect("equal")
    axes.autoscale(False)
    axes.set_xticks([])
    axes.set_yticks([])
    scale_bar(axes, extent)


def levee_width(terrain: Terrain) -> int:
    """Cells of the square that levees are narrower than."""
    return 2 * round(30 / terrain.cell_m) + 3


def _depth_handles() -> list[Patch | Line2D]:
    return [Patch(color=c, label=label) for c, label in zip(_BLUES, _LABELS, strict=True)]


def _homes(axes: Axes, homes: pd.DataFrame | None) -> list[Patch | Line2D]:
    """Dots for homes, small where they stay dry."""
    if homes is None:
        return []
    wet = homes["depth_class"].to_numpy(str) != "dry"
    x, y = homes["x"].to_numpy(float), homes["y"].to_numpy(float)
    axes.scatter(x[~wet], y[~wet], s=3, color=_DRY, linewidths=0)
    axes.scatter(x[wet], y[wet], s=9, color=_WET, linewidths=0.3, edgecolors="#5c3d00")
    name_areas(axes, homes)
    people = homes["people"].to_numpy(float)
    words = (f"home in the water ({people[wet].sum():,.0f} people)", "home that stays dry")
    looks = ((_WET, 5), (_DRY, 3))
    return [
        Line2D([], [], ls="", marker="o", color=colour, ms=size, label=word)
        for word, (colour, size) in zip(words, looks, strict=True)
    ]


def _breaches(axes: Axes, setting: Setting) -> list[Patch | Line2D]:
    for keys, cut in zip(setting.asked.breach, setting.cuts, strict=True):
        axes.plot(cut.x_m, cut.y_m, "X", color=_BREACH, ms=13, mec="white", mew=1.2, zorder=5)
        text = f"breach, hour {keys.hour:g}"
        place = {"xytext": (11, 8), "textcoords": "offset points"}
        note = axes.annotate(text, (cut.x_m, cut.y_m), color=_BREACH, weight="bold", **place)
        note.set_path_effects(HALO)
    for entry in setting.inlets:
        x, y = (float(axis.mean()) for axis in setting.terrain.centres(entry.cells))
        axes.plot(x, y, "^", color=_FLOW, ms=10, mec="white", mew=1.2, zorder=5, clip_on=False)
    marks = (("X", _BREACH, "breach", setting.cuts), ("^", _FLOW, "inflow", setting.inlets))
    return [
        Line2D([], [], ls="", marker=marker, color=colour, ms=8, label=label)
        for marker, colour, label, found in marks
        if found
    ]


def _sources(axes: Axes, setting: Setting) -> None:
    """Rain hanging from the top, rivers from the bottom, against hours."""
    hours = setting.asked.hours
    rain, asked = setting.rain, setting.asked.rain
    if rain is not None and asked is not None:
        values = np.asarray(rain.intensity_mm_h, float)
        mean = values.reshape(len(values), -1).mean(axis=1)
        panel = axes.twinx() if setting.inlets else axes
        panel.stairs(mean, rain.time_s / HOUR_S + asked.begin_h, fill=True, color=_RAIN)
        panel.set_ylabel("rain, mm/h")
        panel.set_ylim(0, 1.08 * max(float(mean.max()), 1e-6) * (2.5 if setting.inlets else 1))
        if setting.inlets:
            panel.invert_yaxis()
    for entry in setting.inlets:
        wave = entry.hydrograph
        times = np.append(wave.time_s, max(hours * HOUR_S, wave.time_s[-1]))
        axes.plot(times / HOUR_S, np.append(wave.flow_m3_s, wave.flow_m3_s[-1]), color=_FLOW)
    if setting.inlets:
        axes.set_ylabel("inflow, m3/s")
        axes.set_ylim(bottom=0)
    axes.set_title("what brings the water", fontsize=11)
    _hours(axes, setting)


def _flooded(axes: Axes, setting: Setting, outcome: Outcome) -> None:
    axes.fill_between(outcome.times_h, outcome.flooded_km2, color=_AREA, alpha=0.25, lw=0)
    axes.plot(outcome.times_h, outcome.flooded_km2, color=_AREA)
    where = " outside the levees" if setting.plain else ""
    axes.set_title(f"land under water{where}", fontsize=11)
    axes.set_ylabel("km2")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hours")
    _hours(axes, setting)


def _hours(axes: Axes, setting: Setting) -> None:
    for keys in setting.asked.breach:
        axes.axvline(keys.hour, color=_BREACH, lw=1.2, ls="--")
    axes.set_xlim(0, setting.asked.hours)
    axes.spines[["top", "right"]].set_visible(False)
