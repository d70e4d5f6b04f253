"""LightGBM and Felsina on the same cores, one after the other: wall time against test error.

    FELSINA_DATA=DIR python -m benchmarks.speed [--dataset cambridge-elec] [--steps 100 200 400]

Each fits once with two threads (LightGBM boosts and stops early; Felsina fits backbone and network
and calibrates, quick profile, as many steps as named), and forecasts the same test origins. The
wall time ends with the fit; for LightGBM it includes making its table and bands, as Felsina's
includes its backbone and calibration. Run it on an idle machine: both times are of the clock.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import Quiet, rival_lags
from benchmarks.peers import lightgbm_peer
from benchmarks.peers.frames import in_batches
from models.contracts import FelsinaError, FloatArray
from pipelines.train import open_registered, settings_for
from training.dataset import CityDataset
from training.fit import fit, forecasts
from training.metrics import Score

THREADS = 2


Run = tuple[float, float, FloatArray]
"""Wall and processor seconds of the fit, quantiles [B, H, N, Q] of the test origins."""


def lightgbm(dataset: CityDataset) -> Run:
    """Fit and forecast as the peers' benchmark does."""
    wall, cpu = time.perf_counter(), time.process_time()
    peer = lightgbm_peer.fit(dataset, rival_lags(dataset), 0)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return *spent, in_batches(peer.predict, dataset.splits.test(dataset.spec, dataset.start))


def felsina(dataset: CityDataset, steps: int) -> Run:
    """Fit Felsina's quick profile with ``steps`` optimiser steps, and forecast."""
    settings = settings_for(dataset, "quick", assignments=[f"steps={steps}"])
    with tempfile.TemporaryDirectory() as work:
        wall, cpu = time.perf_counter(), time.process_time()
        fitted = fit(dataset, settings, Path(work), Quiet())
        spent = time.perf_counter() - wall, time.process_time() - cpu
    builder = dataset.builder(fitted.spec)
    origins = dataset.splits.test(fitted.spec, dataset.start)
    return *spent, forecasts(fitted.predict, builder, origins)[0]


def scores(dataset: CityDataset, quantiles: FloatArray) -> dict[str, Any]:
    """Errors on the test targets."""
    origins = dataset.splits.test(dataset.spec, dataset.start)
    target = dataset.builder().batch(origins, with_target=True).target
    assert target is not None
    score = Score(dataset.spec.horizon, dataset.spec.quantiles)
    score.update(quantiles, target)
    return score.result()


def main() -> None:
    """Print a Markdown table and whether Felsina reached LightGBM's error in its time."""
    parser = argparse.ArgumentParser(description="LightGBM and Felsina: wall time against error.")
    parser.add_argument("--dataset", default="cambridge-elec")
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 200, 400])
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    try:
        dataset = open_registered(
            Path(os.environ.get("FELSINA_DATA", ""), "datasets", options.dataset)
        )
        print("| model | wall s | CPU s | WAPE | MAE | CRPS |", "| --- " * 6 + "|", sep="\n")
        found = []
        for steps in (0, *options.steps):
            name = f"felsina, {steps} steps" if steps else "lightgbm"
            seconds, spent, quantiles = felsina(dataset, steps) if steps else lightgbm(dataset)
            told = scores(dataset, quantiles)
            found.append((seconds, told["wape"]))
            cells = [name, f"{seconds:.1f}", f"{spent:.1f}", f"{told['wape']:.2%}"]
            cells += [f"{told[key]:.4g}" for key in ("mae", "crps")]
            print(f"| {' | '.join(cells)} |", flush=True)
    except FelsinaError as error:
        sys.exit(f"benchmarks.speed: {error}")
    (limit, bar), *ours = found
    best = min((wape for seconds, wape in ours if seconds <= limit), default=None)
    reached = best is not None and best <= bar
    print(f"\nLightGBM's WAPE reached in its time: {'yes' if reached else '**no**'}")


if __name__ == "__main__":
    main()
