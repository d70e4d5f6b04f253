"""Felsina beside its peers on the same targets: accuracy, calibration and cost, mean over seeds.

    FELSINA_DATA=DIR python -m benchmarks.forecasting [--dataset NAME ...] [--seeds 3]
                                                      [--model NAME ...]

Writes a section a dataset into ``benchmarks/forecasting.md`` and prints it; progress on stderr.
A process a core makes the records, which are kept in the home folder (``FELSINA_HOME``), so that an
interrupted run goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from benchmarks.contenders import BASELINES, PEERS, Record, gauges, records
from benchmarks.jobs import in_processes
from benchmarks.measures import (
    BARS,
    GROUPS,
    NEAR,
    NEAR_ADAPTIVE,
    NEAR_IN_GROUP,
    NOMINAL,
    farthest,
)
from models.contracts import FelsinaError
from pipelines.train import open_registered
from training.dataset import CityDataset

PAGE = Path(__file__).with_name("forecasting.md")
DATASETS = (
    "bologna-mts",
    "los-loop",
    "cambridge-elec",
    "fontana-homes",
    "terna-north",
    "misa-stage",
    "emilia-discharge",
)
COLUMNS = {
    "MAE": ("mae", "{:.4g}"),
    "WAPE": ("wape", "{:.2%}"),
    "CRPS": ("crps", "{:.4g}"),
    "CRPS/mean": ("crps_over_mean", "{:.2%}"),
    "50 %": ("coverage_50", "{:.1%}"),
    "80 %": ("coverage_80", "{:.1%}"),
    "90 %": ("coverage_90", "{:.1%}"),
    "fit s": ("fit_seconds", "{:.0f}"),
    "ms a window": ("window_ms", "{:.1f}"),
    "parameters": ("parameters", "{:.0f}"),
}
SPREAD = ("MAE", "WAPE", "CRPS")
SHARED = {key for key, _ in COLUMNS.values()} | {"rmse", "width_80"}
HEAD = """# Forecasting: Felsina beside its peers

Made by `python -m benchmarks.forecasting`: DATASET.md's protocol, the same test targets for every
model, mean over the seeds with half the range between them. 50, 80 and 90 % are the coverage of
those bands. `fit s` is the time of the fit on one thread: of peers and ridge CPU time, of Felsina
wall time with a fit on every core, so that its seconds are high; a comparison side by side on an
idle machine stands in scaling.md. `small`, `middle` and `large` are thirds of the nodes by their
mean in the train span.

Peers see Felsina's windows, lags, calendar and weather, are scaled by the train span, and stop on
the stopping windows and every eighth week of training. LightGBM and the baselines have bands from
their own errors on the calibration windows, about their point forecast; the networks forecast
quantiles, conformally moved there as Felsina's.
"""

Runs = dict[str, list[Record]]


def run(dataset: CityDataset, seeds: int, models: list[str]) -> Runs:
    """Records of every model, one a seed."""
    runs: Runs = {name: [] for name in models}
    for seed in range(seeds):
        for name, record in records(dataset, seed, models).items():
            if not (seed and name in BASELINES):
                runs[name].append(record)
    return runs


def section(dataset: CityDataset, runs: Runs) -> str:
    """Markdown of one dataset."""
    lines = [f"## {dataset.spec.dataset}", "", f"MAE and CRPS in {dataset.spec.unit}.", ""]
    lines += _table(["model", "seeds", *COLUMNS], [_row(name, runs[name]) for name in runs])
    first = next(iter(runs.values()))[0]
    more = [key for key, value in first.items() if key not in SHARED and isinstance(value, float)]
    if more:
        rows = [
            [name, *(_mean(found, key, "{:.4g}", spread=True) for key in more)]
            for name, found in runs.items()
        ]
        lines += ["", *_table(["model", *more], rows)]
    if "persistence_index_by_gauge" in first:
        ids = list(first["persistence_index_by_gauge"])
        rows = [
            [
                name,
                *(f"{_over([r['persistence_index_by_gauge'] for r in found], i):.3f}" for i in ids),
            ]
            for name, found in runs.items()
        ]
        lines += ["", "Persistence index by gauge:", "", *_table(["model", *ids], rows)]
    if "felsina" in runs:
        lines += ["", *_bands(runs["felsina"])]
        lines += ["", *_verdicts(dataset.spec.dataset, runs)]
    return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _row(name: str, found: list[Record]) -> list[str]:
    cells = [
        _mean(found, key, form, spread=title in SPREAD) for title, (key, form) in COLUMNS.items()
    ]
    return [f"**{name}**" if name == "felsina" else name, str(len(found)), *cells]


def _mean(found: list[Record], key: str, form: str, spread: bool) -> str:
    values = [record[key] for record in found if record.get(key) is not None]
    if not values:
        return ""
    text = form.format(np.mean(values))
    if spread and len(values) > 1:
        text += f" ± {form.format((max(values) - min(values)) / 2)}"
    return text


def _over(found: list[Record], key: str) -> float:
    return float(np.mean([record[key] for record in found]))


def _bands(felsina: list[Record]) -> list[str]:
    """Coverage of Felsina's bands, as they are and following what came true, by size of node."""
    kinds = {"as released": felsina, "adaptive": [record["adaptive"] for record in felsina]}
    groups = [name for name in GROUPS if felsina[0]["groups"]]
    head = ["bands", "CRPS", *(f"{share:.0%}" for share in NOMINAL.values())]
    head += [f"{share:.0%} {group}" for group in groups for share in NOMINAL.values()]
    rows = [
        [
            kind,
            _mean(found, "crps", "{:.4g}", spread=False),
            *(f"{_over(found, key):.1%}" for key in NOMINAL),
            *(
                f"{_over([record['groups'][group] for record in found], key):.1%}"
                for group in groups
                for key in NOMINAL
            ),
        ]
        for kind, found in kinds.items()
    ]
    return _table(head, rows)


def _averaged(found: list[Record]) -> tuple[Record, list[Record]]:
    """Coverages of all nodes and of each group, mean over the seeds."""

    def mean(records: list[Record]) -> Record:
        return {key: _over(records, key) for key in NOMINAL}

    groups = found[0]["groups"]
    return mean(found), [mean([record["groups"][g] for record in found]) for g in groups]


def _verdicts(name: str, runs: Runs) -> list[str]:
    """Each target of this dataset and whether Felsina's mean meets it."""
    felsina = runs["felsina"]
    checks = [
        (str(bar), found := _over(felsina, bar.measure), bar.met(found))
        for bar in BARS.get(name, ())
    ]
    for key, more in (("persistence_index", 0.10), ("persistence_index_mean", 0.05)):
        if name == "misa-stage" and "ridge" in runs:
            bar, found = _over(runs["ridge"], key) + more, _over(felsina, key)
            checks.append((f"{key} >= {bar:.3f} (ridge + {more:g})", found, found >= bar))
    others = [other for other in runs if other != "felsina"]
    for key in ("mae", "crps") if others else ():
        best = min(others, key=lambda other: _over(runs[other], key))
        bar, found = _over(runs[best], key), _over(felsina, key)
        checks.append((f"{key} <= {bar:.4g} (best other: {best})", found, found <= bar))
    whole, groups = _averaged(felsina)
    following, by_size = _averaged([record["adaptive"] for record in felsina])
    for text, limit, found in (
        ("coverage of 50, 80, 90 %", NEAR, farthest(whole)),
        ("the same by size of node", NEAR_IN_GROUP, farthest(*groups) if groups else None),
        ("the same with adaptive bands", NEAR_ADAPTIVE, farthest(following)),
        ("those by size of node", NEAR_IN_GROUP, farthest(*by_size) if by_size else None),
    ):
        if found is not None:
            checks.append((f"{text} within {limit:.2f}", found, found <= limit))
    rows = [[bar, f"{found:.4g}", "yes" if met else "**no**"] for bar, found, met in checks]
    return _table(["target", "felsina", "met"], rows)


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Put one dataset's section into the page, the others left as they are."""
    parts = page.read_text().split("\n## ") if page.exists() else [HEAD]
    kept = {part.split("\n", 1)[0]: part for part in parts[1:]} | {name: text.removeprefix("## ")}
    order = sorted(kept, key=lambda key: DATASETS.index(key) if key in DATASETS else 99)
    bodies = [f"\n## {kept[key].rstrip()}\n" for key in order]
    page.write_text(HEAD + "".join(bodies))


def jobs(folder: Path, seeds: int, models: list[str]) -> list[tuple[Path, int, list[str]]]:
    """What ``job`` is called with: a model and seed each, and all baselines at once."""
    plain = [name for name in models if name in BASELINES]
    taught = [name for name in models if name not in BASELINES]
    found = [(folder, seed, [name]) for name in taught for seed in range(seeds)]
    return found + ([(folder, 0, plain)] if plain else [])


def job(folder: Path, seed: int, models: list[str]) -> None:
    """Make the records of ``models`` on the dataset in ``folder``."""
    records(open_registered(folder), seed, models)


def main() -> None:
    """Run what is asked for, dataset by dataset."""
    parser = argparse.ArgumentParser(description="Felsina beside its peers.")
    parser.add_argument("--dataset", action="append", choices=DATASETS, help="these only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", action="append", help="these only, such as lightgbm")
    options = parser.parse_args()
    data = Path(os.environ.get("FELSINA_DATA", ""), "datasets")
    try:
        plans = {}
        for name in options.dataset or DATASETS:
            dataset = open_registered(data / name)
            rivals = [peer for peer in PEERS if peer != "lstm" or gauges(dataset)]
            models = options.model or ["felsina", *rivals, *reversed(BASELINES)]
            plans[name] = [m for m in models if m != "lstm" or gauges(dataset)]
        in_processes(job, (j for n, m in plans.items() for j in jobs(data / n, options.seeds, m)))
        for name, models in plans.items():
            dataset = open_registered(data / name)
            text = section(dataset, run(dataset, options.seeds, models))
            write(name, text)
            print(text, flush=True)
    except FelsinaError as error:
        sys.exit(f"benchmarks.forecasting: {error}")


if __name__ == "__main__":
    main()
