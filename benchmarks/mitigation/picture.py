"""What the sweep found, in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.mitigation.scores import worst

MARKS = {"none": ("o", "#444444"), "group": ("s", "#0072b2"), "dro": ("^", "#d55e00")}
LABELS = {"none": "no weights", "group": "group weights", "dro": "group DRO"}


def draw(
    trained: dict[str, dict[str, list[Any]]], private: dict[float, dict[str, list[Any]]], path: Path
) -> None:
    """Errors of all against the worst group's, against epsilon, and how bands held.

    Args:
        trained: of each dataset, by weights, a run a seed.
        private: by epsilon and weights, a run a seed; infinite where there is no noise.
        path: of the PNG.
    """
    mpl.rcParams["font.size"] = 9
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    names = [name for name in trained if len(trained[name]) > 1]
    grid = figure.subplots(2, max(3, len(names)), squeeze=False)
    for axes, name in zip(grid[0], names, strict=False):
        _trade(axes, name, trained[name])
    _same_spans(list(grid[0][: len(names)]))
    _noise(grid[1][0], private)
    _bands(grid[1][1], trained)
    for axes in [*grid[0][len(names) :], *grid[1][2:]]:
        axes.set_axis_off()
    shown = [axes.get_legend_handles_labels() for axes in (grid[0][0], grid[1][0], grid[1][1])]
    titles = ("above: a mark a training", "left: trained with noise", "middle: bands")
    for at, ((handles, labels), title) in enumerate(zip(shown, titles, strict=True)):
        legend = grid[1][2].legend(
            handles,
            labels,
            title=title,
            loc="upper left",
            bbox_to_anchor=(0, 1 - 0.36 * at),
            frameon=False,
            alignment="left",
        )
        if at < len(titles) - 1:
            grid[1][2].add_artist(legend)  # the next one would take its place
    figure.savefig(path, dpi=110)


def _trade(axes: Axes, name: str, found: dict[str, list[Any]]) -> None:
    """A mark a seed: errors of all and of the worst group, in per cent of the naive forecast's."""
    for weights, runs in found.items():
        mark, colour = MARKS[weights]
        told = [run["marginal"] for run in runs]
        x = [100 * t["all"]["error"] for t in told]
        y = [100 * worst(t, "error") for t in told]
        axes.plot(x, y, mark, color=colour, ms=7, mfc="none", mew=1.6, label=LABELS[weights])
    axes.set_title(name)
    axes.set_xlabel("error of all (% of naive)")
    axes.set_ylabel("worst group's error (% of naive)")
    axes.margins(0.25)


def _same_spans(panels: list[Axes]) -> None:
    """As many points of error a panel, so that a small difference looks small."""
    wide = max(float(np.ptp(axes.get_xlim())) for axes in panels)
    high = max(float(np.ptp(axes.get_ylim())) for axes in panels)
    for axes in panels:
        x, y = sum(axes.get_xlim()) / 2, sum(axes.get_ylim()) / 2
        axes.set_xlim(x - wide / 2, x + wide / 2)
        axes.set_ylim(y - high / 2, y + high / 2)


def _noise(axes: Axes, private: dict[float, dict[str, list[Any]]]) -> None:
    """Errors of all and of the worst group against epsilon; the last place is no noise."""
    epsilons = sorted(private)
    places = np.arange(len(epsilons))
    for weights in ("none", "group"):
        mark, colour = MARKS[weights]
        for figure, style in (("all", "--"), ("worst", "-")):
            means = []
            for epsilon in epsilons:
                told = [run["marginal"] for run in private[epsilon].get(weights, [])]
                values = [t["all"]["error"] if figure == "all" else worst(t, "error") for t in told]
                means.append(100 * np.mean(values) if values else np.nan)
            said = f"{LABELS[weights]}, {'all' if figure == 'all' else 'worst group'}"
            axes.plot(places, means, style, marker=mark, color=colour, mfc="none", label=said)
    axes.set_xticks(places, ["no noise" if e == np.inf else f"{e:g}" for e in epsilons])
    axes.axhline(100, color="#bbbbbb", lw=0.8, zorder=0)
    axes.set_xlabel("epsilon of a home")
    axes.set_ylabel("error (% of naive)")
    axes.set_title("planted homes, trained with noise")


def _bands(axes: Axes, trained: dict[str, dict[str, list[Any]]]) -> None:
    """How often each group's 90 % band holds, under common bands and under its own."""
    for at, found in enumerate(trained.values()):
        runs = found["none"]
        for group in runs[0]["marginal"]:
            if group == "all":
                continue
            held = [
                100 * np.mean([run[bands][group]["coverage_90"] for run in runs])
                for bands in ("marginal", "group")
            ]
            axes.plot([at - 0.12, at + 0.12], held, "-", color="#999999", lw=0.9, zorder=1)
            axes.plot(at - 0.12, held[0], "o", color="#444444", ms=5)
            axes.plot(at + 0.12, held[1], "D", color="#009e73", ms=5)
    axes.axhline(90, color="#bbbbbb", lw=0.8, zorder=0)
    axes.plot([], [], "o", color="#444444", label="common bands")
    axes.plot([], [], "D", color="#009e73", label="bands by group")
    axes.set_xticks(range(len(trained)), [n.replace("-", "\n", 1) for n in trained], fontsize=8)
    axes.set_ylabel("90 % band holds (%), a line a group")
    axes.set_title("bands, no weights")
