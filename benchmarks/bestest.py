"""BESTEST beside other programs: tuned and standard coefficients, peaks, floating temperatures.

    FELSINA_DATA=DIR python -m benchmarks.bestest [--plot docs/physics/bestest.png]

Diagnostics of the building simulator; the gates are ``felsina physics verify``. A Markdown table
on stdout.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from pipelines.domains.energy import bestest
from pipelines.domains.energy.verification import DENVER, LIMITS
from pipelines.domains.energy.weather import read_weather

PROGRAMS = ["bsimac", "cse", "dest", "energyplus", "espr", "trnsys"]
MODELICA = "ibpsa_iso13790_5r1c"
PANELS = {
    "annual heating (MWh)": ("annual_heating", ["600", "620", "640", "685", "900"]),
    "annual cooling (MWh)": ("annual_cooling", ["600", "620", "640", "685", "900"]),
    "free-floating air (degC)": ("temperature", ["600FF", "900FF"]),
}


def compare(folder: Path) -> pd.DataFrame:
    """A row each case and metric that both the reference table and the simulator have."""
    table = pd.read_csv(folder / LIMITS)
    weather = read_weather(folder / DENVER)
    tuned = bestest.results(weather)
    standard = bestest.results(weather, bestest.STANDARD)
    table = table[table["case"].isin(tuned.index)].reset_index(drop=True)
    for name, found in (("tuned", tuned), ("standard", standard)):
        table[name] = [found.loc[c, m] for c, m in zip(table["case"], table["metric"], strict=True)]
    return table


def markdown(table: pd.DataFrame) -> list[str]:
    """The comparison, bold where an annual load is outside the standard's limits."""
    lines = [
        "| case | quantity | limits | six programs | IBPSA's 5R1C | tuned | standard |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.itertuples():
        limited = pd.notna(row.lower)
        others = [getattr(row, name) for name in PROGRAMS]
        mine = []
        for value in (row.tuned, row.standard):
            outside = limited and not row.lower <= value <= row.upper
            mine.append(f"**{value:.2f}**" if outside else f"{value:.2f}")
        cells = [
            row.case,
            f"{row.metric.replace('_', ' ')}, {row.unit}",
            f"{row.lower:.2f} to {row.upper:.2f}" if limited else "",
            f"{min(others):.2f} to {max(others):.2f}",
            f"{getattr(row, MODELICA):.2f}",
            *mine,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(table: pd.DataFrame, path: Path) -> None:
    """Limits and programs as bars and ticks, both sets of coefficients as marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, panels = plt.subplots(1, 3, figsize=(11, 4), width_ratios=(5, 5, 3))
    for axes, (title, (metric, cases)) in zip(panels, PANELS.items(), strict=True):
        _panel(axes, table[table["metric"].str.contains(metric)], cases)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=5, frameon=False, loc="lower center", fontsize=9)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axes: Axes, rows: pd.DataFrame, cases: list[str]) -> None:
    rows = rows[rows["case"].isin(cases)]
    place = rows["case"].map(cases.index).to_numpy(float)
    limited = rows["lower"].notna().to_numpy()
    if limited.any():
        height = (rows["upper"] - rows["lower"])[limited]
        axes.bar(
            place[limited],
            height,
            0.7,
            rows["lower"][limited],
            color="#d9e6ec",
            label="limits of Standard 140-2020",
        )
    for name in PROGRAMS:
        label = "six programs" if name == PROGRAMS[0] else None
        axes.plot(place, rows[name], "_", ms=16, color="#8a8a8a", label=label)
    axes.plot(place - 0.2, rows[MODELICA], "s", color="#edae49", label="IBPSA's 5R1C (Modelica)")
    axes.plot(place, rows["tuned"], "o", color="#1b3a4b", label="Felsina, tuned")
    axes.plot(place + 0.2, rows["standard"], "D", color="#d1495b", label="Felsina, ISO defaults")
    axes.set_xticks(range(len(cases)), cases)
    axes.set_xlim(-0.6, len(cases) - 0.4)


def main() -> None:
    """Print the table and, where asked, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    table = compare(Path(os.environ["FELSINA_DATA"], "data", "energy"))
    print("\n".join(markdown(table)))
    if options.plot:
        draw(table, options.plot)


if __name__ == "__main__":
    main()
