"""What maps of water and of slopes share: shaded ground, a scale, the names of places."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LightSource, to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from models.contracts import FloatArray
from pipelines.domains.flood.terrain import Terrain

HALO: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white")]
_LAND = ("#d9d2bd", "#f7f4ea")
_CLOSE = 0.09
"""Homes of an area that spread over less of the map's width are a place with a name."""


def shaded_relief(terrain: Terrain) -> FloatArray:
    """Shaded ground, [Y, X, 3]: light from the north-west, paler where it is higher."""
    bed, cell = terrain.bed_m, terrain.cell_m
    low, high = np.quantile(bed, [0.02, 0.98])
    share = np.clip((bed - low) / max(high - low, 1e-6), 0, 1)[..., None]
    dark, light = (np.array(to_rgb(colour)) for colour in _LAND)
    south, east = np.gradient(bed, cell)
    rise = np.hypot(south, east)
    # So exaggerated that all but the steepest slopes show, on any terrain.
    exaggerated = float(np.clip(0.5 / max(float(np.quantile(rise, 0.95)), 1e-4), 1, 40))
    shade = LightSource(315, 45).hillshade(bed, exaggerated, cell, cell)[..., None]
    return (dark + (light - dark) * share) * (0.62 + 0.38 * shade)


def name_areas(axes: Axes, homes: pd.DataFrame) -> None:
    """The names of areas whose homes lie close together."""
    west, east = axes.get_xlim()
    areas = homes["area"].to_numpy(str)
    for name in np.unique(areas):
        place = homes.loc[areas == name, ["x", "y"]].to_numpy(float)
        if len(place) > 2 and place.std(axis=0).max() < _CLOSE * (east - west):
            x, y = np.median(place, axis=0)
            above = y + 2.2 * place[:, 1].std()
            text = axes.text(x, above, str(name), ha="center", fontsize=9.5, style="italic")
            text.set_path_effects(HALO)


def scale_bar(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """A bar of a round length, and which way is north, under the map."""
    west, east, south, north = extent
    wide, tall = east - west, north - south
    decade = 10 ** np.floor(np.log10(wide / 4))
    length = float(decade * max(step for step in (1, 2, 5) if step * decade <= wide / 4))
    under = south - 0.026 * tall
    bar = Rectangle((west, under), length, 0.008 * tall, color="black", clip_on=False)
    axes.add_patch(bar)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    middle = under + 0.004 * tall
    axes.text(west + length + 0.012 * wide, middle, text, va="center", fontsize=10.5)
    axes.text(east, middle, "\u2191 north", ha="right", va="center", fontsize=10.5)
