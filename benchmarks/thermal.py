"""The building simulator beside others: BESTEST's programs, and TABULA's seasonal method.

    FELSINA_DATA=DIR python -m benchmarks.thermal [--plot docs/physics/bestest.png]

Tuned and standard coefficients, peaks and floating temperatures of BESTEST; TABULA's 42 Italian
variants by the hour in Torino's year, whose season has as many kelvin days as TABULA's climate.
Diagnostics; the gates are ``felsina physics verify``. Markdown on stdout.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipelines.domains.energy import bestest
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.stock_table import read_archetypes, read_stock
from pipelines.domains.energy.tabula import read_tabula
from pipelines.domains.energy.verification import DENVER, LIMITS, TABULA
from pipelines.domains.energy.weather import read_weather

PROGRAMS = ["bsimac", "cse", "dest", "energyplus", "espr", "trnsys"]
TORINO, COLDEST_C = "ITA_Torino.160590_IWEC.epw", -5.0
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


def seasonal(data: Path, scratch: Path) -> str:
    """Hourly need over TABULA's: always 20 degC, TABULA's gains, air change and areas."""
    path = data / "energy" / TABULA
    table, archetypes = read_tabula(path), read_archetypes(path)
    rows = [f"{n},one,1000,gas_boiler,{name}" for n, name in enumerate(archetypes.names)]
    stock_file = scratch / "stock.csv"
    stock_file.write_text("\n".join(["id,area,floor_m2,heat_source,archetype", *rows]))
    stock = read_stock(stock_file, archetypes).with_plants(COLDEST_C)
    weather = read_weather(data / "weather" / TORINO)
    steady = Assumptions(on_h=(0, 24), setback_k=0)
    need = Simulator(weather, steady).run(stock).heat_kwh / stock.floor_m2
    published = table["q_h_nd"].to_numpy(float)
    low, middle, high = np.quantile(need / published, (0, 0.5, 1))
    days = (20 - weather.outdoor_c[steady.in_season(weather.times)]).sum() / 24
    alike = np.corrcoef(need, published)[0, 1]
    return (
        f"Hourly need over TABULA's, {len(need)} variants in Torino's year ({days:.0f} kelvin days"
        f" in season, TABULA {table['Sum_DeltaT_for_HeatingDays'].iloc[0]:.0f}): least {low:.2f},"
        f" median {middle:.2f}, most {high:.2f}; correlation {alike:.3f}"
    )


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
    data = Path(os.environ["FELSINA_DATA"], "data")
    table = compare(data / "energy")
    print("\n".join(markdown(table)))
    with tempfile.TemporaryDirectory() as scratch:
        print(f"\n{seasonal(data, Path(scratch))}")
    if options.plot:
        draw(table, options.plot)


if __name__ == "__main__":
    main()
