"""A map of what measures change: the network's streets, coloured by the difference."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pipelines.domains.traffic.comparison import QUANTITIES
from pipelines.domains.traffic.measures import Intervention
from pipelines.domains.traffic.network import Network

_QUIET, _OUTLINE = "#c9ced1", "#8b9398"
_SHOWN = {"flow_veh_h": "flow", "speed_m_s": "speed"}


def draw_difference(
    table: pd.DataFrame, network: Network, change: Intervention, title: str, path: Path
) -> None:
    """Write the map: flow and speed side by side, north up, grey what is not told from noise.

    Args:
        table: of ``comparison.compare_edges``.
        network: whose streets are drawn.
        change: the measures; closed edges and taken lanes are marked.
        title: of the picture.
        path: a PNG file.
    """
    figure, panels = plt.subplots(1, len(_SHOWN), figsize=(13, 5.1), layout="constrained")
    for axes, name in zip(panels, _SHOWN, strict=True):
        _streets(axes, table, network, name)
        _marks(axes, network, change)
        axes.set_title(f"{_SHOWN[name]}, measures minus today")
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _streets(axes: Axes, table: pd.DataFrame, network: Network, name: str) -> None:
    difference = table[f"{name}_difference"].to_numpy(float)
    # The strongest come last, on top.
    told = [e for e in np.argsort(np.abs(difference)) if table[f"{name}_told"].to_numpy()[e]]
    shapes = [network.edges[edge].shape for edge in table["edge"]]
    axes.add_collection(
        LineCollection(shapes, colors=_QUIET, linewidths=1.4, label="not told from noise")
    )
    values = difference[told]
    limit = float(np.quantile(np.abs(values), 0.95)) if len(values) else 1.0
    changed = [shapes[e] for e in told]
    # An outline, or a small difference would be white on white.
    axes.add_collection(LineCollection(changed, colors=_OUTLINE, linewidths=4, capstyle="round"))
    lines = LineCollection(
        changed,
        array=values,
        cmap="RdBu" if name == "speed_m_s" else "PuOr_r",
        linewidths=3.2,
        capstyle="round",
    )
    lines.set_clim(-limit, limit)
    axes.add_collection(lines)
    axes.autoscale_view()
    bar = axes.figure.colorbar(lines, ax=axes, shrink=0.8, extend="both")
    bar.set_label(QUANTITIES[name])


def _marks(axes: Axes, network: Network, change: Intervention) -> None:
    closed = np.array([network.edges[edge].middle for edge in change.closed]).reshape(-1, 2)
    taken = np.array(
        [network.edges[network.lanes[lane].edge].middle for lane in change.taken]
    ).reshape(-1, 2)
    for points, marker, label in ((closed, "X", "closed"), (taken, "D", "lane taken")):
        if len(points):
            axes.scatter(*points.T, marker=marker, s=55, c="black", zorder=5, label=label)
