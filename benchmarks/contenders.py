"""Who takes part in the forecasting benchmark: Felsina, the baselines and the peers, one interface.

Each run gives forecasts of every test origin and what they cost; a record of it is kept in the home
folder, so that an interrupted hour goes on where it stopped.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measures import NOMINAL, measure
from benchmarks.peers.frames import in_batches
from models.adaptive import replay
from models.baselines import LookBack
from models.contracts import FelsinaError, FloatArray, IntArray
from models.exported import open_session, predictor
from models.forecaster import Forecaster
from models.record import canonical_json, sha256_bytes, sha256_file, write_atomic
from pipelines.settings import home
from pipelines.train import FORECASTS, GRAPH, code_digest, score, settings_for, train
from training.backtest import baselines
from training.calibration import dress
from training.dataset import CityDataset
from training.ridge import fit_backbone

HERE = Path(__file__).parent
PEERS = {
    "lightgbm": ("lightgbm_peer",),
    "stid": ("stid", "network"),
    "tide": ("tide", "network"),
    "lstm": ("lstm", "network"),
}
"""Peers and the modules of ``benchmarks/peers`` that decide what they become."""
BASELINES = (
    "persistence",
    "seasonal_naive_day",
    "seasonal_naive_week",
    "profile_level",
    "ridge",
    "backbone",
)
TIMED = 40
"""Single windows that the time of a forecast is the median of."""

Record = dict[str, Any]
Predict = Callable[[IntArray], FloatArray]


def gauges(dataset: CityDataset) -> bool:
    """Whether the series have no seasons: river gauges, by Felsina's own settings."""
    return not settings_for(dataset, "full").architecture.calendar


def rival_lags(dataset: CityDataset) -> tuple[int, ...]:
    """The lags that peers see: Felsina's own, and yesterday where it has none of a season."""
    lags = settings_for(dataset, "full").lags
    return lags if lags or gauges(dataset) else (dataset.spec.steps_per_day,)


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


class Quiet:
    """A listener that is not curious."""

    def progress(self, stage: str, share: float) -> None:
        """Ignore it."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Ignore it."""


def records(dataset: CityDataset, seed: int, models: list[str]) -> dict[str, Record]:
    """Records of ``models`` (felsina, baselines, peers) on one dataset, made or found."""
    found: dict[str, Record] = {}
    for name in models:
        known = name in (*PEERS, *BASELINES, "felsina")
        if not known:
            raise FelsinaError(f"--model {name!r} is unknown; use felsina or {', '.join(PEERS)}")
        path = _path(dataset, name, seed)
        if not path.exists():
            began = time.perf_counter()
            made = _baselines(dataset) if name in BASELINES else {name: _run(dataset, name, seed)}
            for other, record in made.items():
                other_path = path if other == name else _path(dataset, other, seed)
                write_atomic(other_path, canonical_json(record))
            mae, wape = (made[name][key] for key in ("mae", "wape"))
            spent = time.perf_counter() - began
            say(f"{dataset.spec.dataset} {name} seed {seed}: {mae:.4g}, {wape:.2%}, {spent:.0f} s")
        found[name] = json.loads(path.read_bytes())
    return found


def _path(dataset: CityDataset, name: str, seed: int) -> Path:
    """Where a record lies, by all that it was made from; baselines know no seed."""
    modules = PEERS.get(name)
    if modules:
        files = [HERE / "peers" / f"{module}.py" for module in (*modules, "frames")]
        code = {file.name: sha256_file(file) for file in files}
    else:
        code = {"felsina": code_digest()}
    settings = settings_for(dataset, "full", seed)
    made_from = {
        "data": dataset.digests,
        "code": code | {"measures": sha256_file(HERE / "measures.py")},
        "settings": list(rival_lags(dataset)) if modules else settings.model_dump(mode="json"),
        "seed": seed,
    }
    if name in BASELINES:
        made_from["settings"], seed = "", 0
        made_from["seed"] = 0
    key = sha256_bytes(canonical_json(made_from))[:12]
    folder = home() / "benchmarks" / "forecasting" / dataset.spec.dataset
    return folder / f"{name}-{seed}-{key}.json"


def _run(dataset: CityDataset, name: str, seed: int) -> Record:
    if name == "felsina":
        return _felsina(dataset, seed)
    module = importlib.import_module(f"benchmarks.peers.{PEERS[name][0]}")
    began = time.process_time()
    peer = module.fit(dataset, rival_lags(dataset), seed)
    seconds = time.process_time() - began
    origins = dataset.splits.test(dataset.spec, dataset.start)
    quantiles = in_batches(peer.predict, origins)
    return _judged(dataset, quantiles) | {
        "fit_seconds": seconds,
        "window_ms": _milliseconds(peer.predict, origins),
        "parameters": peer.parameters,
    }


def _felsina(dataset: CityDataset, seed: int) -> Record:
    """What ``felsina backtest --profile full --seed SEED`` does, from the forecasts it writes."""
    trained = train(dataset, settings_for(dataset, "full", seed), home(), Quiet())
    score(trained, home(), lambda share: None)
    spec = trained.fitted.spec
    table = pd.read_parquet(trained.folder / FORECASTS, columns=[f"q{q:g}" for q in spec.quantiles])
    shape = (-1, spec.horizon, dataset.graph.nodes, len(spec.quantiles))
    quantiles = table.to_numpy(np.float32).reshape(shape)
    builder, graph = dataset.builder(spec), predictor(open_session(trained.folder / GRAPH))
    origins = dataset.splits.test(spec, dataset.start)
    target = _targets(dataset, origins)
    following = replay(quantiles, target, origins, spec.quantiles, spec.nonnegative)
    adaptive = _judged(dataset, following)
    return _judged(dataset, quantiles) | {
        "fit_seconds": trained.run["seconds"],
        "window_ms": _milliseconds(lambda rows: graph(builder.batch(rows)), origins),
        "parameters": trained.fitted.parameters,
        "adaptive": {key: adaptive[key] for key in (*NOMINAL, "crps", "groups")},
    }


def _baselines(dataset: CityDataset) -> dict[str, Record]:
    """All baselines, with bands from their own errors on the calibration windows."""
    settings = settings_for(dataset, "full")
    spec = dataset.spec.with_lags(settings.lags)
    builder, splits = dataset.builder(spec), dataset.splits
    backbone = Forecaster(spec, dataset.graph, settings.architecture).backbone
    began = time.process_time()
    fit_backbone(backbone, builder, splits.train_end, splits.train(spec))
    seconds = time.process_time() - began
    origins, (_, calibration) = splits.test(spec, dataset.start), splits.validation(spec)
    made = {}
    for name, point in baselines(dataset, builder, backbone, settings.architecture).items():

        def guess(rows: IntArray, point: Any = point) -> FloatArray:
            return point(rows, builder.batch(rows))

        truth = _targets(dataset, calibration)
        bands = dress(in_batches(guess, calibration), truth, spec.quantiles)
        bands -= bands[..., spec.quantiles.index(0.5), None]  # the point forecast is the median

        def predict(rows: IntArray, guess: Predict = guess, bands: Any = bands) -> FloatArray:
            quantiles = guess(rows)[..., None] + bands
            return np.maximum(quantiles, 0) if spec.nonnegative else quantiles

        made[name] = _judged(dataset, in_batches(predict, origins)) | {
            "fit_seconds": seconds if name in ("ridge", "backbone") else 0.0,
            "window_ms": _milliseconds(predict, origins),
            "parameters": backbone.weight.numel() if name in ("ridge", "backbone") else 0,
        }
    return made


def _targets(dataset: CityDataset, origins: IntArray) -> FloatArray:
    """What came true: [B, H, N]."""
    return dataset.values[origins[:, None] + np.arange(1, dataset.spec.horizon + 1)]


def _judged(dataset: CityDataset, quantiles: FloatArray) -> Record:
    spec, origins = dataset.spec, dataset.splits.test(dataset.spec, dataset.start)
    fallback = np.nan_to_num(np.nanmean(dataset.values[: dataset.splits.train_end], axis=0))
    return measure(
        quantiles,
        _targets(dataset, origins),
        LookBack(dataset.builder(), fallback).persistence(origins),
        spec.quantiles,
        spec.seconds,
        dataset.graph.ids,
        gauges(dataset),
        fallback,
    )


def _milliseconds(predict: Predict, origins: IntArray) -> float:
    """Median time of one window, cutting it out of the series included."""
    spent = []
    for origin in origins[:TIMED]:
        began = time.perf_counter()
        predict(np.array([origin]))
        spent.append(time.perf_counter() - began)
    return 1000 * float(np.median(spent))
