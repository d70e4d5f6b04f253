"""How near the inundation surrogate is to its solver, and how much faster.

    python -m benchmarks.inundation [--design FILE.toml] [--rounds 5]

Draws the experiments (once, resumable), trains and seals the surrogate (once), and prints Markdown
tables: errors by test set, beside the solver on grids two and four times coarser, and the speed of
all side by side, on one core. Work is under ``FELSINA_HOME``.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tables import head, row
from models.contracts import FloatArray, IntArray
from pipelines.commands.scenario import appearing
from pipelines.domains.flood.inundation_sampling import Grid, sample, simulated
from pipelines.settings import home
from pipelines.surrogates import release_surrogate, surrogate_settings
from serving.surrogate import SurrogateRelease, load_surrogate
from training.experiments import Experiments, open_experiments

EXAMPLES = Path(__file__).parents[1] / "pipelines" / "domains" / "flood" / "examples"
WET_M, DEEP_M = 0.05, 0.3
TIMED = 16
"""Scenarios that each mode is timed on."""


class Told:
    """Progress on stderr, a line every half a minute."""

    def __init__(self) -> None:
        self.last = 0.0

    def progress(self, stage: str, share: float) -> None:
        if time.monotonic() - self.last > 30:
            self.last = time.monotonic()
            print(f"{stage} {share:.0%}", file=sys.stderr, flush=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.progress(f"step {step}: {values}", 0.0)


def scores(found: FloatArray, target: FloatArray) -> dict[str, float]:
    """Errors of maps [S, P, O] against the solver's; depths first, arrival last.

    MAE of the largest depth over cells that the solver wets, CSI pooled over runs, volume after
    the last hour (mean over runs of its relative error, runs' errors by what all hold, and of all
    runs together), MAE of arrival.
    """
    depth, truth = found[..., 0], target[..., 0]
    wet = truth >= WET_M
    volume, true_volume = found[..., -2].sum(1), target[..., -2].sum(1)
    much = true_volume > 1  # a metre over one cell
    known = ~np.isnan(target[..., -1]) & ~np.isnan(found[..., -1])
    return {
        "depth_mae_m": float(np.abs(depth - truth)[wet].mean()),
        "csi_05": csi(depth, truth, WET_M),
        "csi_30": csi(depth, truth, DEEP_M),
        "volume": float(np.mean(np.abs(volume - true_volume)[much] / true_volume[much])),
        "volume_share": float(np.abs(volume - true_volume).sum() / true_volume.sum()),
        "volume_all": float(volume.sum() / true_volume.sum() - 1),
        "arrival_mae_min": float(np.abs(found[..., -1] - target[..., -1])[known].mean() * 60),
    }


def csi(found: FloatArray, truth: FloatArray, least: float) -> float:
    """Hits over hits, misses and false alarms."""
    a, b = found >= least, truth >= least
    return float((a & b).sum() / (a | b).sum())


def coarse(experiments: Experiments, rows: IntArray, factor: int) -> FloatArray:
    """Targets by the solver on blocks of cells."""
    parts = np.array_split(rows, -(-len(rows) // TIMED))
    scalars, fields = experiments.scalars, experiments.fields
    grid = grid_of(experiments)
    return np.concatenate([simulated(scalars[i], fields[i], grid, factor) for i in parts])


def grid_of(experiments: Experiments) -> Grid:
    """The cells that its maps are of."""
    return Grid(*(experiments.spec.facts[name] for name in ("rows", "columns", "cell_m")))


def accuracy(experiments: Experiments, surrogate: SurrogateRelease) -> None:
    middle, bands = experiments.spec.median, []
    figures = ("depth MAE, m", "CSI .05 m", "CSI .3 m", "volume, a run", "by all", "of all")
    figures = (*figures, "arrival, min")
    head("never trained on", "by", "runs", *figures)
    for name in reversed(experiments.tests):
        rows = experiments.rows(name)
        target = experiments.target[rows]
        answered = surrogate.answer(experiments.scalars[rows], experiments.fields[rows])
        modes = {"surrogate": answered[..., middle]}
        modes |= {f"solver, {f} x coarser": coarse(experiments, rows, f) for f in (2, 4)}
        for mode, found in modes.items():
            s = scores(found, target)
            cells = [f"{s['depth_mae_m']:.3f}", f"{s['csi_05']:.3f}", f"{s['csi_30']:.3f}"]
            cells += [
                f"{s['volume']:.1%}",
                f"{s['volume_share']:.1%}",
                f"{s['volume_all']:+.1%}",
                f"{s['arrival_mae_min']:.1f}",
            ]
            row(name, mode, len(rows), *cells)
        low, high = (experiments.spec.quantiles.index(q) for q in (0.1, 0.9))
        wet = (target[..., 0] >= WET_M) | (answered[..., 0, middle] >= WET_M)
        inside = (target >= answered[..., low]) & (target <= answered[..., high])
        bands.append(f"{name} {inside[..., 0][wet].mean():.0%}")
    print(f"\nIn the 80 % band of the largest depth, cells wet by either: {', '.join(bands)}")


def speed(experiments: Experiments, surrogate: SurrogateRelease, rounds: int) -> None:
    rows = experiments.rows(experiments.tests[0])[:TIMED]
    scalars, fields = experiments.scalars[rows], experiments.fields[rows]
    grid = grid_of(experiments)
    modes: dict[str, Any] = {
        "solver, as sampled": lambda: simulated(scalars, fields, grid),
        "solver, 2 x coarser": lambda: simulated(scalars, fields, grid, 2),
        "solver, 4 x coarser": lambda: simulated(scalars, fields, grid, 4),
        "surrogate, one at a time": lambda: [
            surrogate.answer(scalars[i : i + 1], fields[i : i + 1]) for i in range(len(rows))
        ],
        "surrogate": lambda: surrogate.answer(scalars, fields),
    }
    taken: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(rounds):
        for mode, run in modes.items():
            began = time.perf_counter()
            run()
            taken[mode].append((time.perf_counter() - began) / len(rows))
    head(f"a scenario, {len(rows)} together, one core", "ms", "surrogate is faster by")
    own = float(np.median(taken["surrogate"]))
    for mode, seconds in taken.items():
        found = float(np.median(seconds))
        row(mode, f"{found * 1e3:.1f}", f"{found / own:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--design", type=Path, default=EXAMPLES / "plain-surrogate.toml")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    told, folder = Told(), home() / "inundation-experiments"
    if not folder.is_dir():
        with appearing(folder) as part:
            design = tomllib.loads(options.design.read_text())
            sample(design, options.design.parent, part, told.progress)
    experiments = open_experiments(folder)
    release = release_surrogate(experiments, surrogate_settings(experiments), home(), told)
    surrogate = load_surrogate(release)
    print(f"{release.name}, {surrogate.report['parameters']} weights")
    accuracy(experiments, surrogate)
    speed(experiments, surrogate, options.rounds)


if __name__ == "__main__":
    main()
