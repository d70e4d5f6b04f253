"""What privacy costs: error against epsilon.

    python -m benchmarks.private [--dataset DIR] [--homes 3000] [--steps 150] [--rate .1]

Trains the private path on synthetic households (or on a dataset whose nodes are households) once
for each epsilon, delta 1/(10 x homes), and without noise and clipping ("inf"); "0" is the network
before its first step, which knows nothing of anybody. MAE of the medians over test origins that are
thinned to one in ``--thin``. ``--public N`` fits the backbone on N other homes, whose rows are
public. What it costs in time is ``benchmarks.unit_gradients``' question.
Markdown on stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from models.contracts import FloatArray
from models.forecaster import Forecaster
from privacy.audit_run import untrained_gradients
from privacy.dp import PrivateSettings, PrivateTraining, planned
from privacy.draws import SecretDraws
from privacy.stand_in import START, TRAIN_DAYS, VALIDATION_DAYS, household_loads, stand_ins
from training.dataset import CityDataset, open_dataset, write_dataset
from training.fit import forecasts
from training.ridge import tensors

DISTRICTS = ("centre", "north", "hills", "plain")
EPSILONS = (1.0, 2.0, 4.0, 8.0)
KEY = bytes(32)
"""Of a study; a release has its own."""


def households(folder: Path, homes: int, seed: int = 0) -> CityDataset:
    """Write stand-ins as a dataset folder, dealt to districts, in place of a partner's."""
    made = stand_ins(homes, seed)
    index = pd.date_range(START, periods=len(made.values), freq="1h", tz="UTC", name="time")
    names = ("target", "unit", "step", "timezone", "lookback", "horizon", "nonnegative")
    ends = [index[24 * days].to_pydatetime() for days in (TRAIN_DAYS, VALIDATION_DAYS)]
    header = {
        "name": "synthetic-homes",
        "domain": "energy",
        **{name: getattr(made.spec, name) for name in names},
        "synthetic": True,
        "splits": {"train_end": ends[0], "validation_end": ends[1]},
        "forcings": [{"name": "temp_c", "unit": "degC", "known_future": True}],
    }
    ids = list(made.graph.ids)
    areas = [DISTRICTS[number % len(DISTRICTS)] for number in range(homes)]
    load, temperature = household_loads(homes, seed)
    forcings = pd.DataFrame({"temp_c": temperature}, index=index)
    write_dataset(folder, header, pd.DataFrame({"id": ids, "area": areas}), load, forcings=forcings)
    return open_dataset(folder)


def trained(
    dataset: CityDataset, settings: PrivateSettings, noise: float, public: CityDataset | None
) -> Forecaster:
    """The private path with so much noise; none also takes clipping off."""
    if not noise:
        settings = settings.model_copy(update={"clip_norm": 1e6})
    gradients = untrained_gradients(dataset, settings, public)
    training = PrivateTraining(gradients, SecretDraws(KEY), settings, noise)
    for step in range(settings.steps):
        training.take(step)
    return gradients.forecaster


def mae(dataset: CityDataset, forecaster: Forecaster, thin: int) -> float:
    """Mean absolute error of medians on test origins, in the target's unit."""
    forecaster.eval()
    spec = forecaster.spec
    origins = dataset.splits.test(spec, dataset.start)[::thin]

    def predict(window) -> FloatArray:  # noqa: ANN001
        with torch.inference_mode():
            inputs = tensors(window)
            inputs.pop("target", None)
            return forecaster(**inputs).numpy()

    quantiles, target = forecasts(predict, dataset.builder(spec), origins, batch=1)
    return float(np.nanmean(np.abs(quantiles[..., spec.quantiles.index(0.5)] - target)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--homes", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--clip", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--public", type=int, default=0)
    parser.add_argument("--thin", type=int, default=13)
    parser.add_argument("--epsilons", type=float, nargs="+", default=EPSILONS)
    args = parser.parse_args()
    dataset = open_dataset(args.dataset) if args.dataset else stand_ins(args.homes)
    homes = dataset.graph.nodes
    shape = {"width": args.width, "blocks": 1, "dropout": 0.0, "inductive": True}
    week = 7 * dataset.spec.steps_per_day
    settings = PrivateSettings.model_validate(
        {
            "unit": "household",
            "nominal_units": homes,
            "sampling_rate": args.rate,
            "delta": 1 / (10 * homes),
            "steps": args.steps,
            "most_windows": args.windows,
            "clip_norm": args.clip,
            "learning_rate": args.learning_rate,
            "lags": (week, 2 * week),
            "accept_weak": True,
            "architecture": {**shape, "graph": False},
        }
    )
    public = None
    if args.public:
        dataset = replace(dataset, digests={"series.parquet": "private"})
        other = stand_ins(args.public, seed=1)
        public = replace(other, digests={"series.parquet": "public"})
    show(dataset, settings, args.thin, args.epsilons, public)


def show(
    dataset: CityDataset,
    settings: PrivateSettings,
    thin: int,
    epsilons: Sequence[float],
    public: CityDataset | None = None,
) -> None:
    """A row an epsilon, the costs first."""
    write = sys.stdout.write
    gradients = untrained_gradients(dataset, settings, public)
    none = mae(dataset, gradients.forecaster, thin)
    free = mae(dataset, trained(dataset, settings, 0.0, public), thin)
    write(
        f"{dataset.spec.dataset}: {dataset.graph.nodes} homes, {settings.expected_units:g} a step, "
        f"{gradients.size} weights, delta {settings.delta:.2g}.\n\n"
        f"| epsilon | sigma | MAE ({dataset.spec.unit}) | over no noise | of what is learned |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n"
        f"| 0 | | {none:.4f} | {none / free - 1:+.1%} | 0 % |\n"
    )
    for epsilon in epsilons:
        noise = planned(settings.model_copy(update={"epsilon": epsilon})).noise_multiplier
        error = mae(dataset, trained(dataset, settings, noise, public), thin)
        over, learned = error / free - 1, (none - error) / (none - free)
        write(f"| {epsilon:g} | {noise:.3f} | {error:.4f} | {over:+.1%} | {learned:.0%} |\n")
        sys.stdout.flush()
    write(f"| inf | 0 | {free:.4f} | | 100 % |\n")


if __name__ == "__main__":
    main()
