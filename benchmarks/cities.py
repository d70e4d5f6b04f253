"""Cities that change: buildings that no training saw, and sensors that die, appear or drift.

    python -m benchmarks.cities --dataset DIR ... [--folds 5] [--first 1] [--profile full]
    python -m benchmarks.cities --dataset DIR ... --faults [--profile full]

Prints the tables of ``cities.md``; progress goes to stderr. Forecasts are kept in the home folder
(``FELSINA_HOME``), so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.contenders import Quiet, say
from models.baselines import LookBack
from models.contracts import FelsinaError, FloatArray, ForecastSpec, IntArray
from models.forecaster import Forecaster
from models.record import canonical_json, sha256_bytes
from pipelines.settings import home
from pipelines.train import code_digest, open_registered, settings_for
from training.backtest import point_forecast
from training.calibration import dress
from training.checkpoint import SUFFIX, read, write
from training.dataset import CityDataset
from training.fit import Fitted, fit, forecasts
from training.metrics import Score
from training.settings import TrainSettings

SEED = 0
"""Of the folds and of the sensors that change."""
SHARE = 5
"""One sensor in so many changes."""
DRIFT = 0.3
"""What a drifting sensor has gained by the end of the test span."""
APPEARS_AFTER = 14
"""Days of the test span before a new sensor is there."""
BAR = 1.25


def altered(dataset: CityDataset, chosen: IntArray, fault: str) -> CityDataset:
    """The dataset with ``chosen`` sensors that are ``dead``, ``new`` or ``drifting``."""
    values, test = dataset.values.copy(), dataset.splits.validation_end
    if fault == "dead":
        values[(test + len(values)) // 2 :, chosen] = np.nan
    elif fault == "new":
        values[: test + APPEARS_AFTER * dataset.spec.steps_per_day, chosen] = np.nan
    else:
        values[test:, chosen] *= np.linspace(1, 1 + DRIFT, len(values) - test)[:, None]
    return replace(dataset, values=values)


def fitted(dataset: CityDataset, settings: TrainSettings) -> Fitted:
    """A model trained on the dataset as it is in memory, kept in the home folder."""
    made_from = {
        "values": sha256_bytes(dataset.values.tobytes()),
        "settings": settings.model_dump(mode="json"),
        "code": code_digest(),
    }
    key = sha256_bytes(canonical_json(made_from))[:12]
    path = home() / "benchmarks" / "cities" / f"{dataset.spec.dataset}-{key}{SUFFIX}"
    spec = dataset.spec.with_lags(settings.lags)
    if not path.exists():
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            model = fit(dataset, settings, Path(work), Quiet())
        path.parent.mkdir(parents=True, exist_ok=True)
        write(model.forecaster.state_dict(), path)
        say(f"{path.name}: {dataset.graph.nodes} nodes, {time.perf_counter() - began:.0f} s")
    return moved(read(path), spec, dataset, settings)


def moved(
    state: dict[str, torch.Tensor],
    spec: ForecastSpec,
    dataset: CityDataset,
    settings: TrainSettings,
) -> Fitted:
    """A state as the forecaster of a dataset."""
    forecaster = Forecaster(spec, dataset.graph, settings.architecture)
    forecaster.load_state_dict(state)
    return Fitted(forecaster.eval(), spec, settings, 0.0, 0)


def tests(dataset: CityDataset, spec: ForecastSpec) -> IntArray:
    """The test origins."""
    return dataset.splits.test(spec, dataset.start)


def quantiles_of(model: Fitted, dataset: CityDataset) -> FloatArray:
    """Quantiles [B, H, N, Q] of every test origin; all of them finite."""
    found, _ = forecasts(model.predict, dataset.builder(model.spec), tests(dataset, model.spec))
    if not np.isfinite(found).all():
        raise FelsinaError(f"{dataset.spec.dataset}: a forecast is not finite")
    return found


def dressed(
    dataset: CityDataset, spec: ForecastSpec, backbone: Fitted | None = None
) -> tuple[FloatArray, FloatArray]:
    """Quantiles of a backbone, or of last week's values, and the targets.

    The bands come from its own errors on the dataset's calibration windows.
    """
    builder = dataset.builder(spec)
    train = dataset.values[: dataset.splits.train_end]
    seen = ~np.isnan(train)
    mean = np.where(seen, train, 0).sum(0) / seen.sum(0).clip(min=1)
    naive = LookBack(builder, mean)

    def points(origins: IntArray) -> tuple[FloatArray, FloatArray]:
        guesses, targets = [], []
        for start in range(0, len(origins), 64):
            rows = origins[start : start + 64]
            window = builder.batch(rows, with_target=True)
            if backbone is None:
                guesses.append(naive.seasonal_naive(rows, 7 * spec.steps_per_day))
            else:
                guesses.append(point_forecast(backbone.forecaster.backbone, window))
            targets.append(window.target)
        return np.concatenate(guesses), np.concatenate(targets)

    bands = dress(*points(dataset.splits.validation(spec)[1]), spec.quantiles)
    guess, target = points(tests(dataset, spec))
    found = guess[..., None] + bands
    found[..., spec.quantiles.index(0.5)] = guess
    return (np.maximum(found, 0) if spec.nonnegative else found), target


def errors(quantiles: FloatArray, target: FloatArray, spec: ForecastSpec) -> FloatArray:
    """WAPE [N] of each node."""
    gap = np.abs(quantiles[..., spec.quantiles.index(0.5)] - target)
    return np.nansum(gap, (0, 1)) / np.nansum(np.abs(np.where(np.isnan(gap), 0, target)), (0, 1))


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(cells) + " |", flush=True)


def both_modes(dataset: CityDataset, profile: str) -> tuple[TrainSettings, TrainSettings]:
    """The ordinary settings, and the same of a model that knows no node by name."""
    texts = ["architecture.inductive=true"]
    return (
        settings_for(dataset, profile, SEED),
        settings_for(dataset, profile, SEED, assignments=texts),
    )


def never_seen(dataset: CityDataset, profile: str, folds: int, first: int) -> None:
    """Score models that never saw a building on it, beside those that did."""
    settings, inductive = both_modes(dataset, profile)
    nodes = np.arange(dataset.graph.nodes)
    parts = np.array_split(np.random.default_rng(SEED).permutation(nodes), folds)[:first]
    spec = dataset.spec.with_lags(settings.lags)
    informed = {
        "trained on them": quantiles_of(fitted(dataset, settings), dataset),
        "inductive, trained on them": quantiles_of(fitted(dataset, inductive), dataset),
        "seasonal naive week": dressed(dataset, spec)[0],
    }
    gathered: dict[str, list[FloatArray]] = {}
    targets = []
    for held_out in parts:
        known = fitted(dataset.part(np.setdiff1d(nodes, held_out)), inductive)
        held = dataset.part(held_out)
        model = moved(known.forecaster.state_dict(), spec, held, inductive)
        ridge, target = dressed(held, spec, model)
        found = {"inductive, never saw them": quantiles_of(model, held), "pooled ridge": ridge}
        for name, quantiles in informed.items():
            gathered.setdefault(name, []).append(quantiles[:, :, held_out])
        for name, quantiles in found.items():
            gathered.setdefault(name, []).append(quantiles)
        targets.append(target)
    joined = {name: np.concatenate(each, 2) for name, each in gathered.items()}
    target = np.concatenate(targets, 2)
    scores = {name: Score(spec.horizon, spec.quantiles) for name in joined}
    for name, quantiles in joined.items():
        scores[name].update(quantiles, target)
    results = {name: score.result() for name, score in scores.items()}
    each = {name: errors(quantiles, target, spec) for name, quantiles in joined.items()}
    base, base_each = results["trained on them"], each["trained on them"]
    print(f"\n{spec.dataset}, {profile} profile, {target.shape[2]} buildings held out\n")
    rows = []
    for name, r in results.items():
        ratio = each[name] / base_each
        rows.append(
            [
                name,
                f"{r['mae']:.3f}",
                f"{r['wape']:.2%}",
                f"{r['crps']:.3f}",
                f"{r['coverage_80']:.1%}",
                f"{r['mae'] / base['mae']:.3f}",
                f"{ratio.mean():.3f}",
                f"{np.median(ratio):.3f}",
                f"{ratio.max():.2f}",
            ]
        )
    ratios = ["MAE ratio", "WAPE ratio by building, mean", "median", "largest"]
    table(["model", "MAE", "WAPE", "CRPS", "80 %", *ratios], rows)
    found = results["inductive, never saw them"]["mae"] / base["mae"]
    print(f"\nMAE ratio {found:.3f}, bar {BAR}: {'met' if found <= BAR else 'missed'}")


def faults(dataset: CityDataset, profile: str) -> None:
    """Score a model whose inputs are altered on targets that are not."""
    settings, inductive = both_modes(dataset, profile)
    nodes = np.arange(dataset.graph.nodes)
    count = -(-len(nodes) // SHARE)
    chosen = np.sort(np.random.default_rng(SEED).permutation(nodes)[:count])
    others = np.setdiff1d(nodes, chosen)
    ordinary = fitted(dataset, settings)
    spec = ordinary.spec
    middle = spec.quantiles.index(0.5)
    unaltered = quantiles_of(ordinary, dataset)
    naive, target = dressed(dataset, spec)
    rows = []
    for fault in ("dead", "drifting", "new", "new, inductive"):
        city = altered(dataset, chosen, fault.split(",")[0])
        model = ordinary
        if fault.startswith("new"):
            model = fitted(city, inductive if "inductive" in fault else settings)
        found = quantiles_of(model, city)
        week, _ = dressed(city, spec)
        changed = scored(dataset, spec, fault)
        for name, group in (("altered", chosen), ("others", others)):
            maes = [
                float(np.nanmean(np.abs(q[changed][..., middle] - target[changed])[..., group]))
                for q in (unaltered, found, naive, week)
            ]
            cells = [f"{mae:.3f}" for mae in maes]
            rows.append([fault, f"{name} ({len(group)})", *cells, f"{maes[1] / maes[0]:.3f}"])
    print(f"\n{spec.dataset}, {profile} profile, MAE in {spec.unit}\n")
    columns = ["unaltered", "altered inputs", "naive week, unaltered", "naive week, altered"]
    table(["sensors", "nodes", *columns, "ratio"], rows)


def scored(dataset: CityDataset, spec: ForecastSpec, fault: str) -> IntArray | slice:
    """The test origins that are scored: those after the sensor died, or has come."""
    origins, test = tests(dataset, spec), dataset.splits.validation_end
    if fault == "dead":
        return np.flatnonzero(origins >= (test + len(dataset.values)) // 2)
    if fault.startswith("new"):
        return np.flatnonzero(origins >= test + APPEARS_AFTER * spec.steps_per_day)
    return slice(None)


def main() -> None:
    """Run what is asked for, dataset by dataset."""
    parser = argparse.ArgumentParser(description="Buildings never seen, and sensors that change.")
    parser.add_argument("--dataset", action="append", type=Path, required=True)
    parser.add_argument("--profile", default="full", choices=("quick", "full"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--first", type=int, default=5, help="run so many folds only")
    parser.add_argument("--faults", action="store_true")
    options = parser.parse_args()
    try:
        for folder in options.dataset:
            dataset = open_registered(folder)
            if options.faults:
                faults(dataset, options.profile)
            else:
                never_seen(dataset, options.profile, options.folds, options.first)
    except FelsinaError as error:
        sys.exit(f"benchmarks.cities: {error}")


if __name__ == "__main__":
    main()
