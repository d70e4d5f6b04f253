"""How near the building surrogate is to its simulator, and how much faster.

    python -m benchmarks.surrogates [--rounds 5] [--data FOLDER]

Draws the experiments (once, resumable), trains and seals the surrogate (once), and prints Markdown
tables: errors by test set, speed side by side with the batched 5R1C, what more insulation does to
heating, and a retrofit search by the surrogate beside one by the simulator. Weather years and
TABULA's archetypes are those of ``FELSINA_DATA``, or of ``--data``; work is under ``FELSINA_HOME``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tables import head, row
from models.contracts import FloatArray
from models.physics.thermal_network import simulate
from pipelines.domains.energy import demand
from pipelines.domains.energy.abstraction import INPUTS, NAMES, described
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.climate import monthly_climate
from pipelines.domains.energy.programme import search
from pipelines.domains.energy.sampling import sample
from pipelines.domains.energy.stock_table import read_archetypes, read_stock
from pipelines.domains.energy.synthetic_stock import synthesise_stock
from pipelines.domains.energy.weather import embedded_weather
from pipelines.settings import home
from pipelines.surrogates import release_surrogate, surrogate_settings
from serving.surrogate import SurrogateRelease, load_surrogate
from training.experiments import Experiments, open_experiments

EXAMPLES = Path(demand.__file__).parent / "examples"
LEARNED = (
    "weather/CHE_Zuerich-Kloten_1990_2010_TMY.epw",
    "weather/DEU_Mannheim.epw",
    "weather/USA_Chicago.epw",
    "weather/USA_Long-Beach.epw",
    "energy/USA_CO_Denver.Intl.AP.725650_TMY3.epw",
)
UNSEEN = ("weather/ITA_Torino.160590_IWEC.epw", "weather/JPN_Tokyo.epw")
BARS = {"heating_kwh_m2": 0.01, "cooling_kwh_m2": 0.02}
BUILDINGS = 10_000
LOSSES = ("wall_w_m2k", "roof_w_m2k", "ground_w_m2k", "window_w_m2k", "air_change_h")


class Told:
    """Progress as lines on stderr."""

    def __init__(self) -> None:
        self.stage, self.shown = "", -1.0

    def progress(self, stage: str, share: float) -> None:
        """A line each tenth."""
        if stage != self.stage or share - self.shown >= 0.1:
            self.stage, self.shown = stage, share
            print(f"{stage}: {share:.0%}", file=sys.stderr, flush=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses are MLflow's."""


def made(data: Path) -> tuple[Experiments, SurrogateRelease]:
    """The experiments and the surrogate of them, made or found."""
    folder, told = home() / "benchmarks" / "buildings", Told()
    tables = data / "energy/tabula_it_variants.csv", EXAMPLES / "archetypes.csv"
    design = {
        "name": "buildings",
        "domain": "energy",
        "weather": ["embedded", *(str(data / name) for name in LEARNED)],
        "unseen": [str(data / name) for name in UNSEEN],
        "archetypes": [str(path) for path in tables],
        "climates": 720,
        "buildings": 96,
    }
    if not folder.exists():
        partial = folder.with_name("buildings.partial")
        partial.mkdir(parents=True, exist_ok=True)
        sample(design, data, partial, told.progress)
        partial.rename(folder)
    experiments = open_experiments(folder)
    settings = surrogate_settings(experiments)
    return experiments, load_surrogate(release_surrogate(experiments, settings, home(), told))


def errors(release: SurrogateRelease) -> None:
    """A row an output of a test set."""
    head("never trained on", "output", "buildings", "mean", "MAE", "CVRMSE", "bar", "R2", "in 80 %")
    for name, scores in release.report["tests"].items():
        for output in release.spec.outputs:
            found, bar = scores["outputs"][output.name], BARS.get(output.name)
            met = ""
            if bar is not None:
                met = f"{bar:.0%}: " + ("met" if found["cvrmse"] <= bar else "**missed**")
            errors = f"{found['mean']:.4g} {output.unit}", f"{found['mae']:.3g}"
            shares = (
                f"{found['cvrmse']:.2%}",
                met,
                f"{found['r2']:.4f}",
                f"{found['coverage_80']:.0%}",
            )
            row(name, output.name, scores["runs"], *errors, *shares)


def timed(run: Callable[[], Any]) -> float:
    """Seconds of the clock."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def speed(release: SurrogateRelease, rounds: int) -> None:
    """The batched 5R1C and the surrogate in turn, in one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesise_stock(folder, count=-(-BUILDINGS // 6))
        stock = read_stock(folder / "stock.csv", read_archetypes(folder / "archetypes.csv"))
    stock = stock.with_plants(-4.0).part(slice(BUILDINGS))
    year, set_up = embedded_weather(), Assumptions()
    simulator = demand.Simulator(year, set_up)
    climate = monthly_climate(year, set_up)
    climate = np.broadcast_to(climate, (BUILDINGS, *climate.shape))
    head(f"{BUILDINGS} building-years", "5R1C, s", "surrogate, s", "ratio", "bar")
    for threads in (1, 2):
        torch.set_num_threads(threads)

        def physics() -> None:
            for begin in range(0, BUILDINGS, demand.CHUNK):
                part = stock.part(slice(begin, begin + demand.CHUNK))
                simulate(part.buildings(), simulator.drive(part), warm_up=demand.WARM_UP_H)

        def surrogate(threads: int = threads) -> None:
            release.answer(described(stock, set_up), climate, threads)

        surrogate()
        times = [(timed(physics), timed(surrogate)) for _ in range(rounds)]
        both = np.median(times, axis=0)
        ratio = float(np.median([a / b for a, b in times]))
        met = "met" if ratio >= 50 else "**missed**"
        told = f"{threads} thread" + "s" * (threads > 1)
        row(told, f"{both[0]:.2f}", f"{both[1]:.3f}", f"{ratio:.0f}", f"50: {met}")


def insulation(release: SurrogateRelease, experiments: Experiments) -> None:
    """How heating moves when one loss falls from the top of its range to the bottom."""
    spec, at = release.spec, {name: i for i, name in enumerate(NAMES)}
    rows = np.concatenate([experiments.rows(name) for name in experiments.tests])
    fields = experiments.fields[rows]
    head("from worst to best in 12 steps", "buildings", "largest rise, kWh/m2", "mean fall, kWh/m2")
    for name in LOSSES:
        one = INPUTS[at[name]]
        heating: list[FloatArray] = []
        for value in np.linspace(one.high, one.low, 12):
            scalars = experiments.scalars[rows].copy()
            scalars[:, at[name]] = value
            heating.append(release.answer(scalars, fields)[:, 0, 0, spec.median])
        steps = np.diff(heating, axis=0)
        rise, fall = max(0.0, float(steps.max())), -steps.sum(axis=0).mean()
        row(name, len(rows), f"{rise:.1e}", f"{fall:.1f}")


def searched(release: SurrogateRelease) -> None:
    """The example's search by both engines; both answers are simulated."""
    scenario = tomllib.loads((EXAMPLES / "retrofit.toml").read_text())
    head("search by", "sets tried", "s", "saved, by itself", "simulated", "works judged alone")
    for name, surrogates in {"surrogate": [release], "simulator": []}.items():
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            found = search(scenario, EXAMPLES, Path(folder), Told().progress, surrogates)
            seconds = time.perf_counter() - began
        check = found["check"]
        row(
            name,
            found["sets_tried"],
            f"{seconds:.0f}",
            f"{check['saved_by_engine']:,.0f} {check['unit']}",
            f"{check['saved_by_simulator']:,.0f}",
            f"{check['saved_by_works_judged_alone']:,.0f}",
        )


def main() -> None:
    """Make what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FELSINA_DATA", ".")))
    options = parser.parse_args()
    experiments, release = made(options.data / "data")
    print(f"{release.id}: {release.report['parameters']} parameters")
    errors(release)
    speed(release, options.rounds)
    insulation(release, experiments)
    searched(release)


if __name__ == "__main__":
    main()
