"""The picture of an outlook: how probable water is, where and when, and what the gauge says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Patch

from models.contracts import FloatArray
from models.physics.inundation import WET_M
from pipelines.domains.flood.exposure import Homes
from pipelines.domains.flood.inundation_picture import levee_width
from pipelines.domains.flood.map_frame import HALO, scale_bar, shaded_relief
from pipelines.domains.flood.outlook_areas import LEVELS
from pipelines.domains.flood.terrain import embankments

if TYPE_CHECKING:
    from pipelines.domains.flood.outlook_report import Told

_BOUNDS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 1.001)
_LABELS = ("2 to 10 %", "10 to 25 %", "25 to 50 %", "50 to 75 %", "75 to 90 %", "over 90 %")
_PURPLES = ("#e3d9ee", "#c9b3dd", "#ab88c8", "#8a5bb0", "#693495", "#451070")
"""Even steps of lightness; not the blues of depth."""
_ALERTS = {"none": "#8a8678", "yellow": "#e6b800", "orange": "#f07d00", "red": "#cc1f2f"}
_LEVEE, _HOME, _FLOW, _CREST = "#4a3f35", "#3d3a33", "#0a3a72", "#cc1f2f"
_CLOSE = 0.12
"""Areas whose homes spread over less of the map's width are drawn as one place."""


def draw_outlook(path: Path, told: Told, homes: Homes | None) -> None:
    """Write a map of the probability of water, beside the gauge's members and when water comes.

    Args:
        path: a PNG file.
        told: the outlook.
        homes: marked, and grouped into areas by the colour of their alert.
    """
    rows, columns = told.setting.terrain.bed_m.shape
    tall = float(np.clip(8.2 * rows / columns, 4.8, 11))
    figure = plt.figure(figsize=(13.2, tall + 1.1), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.05, 1))
    axes = figure.add_subplot(grid[:, 0])
    handles = [*_map(axes, told), *_areas(axes, told, homes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=9.5)
    above, below = (figure.add_subplot(grid[row, 1]) for row in (0, 1))
    _stage(above, told)
    _coming(below, told, homes)
    begin = told.gauge.valid_time(told.asked.from_h)
    figure.suptitle(f"{told.asked.name}: {told.asked.hours:g} h from {begin}", fontsize=15)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _map(axes: Axes, told: Told) -> list[Patch | Line2D]:
    setting, terrain = told.setting, told.setting.terrain
    extent = terrain.extent_m
    axes.imshow(shaded_relief(terrain), extent=extent, interpolation="bilinear")
    chance = np.ma.masked_less(told.map(told.floods.probability(WET_M)), _BOUNDS[0])
    colours, norm = ListedColormap(_PURPLES), BoundaryNorm(_BOUNDS, len(_PURPLES))
    axes.imshow(chance, cmap=colours, norm=norm, extent=extent, interpolation="nearest", alpha=0.85)
    plain = setting.plain
    levees = plain.crest if plain else embankments(terrain.bed_m, levee_width(terrain))
    shown = np.ma.masked_equal(levees.astype(float), 0)
    axes.imshow(shown, cmap=ListedColormap([_LEVEE]), extent=extent, interpolation="nearest")
    x, y = (float(axis.mean()) for axis in terrain.centres(told.cells))
    axes.plot(x, y, "X", color=_CREST, ms=13, mec="white", mew=1.2, zorder=6)
    invented = ", on an invented plain" if plain else ""
    axes.set_title(f"probability of water, {100 * WET_M:g} cm or deeper{invented}", fontsize=11)
    axes.set_aspect("equal")
    axes.autoscale(False)
    axes.set_xticks([])
    axes.set_yticks([])
    scale_bar(axes, extent)
    handles: list[Patch | Line2D] = [
        Patch(color=colour, label=label) for colour, label in zip(_PURPLES, _LABELS, strict=True)
    ]
    handles.append(Patch(color=_LEVEE, label="levee" if plain else "levee or bank"))
    mark = Line2D([], [], ls="", marker="X", color=_CREST, ms=8, label="where the river spills")
    return [*handles, mark]


def _areas(axes: Axes, told: Told, homes: Homes | None) -> list[Patch | Line2D]:
    """Homes as dots of their area's alert; areas that are one place ringed, with their odds."""
    if homes is None or told.areas is None:
        return []
    west, east = axes.get_xlim()
    on = homes.cell >= 0
    for row in told.areas.to_dict("records"):
        own = on & (homes.area == row["area"])
        x, y, colour = homes.x_m[own], homes.y_m[own], _ALERTS[row["level"]]
        axes.scatter(x, y, s=7, color=colour, linewidths=0.25, edgecolors=_HOME, zorder=4)
        spread = np.array([x.std(), y.std()])
        if len(x) < 3 or spread.max() > _CLOSE * (east - west):
            continue
        centre = float(np.median(x)), float(np.median(y))
        ring = Ellipse(centre, *(5.0 * spread).tolist(), fill=False, ec=colour, lw=2, zorder=5)
        axes.add_patch(ring)
        words = f"{row['area']} {row['home_wet']:.0%}"
        _, north = axes.get_ylim()
        top = centre[1] + 2.6 * float(spread[1])
        inside = top < north - 0.04 * (east - west)
        where = (top, "bottom") if inside else (2 * centre[1] - top, "top")
        place = {"ha": "center", "va": where[1], "zorder": 6}
        text = axes.text(centre[0], where[0], words, fontsize=9.5, **place)
        text.set_path_effects(HALO)
    given = set(told.areas["level"])
    present = [level for level in LEVELS if level in given]
    return [
        Line2D([], [], ls="", marker="o", color=_ALERTS[level], ms=6, label=f"homes, alert {level}")
        for level in present
    ]


def _stage(axes: Axes, told: Told) -> None:
    """Bands of the members' stage as held, and the crest."""
    spilled, keys = told.spills, told.asked.gauge
    least = keys.crest_m
    hours = told.asked.from_h + spilled.hours
    for low, high, shade in ((0.05, 0.95, 0.15), (0.25, 0.75, 0.3)):
        band = np.quantile(spilled.stage_m, (low, high), axis=0)
        label = f"{high - low:.0%} of members"
        axes.fill_between(hours, *band, color=_FLOW, alpha=shade, lw=0, label=label)
        least = float(band[0].min())  # of the inner band; the outer one may fall out of the picture
    axes.plot(hours, np.median(spilled.stage_m, axis=0), color=_FLOW, label="median")
    axes.axhline(keys.crest_m, color=_CREST, lw=1.4, ls="--", label="crest of the levee")
    if keys.breach is not None:
        fails = keys.breach.fails_at_m
        axes.axhline(fails, color=_CREST, lw=1.2, ls=":", label="taken to break from")
    share = len(spilled.wet) / len(spilled.flow_m3_s)
    axes.set_title(f"stage at {keys.node}, m: {share:.0%} of members spill", fontsize=11)
    top = keys.crest_m + 1.1 * keys.most_over_m
    axes.set_ylim(least - 0.6 * (top - least), top)
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="lower left")
    _hours(axes, told)


def _coming(axes: Axes, told: Told, homes: Homes | None) -> None:
    """By hour, the probability that water has come to a home of each area."""
    floods = told.floods
    hours = np.linspace(0, told.asked.hours, 97)
    if homes is None or told.areas is None:
        km2 = [float((floods.arrival_h <= hour).sum()) for hour in hours]
        cell_km2 = told.setting.terrain.cell_m**2 / 1e6 / floods.draws
        axes.plot(told.asked.from_h + hours, np.array(km2) * cell_km2, color=_FLOW)
        axes.set_title("land under water by then, expected, km2", fontsize=11)
    else:
        looks = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
        rows = told.areas.sort_values("home_wet", ascending=False).to_dict("records")
        rows = [row for row in rows if row["home_wet"] > 0][: len(looks)]
        for row, style in zip(rows, looks, strict=False):
            own = (homes.cell >= 0) & (homes.area == row["area"])
            chance = _by_hour(floods.arrival_h[:, homes.cell[own]].min(axis=1), hours)
            colour = _ALERTS[row["level"]]
            axes.plot(
                told.asked.from_h + hours,
                chance / floods.draws,
                color=colour,
                ls=style,
                label=row["area"],
            )
        axes.set_ylim(0, 1)
        if rows:
            axes.legend(frameon=False, fontsize=8.5, loc="upper left")
        axes.set_title("probability that water has come to a home", fontsize=11)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hours after the last observation")
    _hours(axes, told)


def _by_hour(arrival_h: FloatArray, hours: FloatArray) -> FloatArray:
    """Draws that have come by each hour."""
    return np.searchsorted(np.sort(arrival_h), hours, side="right").astype(float)


def _hours(axes: Axes, told: Told) -> None:
    begin = told.asked.from_h
    axes.set_xlim(begin, begin + told.asked.hours)
    axes.spines[["top", "right"]].set_visible(False)
