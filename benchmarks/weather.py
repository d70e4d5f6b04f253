"""Felsina by what is known of its forcings: observed, forecast, an ensemble, late, unknown.

    python -m benchmarks.weather [--profile quick] [--seeds 3] [--members 10] [--origins 400]
                                 DATASET_FOLDER ...

Prints Markdown tables on stdout, progress on stderr. One model a dataset, trained once on observed
forcings (kept in ``FELSINA_HOME``); the seeds are those of the weather's errors.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.contenders import Quiet
from benchmarks.tables import head, row
from pipelines.settings import home
from pipelines.train import open_registered, settings_for, train
from training.calibration import adaptive_skill
from training.dataset import CityDataset
from training.fit import Fitted, forecasts
from training.metrics import Score
from training.weather import (
    Condition,
    delayed,
    ensemble_like,
    forecast_like,
    observed,
    score_under,
    spread_out,
    unknown,
)

COLUMNS = {
    "mae": "{:.4g}",
    "crps": "{:.4g}",
    "coverage_50": "{:.1%}",
    "coverage_80": "{:.1%}",
    "coverage_90": "{:.1%}",
    "width_80": "{:.4g}",
}


def conditions(
    dataset: CityDataset, fitted: Fitted, seeds: int, members: int
) -> dict[str, list[Condition]]:
    """What may be known, by name; one condition a seed where errors are drawn."""
    spec = fitted.spec
    builder = dataset.builder(spec)
    known: dict[str, list[Condition]] = {"observed": [observed]}
    if spec.known_future:
        drawn = range(seeds)
        known["forecast-like"] = [forecast_like(spec, seed) for seed in drawn]
        known[f"ensemble of {members}"] = [ensemble_like(spec, seed, members) for seed in drawn]
    for late in (1, 3):
        if spec.seconds <= 3600:
            known[f"{late} h late"] = [delayed(builder, late * 3600 // spec.seconds)]
        else:
            known[f"{late} step{'s' if late > 1 else ''} late"] = [delayed(builder, late)]
    if spec.forcings:
        known["without forcings"] = [unknown]
    return known


def spread(values: list[float], form: str) -> str:
    """Mean, and half the range where there are several."""
    text = form.format(np.mean(values))
    if len(values) > 1:
        text += f" ± {form.format((max(values) - min(values)) / 2)}"
    return text


def tables(dataset: CityDataset, fitted: Fitted, origins: int, seeds: int, members: int) -> None:
    """Print what a dataset's model scores under each condition, and with adaptive bands."""
    spec, builder = fitted.spec, dataset.builder(fitted.spec)
    test = dataset.splits.test(spec, dataset.start)
    some = spread_out(test, origins)
    print(f"\n## {spec.dataset}\n\n{len(some)} of {len(test)} test origins; MAE in {spec.unit}.")
    head("known", "MAE", "CRPS", "50 %", "80 %", "90 %", "80 % width")
    for name, kinds in conditions(dataset, fitted, seeds, members).items():
        began = time.perf_counter()
        found = [score_under(kind, fitted.predict, builder, some) for kind in kinds]
        row(name, *(spread([f[key] for f in found], form) for key, form in COLUMNS.items()))
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    quantiles, target = forecasts(fitted.predict, builder, test)
    static = Score(spec.horizon, spec.quantiles)
    static.update(quantiles, target)
    began = time.perf_counter()
    adaptive = adaptive_skill(quantiles, target, test, spec)
    taken = time.perf_counter() - began
    head(f"bands, all {len(test)} origins", "CRPS", "50 %", "80 %", "90 %", "80 % width", "s")
    for name, found in (("static", static.result()), ("adaptive", adaptive)):
        cells = [form.format(found[key]) for key, form in COLUMNS.items() if key != "mae"]
        row(name, *cells, "" if name == "static" else f"{taken:.1f}")


def main() -> None:
    """Train or find each folder's model and print its tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--profile", choices=("quick", "full"), default="full")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--origins", type=int, default=400)
    options = parser.parse_args()
    for folder in options.folders:
        dataset = open_registered(folder)
        print(f"{dataset.spec.dataset}: training", file=sys.stderr)
        trained = train(dataset, settings_for(dataset, options.profile), home(), Quiet())
        print(f"fit {trained.run['seconds']:.0f} s", file=sys.stderr)
        tables(dataset, trained.fitted, options.origins, options.seeds, options.members)


if __name__ == "__main__":
    main()
