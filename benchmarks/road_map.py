"""Maps of what held-out measures do to flows: as SUMO says, and as its surrogate does.

    python -m benchmarks.road_map EXPERIMENTS RELEASE NETWORK FILE.png [--runs 0 1]

``NETWORK`` is the SUMO scenario folder; ``--runs`` are places within the held-out measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from benchmarks.road import answered
from models.contracts import FloatArray
from pipelines.domains.traffic.draws import HELD_OUT_MEASURES
from pipelines.domains.traffic.network import Network, open_network
from training.experiments import open_experiments


def draw(axes: Axes, network: Network, change: FloatArray, most: float) -> LineCollection:
    """Streets by the change of their flow; the strongest on top."""
    order = np.argsort(np.abs(change))
    shapes = [edge.shape for edge in network.edges.values()]
    lines = LineCollection(
        [shapes[k] for k in order],
        array=change[order],
        cmap="RdBu_r",
        clim=(-most, most),
        linewidths=0.9 + 4 * np.minimum(1, np.abs(change[order]) / most),
        capstyle="round",
    )
    axes.set_facecolor("#e3e6e8")
    axes.add_collection(lines)
    axes.autoscale()
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return lines


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("experiments", "release", "network", "file"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--runs", type=int, nargs="+", default=[0, 1])
    asked = parser.parse_args()
    made, network = open_experiments(asked.experiments), open_network(asked.network)
    rows = made.rows(HELD_OUT_MEASURES)[asked.runs]
    said = answered(asked.release, made, rows)[:, :, 0, made.spec.median]
    figure, panels = plt.subplots(
        len(rows), 2, figsize=(12, 4.6 * len(rows)), layout="constrained", squeeze=False
    )
    for own, row, answer in zip(panels, rows, said, strict=True):
        today, true = made.target[0, :, 0], made.target[row, :, 0]
        most = float(np.quantile(np.abs(true - today), 0.97))
        shut = [made.spec.places[k] for k in np.flatnonzero(made.fields[row, :, 1])]
        sides = zip(own, (true, answer), strict=True)
        lines = [draw(axes, network, flow - today, most) for axes, flow in sides]
        for axes, who in zip(own, (made.spec.simulator, "surrogate"), strict=True):
            axes.set_title(f"{who}: edge {', '.join(shut)} closed")
            for edge in shut:
                axes.plot(*network.edges[edge].middle, "kx", markersize=9, markeredgewidth=2)
        figure.colorbar(lines[0], ax=own, shrink=0.8, label="flow, difference to today (veh/h)")
    figure.savefig(asked.file, dpi=110)


if __name__ == "__main__":
    main()
