"""What mitigation buys the worst group, and what it costs all.

    FELSINA_DATA=DIR python -m benchmarks.mitigation [--only NAME ...] [--seeds N] [--picture FILE]
    python -m benchmarks.mitigation --dataset DIR --attribute NAME [--areas FILE] [--seeds N]

The first form sweeps the embedded city (in the home folder: felsina up), homes with a planted
minority, with noise too, and public data; the second one dataset folder by one attribute. Quick
profile; records are kept in the home folder. Errors are relative: a group's absolute error over
that of a seasonal naive forecast (a week before) on the same test targets. Prints Markdown,
progress on stderr.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mitigation.cases import CASES, Case, by_attribute, opened
from benchmarks.mitigation.homes import MANY, planted_homes
from benchmarks.mitigation.homes import NAME as HOMES
from benchmarks.mitigation.picture import draw
from benchmarks.mitigation.scores import Told, worst
from benchmarks.mitigation.sweep import BANDS, EPSILONS, privately, referred, trained
from benchmarks.tables import head, row
from models.contracts import FelsinaError
from pipelines.train import open_registered
from training.dataset import CityDataset
from training.groups import NodeGroups

COLUMNS: dict[str, Callable[[Told], float]] = {
    "error": lambda told: told["all"]["error"],
    "worst": lambda told: worst(told, "error"),
    "CRPS": lambda told: told["all"]["crps"],
    "worst CRPS": lambda told: worst(told, "crps"),
    "90 % band": lambda told: told["all"]["coverage_90"],
    "worst band": lambda told: worst(told, "coverage_90"),
    "width": lambda told: told["all"]["width_90"],
}
NOISY_SEEDS = 1
Runs = dict[str, list[Any]]


def cells(runs: list[Told]) -> list[str]:
    """Mean over seeds of each column and half its range, in per cent."""
    found = []
    for column in COLUMNS.values():
        values = 100 * np.array([column(told) for told in runs])
        half = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
        found.append(f"{values.mean():.1f}{half}")
    return found


def sweep(name: str, dataset: CityDataset, groups: NodeGroups, case: Case) -> Runs:
    """Every training of a dataset, and the reference beside it."""
    found = {
        weights: [trained(name, dataset, groups, weights, seed) for seed in range(case.seeds)]
        for weights in case.weights
    }
    sizes = found["none"][0]["marginal"]
    members = "; ".join(f"{group}: {sizes[group]['sensors']}" for group in groups.names)
    print(f"\n### {name} by {groups.attribute} ({members}), seeds: {case.seeds}")
    head("weights", "bands", *COLUMNS)
    for weights, runs in found.items():
        for bands in BANDS:
            row(weights, bands, *cells([run[bands] for run in runs]))
    if len(case.weights) > 1:
        for bound in referred(name, dataset, groups)["bounds"]:
            said = "ridge" if bound["share"] is None else f"fairlearn, bound {bound['share']:g}"
            errors = (bound["all"], max(bound["groups"]))
            row(said, "", *(f"{100 * error:.1f}" for error in errors), *[""] * 5)
    _by_group(groups, found)
    return found


def _by_group(groups: NodeGroups, found: Runs) -> None:
    shown = (("marginal", "error"), ("marginal", "coverage_90"), ("group", "coverage_90"))
    head("group", "weights", "error", "common 90 % band", "own 90 % band")
    for group in groups.names:
        for weights, runs in found.items():
            told = [np.mean([run[b][group][figure] for run in runs]) for b, figure in shown]
            row(group, weights, *(f"{100 * value:.1f}" for value in told))


def with_noise(seeds: int) -> dict[float, Runs]:
    """The homes against epsilon."""
    dataset = planted_homes(MANY)
    groups = CASES[HOMES].groups(dataset)
    print(f"\n### {MANY} {HOMES}, trained privately, seeds: {seeds}")
    head("epsilon", "weights", "bands", *COLUMNS)
    found: dict[float, Runs] = {}
    for epsilon in EPSILONS:
        said = "no noise" if epsilon == np.inf else f"{epsilon:g}"
        found[epsilon] = {}
        for weights in ("none", "group"):
            runs = [
                privately(dataset, groups, epsilon, weights == "group", seed)
                for seed in range(seeds)
            ]
            found[epsilon][weights] = runs
            for bands in BANDS:
                row(said, weights, bands, *cells([run[bands] for run in runs]))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, help="of each dataset; as mitigation.md when left out")
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--attribute", default="")
    parser.add_argument("--areas", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.dataset is not None:
        case = Case(by_attribute(options.attribute, options.areas), options.seeds or 1)
        try:
            dataset = open_registered(options.dataset)
            sweep(dataset.spec.dataset, dataset, case.groups(dataset), case)
        except FelsinaError as error:
            parser.error(str(error))
        return
    found: dict[str, Runs] = {}
    private: dict[float, Runs] = {}
    for name in options.only:
        dataset, case = opened(name), CASES[name]
        case = Case(case.groups, options.seeds or case.seeds, case.weights)
        groups = case.groups(dataset)
        found[name] = sweep(name, dataset, groups, case)
        if name == HOMES:
            private = with_noise(options.seeds or NOISY_SEEDS)
    if options.picture:
        draw(found, private, options.picture)


if __name__ == "__main__":
    main()
